"""A container without a container runtime: namespaces, a read-only root, no capabilities, nobody's user.

As close to the chart's pods as a test needs, and quick: no cluster, no image store.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# Makes the root, gives up all rights, and becomes the command. $1: root, $2: user, $3: writable folders.
# MOUNTS: a line for each further mount, "source place ro|rw"; the place is made where it is missing, as a kubelet does.
_ENTER = """
set -eu
root=$1 user=$2 writable=$3
shift 3
ip link set lo up
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd"
for number in 0:stdin 1:stdout 2:stderr; do
    ln -s "/proc/self/fd/${number%%:*}" "$root/dev/${number#*:}"
done
for folder in $writable; do
    if [ -e "$VOLUMES$folder" ]; then
        mount --bind "$VOLUMES$folder" "$root$folder"
    else
        mount -t tmpfs -o mode=0777 tmpfs "$root$folder"
    fi
done
printf '%s' "${MOUNTS:-}" | while read -r source place mode; do
    if [ -d "$source" ]; then mkdir -p "$root$place"; else mkdir -p "$root${place%/*}"; touch -a "$root$place"; fi
    mount --bind "$source" "$root$place"
    [ "$mode" = rw ] || mount -o remount,bind,ro "$root$place"
done
mount -o remount,bind,ro "$root"
unset VOLUMES MOUNTS
exec setpriv --no-new-privs chroot --userspec="$user:$user" --groups="$user" "$root" "$@"
"""


@dataclass(frozen=True)
class Done:
    """How a container ended."""

    code: int
    out: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n{self.out}"


@dataclass(frozen=True)
class Mount:
    """A folder or file of this machine at a place in a container."""

    source: Path
    place: str
    read_only: bool = False


class Contained(subprocess.Popen[bytes]):
    """A process in namespaces of its own: killing it ends all that runs in them.

    `unshare --kill-child` alone does not: the kernel forgets that wish when the child changes its user.
    """

    def kill(self) -> None:
        """End the first process of the namespaces, and with it all others; then this one."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except OSError:
            children = []
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        super().kill()


@dataclass(frozen=True)
class Image:
    """An image's files, unpacked, and its configuration."""

    root: Path
    config: Mapping[str, object]

    def start(
        self,
        command: Sequence[str],
        *,
        user: int,
        mounts: Sequence[Mount],
        environment: Mapping[str, str],
        network: int,
        output: int | IO[bytes] = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        """Start a command in the network of the process `network`; killing what is returned ends all of it.

        What it says goes to `output`, its errors too. The working folder is the root: begin with a `cd`.
        """
        variables = dict(entry.split("=", 1) for entry in self.config.get("Env", ()))  # type: ignore[attr-defined]
        lines = "".join(f"{mount.source} {mount.place} {'ro' if mount.read_only else 'rw'}\n" for mount in mounts)
        enter = ["nsenter", f"--net=/proc/{network}/ns/net"]
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _ENTER, "container"]
        return Contained(
            [*enter, *apart, str(self.root), str(user), "", *command],
            env={**variables, **environment, "VOLUMES": "/nonexistent", "MOUNTS": lines},
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(
        self,
        script: str,
        *,
        user: int,
        writable: Sequence[str],
        environment: Mapping[str, str] | None = None,
        volumes: Path | None = None,
        timeout_s: float = 120,
    ) -> Done:
        """Run a shell script inside, with its output and its errors in one text.

        Each of `writable` is an empty folder, or the folder or file that `volumes` holds under the same path.
        """
        variables = dict(entry.split("=", 1) for entry in self.config.get("Env", ()))  # type: ignore[attr-defined]
        command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _ENTER, "container"]
        result = subprocess.run(
            [*command, str(self.root), str(user), " ".join(writable), "/bin/bash", "-c", script],
            env={**variables, **(environment or {}), "VOLUMES": str(volumes or "/nonexistent")},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s,
            check=False,
        )  # fmt: skip
        return Done(result.returncode, result.stdout)


def unpack(archive: Path, folder: Path) -> Image:
    """Return the image of a docker-archive, unpacked into `folder`."""
    root = folder / "root"
    root.mkdir(parents=True)
    with tarfile.open(archive) as image:
        manifest = json.load(_member(image, "manifest.json"))[0]
        config = json.load(_member(image, manifest["Config"]))["config"]
        for name in manifest["Layers"]:
            layer = folder / "layer.tar"
            with layer.open("wb") as file:
                shutil.copyfileobj(_member(image, name), file)
            subprocess.run(["tar", "--extract", "--file", layer, "--directory", root, "--same-owner", "-p"], check=True)
            layer.unlink()
    return Image(root, config)


def volume(folder: Path, path: str, user: int) -> Path:
    """Return the folder that is mounted at `path`, owned by the user."""
    place = folder / path.removeprefix("/")
    place.mkdir(parents=True, exist_ok=True)
    os.chown(place, user, user)
    return place


def _member(archive: tarfile.TarFile, name: str):  # type: ignore[no-untyped-def]
    found = archive.extractfile(name)
    assert found is not None, name
    return found
