"""What an idempotency key does to a restore: the real gate over a real ledger, with the work on the data made up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit import backups
from audit.backups import Snapshot
from audit.gate import Gate
from audit.jobs import JobResult
from audit.ledger import Ledger
from audit.records import STORE_BACKUP, STORE_CREATE, STORE_RESTORE, Actor
from audit.replacement import Replacement
from audit.restores import Asked, Restore, RestoreResult
from audit.schema import Schema
from stacks.errors import LockedError, OverLimitError, RefusedError, UsageError
from tests.audit.ledger_samples import ALICE
from tests.audit.small_world import SmallWorld, block, make_project
from tests.audit.test_backups import NOON

TEA, PUB = "tea-bbbbb", "pub-ddddd"
SNAPSHOT, UNDO = "3f9a1c20" * 8, "77777777" * 8
KEY = "drill-47"
IMAGE, NEWER, OLDER = "7.1.4-php8.4-apache", "7.2.0-php8.4-apache", "6.9.1-php8.4-apache"
COPY = Asked(TEA, None, "copy")
FAILED = JobResult(succeeded=False, reason="a full disk", container="load")


class Killed(BaseException):
    """The end of the process, wherever it is."""


class Data:
    """The work on the data: how it goes, and how often it was begun."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.result: JobResult = JobResult(succeeded=True, container="files")
        self.meanwhile: Any = lambda: None
        self.while_listing: Any = lambda: None
        self.image = IMAGE

    def listed(self, *_: object, **__: object) -> list[Snapshot]:
        meanwhile, self.while_listing = self.while_listing, lambda: None
        meanwhile()
        return [Snapshot(SNAPSHOT, NOON, "manual", (f"wordpress:{self.image}", "mariadb:11.8"), None, None)]

    def load(self, store_id: str, *_: object) -> JobResult:
        self.loaded.append(store_id)
        self.meanwhile()
        return self.result


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallWorld:
    monkeypatch.setattr("audit.waiting.ASK_EVERY_S", 0.01)
    made = SmallWorld(make_project(tmp_path / "project"))
    made.write(block(TEA))
    return made


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Data:
    made = Data()
    monkeypatch.setattr(Replacement, "load", lambda _self, store_id, *more: made.load(store_id, *more))
    monkeypatch.setattr(Replacement, "close", lambda *_: 1)
    monkeypatch.setattr(Replacement, "open", lambda *_: None)
    web = {"name": "wordpress", "image": f"docker.io/library/wordpress:{IMAGE}@sha256:1"}
    spec = {"replicas": 1, "template": {"spec": {"containers": [web]}}}
    monkeypatch.setattr(Replacement, "web", lambda *_: {"metadata": {}, "spec": spec})
    server = SimpleNamespace(ensure=lambda _ids: False, values={})
    monkeypatch.setattr(backups, "server_of", lambda _gate: server)
    monkeypatch.setattr(backups, "listed", made.listed)
    monkeypatch.setattr(backups, "make", lambda *_, **__: {"snapshot_id": UNDO, "total_bytes_processed": 7})
    return made


@pytest.fixture
def gate(world: SmallWorld, ledger: Ledger, data: Data) -> Iterator[Gate]:
    with world.gate(ledger) as opened:
        opened.up(actor=ALICE)
        yield opened


def restore(gate: Gate, asked: Asked, key: str | None = KEY, actor: Actor = ALICE) -> RestoreResult:
    """Do what the command does: ask for the key, then carry it out."""
    work = Restore(gate, actor, lambda _event: None, idempotency_key=key)
    return work.done(asked) or work.carry_out(asked)


def blocks(gate: Gate) -> list[str]:
    return [store.id for store in gate.manifest().stores]


def counted(gate: Gate, action: str) -> list[str]:
    return [entry.outcome for entry in gate.ledger.entries(gate.environment, action=action, ascending=True)]


