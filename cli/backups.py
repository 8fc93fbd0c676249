"""Commands that back a store up, list its backups, and bring it back from one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from cli.output import moment
from cli.progress import RunProgress
from cli.session import Session, common, examples, json_option
from stacks.errors import Problem, StoreFailedError, UsageError

if TYPE_CHECKING:
    from audit.backups import Snapshot
    from audit.restores import RestoreResult
    from audit.retired import Retired


@click.command(
    epilog=examples(
        "stores backup tea-house-x7k2m",
        "stores backup tea-house-x7k2m --reason 'before the new theme'",
        "stores backup --all --json",
    )
)
@json_option
@click.argument("store_ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Back up every store that is Ready, one after the other.")
@click.option("--reason", help="Why; stored in the audit log.")
@click.pass_obj
@common
def backup(session: Session, *, as_json: bool, store_ids: tuple[str, ...], every: bool, reason: str | None) -> None:
    """Back a store up now: database, files and credentials, encrypted, while it goes on selling.

    Each store is backed up by a schedule as well; `stores backups ID` lists both kinds. One store's failure does not
    stop the others.
    """
    from audit import backups  # noqa: PLC0415 - see cli.session.open_gate

    if every == bool(store_ids):
        raise click.UsageError("Give store ids, or --all.")
    done: list[dict[str, object]] = []
    problems: list[Problem] = []
    with session.gate() as gate, RunProgress(session.output) as progress:
        if every:
            store_ids = tuple(status.store_id for status in gate.status() if status.status == "Ready")
        for store_id in store_ids:
            try:
                snapshot = backups.take(
                    gate, store_id, "manual", actor=session.actor(), note=reason, tell=progress.teller(store_id)
                )
            except StoreFailedError as error:
                problems.extend(error.problems)
                done.append({"store_id": store_id, "snapshot": None, "problem": str(error)})
            else:
                done.append({"store_id": store_id, "snapshot": snapshot, "problem": None})
    if as_json:
        session.output.json(done)
    else:
        for item in done:
            if item["snapshot"] is not None:
                session.output.line(f"{item['store_id']}: snapshot {str(item['snapshot'])[:8]}")
        if not done:
            session.output.line("no store is Ready")
    if problems:
        raise StoreFailedError.of(problems)


@click.command(
    "backups",
    epilog=examples(
        "stores backups                    the age of every store's last good backup",
        "stores backups tea-house-x7k2m    its snapshots, the newest first; also of a store that was deleted",
        "stores backups tea-house-x7k2m --json",
        "stores backups --deleted          what deleted stores have left behind, and until when it is kept",
    ),
)
@json_option
@click.argument("store_id", metavar="[ID]", required=False)
@click.option("--deleted", is_flag=True, help="Show of which deleted stores there are backups still, and until when.")
@click.pass_obj
@common
def list_backups(session: Session, *, as_json: bool, store_id: str | None, deleted: bool) -> None:
    """Show how old every store's last good backup is; of one store, every snapshot with time, size and versions.

    A backup that is older than twice the schedule's interval is told as late.
    """
    from audit import backup_ages, backups, retired  # noqa: PLC0415 - see cli.session.open_gate

    if deleted and store_id is not None:
        raise click.UsageError("--deleted is about all stores; leave out the id, or the option.")
    if deleted:
        with session.gate() as gate:
            found_deleted = retired.of_all(gate)
        if as_json:
            session.output.json(found_deleted)
        else:
            _print_retired(session, found_deleted)
        return
    if store_id is None:
        with session.gate() as gate:
            ages = backup_ages.of_all(gate)
        if as_json:
            session.output.json(ages)
            return
        rows = [[age.store_id, moment(age.last_at), age.brief, age.told] for age in ages]
        session.output.table(["store", "last good backup", "age", ""], rows)
        return
    with session.gate() as gate, RunProgress(session.output) as progress:
        found = backups.listed(backups.server_of(gate), store_id, tell=progress.teller(store_id))
    if as_json:
        session.output.json([asdict(snapshot) for snapshot in found])
    elif not found:
        session.output.line(f"{store_id}: there is no backup")
    else:
        session.output.table(["snapshot", "taken", "reason", "size", "made with"], [_row(item) for item in found])


@click.command(
    "prune-backups",
    epilog=examples(
        "stores prune-backups --dry-run                       what would go",
        "stores prune-backups --yes --reason 'monthly'        all whose time is over, without a question",
        "stores prune-backups --deleted-before 2026-06-01     only of stores that were deleted before then",
    ),
)
@json_option
@click.option("--deleted-before", metavar="DATE", help="Only of stores that were deleted before this date or time.")
@click.option("--dry-run", is_flag=True, help="Show what would go, and remove nothing.")
@click.option("--reason", help="Why; stored in the audit log.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
@common
def prune_backups(
    session: Session, *, as_json: bool, deleted_before: str | None, dry_run: bool, reason: str | None, yes: bool
) -> None:
    """Remove the backups of deleted stores whose time is over, for good. `stores backups --deleted` lists them.

    That time is `stores:deletedBackupsDays` of the environment's settings, counted from when the store was gone; no
    option shortens it. A store that is there, is to be there, or is marked for removal keeps its backups.
    """
    from audit import retired  # noqa: PLC0415 - see cli.session.open_gate

    before = None if deleted_before is None else _moment(deleted_before)
    with session.gate() as gate, RunProgress(session.output) as progress:
        chosen = retired.due(retired.of_all(gate), before, gate.settings.deleted_backups_days)
        if chosen and not dry_run and not yes:
            names = ", ".join(each.store_id for each in chosen)
            click.confirm(f"Remove all backups of {names}, for good?", abort=True, err=True)
        done = [] if dry_run or not chosen else retired.prune(
            gate, chosen, actor=session.actor(), note=reason, tell=lambda store, text: progress.teller(store)(text)
        )  # fmt: skip
    if as_json:
        session.output.json(chosen if dry_run else done)
    elif not chosen:
        session.output.line("there is nothing whose time is over; `stores backups --deleted` lists what there is")
    elif dry_run:
        _print_retired(session, chosen)
    for each in done:
        if not as_json and each.snapshots is not None:
            session.output.line(f"{each.store_id}: {each.snapshots} backups removed")
    if failed := [each for each in done if each.problem is not None]:
        cure = "what could not be removed is there still; see docs/backup.md"
        raise StoreFailedError.of([Problem(each.store_id, each.problem or "", cure) for each in failed])


@click.command(
    epilog=examples(
        "stores restore tea-house-x7k2m --yes                       from the newest backup",
        "stores restore tea-house-x7k2m --at 2026-11-23T09:00       from the last one up to then",
        "stores restore tea-house-x7k2m --at 3f9a1c20               from this one, see `stores backups ID`",
        "stores restore tea-house-x7k2m --as tea-house-copy         into a new store",
    )
)
@json_option
@click.argument("store_id", metavar="ID")
@click.option("--at", metavar="SNAPSHOT|TIME", help="Which backup: an id or its beginning, or a time.")
@click.option("--as", "new_name", metavar="NEWNAME", help="Make a new store of this name, with the data in it.")
@click.option("--owner", help="With --as: who the new store belongs to.  [default: the owner of ID]")
@click.option("--reason", help="Why; stored in the audit log.")
@click.option(
    "--without-backup", is_flag=True, help="Do not back up first what is there now: there is no way back then."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
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
) -> None:
    """Bring a store's database and files back from a backup, in place or as a new store.

    In place: the shop is closed meanwhile, and what is there now is backed up first. A store whose namespace is gone is
    made anew. As a new store: it has its own address, which is rewritten in all data, and its own credentials; ID may
    be deleted by then.
    """
    from audit.restores import Restore  # noqa: PLC0415 - see cli.session.open_gate

    if owner is not None and new_name is None:
        raise click.UsageError("--owner needs --as.")
    if not yes and new_name is None:
        click.confirm(f"Replace the database and the files of {store_id}?", abort=True, err=True)
    with session.gate() as gate, RunProgress(session.output) as progress:
        work = Restore(gate, session.actor(), progress, reason, keep_undo=not without_backup)
        result = work.in_place(store_id, at) if new_name is None else work.into_new(store_id, at, new_name, owner)
    if as_json:
        session.output.json({key: value for key, value in asdict_of(result).items() if key != "exit_error"})
    else:
        session.output.line(
            f"{result.store_id}: {result.status} with snapshot {result.snapshot[:8]} of {result.source_id}"
        )
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


def _moment(text: str) -> datetime:
    try:
        # A time without a zone is meant as the clock on the wall says.
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise UsageError("--deleted-before", f"{text!r} is no date and no time", "write 2026-06-01") from None


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
