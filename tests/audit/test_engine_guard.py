"""No engine, and nothing that one has started, outlives its caller; with real processes."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.engine import guard

ROOT = Path(__file__).parents[2]
# An engine with a plugin in a session of its own, both of which a first SIGINT does not end.
ENGINE = "trap '' INT; setsid sh -c \"trap '' INT; echo $$; while :; do sleep 1; done\" & echo $$; wait"
CALLER = f"""
import os, subprocess, sys
from audit.engine import guard
guard.GRACE_S = 0.2
with guard.guard(sys.argv[1]):
    engine = subprocess.Popen(
        ["sh", "-c", {ENGINE!r}], env={{**os.environ, guard.MARK: sys.argv[1]}}, start_new_session=True
    )
    engine.wait()
"""
# Not a shell: what it was started with ignored, as in the background, it cannot trap.
ASKED = """
import pathlib, signal, sys

def stop(*_):
    pathlib.Path(sys.argv[1]).touch()
    sys.exit()

signal.signal(signal.SIGINT, stop)
print("ready", flush=True)
while True:
    signal.pause()
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found by /proc")


@pytest.fixture
def mark() -> Iterator[str]:
    mark = secrets.token_hex(8)
    yield mark
    guard.end(mark, 0)


def started(mark: str) -> tuple[subprocess.Popen[str], set[int]]:
    command = [sys.executable, "-c", CALLER, mark]
    caller = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert caller.stdout is not None
    return caller, {int(caller.stdout.readline()), int(caller.stdout.readline())}


def living(mark: str) -> set[int]:
    return set(guard._marked(mark))


def test_an_engine_and_its_plugins_end_when_their_caller_is_killed(mark: str) -> None:
    caller, pids = started(mark)
    assert pids <= living(mark)
    os.killpg(caller.pid, signal.SIGKILL)
    caller.communicate()  # to the end of what the engine, too, has open
    while living(mark):
        pass


def test_what_a_killed_engine_leaves_ends_before_its_caller_goes_on(mark: str) -> None:
    caller, pids = started(mark)
    engine = next(pid for pid in pids if os.getsid(pid) == pid and guard._marked(mark)[pid] == caller.pid)
    os.kill(engine, signal.SIGKILL)
    caller.wait()
    assert living(mark) == set()
    assert caller.communicate() is not None


def test_an_engine_is_asked_before_it_is_ended(mark: str, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    variables = {**os.environ, guard.MARK: mark}
    with subprocess.Popen(
        [sys.executable, "-c", ASKED, asked], env=variables, stdout=subprocess.PIPE, start_new_session=True
    ) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline() == b"ready\n"
        guard.end(mark, 30)
    assert asked.exists()


def test_processes_with_another_mark_are_left_alone(mark: str) -> None:
    variables = {**os.environ, guard.MARK: f"{mark}0"}
    with subprocess.Popen(["sleep", "60"], env=variables) as other:
        guard.end(mark, 0)
        assert other.poll() is None
        other.kill()
