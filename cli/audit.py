"""The audit log: read, proven to be whole, and handed to other programs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import names, times
from cli.output import destination, moment, plain
from cli.session import Session, common, examples, json_option, key_option
from stacks.errors import AuditIncompleteError, UsageError

if TYPE_CHECKING:
    from audit.anchors import Anchor
    from audit.gate import Gate
    from audit.records import Entry
    from audit.segments import Segment


@click.group()
def audit() -> None:
    """Read and prove the audit log: who did what, when, and what became of it."""


@audit.command(
    "list",
    epilog=examples(
        "stores audit list --since 12h",
        "stores audit list --store tea-house-x7k2m --limit 20",
        "stores audit list --action store.credentials.read --json",
        "stores audit list --outcome denied --since 7d --until 1d --oldest-first",
    ),
)
@json_option
@click.option(
    "--store", "store_id", metavar="ID", shell_complete=names.store_ids, help="Only entries about this store."
)
@click.option("--owner", shell_complete=names.owners, help="Only entries about stores of this owner.")
@click.option("--actor", help="Only entries of what this person or service did.")
@click.option("--action", shell_complete=names.actions, help="Only entries of this action, e.g. store.create.")
@click.option("--run", "run_id", metavar="ID", help="Only entries of this run.")
@click.option(
    "--since",
    metavar="TIME",
    callback=times.option,
    help="Only entries from then on: 90m, 12h, 7d, or an ISO date or time, local where it names no zone.",
)
@click.option(
    "--until", metavar="TIME", callback=times.option, help="Only entries from before then; the same forms as --since."
)
@click.option(
    "--outcome",
    type=click.Choice(["unknown", "success", "failure", "cancelled", "denied"]),
    help="Only entries with this outcome; `unknown` is the intent before a change.",
)
@click.option("--all-environments", is_flag=True, help="Entries of every environment that shares the ledger.")
@click.option("--oldest-first", is_flag=True, help="In the order in which they were written.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many, newest first.")
@click.pass_obj
@common
def list_entries(
    session: Session,
    *,
    as_json: bool,
    store_id: str | None,
    owner: str | None,
    actor: str | None,
    action: str | None,
    run_id: str | None,
    since: datetime | None,
    until: datetime | None,
    outcome: str | None,
    all_environments: bool,
    oldest_first: bool,
    limit: int,
) -> None:
    """Show entries of the audit log, the newest first. They stand in the order in which they were written."""
    with session.gate() as gate:
        entries = gate.ledger.entries(
            None if all_environments else gate.environment,
            store_id=store_id,
            owner=owner,
            actor=actor,
            action=action,
            run_id=run_id,
            since_at=since,
            until_at=until,
            outcome=outcome,
            limit=limit,
            ascending=oldest_first,
        )
    if as_json:
        session.output.json(entries)
        return
    if not entries:
        session.output.line("no entry fits")
        return
    rows = [
        [
            str(entry.seq),
            moment(entry.occurred_at),
            entry.actor,
            entry.action,
            entry.outcome,
            entry.store_id or "-",
            entry.reason or "-",
        ]
        for entry in entries
    ]
    session.output.table(["entry", "at", "actor", "action", "outcome", "store", "reason"], rows)


@audit.command("show", epilog=examples("stores audit show 7", "stores audit show 7 --json"))
@json_option
@click.argument("reference", metavar="ENTRY")
@click.pass_obj
@common
def show(session: Session, *, as_json: bool, reference: str) -> None:
    """Show one entry of the audit log whole.

    ENTRY is its number, as `list` shows it, or its id.
    """
    number = re.fullmatch(r"[0-9]{1,18}", reference)
    with session.gate() as gate:
        entry = gate.ledger.entry(int(reference) if number else reference)
    if entry is None:
        raise UsageError(f"entry '{reference}'", "there is no such entry", "see `stores audit list` for the numbers")
    if as_json:
        session.output.json(entry)
        return
    for name, value in plain(entry).items():
        if name != "metadata":
            session.output.line(f"{name + ':':<12} {'-' if value is None else _one_line(value)}")
    for name, value in sorted(plain(entry.metadata).items()):
        session.output.line(f"metadata.{name}: {_one_line(value)}")


@audit.command(
    "verify",
    epilog=examples("stores audit verify", "stores audit verify --anchor anchors.jsonl --json"),
)
@json_option
@click.option(
    "--anchor",
    "anchor_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file of anchors, as `stores audit anchor` writes it. Keep it where nobody with the database's password "
    "can write.",
)
@click.option(
    "--archive",
    "archives",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Also prove these archived segments, and that the log begins where the last one ends. In their order.",
)
@click.pass_obj
@common
def verify(session: Session, *, as_json: bool, anchor_file: Path | None, archives: tuple[Path, ...]) -> None:
    """Read every entry again and prove that none was changed, taken away or added.

    Without --anchor it goes by the anchors that runs have kept on this machine ($STORES_ANCHORS), if there are any: a
    log that was rewritten as a whole looks whole by itself. Exits with 9 when the log is not whole, and names the first
    bad entry and what was done to it.
    """
    anchors = _anchors(anchor_file) if anchor_file is not None else ()
    if anchor_file is not None and not anchors:
        raise UsageError(str(anchor_file), "it holds no anchor, so it proves nothing", "name a file that holds one")
    segments = _segments(archives)
    with session.gate() as gate:
        if anchor_file is None and (kept := _kept_by_runs(session, gate)).exists():
            anchors = _anchors(kept)
            session.output.note(f"the anchors are those that runs have kept in {kept}")
        found = gate.ledger.verify(anchors)
        if segments:
            _check_sequence(segments, *gate.ledger.beginning())
    if as_json:
        session.output.json(
            {
                "ok": found.ok,
                "entries": found.entries,
                "begins_at": found.begins_at,
                "anchors": len(anchors),
                "archived": sum(segment.entries for segment in segments),
                "first_bad_seq": found.first_bad_seq,
                "tampering": found.tampering,
                "detail": found.detail,
            }
        )
    if not found.ok:
        raise AuditIncompleteError(
            "audit log",
            f"it is not whole: {found}; {found.entries} entries before it are proven",
            "let nobody write, keep the database as it is, and follow docs/runbooks/exit-9.md",
        )
    if not as_json:
        session.output.line(str(found))
        if segments:
            first, end = segments[0].first_seq, segments[-1].last_seq
            session.output.line(f"archived entries {first} to {end}, chain unbroken")
        if anchors:
            last = max(anchors, key=lambda anchor: anchor.seq)
            session.output.line(f"anchored up to entry {last.seq} of {moment(last.at)}")
        else:
            session.output.note("no anchor was given: a rewrite of the whole log would not be seen")


@audit.command(
    "anchor",
    epilog=examples("stores audit anchor --output anchors.jsonl", "stores audit anchor | logger --tag stores-anchor"),
)
@click.option(
    "--output",
    "file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also append the line to this file, on disk when the command ends.",
)
@click.option(
    "--every",
    type=click.IntRange(1),
    help="With --output: only when the log has this many entries more than at the file's last anchor; without it, "
    "always.",
)
@json_option
@click.pass_obj
@common
def anchor(session: Session, *, file: Path | None, every: int | None, as_json: bool) -> None:
    """Print the end of the log as one line of JSON, for `stores audit verify --anchor`.

    With --json it is one document, which also says whether the line was appended to the file.
    Keep it where nobody with the database's password can write. A log that is shorter than the file's last anchor says
    is refused with 9: it was cut, or an older copy of the database was put in its place.
    """
    from audit import anchors  # noqa: PLC0415 - `--help` must not load the ledger

    earlier = _anchors(file) if file is not None and file.exists() else ()
    with session.gate() as gate:
        end = gate.ledger.anchor() if file is None else anchors.check_follows(file, earlier, gate.ledger)
    if file is not None:
        kept = max((found.seq for found in earlier), default=None)
        if kept is not None and every is not None and end.seq - kept < every:
            session.output.note(f"{file}: the log has {end.seq - kept} entries more than at its last anchor")
            if as_json:
                session.output.json({"anchor": json.loads(anchors.to_line(end)), "appended": False})
            return
        anchors.append(file, end)
    if as_json:
        session.output.json({"anchor": json.loads(anchors.to_line(end)), "appended": file is not None})
    else:
        session.output.data(anchors.to_line(end))


@audit.command(
    "archive",
    epilog=examples(
        "stores audit archive --before 2025-11-01 --output audit-2025-10.jsonl --reason 'kept for a year'",
        "stores audit archive --before 400d --output audit-old.jsonl --reason 'kept for 400 days' --json",
    ),
)
@json_option
@click.option(
    "--before",
    metavar="TIME",
    required=True,
    help="Entries from before then: 400d, or an ISO date or time, local where it names no zone; at least 30 days are "
    "kept.",
)
@click.option(
    "--output",
    "file",
    metavar="FILE",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new file, which holds the entries from now on. Keep it: it is the only copy.",
)
@click.option("--reason", required=True, help="Why; stored in the audit log with who did it.")
@key_option
@click.pass_obj
@common
def archive(
    session: Session, *, as_json: bool, before: str, file: Path, reason: str, idempotency_key: str | None
) -> None:
    """Close a segment of the log: write its oldest entries into a file and purge them from the database.

    Only for an admin (`stores:admins`), and with the ledger's URL of the database's owner: the gate's account may not
    delete entries. The log then begins at a checkpoint, which its own chain vouches for.
    """
    from audit import admins, archives  # noqa: PLC0415 - `--help` must not load the ledger
    from audit.records import AUDIT_ARCHIVE, NewEntry  # noqa: PLC0415

    moment_before = times.parsed(before, "--before")
    with session.gate() as gate:
        actor = session.actor()
        asked = NewEntry(actor, AUDIT_ARCHIVE, "denied", environment=gate.environment, reason=reason)
        admins.require(gate.settings.admins, "purge the audit log", asked, gate.ledger)
        done = archives.archive(
            gate.ledger,
            file,
            before=(before, moment_before),
            actor=actor,
            reason=reason,
            idempotency_key=idempotency_key,
            tell=session.output.note,
        )
    segment = done.segment
    if done.replayed:
        session.output.note("already done under this key; this is its result, and nothing was done now")
    if as_json:
        session.output.json(
            None if segment is None else {"file": done.file, **plain(segment), "replayed": done.replayed}
        )
    elif segment is None:
        session.output.line("no entry is that old; nothing was purged")
    else:
        session.output.line(f"{done.file}: entries {segment.first_seq} to {segment.last_seq}, purged from the database")


@audit.command(
    "export",
    epilog=examples(
        "stores audit export --output audit.jsonl",
        "stores audit export --format ocsf --output events.jsonl",
        "stores audit export --after 1200 | jq 'select(.outcome == \"denied\")'",
    ),
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jsonl", "ocsf"]),
    default="jsonl",
    show_default=True,
    help="Entries as they are, or events of the Open Cybersecurity Schema Framework.",
)
@click.option(
    "--output",
    "file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file instead of stdout, whole or not at all.",
)
@click.option(
    "--after",
    metavar="NUMBER",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Only entries behind this number, to go on where an earlier export ended.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="With --output: print one JSON document that says what was written."
)
@click.pass_obj
@common
def export(session: Session, *, kind: str, file: Path | None, after: int, as_json: bool) -> None:
    """Write the whole log of the environment's ledger, one JSON object per line, by number.

    Entries of other environments that share the ledger are in it too: the chain of hashes runs through all of them.
    """
    if as_json and file is None:
        raise click.UsageError("--json goes with --output; without it the entries themselves are printed as JSON.")
    with session.gate() as gate, destination(file) as stream:
        count, last = 0, after
        convert = _converter(kind)
        for entry in gate.ledger.stream(after=after):
            # ASCII only, so that no control character reaches a terminal.
            stream.write(json.dumps(convert(entry), separators=(",", ":")) + "\n")
            count, last = count + 1, entry.seq
    if as_json:
        session.output.json({"file": file, "format": kind, "entries": count, "last_seq": last})
    session.output.note(f"{count} entries, the last is {last}" if count else f"no entry behind {after}")


def _converter(kind: str) -> Callable[[Entry], Any]:
    if kind == "jsonl":
        return plain
    from audit.ocsf import to_event  # noqa: PLC0415 - `--help` must not load the ledger

    return to_event


def _segments(files: tuple[Path, ...]) -> list[Segment]:
    if not files:
        return []
    from audit import segments  # noqa: PLC0415 - `--help` must not load the ledger

    return [segments.read(file) for file in files]


def _check_sequence(found: list[Segment], purged_seq: int, purged_hash: str) -> None:
    from audit import segments  # noqa: PLC0415 - `--help` must not load the ledger

    segments.check_sequence(found, purged_seq + 1, purged_hash)


def _anchors(file: Path) -> tuple[Anchor, ...]:
    from audit import anchors  # noqa: PLC0415 - `--help` must not load the ledger

    return anchors.read(file)


def _kept_by_runs(session: Session, gate: Gate) -> Path:
    """Return the file in which runs on this machine keep the anchors of this log."""
    from audit.anchors import VARIABLE, Keeper  # noqa: PLC0415 - `--help` must not load the ledger

    chain_id = gate.ledger.anchor().chain_id
    return Keeper.of(session.root, gate.environment, chain_id, os.environ.get(VARIABLE)).file


def _one_line(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("\n", " ")
