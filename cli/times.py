"""Times between people and the program: UTC inside, in JSON and in a pipe; local where a person reads or types.

Texts of the gate carry times as `2026-11-23T14:00:00Z`. Here alone they become local, so that a denial, a lease, a
tombstone and a table say the same clock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from stacks.errors import UsageError

_IN_TEXT: Final = re.compile(r"\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)(?!\w)")
_AGO: Final = re.compile(r"([0-9]{1,6})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
FORMS: Final = "12h, 7d or 2026-11-01T14:00"


def local(at: datetime) -> str:
    """Return a time by the clock on the wall, with the zone's name."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def in_local(text: str) -> str:
    """Return a text with every time in it by the clock on the wall."""

    def shown(found: re.Match[str]) -> str:
        try:
            return local(datetime.fromisoformat(found[1]).replace(tzinfo=UTC))
        except (ValueError, OverflowError):
            return found[0]

    return _IN_TEXT.sub(shown, text)


def parsed(text: str, where: str) -> datetime:
    """Return the time that is meant, in UTC: how long ago (`90m`, `12h`, `7d`), or an ISO date or time.

    A time without a zone is meant as the clock on the wall says. Raises UsageError for anything else.
    """
    try:
        if ago := _AGO.fullmatch(text):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(where, f"{text!r} is no time", f"write e.g. {FORMS}") from None


def option(_context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """Return the value of an option that is a time; see `parsed`."""
    return None if value is None else parsed(value, parameter.opts[0])
