"""From videos of animals to an answer: do these groups behave differently?

The package is the way of the data, one file per stage; see `docs/design.md` for the map and `sheep/pipeline.py` for the
whole way in one process. Importing any module has no side effects.
"""

__version__ = "0.2.0"
