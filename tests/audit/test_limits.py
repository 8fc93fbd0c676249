"""The rules of the limits, at every boundary and as laws."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.limits import (
    NO_OWN_LIMITS,
    Claim,
    Limits,
    OwnerLimits,
    Tally,
    Verdict,
    judge,
    own_limits,
    retry_at,
    within_window,
)
from stacks.manifest import Owner
from stacks.settings import Settings

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)
NEW = Claim("alice", new=True)
DEFAULTS = Limits()


def verdicts(
    claims: Sequence[Claim],
    *,
    used: int = 0,
    total: int | None = None,
    starts: Sequence[datetime] = (),
    limits: Limits = DEFAULTS,
    own: OwnerLimits = NO_OWN_LIMITS,
) -> tuple[Verdict, ...]:
    tally = Tally(used if total is None else total, {"alice": used}, {"alice": starts})
    return judge(claims, tally, limits=limits, owner_limits={"alice": own}, now=NOW)


@pytest.mark.parametrize(("used", "allowed"), [(0, True), (8, True), (9, True), (10, False), (11, False)])
def test_an_owner_may_fill_ten_slots_and_no_more(used: int, *, allowed: bool) -> None:
    (verdict,) = verdicts([NEW], used=used)
    assert verdict.allowed is allowed
    assert allowed or verdict == Verdict("stores_per_owner", used, 10, None)


@pytest.mark.parametrize(("total", "allowed"), [(0, True), (98, True), (99, True), (100, False), (101, False)])
def test_an_environment_may_fill_a_hundred_slots_and_no_more(total: int, *, allowed: bool) -> None:
    (verdict,) = verdicts([NEW], total=total)
    assert verdict.allowed is allowed
    assert allowed or verdict == Verdict("stores_total", total, 100, None)


@pytest.mark.parametrize(("starts", "allowed"), [(0, True), (4, True), (5, False), (6, False)])
def test_the_sixth_creation_in_an_hour_is_denied(starts: int, *, allowed: bool) -> None:
    (verdict,) = verdicts([NEW], starts=[NOW] * starts)
    assert verdict.allowed is allowed
    assert allowed or verdict == Verdict("creates_per_hour", starts, 5, NOW + HOUR)


@pytest.mark.parametrize(
    ("age", "counts"),
    [
        (timedelta(0), True),
        (timedelta(minutes=59, seconds=59), True),
        (HOUR - MICROSECOND, True),
        (HOUR, False),
        (HOUR + MICROSECOND, False),
        (-HOUR, True),  # the clock was set back since
    ],
)
def test_a_start_counts_until_exactly_one_window_has_passed(age: timedelta, *, counts: bool) -> None:
    (verdict,) = verdicts([NEW], starts=[NOW - age] * 5)
    assert verdict.allowed is not counts


@pytest.mark.parametrize("limits", [Limits(0, 5, 3600, 100), Limits(10, 0, 3600, 100), Limits(10, 5, 3600, 0)])
def test_a_limit_of_zero_allows_nothing_and_promises_no_time(limits: Limits) -> None:
    (verdict,) = verdicts([NEW], limits=limits)
    assert not verdict.allowed
    assert verdict.retry_at is None


def test_an_owners_own_limits_replace_the_environments() -> None:
    assert [v.allowed for v in verdicts([NEW] * 3, own=OwnerLimits(stores=2))] == [True, True, False]
    assert [v.allowed for v in verdicts([NEW] * 3, own=OwnerLimits(creates_per_hour=1))] == [True, False, False]
    assert verdicts([NEW], used=10, own=OwnerLimits(stores=11))[0].allowed


def test_a_limit_that_time_lifts_is_named_only_when_nothing_else_stands_in_the_way() -> None:
    full_hour = [NOW] * 5
    assert verdicts([NEW], used=10, starts=full_hour)[0].limit == "stores_per_owner"
    assert verdicts([NEW], total=100, starts=full_hour)[0].limit == "stores_total"
    assert verdicts([NEW], used=10, total=100)[0].limit == "stores_per_owner"


def test_the_first_in_the_file_go_and_the_rest_are_told_when_each_can() -> None:
    early, late = NOW - timedelta(minutes=30), NOW - timedelta(minutes=10)
    found = verdicts([NEW] * 5, starts=[late, early], limits=Limits(creates_per_hour=3))
    assert [v.allowed for v in found] == [True, False, False, False, False]
    # The slots of the hour come free one by one, and then those that used them first.
    assert [v.retry_at for v in found[1:]] == [early + HOUR, late + HOUR, NOW + HOUR, early + HOUR + HOUR]


def test_who_waits_for_an_hour_takes_the_last_slot_from_those_behind_him() -> None:
    found = verdicts([NEW] * 7, used=4)
    assert [v.limit for v in found[5:]] == ["creates_per_hour", "stores_per_owner"]
    assert found[5].retry_at == NOW + HOUR
    assert (found[6].used, found[6].limit_value, found[6].waiting, found[6].retry_at) == (9, 10, 1, None)
    assert [v.limit for v in verdicts([NEW] * 7, used=3)[5:]] == ["creates_per_hour"] * 2


def test_no_time_is_told_when_others_take_the_environments_last_slots_now() -> None:
    limits = Limits(creates_per_hour=1)
    claims = [NEW, NEW, Claim("bob", new=True)]
    found = judge(claims, Tally(98, {}, {}), limits=limits, owner_limits={}, now=NOW)
    assert [v.limit for v in found] == [None, "stores_total", None]
    assert (found[1].used, found[1].waiting, found[1].retry_at) == (100, 0, None)
    found = judge([*claims, Claim("bob", new=True)], Tally(97, {}, {}), limits=limits, owner_limits={}, now=NOW)
    assert [v.limit for v in found] == [None, "creates_per_hour", None, "stores_total"]
    assert (found[3].used, found[3].waiting) == (99, 1)


def test_a_limit_that_never_lets_go_keeps_no_slot_for_who_waits() -> None:
    found = verdicts([NEW] * 3, used=9, limits=Limits(creates_per_hour=0))
    assert [(v.limit, v.retry_at) for v in found] == [("creates_per_hour", None)] * 3


def test_a_denied_claim_leaves_room_for_a_later_one_of_another_owner() -> None:
    tally = Tally(99, {"alice": 10}, {})
    found = judge([NEW, Claim("bob", new=True), Claim("bob", new=True)], tally,
                  limits=Limits(), owner_limits={}, now=NOW)  # fmt: skip
    assert [v.limit for v in found] == ["stores_per_owner", None, "stores_total"]


def test_retry_update_and_delete_need_no_room() -> None:
    assert verdicts([Claim("alice")], used=11, total=101, starts=[NOW] * 9)[0].allowed


def test_an_owner_change_needs_a_slot_of_the_new_owner_alone_and_frees_the_old_ones() -> None:
    move = Claim("alice", moved_from="bob")
    assert verdicts([move], used=10)[0].limit == "stores_per_owner"
    assert verdicts([move], used=9, total=100, starts=[NOW] * 9)[0].allowed
    tally = Tally(11, {"alice": 1, "bob": 10}, {})
    claims = [move, Claim("bob", new=True), Claim("bob", new=True)]
    found = judge(claims, tally, limits=Limits(), owner_limits={}, now=NOW)
    assert [v.allowed for v in found] == [True, True, False]


def test_a_move_fills_a_slot_of_the_new_owner_and_an_update_none() -> None:
    move = Claim("alice", moved_from="bob")
    assert [v.limit for v in verdicts([move, move], used=9)] == [None, "stores_per_owner"]
    assert [v.allowed for v in verdicts([Claim("alice"), Claim("alice"), NEW], used=9)] == [True, True, True]


def test_the_last_store_that_leaves_an_owner_makes_room_for_one() -> None:
    claims = [Claim("bob", new=True), Claim("alice", moved_from="bob"), Claim("bob", new=True)]
    found = judge(claims, Tally(1, {"bob": 1}, {}), limits=Limits(1), owner_limits={}, now=NOW)
    assert [v.limit for v in found] == ["stores_per_owner", None, None]


def test_what_is_allowed_names_no_limit() -> None:
    assert verdicts([NEW], used=3, starts=[NOW]) == (Verdict(None, 0, 0, None),)


def test_the_limits_are_those_of_the_settings_and_of_owners_yaml() -> None:
    settings = Settings(environment="prod", protected=False, stores_per_owner=7, creates_per_hour=3, stores_total=50)
    assert Limits.of_environment(settings) == Limits(7, 3, 3600, 50)
    given = {"alice": {"stores": 3}, "bob": {"createsPerHour": 0}, "carol": {}}
    owners = [Owner.model_validate({"name": n, "contact": "a@b.example", "limits": v}) for n, v in given.items()]
    assert own_limits(owners) == {
        "alice": OwnerLimits(stores=3),
        "bob": OwnerLimits(creates_per_hour=0),
        "carol": NO_OWN_LIMITS,
    }


def test_the_shortest_window_is_a_second() -> None:
    assert Limits(window_s=1).window == timedelta(seconds=1)


@pytest.mark.parametrize("values", [{"stores_per_owner": -1}, {"window_s": 0}, {"stores_total": -1}])
def test_limits_that_make_no_sense_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="limits"):
        Limits(**values)


ages_s = st.lists(st.integers(min_value=-10, max_value=7300), max_size=20)
small = st.integers(min_value=0, max_value=6)


@given(ages=ages_s, limit=st.integers(min_value=1, max_value=6))
def test_at_the_time_told_the_retry_succeeds_and_a_microsecond_before_it_does_not(ages: list[int], limit: int) -> None:
    starts = [NOW - timedelta(seconds=age) for age in ages]
    moment = retry_at(starts, limit=limit, window=HOUR, now=NOW)
    assert moment is not None
    assert moment >= NOW
    assert len(within_window(starts, HOUR, moment)) < limit
    if moment > NOW:
        assert len(within_window(starts, HOUR, moment - MICROSECOND)) >= limit


@given(
    requests=st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans()), max_size=30),
    per_owner=small,
    per_hour=small,
    total=st.integers(min_value=0, max_value=12),
    used=st.dictionaries(st.sampled_from(["a", "b", "c"]), small),
)
def test_what_is_allowed_never_goes_over_any_limit(
    requests: list[tuple[str, bool]], per_owner: int, per_hour: int, total: int, used: dict[str, int]
) -> None:
    limits = Limits(per_owner, per_hour, 3600, total)
    claims = [Claim(owner, new=new) for owner, new in requests]
    found = judge(claims, Tally(sum(used.values()), used, {}), limits=limits, owner_limits={}, now=NOW)
    granted = [claim.owner for claim, verdict in zip(claims, found, strict=True) if verdict.allowed and claim.new]
    assert not granted or sum(used.values()) + len(granted) <= total
    for owner in set(granted):
        assert used.get(owner, 0) + granted.count(owner) <= per_owner
        assert granted.count(owner) <= per_hour
    # Whoever is told a time finds a slot then, with all others that are told one.
    waiting = [claim.owner for claim, verdict in zip(claims, found, strict=True) if verdict.retry_at is not None]
    assert not waiting or sum(used.values()) + len(granted) + len(waiting) <= total
    for owner in set(waiting):
        assert used.get(owner, 0) + granted.count(owner) + waiting.count(owner) <= per_owner
    # Nothing is denied without need: what was denied would have been over a limit when everything allowed is in.
    for claim, verdict in zip(claims, found, strict=True):
        if not verdict.allowed:
            assert claim.new
            assert (
                used.get(claim.owner, 0) + granted.count(claim.owner) >= per_owner
                or granted.count(claim.owner) >= per_hour
                or sum(used.values()) + len(granted) >= total
            )


@given(per_hour=st.integers(min_value=1, max_value=4), count=st.integers(min_value=1, max_value=15), ages=ages_s)
def test_denied_creations_that_go_at_the_times_told_never_break_the_hourly_limit(
    per_hour: int, count: int, ages: list[int]
) -> None:
    starts = [NOW - timedelta(seconds=abs(age)) for age in ages]
    found = verdicts([NEW] * count, starts=starts, limits=Limits(100, per_hour, 3600, 100))
    begun = list(starts) + [NOW for verdict in found if verdict.allowed]
    for verdict in found:
        if not verdict.allowed:
            assert verdict.retry_at is not None
            assert len(within_window([s for s in begun if s <= verdict.retry_at], HOUR, verdict.retry_at)) < per_hour
            begun.append(verdict.retry_at)
