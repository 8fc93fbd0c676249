"""Every image that the sandbox can build, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sandbox.images.recipe import Recipe
from sandbox.images.recipes.base.recipe import RECIPE as BASE
from sandbox.images.recipes.ingress.recipe import RECIPE as INGRESS
from sandbox.images.recipes.mariadb.recipe import RECIPE as MARIADB
from sandbox.images.recipes.pause.recipe import RECIPE as PAUSE
from sandbox.images.recipes.restic.recipe import RECIPE as RESTIC
from sandbox.images.recipes.shop.recipe import RECIPE as SHOP
from sandbox.images.recipes.upgrades.recipe import BROKEN, OLDER, OLDER_CORE
from sandbox.images.recipes.wordpress.recipe import RECIPE as WORDPRESS

RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {recipe.name: recipe for recipe in (BASE, WORDPRESS, SHOP, MARIADB, RESTIC, PAUSE, INGRESS)}
)

FOR_TESTS: Final[Mapping[str, Recipe]] = MappingProxyType(
    {**RECIPES, **{recipe.name: recipe for recipe in (OLDER_CORE, OLDER, BROKEN)}}
)
"""With the images that only tests need. No sandbox builds them by itself."""


def chain(name: str, recipes: Mapping[str, Recipe]) -> tuple[Recipe, ...]:
    """Return the recipe and its parents, the deepest first: the layers of the image from the bottom up."""
    recipe = recipes[name]
    return (*chain(recipe.parent, recipes), recipe) if recipe.parent else (recipe,)
