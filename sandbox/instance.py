"""Instances of the sandbox: started, asked about and removed, from the machine's side.

An instance is one folder, one process that owns all its namespaces, and one control group. `down` removes all three,
and so does `up` with what a killed instance, or one from before a reboot, has left.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sandbox import (
    cache,
    cgroups,
    contents,
    launch,
    machine,
    node,
    packages,
    plugins,
    process,
    program_groups,
    programs,
    record,
)
from sandbox.cluster import Cluster, Pod
from sandbox.images.recipes.shop.recipe import Given
from sandbox.progress import Progress, Report, silent
from sandbox.supervisor import State
from sandbox.supervisor import read as read_states
from stacks.errors import UsageError

DEFAULT: Final = "local"
_NAME: Final = re.compile(r"[a-z][a-z0-9]{0,15}")
_ARCHIVE: Final = "archive"
_LINKED: Final = ("pulumi", "helm")
_HTTP: Final = 80
_HTTPS: Final = 443
_SILENCE_S: Final = 60.0


@dataclass(frozen=True)
class Instance:
    """A running sandbox, and where everything that belongs to it is."""

    name: str
    folder: Path
    http_port: int
    https_port: int | None
    api_port: int
    programs: Mapping[str, Path]

    @property
    def kubeconfig(self) -> Path:
        """Reaches the cluster as its administrator."""
        return self.folder / "kubeconfig"

    @property
    def ca_file(self) -> Path:
        """Holds the authority that signs the stores' certificates; it is made anew with each instance."""
        return self.folder / "ca.crt"

    @property
    def pulumi_home(self) -> Path:
        """Holds the sandbox's plugins, and none of the user's settings."""
        return self.folder / "pulumi-home"

    @property
    def state_url(self) -> str:
        """Where the engine keeps the state of the instance's stores."""
        return f"file://{self.folder / 'state'}"

    @property
    def passphrase_file(self) -> Path:
        """Encrypts the secrets in that state."""
        return _passphrase_file(self.folder)

    @property
    def ledger_url(self) -> str:
        """The instance's own ledger."""
        return f"sqlite:///{self.folder / 'ledger.sqlite'}"

    def environment(self) -> dict[str, str]:
        """Return the variables that make the engine, Helm and our own commands use this instance and nothing else."""
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "PULUMI_HOME": str(self.pulumi_home),
            "PULUMI_BACKEND_URL": self.state_url,
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.passphrase_file),
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "HELM_CACHE_HOME": str(self.folder / "helm/cache"),
            "HELM_CONFIG_HOME": str(self.folder / "helm/config"),
            "HELM_DATA_HOME": str(self.folder / "helm/data"),
            "STORES_LEDGER_URL": self.ledger_url,
            "PATH": f"{self.folder / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        }


@dataclass(frozen=True)
class DownReport:
    """What `down` found and did."""

    was_running: bool
    ended_processes: int
    removed: Sequence[str]
    kept: Sequence[str]
    ledger_archive: Path | None


@dataclass(frozen=True)
class Status:
    """What an instance is doing. `ended` says how it ended without `down`, when it did."""

    name: str
    exists: bool
    running: bool
    ended: str | None = None
    api_answers: bool = False
    node_ready: bool = False
    http_port: int | None = None
    https_port: int | None = None
    api_port: int | None = None
    started_at: datetime | None = None
    memory_bytes: int = 0
    processes: int = 0
    components: Mapping[str, State] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    pods: Sequence[Pod] = ()


def up(
    root: Path,
    name: str = DEFAULT,
    *,
    http_port: int = 8080,
    https_port: int | None = None,
    given: Given | None = None,
    report: Report = silent,
) -> Instance:
    """Make the instance run and return it. Port 0 takes any free one; without an HTTPS port it serves no HTTPS.
    `given` is the real WooCommerce or Storefront, for the image of the shops.

    Raises UsageError where the machine cannot carry it or a port is taken, and ClusterUnreachableError when it does
    not come up.
    """
    folder = folder_of(root, name)
    machine.require([root, cache.root()])
    waiting = Progress("start", f"waiting for another command that works on sandbox {name}")
    with cache.locked(folder.with_name(f"{name}.lock"), waiting=lambda: report(waiting)), ExitStack() as stack:
        _remove_leftovers(root, name, report)
        known = record.load(folder)
        # A taken port is found before minutes of building, and the sockets are held until the node has them.
        sockets = _listen(stack, http_port, https_port) if known is None else {}
        if known is not None:
            _require_ports(name, known, http_port, https_port)
        supplies = _supplies(root, report, given=given)
        _make_folder(folder, supplies.programs)
        snapshotter = machine.snapshotter(folder)
        if known is None:
            report(Progress("start", f"starting sandbox {name}"))
            known = _start(root, name, supplies, sockets, snapshotter)
        elif known.made_of != supplies.key:
            report(Progress("start", f"{name} runs with programs of before; `stores sandbox down` first takes the new"))
        layout = node.Layout(folder)
        filling = contents.Contents(layout, known.identity, supplies.packages, known.http_port, report)
        filling.fill(supplies.archives, snapshotter)
    return _instance(name, folder, known)


