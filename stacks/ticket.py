"""A ticket: the gate's leave for one plain `pulumi up` of a protected environment.

It is signed with the platform key and says exactly what was admitted. The program obeys it and can ask nobody, so
everything that the gate decided stands in it. It holds no secret.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from stacks.errors import RefusedError, UsageError
from stacks.platform_key import PlatformKey

VARIABLE: Final = "STORES_TICKET_FILE"
FORMAT: Final = 1
_AGAIN: Final = "get a new one with `stores admit`"


@dataclass(frozen=True)
class Ticket:
    """What one run was admitted for. `frozen` holds what stores must stay, as they were applied, by id.

    `withheld` stores were not admitted and are not created.
    """

    environment: str
    run_id: str
    manifest_digest: str
    cluster_uid: str
    cells: tuple[str, ...]
    withheld: tuple[str, ...]
    frozen: Mapping[str, Mapping[str, Any]]
    expires_at: datetime

    def write(self, file: Path, key: PlatformKey) -> None:
        """Put the signed ticket into a new file that only its owner reads. Raises UsageError where one is already."""
        body = self._body()
        document = {"ticket": json.loads(body), "signature": key.sign("ticket", body)}
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise UsageError(f"ticket {file}", "the file exists already", "name another, or remove it") from None
        except OSError as error:
            raise UsageError(f"ticket {file}", f"it cannot be written: {error.strerror}", "name another") from None
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(document, stream, indent=1, sort_keys=True)

    @classmethod
    def read(cls, file: Path, key: PlatformKey) -> Ticket:
        """Return the ticket in a file. Raises UsageError when it is none, RefusedError when it is not of our making."""
        where = f"ticket {file}"
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            fields, signature = document["ticket"], document["signature"]
            ticket = cls(
                environment=str(fields["environment"]),
                run_id=str(fields["run_id"]),
                manifest_digest=str(fields["manifest_digest"]),
                cluster_uid=str(fields["cluster_uid"]),
                cells=tuple(fields["cells"]),
                withheld=tuple(fields["withheld"]),
                frozen=dict(fields["frozen"]),
                expires_at=datetime.fromisoformat(fields["expires_at"]),
            )
            known = fields["format"] == FORMAT and isinstance(signature, str)
        except OSError as error:
            raise UsageError(where, f"it cannot be read: {error.strerror}", _AGAIN) from None
        except (ValueError, TypeError, KeyError):
            raise UsageError(where, "it is no ticket", _AGAIN) from None
        body = ticket._body()
        if not known or json.loads(body) != fields or not hmac.compare_digest(key.sign("ticket", body), signature):
            raise RefusedError(where, "its signature does not fit: it was edited, or made with another key", _AGAIN)
        return ticket

    def check(self, *, environment: str, cell: str, manifest_digest: str, now: datetime | None = None) -> None:
        """Raise RefusedError unless the ticket is for this cell and these files, and still holds."""
        where = f"ticket of run {self.run_id}"
        if self.environment != environment or cell not in self.cells:
            told = f"{self.environment}, cells {', '.join(self.cells)}"
            raise RefusedError(where, f"it is for {told}, not for {environment}, cell {cell}", _AGAIN)
        if self.manifest_digest != manifest_digest:
            raise RefusedError(where, "the manifest was changed since", _AGAIN)
        if (now or datetime.now(UTC)) >= self.expires_at:
            raise RefusedError(where, f"it ended at {self.expires_at:%Y-%m-%dT%H:%M:%SZ}", _AGAIN)

    def _body(self) -> str:
        fields = {**asdict(self), "format": FORMAT, "expires_at": self.expires_at.isoformat()}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def from_environment(key: PlatformKey) -> Ticket | None:
    """Return the ticket that the process's environment names, or None where it names none."""
    file = os.environ.get(VARIABLE)
    return Ticket.read(Path(file), key) if file else None