def test_a_copy_that_is_asked_for_again_is_the_one_that_was_made(gate: Gate, world: SmallWorld, data: Data) -> None:
    first = restore(gate, COPY)
    assert (first.status, first.source_id, first.replayed) == ("Ready", TEA, False)
    before, manifest = gate.ledger.entries(None), (world.root / "stacks/local/stores.yaml").read_text()
    again = restore(gate, COPY)
    assert again.replayed
    for name in ("run_id", "store_id", "source_id", "snapshot", "status", "url", "undo"):
        assert getattr(again, name) == getattr(first, name), name
    assert world.existing() == {TEA, first.store_id}
    assert data.loaded == [first.store_id]
    assert gate.ledger.entries(None) == before
    assert (world.root / "stacks/local/stores.yaml").read_text() == manifest


def test_without_a_key_or_under_another_one_or_by_another_there_is_one_more(
    gate: Gate, world: SmallWorld, data: Data
) -> None:
    made = [
        restore(gate, COPY, None).store_id,
        restore(gate, COPY, None).store_id,
        restore(gate, COPY).store_id,
        restore(gate, COPY, "another").store_id,
    ]
    assert world.existing() == {TEA, *made}
    assert len(set(made)) == len(data.loaded) == 4


@pytest.mark.parametrize(
    "other", [Asked(TEA, None, "other"), Asked(TEA), Asked(TEA, "3f9a", "copy"), Asked(TEA, None, "copy", "bob")]
)
def test_another_restore_under_the_same_key_is_refused(gate: Gate, world: SmallWorld, data: Data, other: Asked) -> None:
    first = restore(gate, COPY)
    with pytest.raises(UsageError, match=f"used for another request .run {first.run_id}"):
        restore(gate, other)
    assert data.loaded == [first.store_id]
    assert world.existing() == {TEA, first.store_id}


def test_another_command_under_the_key_of_a_restore_is_refused(gate: Gate) -> None:
    restore(gate, Asked(TEA))
    with pytest.raises(UsageError, match="used for another request"):
        gate.up(actor=ALICE, idempotency_key=KEY)


def test_a_copy_whose_data_could_not_be_loaded_is_gone_on_with(gate: Gate, world: SmallWorld, data: Data) -> None:
    data.result = FAILED
    first = restore(gate, COPY)
    assert first.exit_error is not None
    data.result = JobResult(succeeded=True, container="files")
    second = restore(gate, COPY)
    assert (second.store_id, second.status, second.replayed) == (first.store_id, "Ready", False)
    assert counted(gate, STORE_CREATE) == ["unknown", "success"] * 2, "tea's and the copy's: no third one"
    assert world.existing() == {TEA, first.store_id}
    assert restore(gate, COPY).run_id == second.run_id


def killed_once(monkeypatch: pytest.MonkeyPatch, gate: Gate, action: str) -> None:
    """Let the process end where something of this action is about to be admitted."""
    admit = gate.ledger.admit

    def die(request: Any) -> Any:
        if any(change.action == action and change.store_id != TEA for change in request.changes):
            monkeypatch.setattr(gate.ledger, "admit", admit)
            raise Killed
        return admit(request)

    monkeypatch.setattr(gate.ledger, "admit", die)


