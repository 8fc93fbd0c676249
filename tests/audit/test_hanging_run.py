"""A database that hangs in the middle of a run: it is waited for once, whatever the number of cells, and then told.

The gate and its run are whole, on a MariaDB server that is stopped at a named moment; behind it is a folder instead of
a cluster. Counted are the calls that waited in vain; the full form takes the time.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from audit.database import Database, Timeouts
from audit.gate import Gate
from audit.ledger import Ledger
from audit.migrations import migrate
from audit.run import Run
from stacks.errors import AuditIncompleteError, DatabaseUnreachableError, StoresError
from tests.audit.fault_proxy import FaultProxy
from tests.audit.ledger_samples import ALICE, used
from tests.audit.mariadb_server import MariadbServer, running
from tests.audit.small_world import SmallWorld, block, make_project
from tests.figures import Figures

READ_S = 2
CELLS = tuple(f"{number:02}" for number in range(1, 11))
IDS = tuple(f"tea-{letter * 5}" for letter in "bcdfghjkmn")

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def server() -> Iterator[MariadbServer]:
    """Return a server that these tests may stop."""
    with running() as started:
        yield started


class Scene:
    """Ten cells with a new store each, and a database that can be stopped."""

    def __init__(self, world: SmallWorld, gate: Gate, url: str, process: int) -> None:
        self.world, self.gate, self.url, self._process = world, gate, url, process
        self.waits = 0
        self.took_s = 0.0
        self._stopped_at = 0.0

    def stop(self) -> None:
        os.kill(self._process, signal.SIGSTOP)
        self._stopped_at = time.monotonic()

    def go_on(self) -> None:
        os.kill(self._process, signal.SIGCONT)

    def up(self) -> StoresError:
        """Return what a run has ended with."""
        with pytest.raises(StoresError) as caught:
            self.gate.up(actor=ALICE)
        self.took_s = time.monotonic() - self._stopped_at
        self.go_on()
        return caught.value


@pytest.fixture
def scene(
    server: MariadbServer, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    url = server.url(server.new_database())
    migrate(url)
    proxy = FaultProxy(tmp_path_factory.mktemp("p") / "s", server.socket_path)
    through = str(make_url(url).update_query_dict({"unix_socket": str(proxy.path)}))
    world = SmallWorld(make_project(tmp_path / "project"))
    world.write(*(block(store_id, cell=cell) for store_id, cell in zip(IDS, CELLS, strict=True)))
    limits = world.root / "Pulumi.local.yaml"
    limits.write_text(limits.read_text() + '  stores:createsPerHour: "100"\n')
    with Ledger.open(through, timeouts=Timeouts(READ_S, READ_S, 1)) as ledger, world.gate(ledger) as gate:
        found = Scene(world, gate, url, server.process.pid)
        explained = Database._explained

        def counted(database: Database, *arguments: Any) -> StoresError:
            found.waits += 1
            return explained(database, *arguments)

        monkeypatch.setattr(Database, "_explained", counted)
        yield found
        found.go_on()
    proxy.close()


def after_admission(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
    admit = Ledger.admit

    def admitted(ledger: Ledger, request: Any) -> Any:
        done = admit(ledger, request)
        then()
        return done

    monkeypatch.setattr(Ledger, "admit", admitted)


def before_admission(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene.world, "snapshot", _once(scene.world.snapshot, scene.stop))


def _once(call: Callable[[str], Any], first: Callable[[], None]) -> Callable[[str], Any]:
    said: list[bool] = []

    def called(cell: str) -> Any:
        if not said:
            said.append(True)
            first()
        return call(cell)

    return called


def test_before_the_admission_it_ends_with_5_and_nothing_was_changed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_admission(scene, monkeypatch)
    error = scene.up()
    assert isinstance(error, DatabaseUnreachableError)
    assert "(nothing was changed)" in str(error)
    assert (scene.waits, scene.world.works) == (1, [])


def test_while_the_engine_works_it_ends_with_9_and_the_next_run_settles(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_admission(monkeypatch, scene.stop)
    error = scene.up()
    assert isinstance(error, AuditIncompleteError)
    assert "the stores were changed" in str(error)
    assert "nothing was changed" not in str(error)
    assert (scene.waits, scene.world.works) == (1, list(CELLS))
    monkeypatch.undo()
    with Ledger.open(scene.url) as ledger:
        # Nobody could give the cells back, and nobody waits for their end here.
        _end_leases(scene)
        with scene.world.gate(ledger) as gate:
            result = gate.up(actor=ALICE)
        assert {store.status for store in result.stores} == {"Ready"}
        assert (ledger.open_runs("local"), used(ledger, environment="local")) == ([], len(IDS))


def test_where_the_engine_did_not_begin_it_ends_with_5_and_says_what_is_recorded(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[Run] = []
    observe = Run.observe

    def observed(run: Run, leases: Any) -> Any:
        runs.append(run)
        return observe(run, leases)

    def stop() -> None:
        scene.stop()
        runs[0].cancelled.set()

    monkeypatch.setattr(Run, "observe", observed)
    after_admission(monkeypatch, stop)
    error = scene.up()
    assert isinstance(error, DatabaseUnreachableError)
    assert "no store was changed, but intents and slots of tea-bbbbb" in str(error)
    assert "nothing was changed" not in str(error)
    assert (scene.waits, scene.world.works) == (1, [])
    monkeypatch.undo()
    with Ledger.open(scene.url) as ledger:
        assert used(ledger, environment="local") == len(IDS)
        _end_leases(scene)
        scene.world.write()
        with scene.world.gate(ledger) as gate:
            gate.up(actor=ALICE)
        assert (ledger.open_runs("local"), used(ledger, environment="local")) == ([], 0)


def _end_leases(scene: Scene) -> None:
    with Ledger.open(scene.url) as ledger, ledger._database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE leases SET expires_at = acquired_at")


@pytest.mark.long
@pytest.mark.parametrize("moment", ["before the admission", "after the admission"])
def test_a_run_over_ten_cells_ends_within_the_read_timeout_and_a_second(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, figures: Figures, moment: str
) -> None:
    if moment == "before the admission":
        before_admission(scene, monkeypatch)
    else:
        works = scene.world.works
        scene.world.reached = lambda point: scene.stop() if (point, len(works)) == ("engine done", len(CELLS)) else None
    scene.up()
    # Counted from when the engine is done with the last cell: until then it takes its time, whatever the database does.
    assert scene.took_s <= READ_S + 1
    figures.reached(
        "5",
        f"a database that hangs in a run over 10 cells, {moment}",
        wanted="ends within the read timeout and one second",
        seen=f"{scene.took_s:.1f} s with a read timeout of {READ_S} s",
    )
