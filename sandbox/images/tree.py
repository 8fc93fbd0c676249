"""The files of one layer: packages unpacked over the parent's files, then what install scripts would have done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sandbox.images import tools
from sandbox.images.recipe import Recipe, User, Workshop

# Nobody reads these in a container. Licences stay: they are in `copyright` files of a few kilobytes.
REMOVED: Final = (
    "usr/share/doc/*/[!c]*", "usr/share/doc/*/changelog*", "usr/share/man", "usr/share/info", "usr/share/locale",
    "usr/share/lintian", "usr/share/bug", "usr/share/menu", "usr/share/bash-completion", "usr/share/zsh",
    "usr/lib/systemd", "etc/init.d", "etc/cron.*", "etc/logrotate.d", "etc/apparmor.d", "etc/update-motd.d",
    "var/cache/ldconfig", "var/lib/dpkg", "var/cache/apt",
)  # fmt: skip


def unpack(packages: Sequence[Path], root: Path) -> None:
    """Put the files of the packages into `root`. Their install scripts are not run."""
    # base-files brings the links /bin -> usr/bin and so on, which must be there before anything follows them.
    for package in sorted(packages, key=lambda file: (not file.name.startswith("base-files_"), file.name)):
        tools.run("dpkg-deb", "-x", str(package), str(root))


def copy(tree: Path, place: Path) -> None:
    """Make `place` an exact copy of `tree`, with owners and times, that shares no file with it."""
    tools.run("cp", "-a", "--reflink=auto", str(tree), str(place))


def finish(recipe: Recipe, workshop: Workshop) -> None:
    """Make the tree what the recipe says, after its packages were unpacked."""
    root = workshop.root
    remove(root, REMOVED)
    _copy_own_files(recipe, root)
    recipe.finish(workshop)
    remove(root, recipe.removed)
    for user in recipe.users:
        add_user(root, user)
    for folder in recipe.folders:
        path = inside(root, folder.path)
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, folder.uid, folder.uid)
        path.chmod(folder.mode)
    for link, target in recipe.links.items():
        _link(inside(root, link), target)
    _drop_set_user_id(root)
    if (root / "etc/ld.so.conf").exists():
        tools.run("ldconfig", "-r", str(root))
        remove(root, ("var/cache/ldconfig",))


def inside(root: Path, path: str) -> Path:
    """Return the place of an image's absolute path in its tree."""
    return root / path.removeprefix("/")


def write(root: Path, path: str, text: str, *, mode: int = 0o644) -> None:
    """Make the file hold `text`, whatever was there, be it a link."""
    file = inside(root, path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.write_text(text)
    file.chmod(mode)


def own(path: Path, uid: int) -> None:
    """Make this user and its group the owner of the path and of all that is in it."""
    for found in (path, *path.rglob("*")):
        os.chown(found, uid, uid, follow_symlinks=False)


def add_user(root: Path, user: User) -> None:
    """Make the account and its group exist with exactly these numbers, unless they do already."""
    passwd, group = root / "etc/passwd", root / "etc/group"
    names = {line.split(":")[0] for line in passwd.read_text().splitlines()}
    if user.name not in names:
        line = f"{user.name}:x:{user.uid}:{user.uid}::{user.home}:/usr/sbin/nologin\n"
        write(root, "etc/passwd", passwd.read_text() + line)
        write(root, "etc/group", group.read_text() + f"{user.name}:x:{user.uid}:\n")


def remove(root: Path, patterns: Sequence[str]) -> None:
    """Remove whatever matches, files and folders."""
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                # Two names may lead to one file, over a link between folders.
                path.unlink(missing_ok=True)


def _copy_own_files(recipe: Recipe, root: Path) -> None:
    """Copy the recipe's rootfs/ over the tree: what is executable there is 0755, the rest 0644, all owned by root."""
    own = recipe.folder / "rootfs"
    for source in sorted(own.rglob("*")):
        if source.is_file():
            place = root / source.relative_to(own)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            shutil.copyfile(source, place)
            place.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def _link(link: Path, target: str) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def _drop_set_user_id(root: Path) -> None:
    # Containers here run without new privileges, so these bits would only be a promise that fails.
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o6000:
            path.chmod(path.stat().st_mode & 0o1777)
