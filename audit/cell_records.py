"""What was last applied to each cell, and by what; an older program or checkout refuses to run over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from audit import leases
from audit.records import CellRecord, Lease
from audit.tables import cells


def find(connection: Connection, environment: str, cell: str) -> CellRecord | None:
    """Return what was last applied to the cell; None where nothing was."""
    query = select(cells).where(cells.c.environment == environment, cells.c.cell == cell)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return CellRecord(
        row.environment,
        row.cell,
        row.manifest_digest,
        row.commit_id,
        row.program_version,
        row.cluster_uid,
        row.applied_at,
        row.run_id,
    )


def put(
    connection: Connection, environment: str, cell: str, values: Mapping[str, Any], *, held: Sequence[Lease]
) -> None:
    """Leave on record what was applied to the cell; `values` by column. Raises LockedError if a lease was lost."""
    leases.check_held(connection, environment, held, None)
    this = (cells.c.environment == environment, cells.c.cell == cell)
    if connection.execute(select(cells.c.cell).where(*this).with_for_update()).one_or_none() is None:
        connection.execute(insert(cells).values(environment=environment, cell=cell, **values))
    else:
        connection.execute(update(cells).where(*this).values(**values))
