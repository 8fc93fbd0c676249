"""What a change of MariaDB's image means for a store: what is made before it, and whether it can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from audit import backups, database_image, live
from audit import observation as observations
from audit.context import RunContext
from audit.phases import database_servers
from audit.records import Change, StoreOutcome
from audit.scope import Scope
from components.desired import DesiredStore
from stacks.errors import ClusterUnreachableError, StoreFailedError
from tests.audit.test_observation import TEA, desired, row, seen
from tests.audit.test_run_left_alone import run
from tests.audit.test_takeback import FakeRun, taken, work

NOW, PATCH, NEXT = "11.8.6", "11.8.7", "12.3.2"


def with_server(tag: str, *, digest: str = "", **values: Any) -> DesiredStore:
    given = {"image": {"tag": "7.1.4", "digest": ""}, "backup": {"enabled": True}, "ingress": {"host": "tea"}, **values}
    return desired(database={"image": {"tag": tag, "digest": digest}}, **given)


def pod(image: str, *, state: str = "running", last: str | None = None, ready: bool = False) -> Any:
    """Return a pod of MariaDB as the cluster's client tells it; `state` and `last` name what its container is in."""

    def states(name: str | None) -> Any:
        return SimpleNamespace(**{one: one == name or None for one in ("running", "terminated", "waiting")})

    status = SimpleNamespace(name="mariadb", state=states(state), last_state=states(last), ready=ready)
    container = SimpleNamespace(name="mariadb", image=f"docker.io/library/mariadb:{image}")
    return SimpleNamespace(
        status=SimpleNamespace(container_statuses=[status]), spec=SimpleNamespace(containers=[container])
    )


