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


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("", "ended early in large_task: Allowed memory size of 167772160 bytes exhausted"),
        # As wp-cron.php and WooCommerce's queue do.
        (
            "wp_raise_memory_limit('cron');",
            "ended early in large_task: Allowed memory size of 167772160 bytes exhausted",
        ),
        # As some plugins do, to the system's limit then.
        ("ini_set('memory_limit', '-1');", "Out of memory"),
    ],
)
def test_a_task_that_wants_more_memory_than_there_is_ends_and_nothing_else_does(
    shop: ServingShop, cron: Callable[[], Contained], before: str, told: str
) -> None:
    """160 MiB are what 256Mi of the container leave to a task. The kernel would end the whole container."""
    takes = f"add_action('large_task', function () {{ {before} strlen(str_repeat('x', 400 * 1024 * 1024)); }});"
    with plugin(shop, takes):
        shop.php("wp_schedule_single_event(time() - 5, 'large_task');")
        process = cron()
        loop = child_of(first_of(process), "loop.php")
        log = said(process, "cron: tasks: tasks.php ended with code", "tasks: well again after")
        assert told in log
        assert child_of(first_of(process), "loop.php") == loop
        stop(process)
        assert process.wait(WAIT_S) == 0
    # Left by a process that ended at once; WordPress itself would forget it after a minute.
    shop.php("delete_transient('doing_cron');")


def test_an_ordinary_task_has_room_enough(shop: ServingShop) -> None:
    """Half of what there is, beside WordPress with its shop."""
    takes = "add_action('some_task', fn () => update_option('test_took', strlen(str_repeat('x', 80 * 1024 * 1024))));"
    with plugin(shop, takes):
        shop.php("delete_option('test_took'); wp_schedule_single_event(time() - 5, 'some_task');")
        assert "tasks:" not in shop.cron()
        assert int(shop.php("return get_option('test_took');")) == 80 * 1024 * 1024


def test_in_a_pod_that_was_told_no_memory_tasks_run_by_phps_own_limit(shop: ServingShop) -> None:
    """A pod of an older chart gets these scripts as well, until its successor is ready."""
    with plugin(shop, "add_action('some_task', fn () => update_option('test_limit', ini_get('memory_limit')));"):
        shop.php("delete_option('test_limit'); wp_schedule_single_event(time() - 5, 'some_task');")
        assert "tasks:" not in shop.cron(CRON_PHP_MEMORY_MIB="")
        assert shop.shop.option("test_limit") == "256M"


def test_tasks_wait_while_the_database_is_updated_and_it_waits_for_them(shop: ServingShop) -> None:
    shop.query("UPDATE wp_options SET option_value = '60421' WHERE option_name = 'db_version'")
    update = "php /etc/store/schema/update.php"
    # As while a task runs: its turn is taken.
    held = (
        f"$file = fopen('/tmp/wordpress.lock', 'c'); flock($file, LOCK_EX); passthru('{update}', $code); exit($code);"
    )
    done = shop.run("cron", f"php -r {shlex.quote(held)}")
    assert "scheduled tasks run; the update waits for their end" in done.out
    assert done.code == 0, done
    with plugin(shop, "add_action('some_task', fn () => update_option('test_turn', 'ran'));"):
        shop.php("delete_option('test_turn'); wp_schedule_single_event(time() - 5, 'some_task');")
        # It wants its turn, so nothing new begins.
        shop.cron()
        assert shop.shop.option("test_turn") is None
        done = shop.run("cron", update)
        assert "the database is updated" in done.out
        shop.cron()
        assert shop.shop.option("test_turn") == "ran"


def test_a_program_that_a_task_leaves_running_ends_with_it_and_is_told(shop: ServingShop) -> None:
    leaves = (
        "add_action('leaving_task', function () {"
        " update_option('test_left', 1 + get_option('test_left', 0));"
        " wp_schedule_single_event(time() - 5, 'leaving_task');"
        " exec('sleep 1000 > /dev/null 2>&1 &'); });"
    )
    with plugin(shop, leaves):
        shop.php("delete_option('test_left'); wp_schedule_single_event(time() - 5, 'leaving_task');")
        log = shop.cron(rounds=3, CRON_INTERVAL_SECONDS="0")
        assert int(shop.shop.option("test_left") or 0) == 3, log
        assert log.count("cron: tasks: tasks.php left programs running, which were ended") == 1, log
        assert "turn:" not in log
        shop.php("wp_clear_scheduled_hook('leaving_task');")
    assert "tasks:" not in shop.cron()


def test_a_turn_that_is_not_to_be_had_any_more_is_told(shop: ServingShop) -> None:
    """One that gets away from its group, as a daemon does, or one that a killed loop has left."""
    # Another process has the turn, and its time is over at once.
    held = (
        "$file = fopen('/tmp/wordpress.lock', 'c'); flock($file, LOCK_EX);"
        " define('TASKS_LIMIT_S', -1); require '/etc/store/cron/loop.php';"
    )
    loop = f"php -r {shlex.quote(held)}"
    told = "cron: turn: a program that a task has left running keeps queue, tasks and updates of the database waiting"
    rounds = {"CRON_ROUNDS": "2", "CRON_QUEUE_SECONDS": "0"}
    log = shop.run("cron", loop, **rounds).out
    assert log.count(told) == 1, log
    # An update of the database may take longer than a task.
    log = shop.run("cron", f"touch -d '10 min ago' /tmp/wordpress.wanted; {loop}", **rounds).out
    assert "turn:" not in log
    shop.place("/tmp/wordpress.wanted").unlink()  # noqa: S108 - in the container
    assert "turn:" not in shop.cron()


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
