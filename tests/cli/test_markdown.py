"""A plan as a comment: what matters first, and nothing in it that means anything to Markdown."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.plan import Action, LimitUse, Plan, PropertyChange, StorePlan
from cli.markdown import LONGEST, code, plan_comment


def store(store_id: str, action: Action, *changes: PropertyChange, **more: object) -> StorePlan:
    return StorePlan(store_id, "tea", "bob", "01", action, changes, **more)  # type: ignore[arg-type]


CREATED = store("tea-11111", Action.CREATE, resources={"update": 1, "create": 15})
UPDATED = store("tea-22222", Action.UPDATE, PropertyChange("web.memory", "512Mi", "600Mi"))
SHRUNK = store(
    "tea-33333",
    Action.UPDATE,
    PropertyChange("a.title", "Tea", "Tea | Co"),
    PropertyChange("uploads.size", "2Gi", None, danger=True),
)
REMOVED = store("tea-44444", Action.DELETE, reason="tombstoned")
DENIED = store("tea-55555", Action.CREATE, denial="owner 'bob' has 3 of 3 stores")
SAME = store("tea-66666", Action.UNTOUCHED)
LIMITS = (
    LimitUse("stores in all", 4, 4, 100),
    LimitUse("stores of bob", 2, 3, 3),
    LimitUse("stores of eve", 5, 5, 5),
)

GOLDEN = """\
<!-- stores plan prod -->
### Plan for <code>prod</code>

1 to create, 2 to update, 1 to delete, 1 denied, 1 untouched

#### Data in danger

<code>tea-33333</code>: **update**, owner <code>bob</code>, cell <code>01</code>

| property | before | after | |
|---|---|---|---|
| <code>uploads.size</code> | <code>2Gi</code> | (none) | **would replace, move or shrink data** |
| <code>a.title</code> | <code>Tea</code> | <code>Tea &#124; Co</code> |  |

#### Removed

<code>tea-44444</code>: **delete**, owner <code>bob</code>, cell <code>01</code>; <code>tombstoned</code>

#### Denied by a limit

<code>tea-55555</code>: **create**, owner <code>bob</code>, cell <code>01</code>

**Denied:** <code>owner &#39;bob&#39; has 3 of 3 stores</code>

#### Changed

<code>tea-22222</code>: **update**, owner <code>bob</code>, cell <code>01</code>

| property | before | after | |
|---|---|---|---|
| <code>web.memory</code> | <code>512Mi</code> | <code>600Mi</code> |  |

#### Created

<code>tea-11111</code>: **create**, owner <code>bob</code>, cell <code>01</code>; resources: 15 create, 1 update

#### Limits

| limit | now | after | at most |
|---|---:|---:|---:|
| <code>stores of bob</code> | 2 | 3 | 3 |
| <code>stores of eve</code> | 5 | 5 | 5 |

