"""The ledger's tables, as the statements see them. `audit/migrations` makes them; a test compares the two.

Times are whole microseconds since 1970 in a BIGINT: exact on every database, and what is hashed is what is stored.
Text compares byte for byte and with its trailing blanks, also on MariaDB.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

NAME_LENGTH: Final = 128
REASON_LENGTH: Final = 4000

# The row of `slots` that counts all owners of an environment together. It sorts before every owner, and whoever
# changes slots, stores or intents of the environment locks it first.
ALL_OWNERS: Final = ""

HEAD_ID: Final = 1


def to_us(moment: datetime) -> int:
    """Return an aware time as whole microseconds since 1970."""
    return (moment - EPOCH) // MICROSECOND


def from_us(microseconds: int) -> datetime:
    """Return whole microseconds since 1970 as an aware time in UTC."""
    return EPOCH + microseconds * MICROSECOND


class Moment(TypeDecorator[datetime]):
    """An aware time, stored as whole microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Return what is stored."""
        return None if value is None else to_us(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return what was meant."""
        return None if value is None else from_us(value)


_OPTIONS: Final[dict[str, Any]] = {
    "mariadb_engine": "InnoDB",
    "mariadb_default_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}

metadata = MetaData()


def _name(column: str, *, primary_key: bool = False, nullable: bool = False) -> Column[str]:
    return Column(column, String(NAME_LENGTH), primary_key=primary_key, nullable=nullable)


audit_logs = Table(
    "audit_logs",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("entry_id", String(36), nullable=False, unique=True),
    _name("run_id", nullable=True),
    Column("actor", String(255), nullable=False),
    Column("actor_kind", String(16), nullable=False),
    Column("source_ip", String(64)),
    Column("occurred_at", Moment, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    _name("environment", nullable=True),
    Column("store_id", String(255)),
    Column("owner", String(255)),
    _name("action"),
    Column("outcome", String(16), nullable=False),
    Column("reason", Text),
    Column("metadata", Text, nullable=False),
    # The backstop of the head row's lock: two entries can never follow the same one.
    Column("prev_hash", String(64), nullable=False, unique=True),
    Column("hash", String(64), nullable=False),
    Index("audit_logs_by_store", "environment", "store_id", "seq"),
    Index("audit_logs_by_owner", "environment", "owner", "seq"),
    Index("audit_logs_by_run", "run_id"),
    Index("audit_logs_by_time", "recorded_at"),
    CheckConstraint("outcome IN ('unknown', 'success', 'failure', 'cancelled', 'denied')", name="audit_logs_outcome"),
    **_OPTIONS,
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("chain_id", String(36), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    # The last entry that was archived and purged: the log begins behind it. 0: it begins with its first entry.
    Column("purged_seq", BigInteger, nullable=False, server_default="0"),
    Column("purged_hash", String(64), nullable=False, server_default=""),
    CheckConstraint(f"id = {HEAD_ID}", name="audit_head_single"),
    **_OPTIONS,
)

slots = Table(
    "slots",
    metadata,
    _name("environment", primary_key=True),
    _name("owner", primary_key=True),
    Column("used", Integer, nullable=False),
    # What the last admission allowed at most. A backstop: a statement that adds more fails, whatever the rules say.
    Column("ceiling", Integer, nullable=False),
    CheckConstraint("used >= 0 AND used <= ceiling", name="slots_within_ceiling"),
    **_OPTIONS,
)

stores = Table(
    "stores",
    metadata,
    _name("environment", primary_key=True),
    _name("store_id", primary_key=True),
    _name("name"),
    _name("owner"),
    _name("cell"),
    Column("status", String(16), nullable=False),
    Column("status_reason", Text),
    Column("since_at", Moment, nullable=False),
    Column("ready_at", Moment),
    Column("pending_until", Moment),
    Column("holds_slot", Integer, nullable=False),
    Column("url", Text),
    Column("content", String(64)),
    _name("run_id", nullable=True),
    Column("created_at", Moment, nullable=False),
    Index("stores_by_owner", "environment", "owner"),
    CheckConstraint(
        "(holds_slot = 0 AND status IN ('Pending', 'Deleting', 'Deleted'))"
        " OR (holds_slot = 1 AND status IN ('Provisioning', 'Ready', 'Failed', 'Deleting'))",
        name="stores_slot_fits_status",
    ),
    **_OPTIONS,
)

# One row per admitted change: the intent, and later its outcome. It is also the hourly log: a row with `creation` = 1
# counts from `admitted_at` on.
intents = Table(
    "intents",
    metadata,
    _name("run_id", primary_key=True),
    _name("store_id", primary_key=True),
    Column("number", Integer, nullable=False),  # the place in the request
    _name("environment"),
    _name("owner"),
    _name("cell"),
    _name("action"),
    Column("creation", Integer, nullable=False),
    Column("admitted_at", Moment, nullable=False),
    Column("fencing", BigInteger),
    Column("outcome", String(16)),
    Column("status", String(16)),
    Column("reason", Text),
    Column("url", Text),
    Column("metadata", Text),
    Column("settled_at", Moment),
    Index("intents_by_start", "environment", "owner", "creation", "admitted_at"),
    Index("intents_by_outcome", "environment", "outcome"),
    **_OPTIONS,
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("actor_kind", String(16), primary_key=True),
    Column("actor", String(255), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    _name("run_id"),
    Column("claimed_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("idempotency_keys_by_expiry", "expires_at"),
    **_OPTIONS,
)

leases = Table(
    "leases",
    metadata,
    _name("environment", primary_key=True),
    _name("cell", primary_key=True),
    Column("fencing", BigInteger, nullable=False),
    Column("actor", String(255), nullable=False),
    Column("actor_kind", String(16), nullable=False),
    Column("source_ip", String(64)),
    Column("host", String(255), nullable=False),
    Column("pid", BigInteger, nullable=False),
    _name("run_id"),
    Column("ttl_s", Integer, nullable=False),
    Column("acquired_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("released_at", Moment),
    **_OPTIONS,
)

cells = Table(
    "cells",
    metadata,
    _name("environment", primary_key=True),
    _name("cell", primary_key=True),
    _name("manifest_digest"),
    _name("commit_id", nullable=True),
    _name("program_version"),
    _name("cluster_uid", nullable=True),
    Column("applied_at", Moment, nullable=False),
    _name("run_id", nullable=True),
    **_OPTIONS,
)
