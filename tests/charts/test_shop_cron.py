"""The container `cron` of a whole shop: it works, it says what does not, and it never ends by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.audit import mariadb_server

from .shop import Receiver, Shop
from .test_shop_events import CHANGE, plugin, product

WAIT_S = 120
HEARTBEAT = "/tmp/heartbeat"  # noqa: S108 - in the shop's own root


@pytest.fixture
def cron(shop: Shop) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Return a starter of the container as the pod runs it."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        shop.run("cron", "rm", "-f", HEARTBEAT)
        process = shop.start("cron", CRON_QUEUE_SECONDS="1", CRON_INTERVAL_SECONDS="10")
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            first_of(process).kill()
        process.wait(WAIT_S)
        assert process.stdout is not None
        process.stdout.close()


def child_of(pid: int, words: str = "") -> int:
    """Return the first child of a process whose command line has these words, as soon as there is one."""
    deadline = time.monotonic() + WAIT_S
    while True:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError):
                if words in Path(f"/proc/{child}/cmdline").read_text():
                    return int(child)
        assert time.monotonic() < deadline, f"process {pid} has no child {words}"
        time.sleep(0.01)


def family(pid: int) -> list[int]:
    """Return a process and all that it has started."""
    found = [pid]
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += family(int(child))
    return found


class first_of:  # noqa: N801 - reads like a function
    """The first process of a container: the child of the program that entered its namespaces."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = child_of(process.pid)

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        # As the end of a container does, whose first process this is.
        for pid in family(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def looping(shop: Shop) -> None:
    """The loop has begun: it has touched its heartbeat."""
    deadline = time.monotonic() + WAIT_S
    while not shop.exists(HEARTBEAT):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def said(process: subprocess.Popen[bytes], *words: str) -> str:
    """Read the log until a line holds each of the words in turn; return what was read."""
    assert process.stdout is not None
    timer = threading.Timer(WAIT_S, lambda: first_of(process).kill())
    timer.start()
    text = ""
    try:
        for word in words:
            while True:
                line = process.stdout.readline().decode(errors="replace")
                assert line, f"it ended before it said {word!r}:\n{text}"
                text += line
                if word in line:
                    break
    finally:
        timer.cancel()
    return text


def test_a_task_that_ends_the_process_is_named_and_blocks_nothing(shop: Shop) -> None:
    ends = "add_action('somebodys_task', function () { error_log('my last words'); exit(0); });"
    counts = "add_action('after_task', fn () => update_option('test_ran', 1 + get_option('test_ran', 0)));"
    with plugin(shop, ends + counts):
        shop.php(
            "delete_option('test_ran'); wp_schedule_single_event(time() - 5, 'somebodys_task');"
            "wp_schedule_single_event(time() - 1, 'after_task');"
        )
        log = shop.cron()
        assert "cron: tasks: tasks.php ended with code 1: " in log
        assert "ended early in somebodys_task" in log
        assert "my last words" in log
        # The next run is not blocked by what the first one has left.
        assert "tasks:" not in shop.cron()
        assert int(shop.php("return get_option('test_ran');")) == 1


def test_a_queue_that_dies_is_told_once_and_again_when_it_is_well(shop: Shop) -> None:
    with plugin(shop, "if (defined('DOING_CRON')) { trigger_error('broken plugin', E_USER_ERROR); }"):
        shop.php("as_enqueue_async_action('nothing_of_note');")
        log = shop.cron(rounds=3, CRON_INTERVAL_SECONDS="1")
    assert log.count("cron: queue: ") == 1, log
    assert "broken plugin" in log
    assert "queue" not in shop.cron()
    assert (
        shop.rows("SELECT 1 FROM wp_actionscheduler_actions WHERE status = 'pending' AND hook = 'nothing_of_note'")
        == []
    )


def test_wordpress_is_not_loaded_while_nothing_is_due(shop: Shop) -> None:
    shop.settle()
    shop.execute("UPDATE wp_actionscheduler_actions SET status = 'complete' WHERE status = 'pending'")
    with plugin(shop, "file_put_contents('/tmp/loaded', 'x', FILE_APPEND);"):
        shop.cron(rounds=1)
        # The scheduled tasks, whose time the loop does not know, and not the queue.
        assert shop.read("/tmp/loaded") == "x"  # noqa: S108 - in the shop's root
        shop.remove("/tmp/loaded")  # noqa: S108


def test_the_database_may_go_and_come_back(
    shop: Shop, receiver: Receiver, cron: Callable[[], subprocess.Popen[bytes]]
) -> None:
    shop.rest("GET", "/products")
    product(shop)
    shop.server.process.terminate()
    shop.server.process.wait(WAIT_S)
    process = cron()
    log = said(process, "database: MariaDB does not answer")
    shop.server.process = mariadb_server.start(shop.server.folder, *mariadb_server.NOT_DURABLE)
    log += said(process, "database: well again after")
    assert log.count("MariaDB does not answer") == 1, log
    # Its last line before it stops on request: everything that waited has left.
    first_of(process).stop()
    assert process.wait(WAIT_S) == 0
    shop.cron()
    assert len(receiver.of(CHANGE)) == 1


def test_a_loop_that_is_killed_starts_again_and_the_container_lives(
    shop: Shop, cron: Callable[[], subprocess.Popen[bytes]]
) -> None:
    process = cron()
    bash = first_of(process)
    looping(shop)
    os.kill(child_of(bash.pid, "loop.php"), signal.SIGKILL)
    assert "loop.php ended with code 137; it starts again in 10 s" in said(process, "loop.php ended")
    assert process.poll() is None
    bash.stop()
    assert process.wait(WAIT_S) == 0


def test_the_probe_fails_when_the_loop_no_longer_turns(shop: Shop) -> None:
    probe = shop.rendered.container("cron")["livenessProbe"]["exec"]["command"]
    shop.cron()
    assert shop.run("cron", *probe).code == 0
    assert shop.run("cron", "touch", "-d", "@1000", HEARTBEAT).code == 0
    assert shop.run("cron", *probe).code != 0
    shop.remove(HEARTBEAT)
    assert shop.run("cron", *probe).code != 0
    shop.cron()


def test_an_administrator_sees_that_the_tasks_do_not_run(shop: Shop) -> None:
    path = "/wp-json/store-platform/v1/health"
    shop.cron()
    _, health, _ = shop.ask("GET", path, password=shop.application_password)
    assert health["cron"]["silent_seconds"] < WAIT_S
    assert not any("container `cron`" in problem for problem in health["problems"])
    shop.execute("""UPDATE wp_options SET option_value = '{"at": 1000}' WHERE option_name = 'store_cron_state'""")
    _, health, _ = shop.ask("GET", path, password=shop.application_password)
    assert any("container `cron` has not run for" in problem for problem in health["problems"])
    shop.cron()
