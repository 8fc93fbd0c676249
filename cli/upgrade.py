"""Commands that bring stores to another image, and back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from cli import names
from cli.output import Output, duration
from cli.progress import RunProgress
from cli.session import Session, common, examples, json_option, key_option, reason_option
from stacks.errors import UsageError

if TYPE_CHECKING:
    from audit.gate import Gate
    from audit.upgrade_plan import Kind, UpgradePlan
    from audit.upgrade_results import UpgradeResult

_MOST_PARALLEL = 20

_yes = click.option("--yes", is_flag=True, help="Do not ask; needed where nobody could answer, as in a pipe.")
_dry_run = click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
_no_backup = click.option(
    "--no-backup", is_flag=True, help="Take no backup of each store before; then a changed database cannot come back."
)
_overwrite = click.option(
    "--overwrite-drift", is_flag=True, help="Also take held stores, and overwrite what was done by plain Helm."
)


@click.command(
    epilog=examples(
        "stores upgrade tea-house-x7k2m --image-tag 7.1.5-php8.4-apache",
        "stores upgrade --all --image-tag 7.1.5-php8.4-apache --dry-run",
        "stores upgrade --all --image-tag 7.1.5-php8.4-apache --canary our-own-q4w8z --parallel 5 --yes",
    )
)
@json_option
@click.argument("store_ids", metavar="[ID]...", nargs=-1, shell_complete=names.store_ids)
@click.option(
    "--all", "everything", is_flag=True, help="Every store of the environment: one first, then a few at a time."
)
@click.option("--image-tag", "tag", required=True, metavar="TAG", help="Tag of the WordPress image to bring them to.")
@click.option(
    "--canary",
    metavar="ID",
    shell_complete=names.store_ids,
    help="The store that goes first, alone.  [default: the first one that is Ready]",
)
@click.option(
    "--parallel",
    type=click.IntRange(1, _MOST_PARALLEL),
    default=3,
    show_default=True,
    help="How many stores go at the same time, after the canary.",
)
@_no_backup
@_overwrite
@_dry_run
@_yes
@reason_option
@key_option
@click.pass_obj
@common
def upgrade(
    session: Session,
    *,
    as_json: bool,
    store_ids: tuple[str, ...],
    everything: bool,
    tag: str,
    canary: str | None,
    parallel: int,
    no_backup: bool,
    overwrite_drift: bool,
    dry_run: bool,
    yes: bool,
    reason: str | None,
    idempotency_key: str | None,
) -> None:
    """Bring stores to another WordPress image, and write its tag into their blocks of the manifest.

    One store goes first; the others follow a few at a time, and the first failure ends it. A store that fails is rolled
    back by itself and goes on serving. The database is updated once no pod of the old version is left.
    """
    if everything == bool(store_ids):
        raise click.UsageError("Name the stores to upgrade, or pass --all.")
    asked: dict[str, object] = {
        "stores": None if everything else sorted(store_ids),
        "image_tag": tag,
        "canary": canary,
        "parallel": parallel,
        "backup": not no_backup,
        "overwrite_drift": overwrite_drift,
    }

    def planned(gate: Gate) -> UpgradePlan:
        return gate.plan_upgrade(
            tag,
            None if everything else store_ids,
            canary=canary,
            parallel=parallel,
            backup=not no_backup,
            overwrite_drift=overwrite_drift,
        )

    order = _Order("upgrade", asked, planned, reason, idempotency_key)
    _follow(session, order, as_json=as_json, dry_run=dry_run, yes=yes)


@click.command(
    epilog=examples(
        "stores rollback tea-house-x7k2m",
        "stores rollback tea-house-x7k2m 4 --reason 'checkout fails since this morning'",
        "stores rollback tea-house-x7k2m --dry-run",
        "stores rollback tea-house-x7k2m --restore-backup            also the database and files of before the upgrade",
    )
)
@json_option
@click.argument("store_id", metavar="ID", shell_complete=names.store_ids)
@click.argument("revision", type=click.IntRange(min=1), required=False)
@click.option(
    "--restore-backup",
    is_flag=True,
    help="Also put back the backup that was taken before the upgrade, where the database was updated since.",
)
@_no_backup
@_overwrite
@_dry_run
@_yes
@reason_option
@key_option
@click.pass_obj
@common
def rollback(
    session: Session,
    *,
    as_json: bool,
    store_id: str,
    revision: int | None,
    restore_backup: bool,
    no_backup: bool,
    overwrite_drift: bool,
    dry_run: bool,
    yes: bool,
    reason: str | None,
    idempotency_key: str | None,
) -> None:
    """Bring a store back to the image of an earlier Helm revision, and write its tag into the manifest.

    Without REVISION it is the last one that ran another image; `helm history` lists them. Everything but the image
    stays as the manifest says. Where the database was updated since it is refused, unless --restore-backup puts back
    the backup of that time: the shop is closed meanwhile, and what was sold since that backup is lost.
    """
    asked: dict[str, object] = {
        "store": store_id,
        "revision": revision,
        "restore_backup": restore_backup,
        "backup": not no_backup,
        "overwrite_drift": overwrite_drift,
    }

    def planned(gate: Gate) -> UpgradePlan:
        with RunProgress(session.output) as progress:
            return gate.plan_rollback(
                store_id,
                revision,
                backup=not no_backup,
                restore_backup=restore_backup,
                overwrite_drift=overwrite_drift,
                tell=progress.teller(store_id),
            )

    order = _Order("rollback", asked, planned, reason, idempotency_key)
    _follow(session, order, as_json=as_json, dry_run=dry_run, yes=yes)


@dataclass(frozen=True)
class _Order:
    """An upgrade or a rollback as it was asked for; `asked` tells it from others under its key."""

    kind: Kind
    asked: Mapping[str, object]
    planned: Callable[[Gate], UpgradePlan]
    reason: str | None
    idempotency_key: str | None


def _follow(session: Session, order: _Order, *, as_json: bool, dry_run: bool, yes: bool) -> None:
    """Plan it, ask whether it is to be, do it, and print what came of it; or print what it came to under its key."""
    with session.gate() as gate:
        result = None if dry_run else _done(session, gate, order)
        if result is None:
            plan = order.planned(gate)
            if not _agreed(session, plan, as_json=as_json, dry_run=dry_run, yes=yes):
                return
            with RunProgress(session.output) as progress:
                result = gate.upgrade(
                    plan,
                    actor=session.actor(),
                    reason=order.reason,
                    idempotency_key=order.idempotency_key,
                    asked=order.asked,
                    overwrite_drift=bool(order.asked["overwrite_drift"]),
                    report=progress,
                )
    _print_result(session, result, as_json=as_json)


def _done(session: Session, gate: Gate, order: _Order) -> UpgradeResult | None:
    """Return what the same request has come to under its key, or None. It is asked before anything is planned."""
    if order.idempotency_key is None:
        return None
    with RunProgress(session.output) as progress:
        return gate.upgrade_done(
            order.kind,
            actor=session.actor(),
            idempotency_key=order.idempotency_key,
            asked=order.asked,
            report=progress,
        )


def _agreed(session: Session, plan: UpgradePlan, *, as_json: bool, dry_run: bool, yes: bool) -> bool:
    """Show the plan; return whether it is to be carried out. Raises UsageError where nobody can be asked."""
    output = session.output
    if dry_run and as_json:
        output.json(plan.as_json())
        return False
    _print_plan(output, plan, on_stderr=as_json)
    if dry_run:
        return False
    if not plan.steps:
        if as_json and not plan.left_out:
            return True
        return bool(plan.left_out)
    if yes:
        return True
    if not _watched():
        raise UsageError(f"stores {plan.kind}", "nobody is there to agree to the plan", "look at it, then pass --yes")
    return click.confirm("Carry this out?", default=False, abort=True, err=True)


def _watched() -> bool:
    """Return whether a person could answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _print_plan(output: Output, plan: UpgradePlan, *, on_stderr: bool) -> None:
    say = output.note if on_stderr else output.line
    steps = plan.steps
    if not steps:
        say(f"nothing to do: {len(plan.there)} stores run image {plan.tag}")
    for number, batch in enumerate(plan.batches):
        note = ""
        if len(plan.batches) > 1:
            note = f"  (batch {number + 1}{', the canary' if number == 0 else ''})"
        for step in batch:
            revision = f" of revision {step.revision}" if step.revision is not None else ""
            say(f"~ {step.store_id}: image {step.before} -> {step.after}{revision}{note}")
    for problem in plan.left_out:
        say(f"= left out: {problem}")
    if steps and plan.there:
        say(f"{len(plan.there)} stores run image {plan.tag} already")
    if plan.restore is not None:
        taken = f"{plan.restore.taken_at:%Y-%m-%dT%H:%M:%SZ}"
        say(f"~ {steps[0].store_id}: database and files as of {taken} (snapshot {plan.restore.short_id})")
        say(f"! the shop is closed meanwhile, and LOSES every order, customer and change since {taken}")
        say(
            "what is there now is kept in a backup first"
            if plan.backup
            else "no backup is taken of what is there now (--no-backup): there is no way back"
        )
    elif steps:
        say("a backup of each is taken first" if plan.backup else "no backup is taken (--no-backup)")


def _print_result(session: Session, result: UpgradeResult, *, as_json: bool) -> None:
    output = session.output
    if as_json:
        output.json(result.as_json())
    else:
        rows = [
            [
                store.store_id,
                store.status,
                store.runs,
                store.content or "-",
                duration(store.elapsed_s),
                store.url or "-",
            ]
            for store in result.stores
        ]
        output.table(["store", "status", "image", "content", "took", "url"], rows)
        if rows:
            output.line()
        for title, names in (("new image", result.new), ("old image", result.old)):
            if names:
                output.line(f"{title}: {', '.join(names)}")
        for note in result.notes:
            output.note(note)
        for store in result.stores if result.plan.restore is not None else ():
            if store.backup is not None:
                output.line(f"what was there before is kept: snapshot {store.backup[:8]}, see `stores backups`")
        if result.replayed:
            output.line("already done under this key; this is its result, and nothing was done now")
        elif result.stores:
            output.line("the manifest says so too: commit it, so that the next merge does not undo this")
    if result.exit_error is not None:
        raise result.exit_error


COMMANDS = (upgrade, rollback)
