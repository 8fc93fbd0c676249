"""Commands that edit the manifest. They change that file and nothing else: `stores up` brings it about."""

from __future__ import annotations

from dataclasses import asdict

import click

from cli import names
from cli.session import Session, common, examples, json_option
from stacks import schema as schemas
from stacks.errors import ManifestError, Problem, UsageError
from stacks.manifest_file import ManifestFile


@click.command(
    epilog=examples("stores add tea-house --owner alice", "stores add tea-house --owner alice --title 'The Tea House'")
)
@click.argument("name")
@click.option(
    "--owner", required=True, shell_complete=names.owners, help="Who the store belongs to; a name from owners.yaml."
)
@click.option("--title", help="The name that customers see.  [default: made from NAME]")
@json_option
@click.pass_obj
@common
def add(session: Session, *, name: str, owner: str, title: str | None, as_json: bool) -> None:
    """Write a block for a new store into the manifest, with its id and cell.

    NAME is 1 to 30 characters: a-z, 0-9 and single hyphens, beginning with a letter.
    """
    file = ManifestFile(session.root, session.environment)
    written = file.add(name, owner, title)
    file.save()
    if as_json:
        session.output.json({**asdict(written), "owner": owner})
        return
    session.output.line(f"{written.where}: store {written.store_id} of {owner}, cell {written.cell}")
    session.output.line(f"next: {session.hint('plan')}, then {session.hint('up')}")


@click.command(epilog=examples("stores rm tea-house-x7k2m"))
@click.argument("store_id", metavar="ID", shell_complete=names.store_ids)
@json_option
@click.pass_obj
@common
def rm(session: Session, *, store_id: str, as_json: bool) -> None:
    """Mark a store for removal: writes `state: deleted` into its block.

    Nothing is deleted before `stores up`. Keep the block until the store is Deleted.
    """
    file = ManifestFile(session.root, session.environment)
    changed = file.tombstone(store_id)
    file.save()
    if as_json:
        session.output.json({"store_id": store_id, "changed": changed})
        return
    session.output.line(f"{store_id}: {'marked' if changed else 'was already marked'} for removal")
    session.output.line(f"next: {session.hint('plan')}, then {session.hint('up')}")


@click.command(epilog=examples("stores undelete tea-house-x7k2m", "stores undelete tea-house-x7k2m --env prod"))
@click.argument("store_id", metavar="ID", shell_complete=names.store_ids)
@json_option
@click.pass_obj
@common
def undelete(session: Session, *, store_id: str, as_json: bool) -> None:
    """Take the mark for removal away again: removes `state: deleted` from the store's block.

    Works until the store is Deleted: in a protected environment that is the whole grace period, elsewhere only until
    the next `stores up`.
    """
    file = ManifestFile(session.root, session.environment)
    file.restore(store_id)
    with session.gate() as gate:
        rows = gate.ledger.stores(session.environment, include_deleted=True)
        removing = [
            run.run_id
            for run in gate.ledger.open_runs(session.environment)
            for change in run.changes
            if (change.store_id, change.action) == (store_id, "store.delete")
        ]
    if any(row.store_id == store_id and row.status == "Deleted" for row in rows):
        raise UsageError(
            f"store '{store_id}'", "it is Deleted, and its data is gone", "make a new one with `stores add`"
        )
    file.save()
    if as_json:
        session.output.json({"store_id": store_id, "removed_by": removing})
    else:
        session.output.line(f"{store_id}: no longer marked for removal")
        session.output.line(f"next: {session.hint('plan')}, then {session.hint('up')}")
    for run_id in removing:
        session.output.note(
            f"run {run_id} is removing it now, or broke off while it did: what is gone already does not come back"
        )


@click.command(epilog=examples("stores fmt", "stores fmt --check --env prod"))
@click.option("--check", is_flag=True, help="Write nothing; exit with 3 when something is to be written.")
@json_option
@click.pass_obj
@common
def fmt(session: Session, *, check: bool, as_json: bool) -> None:
    """Write ids and cells into blocks that lack them. Everything else in the file stays as it is."""
    file = ManifestFile(session.root, session.environment)
    filled = file.fill()
    if check and file.changed:
        cure = f"run `{session.hint('fmt')}`"
        raise ManifestError.of(
            [Problem(block.where, f"store '{block.name}': id or cell is missing", cure) for block in filled]
            or [Problem(file.document.where, "the file is in an older format", cure)]
        )
    saved = file.save()
    if as_json:
        session.output.json({"file": file.document.where, "changed": saved, "filled": filled})
        return
    if not saved:
        session.output.line(f"{file.document.where}: nothing to write")
    for block in filled:
        session.output.line(f"{block.where}: store {block.store_id}, cell {block.cell}")


@click.command(epilog=examples("stores schema stores > stores.schema.json", "stores schema --write"))
@click.argument("kind", type=click.Choice(["stores", "owners"]), required=False)
@click.option("--write", is_flag=True, help="Write both schemas to docs/schema/.")
@click.option("--check", is_flag=True, help="Exit with 3 when docs/schema/ is not what the program says.")
@click.pass_obj
@common
def schema(session: Session, *, kind: str | None, write: bool, check: bool) -> None:
    """Print the JSON schema of stores.yaml or owners.yaml, for editors."""
    if sum((kind is not None, write, check)) != 1:
        raise click.UsageError("Give exactly one of: stores, owners, --write, --check.")
    if kind is not None:
        session.output.line(schemas.texts()[f"{schemas.FOLDER}/{kind}.schema.json"].rstrip())
    elif write:
        for path in schemas.write(session.root):
            session.output.line(f"{path}: written")
    elif stale := schemas.stale(session.root):
        raise ManifestError.of([Problem(path, "it is out of date", "run `stores schema --write`") for path in stale])


COMMANDS = (add, rm, undelete, fmt, schema)
