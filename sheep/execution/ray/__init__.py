"""Transport: the only package that imports Ray.

Each file turns one callable of `sheep.pipeline.Way` into a distributed one.
"""
