"""The recipes: how each method's networks are trained, one file per method.

``RECIPES`` is written out; a recipe's file is imported only when it is asked for.
"""

from __future__ import annotations

import importlib

from backend.errors import InputError

from .interface import RecipeSpec

RECIPES: dict[str, str] = {
    "drwr": "One image to a point cloud, learned from silhouettes with known or unknown cameras.",
}
"""Name, which is the method's and the file's, and what it trains."""


def recipe_spec(name: str) -> RecipeSpec:
    """Import a recipe.

    Raises:
        InputError: There is none of this name.
    """
    if name not in RECIPES:
        raise InputError(f"there is no recipe '{name}'; choose {', '.join(RECIPES)}.")
    return importlib.import_module(f".{name}", __package__).SPEC
