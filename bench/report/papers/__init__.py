"""Tables that papers print, with ours beside them."""
