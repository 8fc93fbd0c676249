"""MariaDB, as the official `mariadb` image offers it.

Written from the image's documented interface: names of scripts, variables, paths, accounts and tests.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Final

from sandbox.images.recipe import Folder, Recipe, Settings, User

_SERVER_USER: Final = 999

RECIPE: Final = Recipe(
    name="mariadb",
    folder=Path(__file__).parent,
    parent="base",
    packages=("mariadb-backup", "mariadb-client", "mariadb-server", "util-linux", "xz-utils", "zstd"),
    version_of="mariadb-server",
    users=(User("mysql", _SERVER_USER, "/var/lib/mysql"),),
    folders=(
        Folder("/var/lib/mysql", 0o1777, _SERVER_USER),
        Folder("/run/mysqld", 0o1777, _SERVER_USER),
        Folder("/docker-entrypoint-initdb.d"),
        Folder("/etc/mysql/conf.d"),
        Folder("/var/lib/mysql-files", 0o750, _SERVER_USER),
    ),
    links=MappingProxyType({
        "/etc/mysql/my.cnf": "mariadb.cnf",
        "/docker-entrypoint.sh": "usr/local/bin/docker-entrypoint.sh",
    }),
    removed=(
        # Repair tools of storage engines that no shop uses, benchmarks and Galera: half of the image's size.
        "usr/bin/aria_*", "usr/bin/myisam*", "usr/bin/mariadb-slap", "usr/bin/wsrep_*",
        "usr/bin/mariadb-conv", "usr/bin/mariadb-plugin", "usr/bin/resolve_stack_dump", "usr/bin/mariadb-waitpid",
        "usr/bin/replace", "usr/bin/innotop", "usr/bin/mytop", "usr/bin/mariadbd-safe*",
        "etc/mysql/mariadb.conf.d/60-galera.cnf", "usr/share/mariadb/mini-benchmark",
        # The official image has had no program with an old name since 11.0; nothing here may come to rely on one.
        "usr/bin/mysql*", "usr/sbin/mysqld",
    ),
    settings=Settings(
        entrypoint=("docker-entrypoint.sh",),
        command=("mariadbd",),
        environment=MappingProxyType({
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
        }),
        ports=("3306/tcp",),
        volumes=("/var/lib/mysql",),
    ),
)  # fmt: skip