1 other limits stay as they are.
"""


def plan(*stores: StorePlan, limits: tuple[LimitUse, ...] = LIMITS) -> Plan:
    return Plan("prod", "https://10.0.0.1:6443", stores, limits)


def test_a_plan_is_told_with_what_endangers_data_first() -> None:
    assert plan_comment(plan(CREATED, UPDATED, SHRUNK, REMOVED, DENIED, SAME)) == GOLDEN


def test_the_cluster_is_not_named() -> None:
    assert "10.0.0.1" not in plan_comment(plan(CREATED))


def test_a_long_value_is_cut_and_a_denial_is_told_to_its_end() -> None:
    denial = f"owner '{'b' * 63}' has begun 5 of 5 creations within 60 minutes; run again after 2026-03-01T12:00:00Z"
    text = plan_comment(plan(replace(DENIED, denial=denial)))
    assert "12&#58;00&#58;00Z</code>" in text
    changed = PropertyChange("title", "a" * 60, "b" * 61)
    assert f"<code>{'a' * 60}</code> | <code>{'b' * 57}...</code>" in plan_comment(
        plan(store("tea-1", Action.UPDATE, changed))
    )


def test_a_plan_that_does_nothing_says_so_in_one_line() -> None:
    assert plan_comment(plan(SAME)) == (
        "<!-- stores plan prod -->\n### Plan for <code>prod</code>\n\n"
        "nothing to do: 1 stores are as the manifest says\n"
    )


def test_a_denied_change_that_endangers_data_stands_first_and_says_both() -> None:
    text = plan_comment(plan(CREATED, replace(SHRUNK, denial="too many")))
    assert text.index("#### Data in danger") < text.index("too many") < text.index("#### Created")


def test_a_scheduled_removal_is_among_the_removed() -> None:
    text = plan_comment(plan(store("tea-77777", Action.SCHEDULED, reason="kept until 2026-03-08 12:00 UTC")))
    assert "#### Removed\n\n<code>tea-77777</code>: **scheduled**" in text


def test_limits_that_stay_are_not_listed() -> None:
    assert "Limits" not in plan_comment(plan(UPDATED, limits=LIMITS[:1]))


@pytest.mark.parametrize(("count", "more"), [(49, None), (50, None), (51, "| 1 more |")])
def test_many_changes_of_a_store_are_cut_and_the_dangerous_ones_stay(count: int, more: str | None) -> None:
    harmless = [PropertyChange(f"a{number:03}", 0, 1) for number in range(count - 1)]
    text = plan_comment(plan(store("tea-1", Action.UPDATE, *harmless, PropertyChange("z", "2Gi", "1Gi", danger=True))))
    assert "would replace, move or shrink data" in text
    assert (more or "") in text
    assert (" more |" in text) is (more is not None)


def test_a_comment_is_never_longer_than_a_service_takes_and_says_what_is_left_out() -> None:
    changes = [PropertyChange(f"key{number}", "<" * 200, ">" * 200) for number in range(50)]
    many = [store(f"tea-{number:05}", Action.UPDATE, *changes) for number in range(600)]
    text = plan_comment(plan(*many, replace(SHRUNK, store_id="last-00000")))
    assert len(text) <= LONGEST
    assert text.index("last-00000") < text.index("tea-00000") < text.index("50 properties differ; `stores plan`")
    shown = len(re.findall(r"<code>tea-[0-9]{5}</code>: ", text))
    assert 100 < shown < 600
    assert f"**{600 - shown} more stores do not fit into a comment" in text
    assert "#### Limits" in text


def test_a_danger_cannot_be_hidden_behind_long_values() -> None:
    long = [PropertyChange(f"key{number}" + "<" * 100, "<" * 200, ">" * 200, danger=True) for number in range(50)]
    text = plan_comment(plan(*[store(f"tea-{number:05}", Action.UPDATE, *long) for number in range(9)]))
    assert len(text) <= LONGEST
    for number in range(9):
        assert f"<code>tea-{number:05}</code>: **update**" in text
    assert "50 properties differ; **50 would replace, move or shrink data**; `stores plan` shows them." in text


@given(st.text(max_size=100))
def test_no_text_can_leave_its_cell(text: str) -> None:
    inner = code(text).removeprefix("<code>").removesuffix("</code>")
    without_entities = re.sub(r"&#[0-9]+;", "", inner)
    assert all(character.isalnum() or character in " -./,=%+" for character in without_entities)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("@team see #1", "&#64;team see &#35;1"),
        ("a`b`\n| c", "a&#96;b&#96;&#92;n&#124; c"),
        ("</code><img src=x>", "&#60;/code&#62;&#60;img src=x&#62;"),
        ("\u202egpj", "&#92;u202egpj"),
        (["a", {"b": 1}], "&#91;&#34;a&#34;, &#123;&#34;b&#34;&#58; 1&#125;&#93;"),
        (True, "true"),
        ("Caf\u00e9", "Caf\u00e9"),
        ("x" * 401, "x" * 397 + "..."),
        ("x" * 400, "x" * 400),
    ],
)
def test_values_are_shown_as_what_they_are(value: object, shown: str) -> None:
    assert code(value) == f"<code>{shown}</code>"


def test_plan_writes_the_comment_to_stdout_or_a_file(gate, stores, project: Path) -> None:
    done = stores("plan", "--markdown")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("<!-- stores plan local -->\n")
    written = stores("plan", "--markdown", "--output", "comment.md", "--detailed-exitcode")
    assert (written.code, written.out) == (10, "")
    assert (project / "comment.md").read_text() == done.out


@pytest.mark.parametrize("options", [("--markdown", "--json"), ("--output", "x"), ("--json", "--output", "x")])
def test_options_that_do_not_go_together_are_refused(gate, stores, project: Path, options) -> None:
    assert stores("plan", *options).code == 2
    assert gate.calls == []
    assert not (project / "x").exists()
