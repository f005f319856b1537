"""One file per paper, reading like the paper; a study names the classes by dotted path."""
