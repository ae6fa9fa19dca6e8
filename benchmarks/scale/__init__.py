"""How costs grow: each with one size, on real stores and servers, and the exponent of its growth."""
