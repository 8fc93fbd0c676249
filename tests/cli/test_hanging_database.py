"""A database that hangs never hangs a command: it ends in time with 5, and says whether anything was changed.

The command runs whole, with the real gate and ledger; only the cluster is not asked. Reading a store's credentials is
the change that is tried: that somebody looked must be on record before the password is shown.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from audit.ledger import Ledger
from audit.migrations import migrate
from audit.records import StoreRecord
from stacks.cluster import Cluster
from tests.audit.fault_proxy import Fault, FaultProxy
from tests.audit.ledger_samples import ALICE
from tests.audit.mariadb_server import MariadbServer, running
from tests.figures import Figures

ROOT = Path(__file__).parents[2]
STORE = "tea-house-x7k2m"
READ_S = 3

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def server() -> Iterator[MariadbServer]:
    """Return a server that these tests may stop."""
    with running() as started:
        yield started


@pytest.fixture
def proxy(server: MariadbServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProxy]:
    opened = FaultProxy(tmp_path_factory.mktemp("p") / "s", server.socket_path)
    yield opened
    opened.close()


class Shop:
    """A project whose ledger lies behind the proxy, and what happens between its reading and its writing."""

    def __init__(self, url: str, server: MariadbServer) -> None:
        self.url, self.server = url, server
        self.meanwhile: Callable[[], None] = lambda: None
        self.began = 0.0

    def begin(self, fault: Callable[[], None]) -> None:
        self.began = time.monotonic()
        fault()

    def ends_after_s(self, stores: Callable[..., Any]) -> float:
        """Return how long after the fault the command ended with 5; the server goes on then."""
        done = look(self, stores)
        elapsed_s = time.monotonic() - self.began
        os.kill(self.server.process.pid, signal.SIGCONT)
        assert done.code == 5
        return elapsed_s

    def read_entries(self) -> int:
        with Ledger.open(self.url) as ledger:
            return len(ledger.entries(None, action="store.credentials.read"))


@pytest.fixture
def shop(project: Path, server: MariadbServer, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    shutil.copy(ROOT / "Pulumi.yaml", project)
    shutil.copy(ROOT / "Pulumi.local.yaml", project)
    for name in ("values", "charts"):
        (project / name).symlink_to(ROOT / name)
    url = server.url(server.new_database())
    migrate(url)
    with Ledger.open(url) as ledger:
        ledger.adopt("local", [StoreRecord(STORE, "tea-house", "alice", "01", "Ready", "http://x")], ALICE)
    found = Shop(url, server)

    def secret(*_: object) -> dict[str, str]:
        found.meanwhile()
        return {"wordpress-password": "s3cret"}

    monkeypatch.setattr(Cluster, "secret", secret)
    monkeypatch.setenv("STORES_CLUSTER", "kubeconfig")
    monkeypatch.setenv("STORES_LEDGER_URL", str(make_url(url).update_query_dict({"unix_socket": str(proxy.path)})))
    monkeypatch.setenv("STORES_LEDGER_TIMEOUT_SECONDS", str(READ_S))
    yield found
    os.kill(server.process.pid, signal.SIGCONT)


def look(shop: Shop, stores) -> Any:
    return stores("credentials", STORE)


def stop(server: MariadbServer) -> None:
    os.kill(server.process.pid, signal.SIGSTOP)


def check(done, shop: Shop, server: MariadbServer, told: str) -> None:
    os.kill(server.process.pid, signal.SIGCONT)
    assert (done.code, done.out) == (5, "")
    assert told in done.err
    assert "s3cret" not in done.err
    assert shop.read_entries() == 0


def test_without_a_fault_the_password_is_shown_and_the_reading_is_on_record(shop: Shop, stores) -> None:
    done = look(shop, stores)
    assert (done.code, "s3cret" in done.out, shop.read_entries()) == (0, True, 1)


def test_a_server_that_stopped_before_the_command(shop: Shop, server: MariadbServer, stores) -> None:
    stop(server)
    check(look(shop, stores), shop, server, "(nothing was changed)")


def test_a_server_that_accepts_and_then_says_nothing(
    shop: Shop, server: MariadbServer, stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as hole:
        hole.bind(str(tmp_path / "hole"))
        hole.listen(8)
        url = make_url(shop.url).update_query_dict({"unix_socket": str(tmp_path / "hole")})
        monkeypatch.setenv("STORES_LEDGER_URL", str(url))
        check(look(shop, stores), shop, server, "(nothing was changed)")


def test_a_server_that_stops_before_a_query(shop: Shop, server: MariadbServer, stores) -> None:
    shop.meanwhile = lambda: stop(server)
    check(look(shop, stores), shop, server, "(nothing was changed)")


def test_a_commit_that_vanishes(shop: Shop, server: MariadbServer, proxy: FaultProxy, stores) -> None:
    shop.meanwhile = lambda: proxy.break_next_commit(Fault.LOST_IN_SILENCE)
    check(look(shop, stores), shop, server, "(whether it was recorded is not known, and nothing else was started)")


def test_a_commit_that_was_done_in_silence_is_found(shop: Shop, proxy: FaultProxy, stores) -> None:
    shop.meanwhile = lambda: proxy.break_next_commit(Fault.DONE_THEN_SILENCE)
    done = look(shop, stores)
    assert (done.code, "s3cret" in done.out, shop.read_entries()) == (0, True, 1)


@pytest.mark.parametrize("text", ["0", "1", "601", "x", "", "-5", "3.5"])
def test_a_timeout_that_is_none_is_told(shop: Shop, stores, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("STORES_LEDGER_TIMEOUT_SECONDS", text)
    done = stores("audit", "list")
    assert done.code == 2
    assert "is no whole number of seconds from 2 to 600" in done.err


@pytest.mark.long
def test_a_command_ends_within_the_read_timeout_and_a_second(
    shop: Shop, proxy: FaultProxy, stores, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(shop, stores)  # what is loaded once is loaded
    opened = Ledger.open

    def open_after_stop(*arguments: Any, **options: Any) -> Ledger:
        shop.begin(lambda: stop(shop.server))
        return opened(*arguments, **options)

    found_s: dict[str, float] = {}
    shop.meanwhile = partial(shop.begin, lambda: stop(shop.server))
    found_s["in a query"] = shop.ends_after_s(stores)
    shop.meanwhile = partial(shop.begin, lambda: proxy.break_next_commit(Fault.LOST_IN_SILENCE))
    found_s["at commit"] = shop.ends_after_s(stores)
    monkeypatch.setattr(Ledger, "open", open_after_stop)
    found_s["at connect"] = shop.ends_after_s(stores)
    assert max(found_s.values()) <= READ_S + 1, found_s
    figures.reached(
        "5",
        "a database that hangs, through the command",
        wanted="ends within the read timeout and one second, with 5: at connect, in a query, at commit",
        seen=", ".join(f"{where} {took_s:.1f} s" for where, took_s in found_s.items())
        + f", with a read timeout of {READ_S} s",
    )
