"""WordPress on Apache with PHP inside it, as the official `wordpress:<version>-php8.4-apache` image offers it.

The image that stores run has a shop in it as well: `recipes/shop`.

Written from the image's documented interface: names of scripts, variables, paths, ports, accounts and the stop signal.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sandbox.images import tree
from sandbox.images.recipe import Folder, Recipe, Settings, Workshop

PHP: Final = "8.4"
CODE: Final = "usr/src/wordpress"
WEB_SERVER_USER: Final = 33  # www-data, in every Debian

_APACHE_MODULES: Final = (
    # Debian's own choice...
    "access_compat", "alias", "auth_basic", "authn_core", "authn_file", "authz_core", "authz_host", "authz_user",
    "autoindex", "deflate", "dir", "env", "filter", "mime", "negotiation", "reqtimeout", "setenvif", "status",
    # ...and the official image's.
    "expires", "mpm_prefork", f"php{PHP}", "remoteip", "rewrite",
)  # fmt: skip
_APACHE_SETTINGS: Final = (
    "charset", "docker-php", "localized-error-pages", "other-vhosts-access-log", "remoteip", "security",
)  # fmt: skip


def _finish(workshop: Workshop) -> None:
    _place_code(workshop.root)
    _enable_php_extensions(workshop.root)
    _enable_apache_parts(workshop.root)
    # The address that mod_remoteip found, not the proxy's.
    settings = (workshop.root / "etc/apache2/apache2.conf").read_text()
    tree.write(workshop.root, "/etc/apache2/apache2.conf", re.sub(r'(?m)^(LogFormat ".*)%h', r"\1%a", settings))


def _place_code(root: Path) -> None:
    """Move WordPress to where the official image has it, without links, settings of Debian, or the example plugin."""
    debian, code = root / "usr/share/wordpress", root / CODE
    for name in (".htaccess", "wp-config.php", "wp-includes/certificates/ca-bundle.crt"):
        (debian / name).unlink()
    # Debian links libraries that it has as packages of their own; the links are relative, so they are followed here.
    shutil.copytree(debian, code, dirs_exist_ok=True, ignore=lambda _folder, names: {"akismet"} & set(names))
    shutil.copyfile(root / "etc/ssl/certs/ca-certificates.crt", code / "wp-includes/certificates/ca-bundle.crt")
    for folder in ("plugins", "themes"):
        tree.write(root, f"/{CODE}/wp-content/{folder}/index.php", "<?php\n// Silence is golden.\n")
    tree.own(code, WEB_SERVER_USER)


def _enable_php_extensions(root: Path) -> None:
    """Load every extension that is there, in the order that its own settings file asks for."""
    for settings in sorted((root / "usr/share").glob(f"php{PHP}-*/*/*.ini")):
        text = settings.read_text()
        order = re.search(r"^; *priority=(\d+)", text, re.MULTILINE)
        name = f"{order[1] if order else '20'}-{settings.name}"
        for program in ("apache2", "cli"):
            tree.write(root, f"/etc/php/{PHP}/{program}/conf.d/{name}", text)


def _enable_apache_parts(root: Path) -> None:
    for kind, names in (("mods", _APACHE_MODULES), ("conf", _APACHE_SETTINGS)):
        enabled = root / f"etc/apache2/{kind}-enabled"
        enabled.mkdir(exist_ok=True)
        for name in names:
            found = [file.name for file in (root / f"etc/apache2/{kind}-available").glob(f"{name}.*")]
            if not found:
                raise FileNotFoundError(f"Apache has no part {name}")
            for file in found:
                (enabled / file).symlink_to(f"../{kind}-available/{file}")
    sites = root / "etc/apache2/sites-enabled"
    sites.mkdir(exist_ok=True)
    (sites / "000-default.conf").symlink_to("../sites-available/000-default.conf")


RECIPE: Final = Recipe(
    name="wordpress-core",
    folder=Path(__file__).parent,
    parent="base",
    packages=(
        "apache2", f"libapache2-mod-php{PHP}", *(f"php{PHP}-{part}" for part in (
            "bcmath", "cli", "curl", "gd", "intl", "mbstring", "mysql", "opcache", "readline", "xml", "zip",
        )),
        "wordpress", "wordpress-theme-twentytwentyfive",
    ),
    folders=(
        Folder("/var/www", uid=WEB_SERVER_USER),
        Folder("/var/www/html", 0o1777, WEB_SERVER_USER),
        Folder("/var/log/apache2", 0o1777, WEB_SERVER_USER),
        Folder("/run/apache2", 0o1777, WEB_SERVER_USER),
        Folder("/run/lock/apache2", 0o1777, WEB_SERVER_USER),
        Folder("/var/lib/php/sessions", 0o1733),
    ),
    links=MappingProxyType({
        "/usr/local/bin/docker-ensure-installed.sh": "docker-entrypoint.sh",
        "/usr/local/bin/php": f"/usr/bin/php{PHP}",
        "/usr/bin/php": f"php{PHP}",
        "/usr/bin/phar": f"phar{PHP}",
        # Where the official image looks for one; none is there unless somebody mounts it.
        f"/etc/php/{PHP}/apache2/php.ini": "/usr/local/etc/php/php.ini",
        f"/etc/php/{PHP}/cli/php.ini": "/usr/local/etc/php/php.ini",
        "/var/log/apache2/access.log": "/dev/stdout",
        "/var/log/apache2/error.log": "/dev/stderr",
        "/var/log/apache2/other_vhosts_access.log": "/dev/stdout",
    }),
    removed=(
        "usr/share/wordpress", "usr/share/php", "usr/share/javascript", "var/lib/wordpress", "etc/wordpress",
        "usr/bin/wp-setup", "usr/share/fonts",
    ),
    finish=_finish,
    settings=Settings(
        entrypoint=("docker-entrypoint.sh",),
        command=("apache2-foreground",),
        environment=MappingProxyType({
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PHP_INI_DIR": "/usr/local/etc/php",
            # The empty first part is Debian's own folder, which loads the extensions.
            "PHP_INI_SCAN_DIR": ":/usr/local/etc/php/conf.d",
            "APACHE_CONFDIR": "/etc/apache2",
            "APACHE_ENVVARS": "/etc/apache2/envvars",
        }),
        working_folder="/var/www/html",
        ports=("80/tcp",),
        volumes=("/var/www/html",),
        stop_signal="SIGWINCH",
    ),
)  # fmt: skip
