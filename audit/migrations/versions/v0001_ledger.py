"""The ledger: audit log with its chain, slots, stores, intents, idempotency keys, leases, cells."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_OPTIONS: dict[str, Any] = {
    "mariadb_engine": "InnoDB",
    "mariadb_default_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}


def upgrade() -> None:
    _create_log()
    _create_stores()
    _create_coordination()
    _seal_log()
    chain_id = str(uuid.uuid4())
    genesis = hashlib.sha256(b"stores-audit-1\0genesis\0" + chain_id.encode()).hexdigest()
    head = sa.table("audit_head", sa.column("id"), sa.column("chain_id"), sa.column("seq"), sa.column("hash"))
    op.execute(head.insert().values(id=1, chain_id=chain_id, seq=0, hash=genesis))


def _create_log() -> None:
    op.create_table(
        "audit_logs",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("entry_id", sa.String(36), nullable=False, unique=True),
        sa.Column("run_id", sa.String(128)),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("actor_kind", sa.String(16), nullable=False),
        sa.Column("source_ip", sa.String(64)),
        sa.Column("occurred_at", sa.BigInteger, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("environment", sa.String(128)),
        sa.Column("store_id", sa.String(255)),
        sa.Column("owner", sa.String(255)),
        sa.Column("action", sa.String(128), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("prev_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('unknown', 'success', 'failure', 'cancelled', 'denied')", name="audit_logs_outcome"
        ),
        **_OPTIONS,
    )
    op.create_index("audit_logs_by_store", "audit_logs", ["environment", "store_id", "seq"])
    op.create_index("audit_logs_by_owner", "audit_logs", ["environment", "owner", "seq"])
    op.create_index("audit_logs_by_run", "audit_logs", ["run_id"])
    op.create_index("audit_logs_by_time", "audit_logs", ["recorded_at"])
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("chain_id", sa.String(36), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.CheckConstraint("id = 1", name="audit_head_single"),
        **_OPTIONS,
    )


def _create_stores() -> None:
    op.create_table(
        "slots",
        sa.Column("environment", sa.String(128), primary_key=True),
        sa.Column("owner", sa.String(128), primary_key=True),
        sa.Column("used", sa.Integer, nullable=False),
        sa.Column("ceiling", sa.Integer, nullable=False),
        sa.CheckConstraint("used >= 0 AND used <= ceiling", name="slots_within_ceiling"),
        **_OPTIONS,
    )
    op.create_table(
        "stores",
        sa.Column("environment", sa.String(128), primary_key=True),
        sa.Column("store_id", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("cell", sa.String(128), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("status_reason", sa.Text),
        sa.Column("since_at", sa.BigInteger, nullable=False),
        sa.Column("ready_at", sa.BigInteger),
        sa.Column("pending_until", sa.BigInteger),
        sa.Column("holds_slot", sa.Integer, nullable=False),
        sa.Column("url", sa.Text),
        sa.Column("content", sa.String(64)),
        sa.Column("run_id", sa.String(128)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint(
            "(holds_slot = 0 AND status IN ('Pending', 'Deleting', 'Deleted'))"
            " OR (holds_slot = 1 AND status IN ('Provisioning', 'Ready', 'Failed', 'Deleting'))",
            name="stores_slot_fits_status",
        ),
        **_OPTIONS,
    )
    op.create_index("stores_by_owner", "stores", ["environment", "owner"])
    op.create_table(
        "intents",
        sa.Column("run_id", sa.String(128), primary_key=True),
        sa.Column("store_id", sa.String(128), primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("environment", sa.String(128), nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("cell", sa.String(128), nullable=False),
        sa.Column("action", sa.String(128), nullable=False),
        sa.Column("creation", sa.Integer, nullable=False),
        sa.Column("admitted_at", sa.BigInteger, nullable=False),
        sa.Column("fencing", sa.BigInteger),
        sa.Column("outcome", sa.String(16)),
        sa.Column("status", sa.String(16)),
        sa.Column("reason", sa.Text),
        sa.Column("url", sa.Text),
        sa.Column("metadata", sa.Text),
        sa.Column("settled_at", sa.BigInteger),
        **_OPTIONS,
    )
    op.create_index("intents_by_start", "intents", ["environment", "owner", "creation", "admitted_at"])
    op.create_index("intents_by_outcome", "intents", ["environment", "outcome"])


def _create_coordination() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("actor_kind", sa.String(16), primary_key=True),
        sa.Column("actor", sa.String(255), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(128), nullable=False),
        sa.Column("claimed_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        **_OPTIONS,
    )
    op.create_index("idempotency_keys_by_expiry", "idempotency_keys", ["expires_at"])
    op.create_table(
        "leases",
        sa.Column("environment", sa.String(128), primary_key=True),
        sa.Column("cell", sa.String(128), primary_key=True),
        sa.Column("fencing", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("actor_kind", sa.String(16), nullable=False),
        sa.Column("source_ip", sa.String(64)),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("run_id", sa.String(128), nullable=False),
        sa.Column("ttl_s", sa.Integer, nullable=False),
        sa.Column("acquired_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("released_at", sa.BigInteger),
        **_OPTIONS,
    )
    op.create_table(
        "cells",
        sa.Column("environment", sa.String(128), primary_key=True),
        sa.Column("cell", sa.String(128), primary_key=True),
        sa.Column("manifest_digest", sa.String(128), nullable=False),
        sa.Column("commit_id", sa.String(128)),
        sa.Column("program_version", sa.String(128), nullable=False),
        sa.Column("cluster_uid", sa.String(128)),
        sa.Column("applied_at", sa.BigInteger, nullable=False),
        sa.Column("run_id", sa.String(128)),
        **_OPTIONS,
    )


def _seal_log() -> None:
    """Refuse changes of the log to everybody, the database's owner too: it takes a deliberate DROP TRIGGER."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    for table, event, when, message in (
        ("audit_logs", "UPDATE", None, "audit_logs is append-only"),
        ("audit_logs", "DELETE", None, "audit_logs is append-only"),
        ("audit_head", "DELETE", None, "audit_head is never deleted"),
        ("audit_head", "UPDATE", "NEW.seq <= OLD.seq OR NEW.chain_id <> OLD.chain_id", "audit_head only grows"),
    ):
        name = f"{table}_no_{event.lower()}"
        if sqlite:
            condition = f"WHEN {when} " if when else ""
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW {condition}"
                f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
            )
        else:
            signal = f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{message}'"
            body = f"BEGIN IF {when} THEN {signal}; END IF; END" if when else signal
            op.execute(f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW {body}")
    if sqlite:
        # INSERT OR REPLACE removes the old row without asking its DELETE trigger.
        op.execute(
            "CREATE TRIGGER audit_logs_no_replace BEFORE INSERT ON audit_logs FOR EACH ROW"
            " WHEN NEW.seq <= (SELECT MAX(seq) FROM audit_logs)"
            " BEGIN SELECT RAISE(ABORT, 'audit_logs is append-only'); END"
        )
