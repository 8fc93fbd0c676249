"""The log may begin at a checkpoint: what was archived before it can be purged, by the database's owner alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# What the head's row may become: it only grows, keeps its chain, and is purged at most up to its end. A change that
# moves neither end is none of ours.
_HEAD = (
    "NEW.chain_id <> OLD.chain_id OR NEW.seq < OLD.seq OR NEW.purged_seq < OLD.purged_seq OR NEW.purged_seq > NEW.seq"
    " OR (NEW.purged_seq = OLD.purged_seq AND (NEW.seq = OLD.seq OR NEW.purged_hash <> OLD.purged_hash))"
    " OR (NEW.seq = OLD.seq AND NEW.hash <> OLD.hash)"
)
_PURGED = "OLD.seq > (SELECT purged_seq FROM audit_head WHERE id = 1)"


def upgrade() -> None:
    op.add_column("audit_head", sa.Column("purged_seq", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("audit_head", sa.Column("purged_hash", sa.String(64), nullable=False, server_default=""))
    _trigger("audit_logs", "DELETE", _PURGED, "audit_logs is append-only")
    _trigger("audit_head", "UPDATE", _HEAD, "audit_head only grows")


def _trigger(table: str, event: str, when: str, message: str) -> None:
    name = f"{table}_no_{event.lower()}"
    op.execute(f"DROP TRIGGER {name}")
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW WHEN {when}"
            f" BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
    else:
        signal = f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{message}'"
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW BEGIN IF {when} THEN {signal}; END IF; END"
        )
