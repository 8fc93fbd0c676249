"""Every error that a person can meet, and the exit code of each cause.

The text of an error always has three parts: where, what is wrong (with the value), what to do.
Only `cli` turns an error into an exit; nothing else may end the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong, at one place.

    `where` is `file:line`, a store id, or the name of a part of the platform.
    """

    where: str
    what: str
    cure: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.cure}"


class StoresError(Exception):
    """A failure that names its cause. Subclasses fix the exit code; raising this class itself is a defect of ours."""

    exit_code: ClassVar[int] = 1

    def __init__(self, where: str, what: str, cure: str) -> None:
        self.problems: tuple[Problem, ...] = (Problem(where, what, cure),)
        super().__init__(str(self.problems[0]))

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> StoresError:
        """Return one error that reports every problem, in the given order. `problems` must not be empty."""
        error = cls(problems[0].where, problems[0].what, problems[0].cure)
        error.problems = tuple(problems)
        error.args = ("\n".join(str(problem) for problem in problems),)
        return error


class InternalError(StoresError):
    """A defect of this program: it is shown with its trace."""

    exit_code = 1


class UsageError(StoresError):
    """The command was called wrongly, or on a machine where it cannot work."""

    exit_code = 2


class ManifestError(StoresError):
    """stores.yaml, owners.yaml, values or settings are wrong. Nothing was changed."""

    exit_code = 3


class OverLimitError(StoresError):
    """A limit stands in the way of at least one store. What was within the limits was done."""

    exit_code = 4


class DatabaseUnreachableError(StoresError):
    """The ledger cannot be read or written, so nothing was changed."""

    exit_code = 5


class StoreFailedError(StoresError):
    """At least one store did not become what the manifest says; the others did."""

    exit_code = 6


class ClusterUnreachableError(StoresError):
    """The cluster, the engine or one of its plugins cannot be reached or does not fit."""

    exit_code = 7


class LockedError(StoresError):
    """Somebody else is changing the same cell, or the same request is in flight."""

    exit_code = 8


class AuditIncompleteError(StoresError):
    """The audit log lacks the outcome of a change that was made, or it is not what was written."""

    exit_code = 9


class ChangesPendingError(StoresError):
    """The plan is not empty. Only raised when `--detailed-exitcode` asks for it."""

    exit_code = 10


class RefusedError(StoresError):
    """What was asked is too dangerous to do, whatever is confirmed."""

    exit_code = 11


class CancelledError(StoresError):
    """A person or a signal stopped the run. What had begun is recorded as cancelled."""

    exit_code = 130


ALL_ERRORS: tuple[type[StoresError], ...] = (
    InternalError,
    UsageError,
    ManifestError,
    OverLimitError,
    DatabaseUnreachableError,
    StoreFailedError,
    ClusterUnreachableError,
    LockedError,
    AuditIncompleteError,
    ChangesPendingError,
    RefusedError,
    CancelledError,
)
