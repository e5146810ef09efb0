"""The recipes of `sheep.cli.recipes`, under the name that jobs are documented with."""

from sheep.cli.recipes import RECIPES, footage, meadow, sheep_base, sheep_small

__all__ = ["RECIPES", "footage", "meadow", "sheep_base", "sheep_small"]
