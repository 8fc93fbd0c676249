"""An instance from its start over its sudden end to its removal: on a real one that no other test uses."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sandbox import cgroups, instance, launch, process, record
from sandbox.progress import Progress
from stacks.errors import UsageError

pytestmark = pytest.mark.cluster

NAME = "lifecycle"


@pytest.fixture
def links_before() -> frozenset[str]:
    """Return the machine's links as they were before the instance was started."""
    return links()


@pytest.fixture
def started(root: Path, links_before: frozenset[str]) -> Iterator[instance.Instance]:
    """Return an instance of this test's own, which is removed whatever happens."""
    instance.down(root, NAME)
    yield instance.up(root, NAME, http_port=0)
    instance.down(root, NAME)


def network_of(identity: process.Identity) -> str:
    return str(Path(f"/proc/{identity.pid}/ns/net").readlink())


def networks_in_use() -> frozenset[str]:
    """Return every network namespace that a process of this machine is in."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.add(str((entry / "ns/net").readlink()))
            except OSError:
                continue
    return frozenset(found)


def links() -> frozenset[str]:
    """Return the names of the machine's own network links."""
    return frozenset(path.name for path in Path("/sys/class/net").iterdir())


def test_a_killed_instance_is_noticed_and_replaced_and_removal_leaves_nothing(
    started: instance.Instance, root: Path, links_before: frozenset[str]
) -> None:
    known = record.load(started.folder)
    assert known is not None
    everything = [known.identity, *process.descendants(known.identity.pid)]
    network = network_of(everything[1])
    with closing(sqlite3.connect(started.folder / "ledger.sqlite")) as ledger:
        ledger.execute("CREATE TABLE entry (what TEXT)")
        ledger.commit()
    (started.folder / "state" / "stack.json").write_text("{}")
    with pytest.raises(UsageError, match=f"runs with HTTP port {started.http_port}"):
        instance.up(root, NAME, http_port=1)

    # Sudden end: everything below the killed process ends with it.
    process.kill(known.identity)
    while any(process.is_alive(identity) for identity in everything):
        pass
    assert instance.running(root, NAME) is None
    assert instance.status(root, NAME).ended == "its process has ended"

    # The next start notices, says so, and begins anew instead of failing on what was left.
    said: list[Progress] = []
    again = instance.up(root, NAME, http_port=0, report=said.append)
    assert [progress.detail for progress in said if progress.step == "clean"] == [
        f"the sandbox {NAME} of before is gone (its process has ended); removing what it left"
    ]
    assert list((again.folder / "state").iterdir()) == []
    assert not (again.folder / "ledger.sqlite").exists()
    assert len(list((again.folder.parent / "archive").glob(f"{NAME}-*.sqlite"))) >= 1

    # Removal leaves nothing of either.
    known = record.load(again.folder)
    assert known is not None
    everything += [known.identity, *process.descendants(known.identity.pid)]
    networks = {network, network_of(process.descendants(known.identity.pid)[0])}
    report = instance.down(root, NAME)

    assert report.was_running
    assert report.ended_processes >= 10
    assert not any(process.is_alive(identity) for identity in everything)
    assert not networks & networks_in_use()
    assert not again.folder.exists()
    assert not cgroups.exists(launch.cgroup_name(root, NAME))
    assert str(again.folder) not in Path("/proc/self/mountinfo").read_text()
    assert links() <= links_before
    for archive in (again.folder.parent / "archive").glob(f"{NAME}-*.sqlite"):
        archive.unlink()
