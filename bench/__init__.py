"""How fast the API is, beside other ways to build it: `make bench`."""
