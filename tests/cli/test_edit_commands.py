"""Commands that edit the manifest, on a real file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audit.records import Actor, Change, OpenRun, StoreRow
from cli import session
from stacks.errors import DatabaseUnreachableError
from stacks.manifest import Caps, load
from tests.cli.conftest import AT

CAPS = Caps(cpu_millis=2000, memory_bytes=4 * 2**30, storage_bytes=20 * 2**30)


def text(project: Path) -> str:
    return (project / "stacks/local/stores.yaml").read_text()


def test_add_writes_a_block_and_says_what_to_run_next(project: Path, stores) -> None:
    done = stores("add", "coffee-bar", "--owner", "alice", "--title", "Coffee & Co")
    assert done.code == 0
    added = load(project, "local", CAPS).stores[-1]
    assert (added.name, added.owner, added.title, added.cell) == ("coffee-bar", "alice", "Coffee & Co", "01")
    assert done.out == (
        f"stacks/local/stores.yaml:7: store {added.id} of alice, cell 01\nnext: stores plan, then stores up\n"
    )


def test_add_refuses_a_bad_name_and_writes_nothing(project: Path, stores) -> None:
    before = text(project)
    done = stores("add", "Coffee", "--owner", "nobody")
    assert done.code == 2
    assert done.err == (
        "error: store 'Coffee': name 'Coffee' has 'C'; write coffee\n"
        "error: store 'Coffee': owner 'nobody' is not in stacks/local/owners.yaml; add 'nobody' there\n"
    )
    assert text(project) == before


def test_rm_writes_a_tombstone_and_says_so_the_second_time(project: Path, stores) -> None:
    assert "tea-house-x7k2m: marked for removal" in stores("rm", "tea-house-x7k2m").out
    assert "    state: deleted\n" in text(project)
    assert "tea-house-x7k2m: was already marked for removal" in stores("rm", "tea-house-x7k2m").out


def known(status: str) -> StoreRow:
    return StoreRow(
        "local", "tea-house-x7k2m", "tea-house", "alice", "01", status, None, AT, None, None, status == "Deleting",
        None, None, None, AT,
    )  # fmt: skip


@pytest.mark.parametrize("status", [None, "Ready", "Deleting"])
def test_undelete_takes_the_tombstone_out_again_and_nothing_else(project: Path, gate, stores, status) -> None:
    gate.ledger.rows = [known(status)] if status else []
    before = text(project)
    stores("rm", "tea-house-x7k2m")
    done = stores("undelete", "tea-house-x7k2m")
    assert (done.code, done.err) == (0, "")
    assert done.out == "tea-house-x7k2m: no longer marked for removal\nnext: stores plan, then stores up\n"
    assert text(project) == before


def test_undelete_of_what_is_deleted_is_refused_and_writes_nothing(project: Path, gate, stores) -> None:
    gate.ledger.rows = [known("Deleted")]
    stores("rm", "tea-house-x7k2m")
    before = text(project)
    done = stores("undelete", "tea-house-x7k2m")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: store 'tea-house-x7k2m': it is Deleted, and its data is gone; make a new one with `stores add`\n"
    )
    assert text(project) == before


def test_undelete_without_a_tombstone_is_refused(project: Path, gate, stores) -> None:
    done = stores("undelete", "tea-house-x7k2m")
    assert done.code == 2
    assert "store 'tea-house-x7k2m' is not marked for removal; there is nothing to undelete" in done.err
    assert stores("undelete", "tea-house-x7k2n").code == 2


def test_undelete_without_the_ledger_writes_nothing(project: Path, stores, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise DatabaseUnreachableError("ledger", "gone", "start it")

    monkeypatch.setattr(session, "open_gate", refuse)
    stores("rm", "tea-house-x7k2m")
    assert stores("undelete", "tea-house-x7k2m").code == 5
    assert "state: deleted" in text(project)


@pytest.mark.parametrize(("action", "told"), [("store.delete", True), ("store.update", False)])
def test_undelete_tells_of_a_removal_that_is_under_way(project: Path, gate, stores, action, told) -> None:
    change = Change("tea-house-x7k2m", "tea-house", "alice", "01", action)
    gate.ledger.runs = [OpenRun("run-9", "local", Actor("bob", "user"), AT, (change,))]
    stores("rm", "tea-house-x7k2m")
    done = stores("undelete", "tea-house-x7k2m")
    assert done.code == 0
    assert ("run run-9 is removing it now" in done.err) is told


def test_rm_of_an_unknown_store_names_the_one_that_was_meant(project: Path, stores) -> None:
    done = stores("rm", "tea-house-x7k2n")
    assert (done.code, done.err) == (
        2, "error: stacks/local/stores.yaml: there is no store 'tea-house-x7k2n'; write tea-house-x7k2m\n")  # fmt: skip


def test_fmt_check_writes_nothing_and_ends_in_3(project: Path, stores) -> None:
    path = project / "stacks/local/stores.yaml"
    path.write_text("version: 1\nstores:\n  - name: tea\n    owner: alice\n")
    before = text(project)
    done = stores("fmt", "--check")
    assert (done.code, done.err) == (
        3, "error: stacks/local/stores.yaml:3: store 'tea': id or cell is missing; run `stores fmt`\n")  # fmt: skip
    assert text(project) == before
    assert stores("fmt").code == 0
    assert text(project) != before
    assert stores("fmt", "--check").code == 0
    assert stores("fmt").out == "stacks/local/stores.yaml: nothing to write\n"


def test_an_environment_that_is_not_there_is_refused(project: Path, stores) -> None:
    assert stores("fmt", "--env", "lokal").err == "error: stacks: there is no environment 'lokal'; use local\n"


def test_schema_prints_writes_and_checks(project: Path, stores) -> None:
    assert json.loads(stores("schema", "owners").out)["title"] == "OwnersFile"
    assert stores("schema", "--check").code == 3
    assert stores("schema", "--write").out == (
        "docs/schema/stores.schema.json: written\ndocs/schema/owners.schema.json: written\n"
    )
    assert stores("schema", "--check").code == 0
    assert stores("schema").code == 2


def test_edits_answer_a_program(gate, stores, project: Path) -> None:
    added = json.loads(stores("add", "milk-bar", "--owner", "alice", "--json").out)
    assert (added["name"], added["owner"], added["cell"]) == ("milk-bar", "alice", "01")
    store_id = added["store_id"]
    assert store_id.startswith("milk-bar-")
    assert json.loads(stores("rm", store_id, "--json").out) == {"store_id": store_id, "changed": True}
    assert json.loads(stores("rm", store_id, "--json").out) == {"store_id": store_id, "changed": False}
    assert json.loads(stores("undelete", store_id, "--json").out) == {"store_id": store_id, "removed_by": []}
    file = project / "stacks/local/stores.yaml"
    file.write_text(file.read_text() + "  - name: new-shop\n    owner: alice\n")
    filled = json.loads(stores("fmt", "--json").out)
    assert (filled["changed"], [each["name"] for each in filled["filled"]]) == (True, ["new-shop"])
    assert json.loads(stores("fmt", "--json").out)["changed"] is False
