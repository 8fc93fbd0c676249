"""Images to upgrade from and to, for tests alone: an older WordPress, whose database needs an update, and a broken one.

The older one is Debian's stable release, a line that the official image has left. Both have the same shop in them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from sandbox.images import tree
from sandbox.images.debian import RELEASE
from sandbox.images.recipe import Recipe, Workshop
from sandbox.images.recipes.shop.recipe import RECIPE as SHOP
from sandbox.images.recipes.wordpress.recipe import CODE, WEB_SERVER_USER
from sandbox.images.recipes.wordpress.recipe import RECIPE as WORDPRESS

_HERE: Final = Path(__file__).parent
_FROM_RELEASE: Final = ("wordpress", "wordpress-theme-twentytwentyfive")


def _break(workshop: Workshop) -> None:
    script = "#!/bin/bash\necho 'httpd: the module of the century is missing' >&2\nexit 3\n"
    tree.write(workshop.root, "/usr/local/bin/apache2-foreground", script, mode=0o755)


def _contented_shop(workshop: Workshop) -> None:
    """Place the shop, with stand-ins that ask for no newer WordPress than there is: real ones would be older too."""
    SHOP.finish(workshop)
    for name in ("plugins/woocommerce/woocommerce.php", "themes/storefront/style.css"):
        path = f"/{CODE}/wp-content/{name}"
        text = (workshop.root / path.lstrip("/")).read_text()
        tree.write(workshop.root, path, re.sub(r"(?m)^(\W*Requires at least:\s*)\S+", r"\g<1>6.8", text))
        tree.own((workshop.root / path.lstrip("/")), WEB_SERVER_USER)


OLDER_CORE: Final = replace(
    WORDPRESS,
    name="wordpress-older-core",
    packages=tuple(f"{name}/{RELEASE}" if name in _FROM_RELEASE else name for name in WORDPRESS.packages),
)
OLDER: Final = replace(
    SHOP, name="wordpress-older", parent=OLDER_CORE.name, folder=_HERE, sources=(SHOP.folder,), finish=_contented_shop
)
BROKEN: Final = Recipe(
    name="wordpress-broken",
    folder=_HERE,
    parent=SHOP.name,
    version_of="wordpress",
    finish=_break,
    settings=WORDPRESS.settings,
)