def build(root: Path, *, report: Report = silent) -> None:
    """Make the cache hold everything that instances and tests are made of, and start nothing."""
    machine.require([root, cache.root()])
    _supplies(root, report, for_tests=True)


def down(root: Path, name: str = DEFAULT, *, report: Report = silent) -> DownReport:
    """Make the instance not exist: no process, mount, namespace, control group or file of it is left.

    The ledger is kept in an archive, since it is a record of what people did; the build cache is kept as well.
    """
    folder = folder_of(root, name)
    with cache.locked(folder.with_name(f"{name}.lock")):
        return _remove(root, name, report)


def running(root: Path, name: str = DEFAULT) -> Instance | None:
    """Return the instance if its process runs."""
    folder = folder_of(root, name)
    known = record.load(folder)
    if known is None or record.end_of(known, process.boot_id()) is not None:
        return None
    return _instance(name, folder, known)


def status(root: Path, name: str = DEFAULT) -> Status:
    """Return what the instance is doing, as far as it can be told."""
    folder = folder_of(root, name)
    if not folder.exists():
        return Status(name, exists=False, running=False)
    known = record.load(folder)
    ended = record.end_of(known, process.boot_id())
    if known is None or ended is not None:
        return Status(name, exists=True, running=False, ended=ended)
    pids = [identity.pid for identity in process.descendants(known.identity.pid)]
    cluster = Cluster(folder / "kubeconfig")
    answers = cluster.answers()
    return Status(
        name,
        exists=True,
        running=True,
        api_answers=answers,
        node_ready=answers and cluster.node_is_ready(),
        http_port=known.http_port,
        https_port=known.https_port,
        api_port=known.api_port,
        started_at=datetime.fromisoformat(known.started_at),
        memory_bytes=process.memory_bytes(pids),
        processes=len(pids),
        components=read_states(node.Layout(folder).state),
        versions=known.versions,
        pods=cluster.pods() if answers else (),
    )


def logs(root: Path, name: str = DEFAULT) -> Mapping[str, Path]:
    """Return the log file of each component. Raises UsageError when there is no such instance."""
    folder = folder_of(root, name)
    if not folder.exists():
        raise UsageError("sandbox", f"there is no sandbox {name}", "start it with `stores sandbox up`")
    return {file.stem: file for file in sorted(node.Layout(folder).logs.glob("*.log"))}


def folder_of(root: Path, name: str) -> Path:
    """Return the folder of everything that an instance keeps. Raises UsageError for a name that cannot be one."""
    if not _NAME.fullmatch(name) or name == _ARCHIVE:
        raise UsageError("sandbox", f"{name!r} is no name of a sandbox", f"use one that matches {_NAME.pattern}")
    return root.resolve() / ".stores" / "sandbox" / name


@dataclass(frozen=True)
class _Supplies:
    """Everything of the cache that an instance is made of."""

    packages: packages.Packages
    programs: Mapping[str, Path]
    archives: Sequence[Path]

    @property
    def key(self) -> str:
        return cache.key_of(str(self.packages.root), *sorted(str(path) for path in self.programs.values()))


def _supplies(root: Path, report: Report, *, for_tests: bool = False, given: Given | None = None) -> _Supplies:
    found_packages = packages.build(cache.root(), report)
    found_programs = programs.build(cache.root(), report, for_tests=for_tests)
    archives = contents.archives(root, cache.root(), found_programs, report, given)
    return _Supplies(found_packages, found_programs, archives)


def _start(
    root: Path, name: str, supplies: _Supplies, sockets: Mapping[int, socket.socket], snapshotter: str
) -> record.Record:
    folder = folder_of(root, name)
    found = node.Machine(
        programs=supplies.programs,
        packages=supplies.packages,
        python=Path(sys.executable),
        snapshotter=snapshotter,
        cgroup=launch.cgroup_name(root.resolve(), name),
    )
    known = record.Record(
        identity=launch.start(node.Layout(folder), found, sockets, name=name),
        started_at=datetime.now(UTC).isoformat(),
        http_port=_port(sockets[_HTTP]),
        https_port=_port(sockets[_HTTPS]) if _HTTPS in sockets else None,
        api_port=_port(sockets[node.API_PORT]),
        made_of=supplies.key,
        versions={**program_groups.VERSIONS, **supplies.packages.versions()},
    )
    known.save(folder)
    return known


