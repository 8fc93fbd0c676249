"""Commands that back a store up, list its backups, and bring it back from one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click

from cli import names, times
from cli.output import moment
from cli.progress import RunProgress
from cli.session import Session, common, examples, json_option, key_option
from stacks.errors import Problem, StoreFailedError

if TYPE_CHECKING:
    from audit.backup_ages import BackupAge
    from audit.backups import Snapshot
    from audit.gate import Gate
    from audit.records import StoreRow
    from audit.restores import RestoreResult
    from audit.retired import Pruned, Retired

_REASONS: Final = ("scheduled", "manual", "pre-upgrade", "pre-restore", "final")


@click.command(
    epilog=examples(
        "stores backup tea-house-x7k2m",
        "stores backup tea-house-x7k2m --reason 'before the new theme'",
        "stores backup --all --json",
    )
)
@json_option
@click.argument("store_ids", metavar="[ID]...", nargs=-1, shell_complete=names.store_ids)
@click.option("--all", "every", is_flag=True, help="Back up every store that is Ready, one after the other.")
@click.option("--reason", help="Why; stored in the audit log.")
@key_option
@click.pass_obj
@common
def backup(
    session: Session,
    *,
    as_json: bool,
    store_ids: tuple[str, ...],
    every: bool,
    reason: str | None,
    idempotency_key: str | None,
) -> None:
    """Back a store up now: database, files and credentials, encrypted, while it goes on selling.

    Each store is backed up by a schedule as well; `stores backups ID` lists both kinds. One store's failure does not
    stop the others; called again with the same key, only what is missing is backed up.
    """
    from audit.backup_requests import back_up  # noqa: PLC0415 - see cli.session.open_gate

    if every == bool(store_ids):
        raise click.UsageError("Give store ids, or --all.")
    with session.gate() as gate, RunProgress(session.output) as progress:
        result = back_up(
            gate,
            None if every else store_ids,
            actor=session.actor(),
            note=reason,
            idempotency_key=idempotency_key,
            report=progress,
        )
    if as_json:
        session.output.json(result.stores)
    else:
        for item in result.stores:
            if item.snapshot is not None:
                before = ", made before under this key" if item.replayed else ""
                session.output.line(f"{item.store_id}: snapshot {item.snapshot[:8]}{before}")
        if not result.stores:
            session.output.line("no store is Ready")
    if result.exit_error is not None:
        raise result.exit_error


@click.command(
    "backups",
    epilog=examples(
        "stores backups                    the age of every store's last good backup",
        "stores backups tea-house-x7k2m    its snapshots, the newest first; also of a store that was deleted",
        "stores backups tea-house-x7k2m --reason manual --since 30d --json",
        "stores backups --late --owner alice               whose backups need somebody",
        "stores backups --deleted          what deleted stores have left behind, and until when it is kept",
    ),
)
@json_option
@click.argument("store_id", metavar="[ID]", required=False, shell_complete=names.store_ids)
@click.option("--deleted", is_flag=True, help="Show of which deleted stores there are backups still, and until when.")
@click.option("--owner", shell_complete=names.owners, help="Without ID: only stores of this owner.")
@click.option("--cell", shell_complete=names.cells, help="Without ID: only stores of this cell, e.g. 02.")
@click.option(
    "--late", is_flag=True, help="Without ID: only stores whose last backup is late, failed, or is not known."
)
@click.option("--reason", type=click.Choice(_REASONS), help="With ID: only snapshots that were taken for this.")
@click.option(
    "--since",
    metavar="TIME",
    callback=times.option,
    help="With ID: only snapshots from then on: 12h, 7d, or an ISO date or time, local where it names no zone.",
)
@click.option(
    "--until", metavar="TIME", callback=times.option, help="With ID: only snapshots from before then; as --since."
)
@click.pass_obj
@common
def list_backups(
    session: Session,
    *,
    as_json: bool,
    store_id: str | None,
    deleted: bool,
    owner: str | None,
    cell: str | None,
    late: bool,
    reason: str | None,
    since: datetime | None,
    until: datetime | None,
) -> None:
    """Show how old every store's last good backup is; of one store, every snapshot with time, size and versions.

    Stores are in the order of their ids, snapshots the newest first, what deleted stores left the longest deleted
    first. A backup that is older than twice the schedule's interval is told as late.
    """
    from audit import backup_ages, backups, retired  # noqa: PLC0415 - see cli.session.open_gate

    if deleted and store_id is not None:
        raise click.UsageError("--deleted is about all stores; leave out the id, or the option.")
    if store_id is not None and (owner or cell or late):
        raise click.UsageError("--owner, --cell and --late choose among stores; leave them out, or the id.")
    if store_id is None and (reason or since or until):
        raise click.UsageError("--reason, --since and --until choose among the snapshots of one store; name it.")
    if deleted and late:
        raise click.UsageError("--late is about stores that are there; leave it out, or --deleted.")
    output = session.output
    if store_id is not None:
        with session.gate() as gate, RunProgress(output) as progress:
            every = backups.listed(backups.server_of(gate), store_id, tell=progress.teller(store_id))
        snapshots = [
            each
            for each in every
            if reason in (None, each.reason)
            and (since is None or each.taken_at >= since)
            and (until is None or each.taken_at < until)
        ]
        if as_json:
            output.json([asdict(snapshot) for snapshot in snapshots])
        elif not snapshots:
            output.line(f"{store_id}: {'no backup fits' if every else 'there is no backup'}")
        else:
            output.table(["snapshot", "taken", "reason", "size", "made with"], [_row(item) for item in snapshots])
        return
    with session.gate() as gate:
        rows = _chosen_rows(gate, owner, cell)
        left = [each for each in retired.of_all(gate) if each.store_id in rows] if deleted else []
        ages = [] if deleted else [each for each in backup_ages.of_all(gate) if each.store_id in rows]
    if late:
        ages = [each for each in ages if each.alarming]
    if deleted:
        output.json(left) if as_json else _print_retired(session, left)
    elif as_json:
        output.json([{**asdict(age), "owner": rows[age.store_id].owner} for age in ages])
    else:
        _print_ages(session, ages, rows)


def _chosen_rows(gate: Gate, owner: str | None, cell: str | None) -> dict[str, StoreRow]:
    rows = gate.ledger.stores(gate.environment, include_deleted=True)
    return {row.store_id: row for row in rows if owner in (None, row.owner) and cell in (None, row.cell)}


def _print_ages(session: Session, ages: Sequence[BackupAge], known: Collection[str]) -> None:
    if not ages:
        session.output.line("no store fits" if known else "there are no stores")
    rows = [[age.store_id, moment(age.last_at), age.brief, age.told] for age in ages]
    session.output.table(["store", "last good backup", "age", ""], rows)


@click.command(
    "prune-backups",
    epilog=examples(
        "stores prune-backups --dry-run                       what would go",
        "stores prune-backups --yes --reason 'monthly'        all whose time is over, without a question",
        "stores prune-backups --deleted-before 2026-06-01     only of stores that were deleted before then",
    ),
)
@json_option
@click.option(
    "--deleted-before",
    metavar="TIME",
    help="Only of stores that were deleted before then: 400d, or an ISO date or time, local where it names no zone.",
)
@click.option("--dry-run", is_flag=True, help="Show what would go, and remove nothing.")
@click.option("--reason", help="Why; stored in the audit log.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@key_option
@click.pass_obj
@common
def prune_backups(
    session: Session,
    *,
    as_json: bool,
    deleted_before: str | None,
    dry_run: bool,
    reason: str | None,
    yes: bool,
    idempotency_key: str | None,
) -> None:
    """Remove the backups of deleted stores whose time is over, for good. `stores backups --deleted` lists them.

    That time is `stores:deletedBackupsDays` of the environment's settings, counted from when the store was gone; no
    option shortens it. A store that is there, is to be there, or is marked for removal keeps its backups.
    """
    from audit import idempotency, retired  # noqa: PLC0415 - see cli.session.open_gate

    before = None if deleted_before is None else times.parsed(deleted_before, "--deleted-before")
    asked = idempotency.asked("prune-backups", deleted_before=deleted_before)
    actor, key = session.actor(), idempotency_key
    with session.gate() as gate:
        chosen: list[Retired] = []
        done: list[Pruned] | None = None
        if idempotency_key is not None and not dry_run:
            with RunProgress(session.output) as progress:
                done = retired.pruned_before(gate, actor=actor, idempotency_key=key, asked=asked, report=progress)
        if done is None:
            chosen = retired.due(retired.of_all(gate), before, gate.settings.deleted_backups_days)
            if chosen and not dry_run and not yes:
                named = ", ".join(each.store_id for each in chosen)
                click.confirm(f"Remove all backups of {named}, for good?", abort=True, err=True)
            done = []
            if chosen and not dry_run:
                with RunProgress(session.output) as progress:
                    done = retired.prune(
                        gate,
                        chosen,
                        actor=actor,
                        note=reason,
                        idempotency_key=key,
                        asked=asked,
                        report=progress,
                    )
    if as_json:
        session.output.json(chosen if dry_run else done)
    elif not chosen and not done:
        session.output.line("there is nothing whose time is over; `stores backups --deleted` lists what there is")
    elif dry_run:
        _print_retired(session, chosen)
    for each in done:
        if not as_json and each.snapshots is not None:
            earlier = ", by an earlier call under this key" if each.replayed else ""
            session.output.line(f"{each.store_id}: {each.snapshots} backups removed{earlier}")
    if failed := [each for each in done if each.problem is not None]:
        cure = "what could not be removed is there still; see docs/backup.md"
        raise StoreFailedError.of([Problem(each.store_id, each.problem or "", cure) for each in failed])


@click.command(
    epilog=examples(
        "stores restore tea-house-x7k2m --yes                       from the newest backup",
        "stores restore tea-house-x7k2m --at 2026-11-23T09:00       from the last one up to then",
        "stores restore tea-house-x7k2m --at 3f9a1c20               from this one, see `stores backups ID`",
        "stores restore tea-house-x7k2m --as tea-house-copy         into a new store",
        "stores restore tea-house-x7k2m --as tea-house-copy --idempotency-key drill-47    the same, once",
    )
)
@json_option
@click.argument("store_id", metavar="ID", shell_complete=names.store_ids)
@click.option(
    "--at",
    metavar="SNAPSHOT|TIME",
    help="Which backup: an id or its beginning; or an ISO date or time, local where it names no zone, for the last one "
    "up to then.",
)
@click.option("--as", "new_name", metavar="NEWNAME", help="Make a new store of this name, with the data in it.")
@click.option(
    "--owner", shell_complete=names.owners, help="With --as: who the new store belongs to.  [default: the owner of ID]"
)
@click.option("--reason", help="Why; stored in the audit log.")
@click.option(
    "--without-backup", is_flag=True, help="Do not back up first what is there now: there is no way back then."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@key_option
@click.pass_obj
@common
def restore(
    session: Session,
    *,
    as_json: bool,
    store_id: str,
    at: str | None,
    new_name: str | None,
    owner: str | None,
    reason: str | None,
    without_backup: bool,
    yes: bool,
    idempotency_key: str | None,
) -> None:
    """Bring a store's database and files back from a backup, in place or as a new store.

    In place: the shop is closed meanwhile, and what is there now is backed up first. A store whose namespace is gone is
    made anew. As a new store: it has its own address, which is rewritten in all data, and its own credentials; ID may
    be deleted by then.
    """
    from audit.restores import Asked, Restore  # noqa: PLC0415 - see cli.session.open_gate

    if owner is not None and new_name is None:
        raise click.UsageError("--owner needs --as.")
    asked = Asked(store_id, at, new_name, owner)
    with session.gate() as gate:
        work = Restore(
            gate,
            session.actor(),
            RunProgress(session.output),
            reason,
            keep_undo=not without_backup,
            idempotency_key=idempotency_key,
        )
        result = None
        if idempotency_key is not None:
            with RunProgress(session.output) as progress:
                work.report = progress
                result = work.done(asked)
        if result is None:
            if not yes and new_name is None:
                click.confirm(f"Replace the database and the files of {store_id}?", abort=True, err=True)
            with RunProgress(session.output) as progress:
                work.report = progress
                result = work.carry_out(asked)
    if as_json:
        session.output.json({key: value for key, value in asdict_of(result).items() if key != "exit_error"})
    else:
        session.output.line(
            f"{result.store_id}: {result.status} with snapshot {result.snapshot[:8]} of {result.source_id}"
        )
        if result.replayed:
            session.output.line("already done under this key; this is its result, and nothing was done now")
        if result.url is not None:
            session.output.line(f"url: {result.url}")
        if result.undo is not None:
            session.output.line(
                f"what was there before: {session.hint(f'restore {result.store_id} --at {result.undo[:8]}')}"
            )
    if result.exit_error is not None:
        raise result.exit_error


def asdict_of(result: RestoreResult) -> dict[str, object]:
    """Return a result as plain data; its error stays an object."""
    return {item.name: getattr(result, item.name) for item in fields(result)}


def _print_retired(session: Session, found: Sequence[Retired]) -> None:
    if not found:
        session.output.line("no deleted store has left backups behind")
        return
    rows = [
        [each.store_id, each.owner, moment(each.deleted_at), moment(each.expires_at), "may go" if each.expired else ""]
        for each in found
    ]
    session.output.table(["store", "owner", "deleted", "kept until", ""], rows)


def _row(snapshot: Snapshot) -> list[str]:
    size = "-" if snapshot.size_bytes is None else f"{snapshot.size_bytes / 2**20:.1f} MiB"
    return [snapshot.short_id, moment(snapshot.taken_at), snapshot.reason, size, " ".join(snapshot.versions)]


COMMANDS = (backup, list_backups, prune_backups, restore)
