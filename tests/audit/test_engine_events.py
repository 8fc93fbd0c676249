"""How the driver reads the engine's state and events; what it makes of a cluster is in tests/e2e."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pulumi.automation import events

from audit.engine import locks
from audit.engine.events import Recorder, Step
from audit.engine.state import Snapshot, read_snapshot
from components import naming
from stacks import program
from stacks.program import RunOptions
from tests.audit.engine_workers import World

TEA, TEA_TOO = "tea-x7k2m", "tea-x7k2m-quota-b2c4d"
COMPONENT = f"urn:pulumi:local::stores::{naming.COMPONENT_TYPE}"


def urn(name: str, kind: str = "kubernetes:core/v1:Namespace") -> str:
    return f"{COMPONENT}${kind}::{name}"


def step(name: str, op: str, what: str = "resourcePreEvent") -> events.EngineEvent:
    metadata = {"op": op, "urn": urn(name), "type": "kubernetes:core/v1:Namespace", "provider": "p"}
    return events.EngineEvent.from_json({"sequence": 1, "timestamp": 1, what: {"metadata": metadata}})


def complaint(name: str | None, text: str) -> events.EngineEvent:
    body: dict[str, Any] = {"message": text, "color": "never", "severity": "error"}
    if name is not None:
        body["urn"] = urn(name)
    return events.EngineEvent.from_json({"sequence": 1, "timestamp": 1, "diagnosticEvent": body})


def recorder() -> Recorder:
    return Recorder(frozenset({TEA, TEA_TOO}), lambda _step, _phase: None)


def test_a_step_belongs_to_the_store_whose_whole_name_it_bears() -> None:
    found = recorder()
    found.on_event(step(f"{TEA}-quota", "create"))
    found.on_event(step(f"{TEA_TOO}-quota", "create"))
    assert [(one.store_id, one.part) for one in found.result().steps] == [(TEA, "quota"), (TEA_TOO, "quota")]


def test_a_failure_is_told_in_the_engines_words_and_only_for_its_store() -> None:
    found = recorder()
    found.on_event(step(f"{TEA}-release", "create", "resOpFailedEvent"))
    found.on_event(complaint(f"{TEA}-release", "<{%fg 1%}>error: <{%reset%}>image cannot be pulled\n"))
    assert found.failures == {TEA: "image cannot be pulled"}


def test_a_failure_without_words_names_the_part() -> None:
    found = recorder()
    found.on_event(step(f"{TEA}-release", "create", "resOpFailedEvent"))
    assert found.failures == {TEA: "release could not be created"}


def test_an_error_without_a_failed_step_fails_no_store() -> None:
    found = recorder()
    found.on_event(complaint(f"{TEA}-release", "a warning in disguise"))
    found.on_event(complaint(None, "provider gone"))
    assert found.failures == {}
    assert found.messages == ("provider gone",)


def state(*resources: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"resources": list(resources), **more}


def component(store_id: str, **outputs: Any) -> dict[str, Any]:
    return {"urn": f"{COMPONENT}::{store_id}", "type": naming.COMPONENT_TYPE, "outputs": outputs}


def test_a_store_is_applied_only_once_its_component_says_so() -> None:
    whole = {"id": TEA, "owner": "alice"}
    snapshot = read_snapshot(state(component(TEA, applied=json.dumps(whole)), component(TEA_TOO)))
    assert snapshot.applied == {TEA: whole}
    assert snapshot.known == {TEA, TEA_TOO}


def test_the_state_remembers_its_cluster() -> None:
    provider = {
        "urn": "urn:pulumi:local::stores::pulumi:providers:kubernetes::kubernetes",
        "type": "pulumi:providers:kubernetes",
        "inputs": {"clusterIdentifier": "uid-1"},
    }
    assert read_snapshot(state(provider)).cluster_uid == "uid-1"
    assert read_snapshot(state()).cluster_uid is None


def test_what_a_killed_run_left_is_pending() -> None:
    pending = [{"resource": {"urn": urn(f"{TEA}-release")}, "type": "creating"}]
    assert read_snapshot(state(pending_operations=pending)).pending == (urn(f"{TEA}-release"),)


def test_an_empty_state_holds_nothing() -> None:
    assert read_snapshot(None) == Snapshot(exists=True)


def test_a_lock_is_abandoned_only_when_every_holder_was_here_and_is_gone() -> None:
    here = socket.gethostname()
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead, alive = str(gone.pid), str(os.getpid())
    told = {
        (): False,
        ((here, dead),): True,
        ((here, alive),): False,
        ((here, dead), (here, alive)): False,
        (("elsewhere", dead),): False,
    }
    for holders, abandoned in told.items():
        held = [locks.LockHolder(host, int(pid)) for host, pid in holders]
        assert locks.EngineLockedError("stack local", held).abandoned is abandoned, holders


def test_a_lock_tells_who_took_it_and_when() -> None:
    text = (
        "error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end or delete the "
        "lock file with `pulumi cancel`.\n  file:///s/.pulumi/locks/organization/stores/local/b1.json: created by "
        "runner@ci-7 (pid 4711) at 2026-03-01T12:00:30Z"
    )
    assert locks.holders_in(text) == [locks.LockHolder("ci-7", 4711, datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC))]
    assert locks._moment("soon") is None
    assert locks._moment("2026-03-01T12:00:30") is None, "of an unknown zone"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", [SystemExit(1), ValueError("no such step")])
def test_what_goes_wrong_over_an_event_is_raised_once_the_real_engine_has_ended(
    programs: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    """A SystemExit in the thread that takes the events left the engine waiting for an answer for ever."""

    def fail(_step: Step, _phase: str) -> None:
        raise fault

    monkeypatch.setattr(program, "run", lambda _root, _options: None)
    world = World.made(tmp_path, programs["pulumi"].parent.parent)
    with world.engine() as engine:
        with pytest.raises(type(fault)):
            engine.up("01", RunOptions(), frozenset(), fail)
        assert engine.preview("01", RunOptions(), frozenset()).failures == {}
