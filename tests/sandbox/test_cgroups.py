from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import cgroups, process
from stacks.errors import ClusterUnreachableError, UsageError


def unified(mount: Path, controllers: str = "cpuset cpu io memory pids", delegated: str = "") -> Path:
    mount.mkdir(parents=True, exist_ok=True)
    (mount / "cgroup.controllers").write_text(f"{controllers}\n")
    (mount / "cgroup.subtree_control").write_text(f"{delegated}\n")
    (mount / "cgroup.procs").touch()
    return mount


def separate(mount: Path, controllers: tuple[str, ...] = cgroups.NEEDED) -> Path:
    for name in controllers:
        (mount / name).mkdir(parents=True)
        (mount / name / "cgroup.procs").touch()
    return mount


def test_controllers_of_one_hierarchy_are_read_from_its_list(tmp_path: Path) -> None:
    assert cgroups.missing_controllers(unified(tmp_path)) == []
    assert cgroups.missing_controllers(unified(tmp_path, "cpu io pids")) == ["cpuset", "memory"]


def test_controllers_of_separate_hierarchies_are_their_mounts(tmp_path: Path) -> None:
    assert cgroups.missing_controllers(separate(tmp_path, ("cpu", "memory"))) == ["cpuset", "pids"]


def test_a_machine_without_control_groups_lacks_them_all(tmp_path: Path) -> None:
    assert cgroups.missing_controllers(tmp_path) == list(cgroups.NEEDED)


def test_a_hierarchy_that_cannot_hand_controllers_on_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = unified(tmp_path)

    def refuse(file: Path, text: str) -> int:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "write_text", refuse)

    with pytest.raises(UsageError, match="cannot hand cpu, cpuset, memory, pids on: Device or resource busy"):
        cgroups._delegate(mount)


def test_only_lacking_controllers_are_handed_on(tmp_path: Path) -> None:
    mount = unified(tmp_path, delegated="cpu memory")

    cgroups._delegate(mount)

    assert (mount / "cgroup.subtree_control").read_text().split() == ["+cpuset", "+pids"]


def test_processors_are_shared_with_a_new_group_of_version_1(tmp_path: Path) -> None:
    child = tmp_path / "child"
    child.mkdir()
    for name in ("cpuset.cpus", "cpuset.mems"):
        (tmp_path / name).write_text("0-1\n")
        (child / name).write_text("\n")

    cgroups._share_processors(child)

    assert (child / "cpuset.cpus").read_text() == "0-1\n"


@pytest.fixture
def group() -> Iterator[str]:
    """Return the name of a group of the real kernel, made for this test and removed after it."""
    name = f"stores-tests-{os.getpid()}"
    cgroups.make(name)
    yield name
    for pid in cgroups.processes(name):
        identity = process.identify(pid)
        if identity is not None:
            process.kill(identity)
    cgroups.remove(name)


def test_a_program_and_its_children_are_in_the_group_from_their_first_moment(group: str) -> None:
    command = cgroups.entering(group, ["/bin/sh", "-c", "sleep 60 & echo $!; wait"])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        child = int(program.stdout.readline())

        assert cgroups.processes(group) == {program.pid, child}

        os.kill(child, signal.SIGKILL)  # the shell waits for it, and ends with it


def test_a_group_is_gone_after_its_removal_with_all_groups_below(group: str) -> None:
    for hierarchy in cgroups._hierarchies(cgroups.MOUNT):
        (hierarchy / group / "pods" / "one").mkdir(parents=True)

    cgroups.remove(group)

    assert not cgroups.exists(group)
    cgroups.remove(group)


def test_a_group_that_still_has_a_process_is_not_silently_left(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_REMOVE_TIMEOUT_S", 0.1)
    command = cgroups.entering(group, ["/bin/sh", "-c", "echo in; exec sleep 60"])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "in\n"

        with pytest.raises(ClusterUnreachableError, match=group):
            cgroups.remove(group)

        program.kill()