def _require_ports(name: str, known: record.Record, http_port: int, https_port: int | None) -> None:
    runs_with = {"HTTP": known.http_port, "HTTPS": known.https_port}
    for kind, port, setting in (("HTTP", http_port, "stores:urlPort"), ("HTTPS", https_port, "stores:httpsPort")):
        runs = runs_with[kind]
        if port is None or port == runs or (port == 0 and runs is not None):
            continue
        how = f"{kind} port {runs}" if runs is not None else f"no {kind} port"
        raise UsageError(
            "sandbox",
            f"{name} runs with {how}, and {port or 'any'} is asked for",
            f"run `stores sandbox down` first, or set {setting} in Pulumi.local.yaml back",
        )


def _listen(stack: ExitStack, http_port: int, https_port: int | None) -> dict[int, socket.socket]:
    wanted = {
        _HTTP: (http_port, "the stores", "stores:urlPort"),
        node.API_PORT: (0, "the Kubernetes API", "stores:urlPort"),
    }
    if https_port is not None:
        wanted[_HTTPS] = (https_port, "the stores over https", "stores:httpsPort")
    return {
        inside: stack.enter_context(closing(launch.listen(port, purpose=purpose, setting=setting)))
        for inside, (port, purpose, setting) in wanted.items()
    }


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def _make_folder(folder: Path, found: Mapping[str, Path]) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for part in ("state", "pulumi-home", "bin"):
        (folder / part).mkdir(exist_ok=True)
    passphrase = _passphrase_file(folder)
    if not passphrase.exists():
        passphrase.touch(mode=0o600)
        passphrase.write_text(secrets.token_urlsafe(32))
    for program in _LINKED:
        link = folder / "bin" / program
        link.unlink(missing_ok=True)
        link.symlink_to(found[program])
    plugins.install(folder / "pulumi-home")


def _passphrase_file(folder: Path) -> Path:
    # Outlives the instance: a plain `pulumi up` leaves a salt of this passphrase in the checkout's settings file, and
    # with another one that file would lock everybody out of the next instance's state.
    return folder.with_name(f"{folder.name}.passphrase")


def _instance(name: str, folder: Path, known: record.Record) -> Instance:
    return Instance(
        name=name,
        folder=folder,
        http_port=known.http_port,
        https_port=known.https_port,
        api_port=known.api_port,
        programs=MappingProxyType({program: folder / "bin" / program for program in _LINKED}),
    )


def _remove_leftovers(root: Path, name: str, report: Report) -> None:
    folder = folder_of(root, name)
    cgroup = launch.cgroup_name(root.resolve(), name)
    if not folder.exists() and not cgroups.exists(cgroup):
        return
    reason = record.end_of(record.load(folder), process.boot_id())
    if reason is None and not _answers_in_time(folder, report):
        reason = f"its API server has not answered for {_SILENCE_S:.0f} s"
    if reason is not None:
        report(Progress("clean", f"the sandbox {name} of before is gone ({reason}); removing what it left"))
        _remove(root, name, report)


def _answers_in_time(folder: Path, report: Report) -> bool:
    # A machine that is busy, or a start that was interrupted a moment ago, is no reason to throw the stores away.
    cluster = Cluster(folder / "kubeconfig")
    deadline = time.monotonic() + _SILENCE_S
    while not cluster.answers():
        if time.monotonic() > deadline:
            return False
        report(Progress("start", "waiting for the Kubernetes API server"))
        time.sleep(1)
    return True


def _remove(root: Path, name: str, report: Report) -> DownReport:
    folder = folder_of(root, name)
    known = record.load(folder)
    alive = known is not None and record.end_of(known, process.boot_id()) is None
    cgroup = launch.cgroup_name(root.resolve(), name)
    removed: list[str] = []
    report(Progress("stop", f"ending sandbox {name}"))
    ended = launch.end(cgroup, known.identity if known is not None and alive else None)
    if ended:
        removed.append(f"{ended} processes with their namespaces, mounts and network")
    if cgroups.exists(cgroup):
        cgroups.remove(cgroup)
        removed.append(f"control group {cgroup}")
    archive = _archive_ledger(folder, name)
    if folder.exists():
        shutil.rmtree(folder)
        removed.append(f"{folder}: the cluster's data, the engine's state of its stores, and logs")
    kept = [f"{cache.root()}: the build cache"]
    if _passphrase_file(folder).exists():
        kept.append(f"{_passphrase_file(folder)}: the passphrase of this checkout's states")
    if archive is not None:
        kept.append(f"{archive}: the ledger of what was done")
    return DownReport(was_running=alive, ended_processes=ended, removed=removed, kept=kept, ledger_archive=archive)


def _archive_ledger(folder: Path, name: str) -> Path | None:
    ledger = folder / "ledger.sqlite"
    if not ledger.exists():
        return None
    target = folder.parent / _ARCHIVE
    target.mkdir(exist_ok=True)
    archive = target / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.sqlite"
    # A copy of the file alone would miss what is still in SQLite's write-ahead log.
    with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(archive)) as copy:
        source.backup(copy)
    return archive
