"""The meadow: a procedural pasture with exact truth, the embedded demo and training data of the project."""
