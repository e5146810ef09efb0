"""Compare: differences between experimental groups, with the animal as the unit."""