@pytest.fixture
def lives(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what makes the cluster hold a StatefulSet of this image and these pods."""

    def make(asked_for: str | None, *pods: Any) -> None:
        image = {"image": f"docker.io/library/mariadb:{asked_for}"}
        found = None if asked_for is None else {"spec": {"template": {"spec": {"containers": [image]}}}}
        monkeypatch.setattr(live, "read", lambda *_: found)
        monkeypatch.setattr(live, "pods", lambda *_: pods)

    return make


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("11.8.6", (11, 8)),
        ("11.8", (11, 8)),
        ("12.3.2-ubi", (12, 3)),
        ("mirror.example:5000/library/mariadb:11.8.6-noble@sha256:" + "1" * 64, (11, 8)),
        ("lts", None),
        ("11", None),
        ("latest@sha256:" + "1" * 64, None),
    ],
)
def test_the_series_is_the_first_two_numbers_of_the_tag(reference: str, expected: tuple[int, int] | None) -> None:
    assert database_image.series(reference) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (with_server(NOW), with_server(NOW), None),
        (with_server(NOW), with_server(PATCH), (NOW, PATCH)),
        (with_server(NOW), with_server(NOW, digest="sha256:1"), (NOW, f"{NOW}@sha256:1")),
        (with_server(NOW), desired(database={"image": {"tag": NEXT}, "external": {"host": "db"}}), None),
        (desired(), with_server(NOW), None),
        (None, with_server(NOW), None),
    ],
)
def test_only_another_image_of_the_stores_own_server_is_a_change(
    before: DesiredStore | None, after: DesiredStore, expected: tuple[str, str] | None
) -> None:
    assert database_image.change(None if before is None else before.to_dict(), after) == expected


@pytest.mark.parametrize(
    ("to", "asked_for", "pods", "expected"),
    [
        (PATCH, PATCH, [pod(PATCH)], True),
        (NEXT, NEXT, [pod(NEXT)], False),
        (NEXT, NEXT, [pod(NEXT, state="waiting", last="terminated")], False),
        (NEXT, NEXT, [pod(NEXT, state="waiting")], True),
        (NEXT, NOW, [pod(NOW)], True),
        (NEXT, NEXT, [], False),
        (NEXT, None, [], False),
        ("lts", "lts", [pod("lts")], False),
    ],
    ids=[
        "a patch",
        "it runs",
        "it crashes",
        "it never started",
        "it was not asked for",
        "no pod",
        "gone",
        "unreadable",
    ],
)
def test_a_failed_change_is_never_taken_back_once_a_server_of_another_series_may_have_started(
    lives: Callable[..., None], to: str, asked_for: str | None, pods: list[Any], *, expected: bool
) -> None:
    lives(asked_for, *pods)
    known = work()
    applied = {TEA: with_server(NOW).to_dict()}
    snapshots = {"01": replace(known.observation.snapshots["01"], applied=applied)}
    known = replace(known, observation=replace(known.observation, snapshots=snapshots, desired={TEA: with_server(to)}))
    asked = FakeRun()
    outcome = taken(asked, known)[TEA]
    assert bool(asked.asked) is expected
    if not expected:
        assert outcome.reason == (
            f"ErrImagePull; it is not rolled back, since MariaDB {to} has worked on its data, which {NOW} cannot read; "
            "correct the cause and run `stores up` again"
        )
        assert (outcome.outcome, outcome.status) == ("failure", "Failed")


def test_what_the_cluster_does_not_tell_is_not_risked(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object) -> None:
        raise ClusterUnreachableError("cluster", "it does not answer", "start it")

    monkeypatch.setattr(live, "read", silent)
    unasked: Any = None
    told = database_image.no_way_back(unasked, TEA, with_server(NOW).to_dict(), with_server(NEXT))
    assert "it is not rolled back" in str(told)


def before_engine(
    monkeypatch: pytest.MonkeyPatch, to: DesiredStore, *, applied: DesiredStore | None, scope: Scope | None = None,
    failure: str | None = None, backed_up: bool = True,
) -> tuple[dict[str, StoreOutcome], list[tuple[str, str, str]]]:  # fmt: skip
    """Return the outcomes of stores that stay, and the backups that were taken: store, reason, note."""
    made: list[tuple[str, str, str]] = []

    def take(_run: RunContext, _leases: object, store_id: str, reason: str, *, note: str) -> str:
        made.append((store_id, reason, note))
        if failure is not None:
            raise StoreFailedError(f"store '{store_id}'", failure, "try again")
        return "f" * 64

    monkeypatch.setattr(backups, "taken", take)
    monkeypatch.setattr(
        "audit.phases.database_servers.environment_values", lambda *_: {"backup": {"enabled": backed_up}}
    )
    observation = seen(known=True, applied=None if applied is None else applied.to_dict(), rows=(row("Ready"),))
    observation = replace(observation, desired={TEA: to})
    change = Change(TEA, "tea", "alice", "01", "store.update", {})
    return database_servers.before_another(run(scope), observation, (change,), (), {}), made


@pytest.mark.parametrize("to", [PATCH, NEXT])
def test_a_store_is_backed_up_before_its_database_gets_another_image(
    monkeypatch: pytest.MonkeyPatch, lives: Callable[..., None], to: str
) -> None:
    lives(NOW, pod(NOW, ready=True))
    stay, made = before_engine(monkeypatch, with_server(to), applied=with_server(NOW))
    assert (stay, made) == ({}, [(TEA, "pre-upgrade", f"before MariaDB {NOW} becomes {to}")])


def test_a_store_whose_backup_fails_keeps_its_database_as_it_is(
    monkeypatch: pytest.MonkeyPatch, lives: Callable[..., None]
) -> None:
    lives(NOW, pod(NOW, ready=True))
    stay, _ = before_engine(monkeypatch, with_server(NEXT), applied=with_server(NOW), failure="the volume is full")
    assert (stay[TEA].outcome, stay[TEA].status, stay[TEA].reached_engine) == ("failure", "Failed", False)
    assert f"it stays as it was: the backup before MariaDB {NOW} becomes {NEXT} failed" in str(stay[TEA].reason)


def test_a_change_of_something_else_asks_the_cluster_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("it was asked")

    monkeypatch.setattr(live, "pods", asked)
    wanted = with_server(NOW, store={"title": "Other"})
    assert before_engine(monkeypatch, wanted, applied=with_server(NOW)) == ({}, [])


@pytest.mark.parametrize(
    "unlike",
    [
        {"to": with_server(NOW, store={"title": "Other"})},
        {"scope": Scope("store.upgrade", {TEA: {}})},
        {"backed_up": False},
        {"applied": None},
    ],
    ids=["the same image", "an upgrade has made its own", "no backups here", "nothing to lose"],
)
def test_no_other_change_is_backed_up(
    monkeypatch: pytest.MonkeyPatch, lives: Callable[..., None], unlike: dict[str, Any]
) -> None:
    lives(NOW, pod(NOW, ready=True))
    asked = {"to": with_server(NEXT), "applied": with_server(NOW), **unlike}
    assert before_engine(monkeypatch, asked.pop("to"), **asked) == ({}, [])


def test_a_database_that_does_not_run_can_be_healed_by_another_image(
    monkeypatch: pytest.MonkeyPatch, lives: Callable[..., None]
) -> None:
    lives(NEXT, pod(NEXT, state="waiting"))
    assert before_engine(monkeypatch, with_server(NOW), applied=with_server(NEXT)) == ({}, [])


@pytest.mark.parametrize("applied", [with_server(NEXT), None], ids=["applied", "its release had failed"])
def test_data_of_a_newer_server_never_goes_to_an_older_one(
    monkeypatch: pytest.MonkeyPatch, lives: Callable[..., None], applied: DesiredStore | None
) -> None:
    lives(NEXT, pod(NEXT, state="waiting", last="terminated"))
    stay, made = before_engine(monkeypatch, with_server(NOW), applied=applied)
    assert made == []
    assert stay[TEA].reason == (
        f"it stays as it was: its data is that of MariaDB 12.3, which {NOW} cannot read; name an image of 12.3 or "
        f"newer in database.image, or take its data to a new store by `stores restore {TEA} --as NAME`"
    )


@pytest.mark.parametrize(
    ("to", "backed_up", "told"),
    [
        (PATCH, True, "a backup is made first"),
        (NEXT, True, "a backup is made first, and it is not rolled back if the change fails"),
        (PATCH, False, "NO backup is made first, since backup.enabled is false"),
    ],
)
def test_a_plan_says_what_is_done_before_the_database_changes(to: str, *, backed_up: bool, told: str) -> None:
    observation = seen(applied=with_server(NOW).to_dict(), rows=(row("Ready"),))
    wanted = with_server(to, backup={"enabled": backed_up})
    (plan,) = observations.plan_stores(replace(observation, desired={TEA: wanted}))
    assert plan.reason == f"MariaDB {NOW} becomes {to}, and the shop is away until it runs: {told}"
