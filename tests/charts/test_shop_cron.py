"""The container `cron` of a whole shop: it works, it says what does not, and it never ends by itself."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.containers.image import Contained
from tests.containers.receiver import Receiver
from tests.containers.serving import ServingShop

from .test_shop_events import CHANGE, plugin, product

WAIT_S = 120
HEARTBEAT = "/tmp/heartbeat"  # noqa: S108 - in the container


@pytest.fixture
def cron(shop: ServingShop) -> Iterator[Callable[[], Contained]]:
    """Return a starter of the container as the pod runs it."""
    started: list[Contained] = []

    def start() -> Contained:
        shop.place(HEARTBEAT).unlink(missing_ok=True)
        process = shop.start("cron", CRON_QUEUE_SECONDS="1", CRON_INTERVAL_SECONDS="10")
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
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


def first_of(process: Contained) -> int:
    """Return the first process of a container: the child of the program that made its namespaces."""
    return child_of(process.pid)


def stop(process: Contained) -> None:
    """Ask the container to end, as the end of its pod does."""
    os.kill(first_of(process), signal.SIGTERM)


def looping(shop: ServingShop) -> None:
    """The loop has begun: it has touched its heartbeat."""
    deadline = time.monotonic() + WAIT_S
    while not shop.place(HEARTBEAT).exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def said(process: Contained, *words: str) -> str:
    """Read the log until a line holds each of the words in turn; return what was read."""
    assert process.stdout is not None
    timer = threading.Timer(WAIT_S, process.kill)
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


def test_a_task_that_ends_the_process_is_named_and_blocks_nothing(shop: ServingShop) -> None:
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


def test_a_queue_that_dies_is_told_once_and_again_when_it_is_well(shop: ServingShop) -> None:
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


def test_wordpress_is_not_loaded_while_nothing_is_due(shop: ServingShop) -> None:
    shop.settle()
    shop.query("UPDATE wp_actionscheduler_actions SET status = 'complete' WHERE status = 'pending'")
    with plugin(shop, "file_put_contents('/tmp/loaded', 'x', FILE_APPEND);"):
        shop.cron(rounds=1)
        # The scheduled tasks, whose time the loop does not know, and not the queue.
        loaded = shop.place("/tmp/loaded")  # noqa: S108 - in the container
        assert loaded.read_text() == "x"
        loaded.unlink()


def test_the_database_may_go_and_come_back(
    shop: ServingShop, receiver: Receiver, cron: Callable[[], Contained]
) -> None:
    shop.rest("GET", "/products")
    product(shop)
    shop.server.stop()
    process = cron()
    log = said(process, "database: MariaDB does not answer")
    shop.server.start()
    log += said(process, "database: well again after")
    assert log.count("MariaDB does not answer") == 1, log
    # Its last line before it stops on request: everything that waited has left.
    stop(process)
    assert process.wait(WAIT_S) == 0
    shop.cron()
    assert len(receiver.of(CHANGE)) == 1


def test_a_loop_that_is_killed_starts_again_and_the_container_lives(
    shop: ServingShop, cron: Callable[[], Contained]
) -> None:
    process = cron()
    first = first_of(process)
    looping(shop)
    os.kill(child_of(first, "loop.php"), signal.SIGKILL)
    assert "loop.php ended with code 137; it starts again in 10 s" in said(process, "loop.php ended")
    assert process.poll() is None
    stop(process)
    assert process.wait(WAIT_S) == 0


def test_the_probe_fails_when_the_loop_no_longer_turns(shop: ServingShop) -> None:
    probe = shlex.join(shop.pod.rendered.container("cron")["livenessProbe"]["exec"]["command"])
    shop.cron()
    assert shop.run("cron", probe).code == 0
    os.utime(shop.place(HEARTBEAT), (1000, 1000))
    assert shop.run("cron", probe).code != 0
    shop.place(HEARTBEAT).unlink()
    assert shop.run("cron", probe).code != 0
    shop.cron()


def test_an_administrator_sees_that_the_tasks_do_not_run(shop: ServingShop) -> None:
    path = "/wp-json/store-platform/v1/health"
    shop.cron()
    _, health, _ = shop.ask("GET", path, password=shop.application_password)
    assert health["cron"]["silent_seconds"] < WAIT_S
    assert not any("container `cron`" in problem for problem in health["problems"])
    shop.query("""UPDATE wp_options SET option_value = '{"at": 1000}' WHERE option_name = 'store_cron_state'""")
    _, health, _ = shop.ask("GET", path, password=shop.application_password)
    assert any("container `cron` has not run for" in problem for problem in health["problems"])
    shop.cron()
