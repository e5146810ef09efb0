"""Entry points, one per stage.

`python -m jobs.<verb> <recipe> [--field value ...]`, here or through `ray job submit`.
"""
