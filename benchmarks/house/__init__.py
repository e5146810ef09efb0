"""Figures about the code: layout, sizes, docstrings, types, wording, reads and log of the demo.

Every metric is a function from the root of a checkout to a `Measure`. Files are found with git and parsed with `ast`;
nothing of the measured checkout is imported, so any two commits can be compared whatever their layout.
"""
