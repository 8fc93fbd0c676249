"""Runs that were stopped or killed in the middle, and what the next one makes of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from audit.engine import guard
from audit.phases.tenure import LEASE_S
from components import naming
from tests.e2e.project import Done, Project, store

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def project(make_project: Callable[[], Project]) -> Project:
    return make_project()


@contextmanager
def running(project: Project, point: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `stores up`, or what is given, until it tells `point`."""
    program = str(Path(sys.executable).with_name("stores"))
    command = [program, "--root", str(project.root), *(arguments or ("up",)), "--no-color"]
    process = subprocess.Popen(
        command,
        cwd=project.root,
        env=dict(project.variables),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    told = []
    try:
        for line in process.stderr:
            told.append(line)
            if point in line:
                yield process
                return
        pytest.fail(f"it never told {point!r}: {''.join(told)}")
    finally:
        if process.poll() is None:
            process.kill()
        process.stderr.close()
        process.wait(120)


def outcomes(project: Project, store_id: str) -> list[tuple[str, str]]:
    """Return action and outcome of every entry of a store, oldest first."""
    entries = project.stores("audit", "list", "--store", store_id, "--json").data
    return [(entry["action"], entry["outcome"]) for entry in reversed(entries)]


def once_free(project: Project, *arguments: str) -> Done:
    """Run a command as soon as the killed run's lease has ended."""
    deadline = time.monotonic() + 2 * LEASE_S
    while (done := project.stores(*arguments)).code == 8 and time.monotonic() < deadline:
        pass  # each try takes a second or two by itself
    return done


def removed(project: Project, store_id: str) -> None:
    assert project.stores("rm", store_id).code == 0
    done = project.stores("up")
    assert done.code == 0, str(done)
    project.write()
    assert project.stores("limits", "--json").data["total_used"] == 0


def test_a_run_that_is_asked_to_stop_says_so_and_the_next_one_goes_on(project: Project) -> None:
    shop = naming.new_store_id("stopped")
    project.write(store(shop))
    with running(project, "create release") as process:
        process.send_signal(signal.SIGTERM)
        for _ in process.stderr or ():
            pass
        assert process.wait(120) == 130
    assert outcomes(project, shop)[:2] == [("store.create", "unknown"), ("store.create", "cancelled")]
    assert project.stores("limits", "--json").data["total_used"] == 1

    done = project.stores("up")
    assert done.code == 0, str(done)
    assert [found["status"] for found in project.stores("status", "--json").data] == ["Ready"]
    removed(project, shop)


POINTS = ["create namespace", "create credentials", "create release", "waiting until"]


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
def test_a_run_that_was_killed_is_settled_by_looking_and_the_next_one_goes_on(project: Project, point: str) -> None:
    shop = naming.new_store_id("killed")
    project.write(store(shop))
    with running(project, point) as process:
        # Its engine is in a session of its own, and is ended by its guard.
        os.killpg(process.pid, signal.SIGKILL)
    settled = once_free(project, "reconcile")
    assert settled.code in (0, 6), str(settled)
    recorded = outcomes(project, shop)
    assert recorded[0] == ("store.create", "unknown")
    assert (
        len(
            [
                outcome
                for action, outcome in recorded
                if (action, outcome) != ("store.create", "unknown") and action == "store.create"
            ]
        )
        == 1
    )

    done = project.stores("up")
    assert done.code == 0, str(done)
    assert [found["status"] for found in project.stores("status", "--json").data] == ["Ready"]
    assert project.stores("limits", "--json").data["total_used"] == 1
    removed(project, shop)


def engine_processes(project: Project) -> set[int]:
    """Return the processes of this project's engines: the engine, its plugins, and Helm."""
    wanted = f"PULUMI_BACKEND_URL={project.variables['PULUMI_BACKEND_URL']}".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            variables = (folder / "environ").read_bytes().split(b"\0")
            if wanted in variables and any(one.startswith(f"{guard.MARK}=".encode()) for one in variables):
                found.add(int(folder.name))
    return found


def last_revision(project: Project, shop: str) -> str:
    history = project.helm("history", shop, "--namespace", f"store-{shop}", "--output", "json")
    return str(history.data[-1]["status"])


@pytest.mark.long
def test_a_release_that_was_left_pending_is_settled_before_anybody_works_on_it(project: Project) -> None:
    shop = naming.new_store_id("pending")
    project.write(store(shop))
    assert project.stores("up").code == 0
    # Its pods cannot start, so that Helm waits for them.
    project.write(store(shop, image={"tag": "0.0.0-none"}))
    upgrade = ["upgrade", shop, "charts/store", "--namespace", f"store-{shop}", "--reuse-values", "--dry-run"]
    with running(project, "update release") as process:
        deadline = time.monotonic() + 120
        while last_revision(project, shop) != "pending-upgrade":
            assert time.monotonic() < deadline, "Helm never began"
        os.killpg(process.pid, signal.SIGKILL)
        for pid in engine_processes(project):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert last_revision(project, shop) == "pending-upgrade"
    refused = project.helm(*upgrade)
    assert "another operation" in refused.err, str(refused)

    settled = once_free(project, "reconcile")
    assert settled.code in (0, 6), str(settled)
    entries = project.stores("audit", "list", "--store", shop, "--action", "release.settle", "--json").data
    assert [(entry["outcome"], entry["metadata"]["was"]) for entry in entries] == [("success", "pending-upgrade")]
    assert last_revision(project, shop) == "deployed"
    assert project.helm(*upgrade).code == 0

    project.write(store(shop))
    done = project.stores("up")
    assert done.code == 0, str(done)
    assert [found["status"] for found in project.stores("status", "--json").data] == ["Ready"]
    removed(project, shop)
