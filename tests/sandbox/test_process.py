from __future__ import annotations

import os
import signal
import subprocess

from sandbox import process


def test_descendants_are_children_and_their_children() -> None:
    # The shell tells its child's number, and stays as that child's parent.
    script = "sleep 60 & echo $!; wait"
    with subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        grandchild = int(shell.stdout.readline())

        found = [identity.pid for identity in process.descendants(os.getpid())]

        assert found.index(shell.pid) < found.index(grandchild)
        os.kill(grandchild, signal.SIGKILL)  # the shell waits for it, and ends with it


def test_an_ended_process_has_no_identity_and_killing_it_is_no_error() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        identity = process.identify(child.pid)
        assert identity is not None
        process.kill(identity)
        child.wait()

    assert not process.is_alive(identity)
    assert process.identify(identity.pid) != identity
    process.kill(identity)


def test_a_running_process_holds_memory_and_an_ended_one_none() -> None:
    own = os.getpid()

    assert process.memory_bytes([own]) > 1024 * 1024
    assert process.memory_bytes([2**22 + 1]) == 0
