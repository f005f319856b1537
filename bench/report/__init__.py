"""Records in, tables and figures out: nothing here trains, restores or scores anything."""
