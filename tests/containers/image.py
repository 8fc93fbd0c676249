"""A container without a container runtime: namespaces, a read-only root, no capabilities, nobody's user."""

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
from typing import IO, Any

from .network import Network

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
        """End the first process of the namespaces, and with it all others. This one ends after them, by itself."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except OSError:
            children = []
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        if not children:
            super().kill()

    def ended(self, timeout_s: float) -> Done:
        """Return how it ended, with its output and its errors in one text. Raises TimeoutExpired; it is over then."""
        try:
            out, _ = self.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self.communicate()
            raise
        return Done(self.returncode, out.decode(errors="replace"))


@dataclass(frozen=True)
class Image:
    """An image's files, unpacked, and its configuration."""

    root: Path
    config: Mapping[str, Any]

    def start(
        self,
        command: Sequence[str],
        *,
        user: int,
        writable: Sequence[str] = (),
        volumes: Path | None = None,
        mounts: Sequence[Mount] = (),
        environment: Mapping[str, str] | None = None,
        network: Network | None = None,
        output: int | IO[bytes] = subprocess.PIPE,
    ) -> Contained:
        """Start a command; killing what is returned ends all of it.

        Each of `writable` is an empty folder, or the folder or file that `volumes` holds under the same path. `network`
        None: one of its own. What it says goes to `output`, its errors too. The working folder is the root.
        """
        enter = ["unshare", "--net"] if network is None else ["nsenter", f"--net={network.path}", "unshare"]
        apart = [*enter, "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _ENTER, "container"]
        lines = "".join(f"{mount.source} {mount.place} {'ro' if mount.read_only else 'rw'}\n" for mount in mounts)
        own = dict(entry.split("=", 1) for entry in self.config.get("Env", ()))
        return Contained(
            [*apart, str(self.root), str(user), " ".join(writable), *command],
            env={**own, **(environment or {}), "VOLUMES": str(volumes or "/nonexistent"), "MOUNTS": lines},
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, script: str, *, timeout_s: float = 120, **how: Any) -> Done:
        """Run a shell script inside to its end, as `start` would."""
        return self.start(["/bin/bash", "-c", script], **how).ended(timeout_s)


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


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    assert found is not None, name
    return found