@pytest.mark.parametrize("action", [STORE_CREATE, STORE_RESTORE])
def test_a_process_that_was_killed_before_an_intent_leaves_no_second_store(
    gate: Gate, world: SmallWorld, data: Data, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    killed_once(monkeypatch, gate, action)
    with pytest.raises(Killed):
        restore(gate, COPY)
    result = restore(gate, COPY)
    assert (result.status, data.loaded) == ("Ready", [result.store_id])
    assert blocks(gate) == [TEA, result.store_id]
    assert world.existing() == {TEA, result.store_id}


def test_a_process_that_was_killed_in_the_middle_of_the_load_is_gone_on_with(
    gate: Gate, world: SmallWorld, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        raise Killed

    data.meanwhile = die
    with pytest.raises(Killed):
        restore(gate, COPY)
    data.meanwhile = lambda: None
    monkeypatch.setattr("audit.live.read", lambda *_: {"metadata": {}})
    result = restore(gate, COPY)
    assert data.loaded == [result.store_id] * 2
    assert world.existing() == {TEA, result.store_id}
    assert counted(gate, STORE_RESTORE) == ["unknown", "failure", "unknown", "success"]


def test_a_checkout_without_the_copys_block_gets_it_again(gate: Gate, world: SmallWorld, data: Data) -> None:
    data.result = FAILED
    first = restore(gate, COPY)
    world.write(block(TEA))  # where the pipeline runs next nobody has committed it
    data.result = JobResult(succeeded=True, container="files")
    second = restore(gate, COPY)
    assert second.store_id == first.store_id
    assert blocks(gate) == [TEA, first.store_id]


def test_a_copy_that_a_limit_denied_is_made_under_the_same_key_later(gate: Gate, world: SmallWorld, data: Data) -> None:
    settings = gate.settings
    gate.settings = settings.model_copy(update={"stores_total": 1})
    with pytest.raises(OverLimitError):
        restore(gate, COPY)
    assert blocks(gate) == [TEA]
    gate.settings = settings
    result = restore(gate, COPY)
    assert (result.status, blocks(gate)) == ("Ready", [TEA, result.store_id])
    assert world.existing() == {TEA, result.store_id}


def test_a_restore_under_way_says_that_it_is_the_same_request(gate: Gate, data: Data) -> None:
    said: list[str] = []

    def again() -> None:
        with pytest.raises(LockedError) as caught:
            restore(gate, COPY)
        said.append(str(caught.value))

    data.meanwhile = again
    restore(gate, COPY)
    assert len(said) == 1
    assert f"idempotency key '{KEY}': the same request is in flight since" in said[0]
    assert len(data.loaded) == 1


def test_a_restore_in_place_is_done_once_and_its_way_back_is_told_again(gate: Gate, data: Data) -> None:
    first = restore(gate, Asked(TEA))
    assert (first.undo, counted(gate, STORE_BACKUP)) == (UNDO, ["unknown", "success"])
    again = restore(gate, Asked(TEA))
    assert (again.replayed, again.undo, again.snapshot, again.run_id) == (True, UNDO, SNAPSHOT, first.run_id)
    assert data.loaded == [TEA]
    assert counted(gate, STORE_BACKUP) == ["unknown", "success"]


@pytest.mark.parametrize("asked", [Asked(TEA), COPY])
def test_a_restore_that_succeeded_since_its_key_was_asked_for_is_not_done_again(
    gate: Gate, world: SmallWorld, data: Data, asked: Asked
) -> None:
    firsts: list[RestoreResult] = []
    data.while_listing = lambda: firsts.append(restore(gate, asked))
    second = restore(gate, asked)
    (first,) = firsts
    assert (first.replayed, second.replayed) == (False, True)
    assert (second.run_id, second.store_id, second.undo) == (first.run_id, first.store_id, first.undo)
    assert data.loaded == [first.store_id]
    assert world.existing() == {TEA, first.store_id}
    assert set(blocks(gate)) == {TEA, first.store_id}
    assert counted(gate, STORE_RESTORE) == ["unknown", "success"]
    assert len(counted(gate, STORE_BACKUP)) == (2 if first.undo else 0)
    assert gate.ledger.open_runs(gate.environment) == []


@pytest.mark.parametrize("asked", [Asked(TEA), COPY])
def test_a_restore_that_failed_since_its_key_was_asked_for_is_gone_on_with(
    gate: Gate, world: SmallWorld, data: Data, asked: Asked
) -> None:
    firsts: list[RestoreResult] = []

    def fail() -> None:
        data.result = FAILED
        firsts.append(restore(gate, asked))
        data.result = JobResult(succeeded=True, container="files")

    data.while_listing = fail
    second = restore(gate, asked)
    assert (second.status, second.replayed, second.store_id) == ("Ready", False, firsts[0].store_id)
    assert data.loaded == [second.store_id] * 2
    assert world.existing() == {TEA, second.store_id}
    assert restore(gate, asked).run_id == second.run_id


def test_a_result_that_only_the_admission_finds_is_told_and_nothing_is_replaced(
    gate: Gate, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = restore(gate, Asked(TEA))
    monkeypatch.setattr(gate.ledger, "replayed", lambda _request: None)
    monkeypatch.setattr(gate.ledger, "parts_done", lambda _request: ())
    work = Restore(gate, ALICE, lambda _event: None, keep_undo=True, idempotency_key=KEY)
    assert work.done(Asked(TEA)) is None
    work.keep_undo = False  # what is there is not backed up, which would find it too
    again = work.carry_out(Asked(TEA))
    assert (again.replayed, again.run_id) == (True, first.run_id)
    assert data.loaded == [TEA]


def test_a_restore_in_place_that_failed_is_done_again(gate: Gate, data: Data) -> None:
    data.result = FAILED
    assert restore(gate, Asked(TEA)).exit_error is not None
    data.result = JobResult(succeeded=True, container="files")
    assert restore(gate, Asked(TEA)).status == "Ready"
    assert data.loaded == [TEA, TEA]
    assert restore(gate, Asked(TEA)).replayed


def test_a_copy_that_somebody_deleted_since_is_another_store_when_it_is_asked_for_anew(
    gate: Gate, world: SmallWorld, data: Data
) -> None:
    data.result = FAILED
    first = restore(gate, COPY)
    world.write(block(TEA), block(first.store_id, state="deleted"))
    gate.up(actor=ALICE)
    assert world.existing() == {TEA}
    data.result = JobResult(succeeded=True, container="files")
    second = restore(gate, COPY)
    assert second.store_id != first.store_id
    assert world.existing() == {TEA, second.store_id}


# --- data of another version


@pytest.mark.parametrize(("asked", "key"), [(Asked(TEA), KEY), (COPY, None)])
def test_data_of_a_newer_version_is_not_put_under_older_code_and_nothing_is_changed(
    gate: Gate, world: SmallWorld, data: Data, asked: Asked, key: str | None
) -> None:
    data.image = NEWER
    entries, manifest = gate.ledger.entries(None), (world.root / "stacks/local/stores.yaml").read_text()
    with pytest.raises(RefusedError, match="is of a newer version than image"):
        restore(gate, asked, key)
    assert data.loaded == []
    assert gate.ledger.entries(None) == entries
    assert (world.root / "stacks/local/stores.yaml").read_text() == manifest


@pytest.mark.parametrize("image", [OLDER, IMAGE])
def test_data_of_an_older_version_is_put_back_and_updated_by_the_shop(gate: Gate, data: Data, image: str) -> None:
    data.image = image
    assert restore(gate, Asked(TEA)).status == "Ready"


def test_newer_code_over_the_same_database_is_no_reason(
    gate: Gate, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Schema(IMAGE, 60421, 60421, "11.0.1", images={IMAGE: 60421, NEWER: 60421})
    monkeypatch.setattr("audit.schema.ask", lambda *_: known)
    data.image = NEWER
    assert restore(gate, Asked(TEA)).status == "Ready"


def test_a_store_that_is_gone_is_judged_by_the_image_that_it_will_have(
    gate: Gate, world: SmallWorld, data: Data
) -> None:
    world._file(TEA, "01", "namespace").unlink()
    data.image = NEWER
    with pytest.raises(RefusedError, match="newer version"):
        restore(gate, Asked(TEA))
    world.write(block(TEA, tag=NEWER))
    assert restore(gate, Asked(TEA)).status == "Ready"
