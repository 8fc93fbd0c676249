"""placeholder"""
from pathlib import Path
from sandbox.images.recipe import Recipe
RECIPE = Recipe(name="ingress", folder=Path(__file__).parent, parent="base", packages=("python3",), version_of="python3")
