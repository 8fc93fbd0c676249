"""What a reader may ask, as procedures of the owner: on MariaDB, a right to SELECT is a right to hold rows.

Tried on 10.11 with a view that is materialised (ALGORITHM=TEMPTABLE) and a reader who may only SELECT from it:
`FOR UPDATE` and `LOCK IN SHARE MODE` lock nothing, but under SERIALIZABLE every SELECT does, and so do `SET @x =
(SELECT ...)`, `DO (SELECT ...)`, `SHOW ... WHERE (SELECT ...)` and an IF in an anonymous block. A procedure ends the
caller's transaction first, reads in one of its own that locks nothing, and ends that: whatever the caller has set,
nothing stays held.
"""

from __future__ import annotations

from collections.abc import Sequence

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NAME = "VARCHAR(255) CHARACTER SET utf8mb4"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return  # whoever can read the file can lock it
    _procedure("read_stores", [("environment", _NAME)], "SELECT * FROM stores", _given("environment"))
    _procedure(
        "read_starts",
        [("environment", _NAME), ("since", "BIGINT")],
        "SELECT owner, admitted_at FROM intents",
        [*_given("environment"), ("creation = 1 AND admitted_at > ?", "p_since")],
    )
    filters = ("environment", "store_id", "owner", "actor", "action", "run_id", "outcome")
    _procedure(
        "read_entries",
        [
            *((name, _NAME) for name in filters),
            ("since", "BIGINT"),
            ("until", "BIGINT"),
            ("after_seq", "BIGINT"),
            ("before_seq", "BIGINT"),
            ("ascending", "INT"),
            ("rows", "INT"),
        ],
        "SELECT * FROM audit_logs",
        [
            *_given(*filters),
            _bound("recorded_at >= ?", "p_since"),
            _bound("recorded_at < ?", "p_until"),
            _bound("seq > ?", "p_after_seq"),
            _bound("seq < ?", "p_before_seq"),
        ],
        "IF(p_ascending, ' ORDER BY seq', ' ORDER BY seq DESC'), ' LIMIT ?'",
        ["p_rows"],
    )
    _procedure(
        "read_entry",
        [("seq", "BIGINT"), ("entry_id", _NAME)],
        "SELECT * FROM audit_logs",
        [("(seq = ? OR entry_id = ?)", "p_seq, p_entry_id")],
    )


def _given(*columns: str) -> list[tuple[str, str]]:
    return [_bound(f"{column} = ?", f"p_{column}") for column in columns]


def _bound(condition: str, parameter: str) -> tuple[str, str]:
    """Return a condition that holds for every row where the parameter is NULL; each way has one placeholder."""
    return f"IF({parameter} IS NULL, '? IS NULL', '{condition}')", parameter


def _procedure(
    name: str,
    parameters: Sequence[tuple[str, str]],
    query: str,
    conditions: Sequence[tuple[str, str]],
    order: str = "''",
    more: Sequence[str] = (),
) -> None:
    """Leave a procedure whose statement is made of constants alone; what is asked for goes in as values."""
    clauses = ", ' AND ', ".join(
        condition if condition.startswith("IF(") else f"'{condition}'" for condition, _ in conditions
    )
    values = ", ".join([*(value for _, value in conditions), *more])
    declared = ", ".join(f"IN p_{parameter} {kind}" for parameter, kind in parameters)
    op.execute(
        # Those who may call it keep that right.
        f"CREATE OR REPLACE PROCEDURE {name}({declared}) MODIFIES SQL DATA SQL SECURITY DEFINER\n"
        "BEGIN\n"
        "  DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK AND NO CHAIN NO RELEASE; RESIGNAL; END;\n"
        # Whatever `completion_type` says; in an XA transaction it fails, and so does the call.
        "  ROLLBACK AND NO CHAIN NO RELEASE;\n"
        "  SET TRANSACTION ISOLATION LEVEL READ COMMITTED;\n"
        "  START TRANSACTION READ ONLY;\n"
        f"  EXECUTE IMMEDIATE CONCAT('{query} WHERE ', {clauses}, {order}) USING {values};\n"
        "  COMMIT AND NO CHAIN NO RELEASE;\n"
        "END"
    )
