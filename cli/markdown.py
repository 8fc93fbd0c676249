"""A plan as a comment for a pull request. Pure: the same plan always gives the same text.

What a pull request brings along (titles, names, reasons) can hold anything, so every value stands as code in which no
character means anything: no table breaks, nobody is mentioned, nothing is linked. The cluster's address is left out,
since a pull request may be public.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from cli.render import counts

if TYPE_CHECKING:
    from audit.plan import LimitUse, Plan, PropertyChange, StorePlan

LONGEST: Final = 60_000
"""How many characters a comment may have; the usual services take 65,536."""

_LONGEST_VALUE: Final = 60
_LONGEST_TEXT: Final = 400  # names, reasons and denials, which end with what to do
_MOST_CHANGES: Final = 50
_SAFE: Final = frozenset(" -./,=%+")
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

_REFUSED: Final = (
    '**Refused:** what stands under "Data in danger" would replace, move or shrink a store\'s data. `stores up` does '
    "nothing of this plan until that is undone; data moves by backup and restore."
)
_DANGER: Final = "Data in danger"
_DENIED: Final = "Denied by a limit"
_REMOVED: Final = "Removed"
# In the order in which people should read them.
_HEADINGS: Final = (_DANGER, _REMOVED, _DENIED, "Changed", "Created", "Leaving", "Held")
_BY_ACTION: Final = {
    "delete": _REMOVED,
    "scheduled": _REMOVED,
    "leaving": "Leaving",
    "update": "Changed",
    "retry": "Changed",
    "create": "Created",
    "held": "Held",
}


def plan_comment(plan: Plan) -> str:
    """Return the plan as GitHub's Markdown: what endangers data first, then what goes, what changes, what comes.

    The first line is a comment that stays the same for an environment: by it, a script finds the comment to replace.
    Where room runs out, a store is told without its changes, and at last only counted.
    """
    head = f"<!-- stores plan {plan.environment} -->\n### Plan for {code(plan.environment)}\n\n{counts(plan)}\n"
    if plan.refused:
        head += f"\n{_REFUSED}\n"
    tail = "" if plan.empty else _limits(plan.limits)
    return head + _stores(plan, LONGEST - len(head) - len(tail)) + tail


def code(value: Any, *, longest: int = _LONGEST_TEXT) -> str:
    """Return a value as code for a cell or a line: without any character that Markdown or a mention knows."""
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    if len(text) > longest:
        text = f"{text[: longest - 3]}..."
    return f"<code>{''.join(_character(character) for character in text)}</code>"


def _character(character: str) -> str:
    """Return the character, as an entity where it could mean something, spelt out where it could not be seen."""
    if character == "\n":
        return "&#92;n"
    if unicodedata.category(character) in _INVISIBLE:
        return f"&#92;u{ord(character):04x}"
    if character.isalnum() or character in _SAFE:
        return character
    return f"&#{ord(character)};"


def _stores(plan: Plan, room: int) -> str:
    """Return the stores under their headings, each with its changes while all that follow can still be named."""
    ordered = [(heading, store) for heading in _HEADINGS for store in plan.stores if _heading(store) == heading]
    parts: list[str] = []
    left_out = 0
    room -= 200  # for the line that says how many are left out
    needed = sum(len(_store(store, brief=True)) + len(_title(heading)) for heading, store in ordered)
    last = None
    for heading, store in ordered:
        title = "" if heading == last else _title(heading)
        brief, full = title + _store(store, brief=True), title + _store(store)
        needed -= len(_store(store, brief=True)) + len(_title(heading))
        part = full if len(full) + needed <= room else brief
        if left_out or len(part) > room:
            left_out += 1
            continue
        parts.append(part)
        room -= len(part)
        last = heading
    if left_out:
        parts.append(f"\n**{left_out} more stores do not fit into a comment; `stores plan` shows them.**\n")
    return "".join(parts)


def _title(heading: str) -> str:
    return f"\n#### {heading}\n"


def _heading(store: StorePlan) -> str | None:
    """Return under which heading a store stands; None: nothing happens to it."""
    if store.dangers:
        return _DANGER
    return _DENIED if store.denial is not None else _BY_ACTION.get(store.action.value)


def _store(store: StorePlan, *, brief: bool = False) -> str:
    lines = [
        "",
        f"{code(store.store_id)}: **{store.action.value}**, owner {code(store.owner)}, cell {code(store.cell)}",
    ]
    if store.resources:
        lines[-1] += "; resources: " + ", ".join(f"{count} {name}" for name, count in sorted(store.resources.items()))
    if store.reason:
        lines[-1] += f"; {code(store.reason)}"
    if store.denial is not None:
        lines += ["", f"**Denied:** {code(store.denial)}"]
    if store.changes and brief:
        danger = f"; **{len(store.dangers)} would replace, move or shrink data**" if store.dangers else ""
        lines += ["", f"{len(store.changes)} properties differ{danger}; `stores plan` shows them."]
    elif store.changes:
        lines += ["", "| property | before | after | |", "|---|---|---|---|", *_changes(store.changes)]
    return "\n".join([*lines, ""])


def _changes(changes: Sequence[PropertyChange]) -> Iterator[str]:
    """Yield a row for each change, those that endanger data first; at most a bearable number of them."""
    ordered = sorted(changes, key=lambda change: (not change.danger, change.path))
    for change in ordered[:_MOST_CHANGES]:
        mark = "**would replace, move or shrink data**" if change.danger else ""
        before, after = (code(value, longest=_LONGEST_VALUE) for value in (change.before, change.after))
        yield f"| {code(change.path)} | {before} | {after} | {mark} |"
    if len(ordered) > _MOST_CHANGES:
        yield f"| {len(ordered) - _MOST_CHANGES} more | | | |"


def _limits(limits: Sequence[LimitUse]) -> str:
    """Return the limits whose use changes or that are used up."""
    shown = [use for use in limits if use.before != use.after or use.after >= use.limit]
    if not shown:
        return ""
    rows = [f"| {code(use.name)} | {use.before} | {use.after} | {use.limit} |" for use in shown]
    text = "\n".join(["\n#### Limits", "", "| limit | now | after | at most |", "|---|---:|---:|---:|", *rows, ""])
    others = len(limits) - len(shown)
    return f"{text}\n{others} other limits stay as they are.\n" if others else text
