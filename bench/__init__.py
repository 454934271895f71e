"""How fast the wrapper is, beside the other ways to build it: `make bench`."""
