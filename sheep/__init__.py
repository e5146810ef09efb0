"""From videos of animals to an answer: do these groups behave differently?

The package follows the data, a folder per stage; see `docs/design.md` for the map and `sheep/pipeline.py` for the order
of the stages. Importing any module has no side effects.
"""

__version__ = "0.2.0"
