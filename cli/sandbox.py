"""The sandbox: a cluster of this checkout's own, from package registries alone."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.output import Output, clean, moment
from cli.progress import BuildProgress
from cli.session import Session, common, examples, json_option
from stacks import settings
from stacks.errors import ClusterUnreachableError, StoresError, UsageError

if TYPE_CHECKING:
    from sandbox.instance import Status

_DEFAULT_PORT = 8080
_FOLLOW_S = 0.25

_name_option = click.option(
    "--name",
    default="local",
    show_default=True,
    envvar="STORES_SANDBOX",
    help="Which sandbox; a checkout can have several.",
)


@click.group()
def sandbox() -> None:
    """Run a cluster of this checkout's own: for machines without Docker and without a cluster."""


@sandbox.command(epilog=examples("stores sandbox up", "stores sandbox up --name try --port 0 --https-port 0"))
@_name_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Where the stores answer on 127.0.0.1; 0 takes a free one.  [default: stores:urlPort, else 8080]",
)
@click.option(
    "--https-port",
    type=click.IntRange(0, 65535),
    help="Where they answer over https, with certificates of the sandbox's own authority; 0 takes a free port.  "
    "[default: stores:httpsPort, else none]",
)
@click.option(
    "--woocommerce",
    type=click.Path(path_type=Path),
    help="Folder or zip archive of the real WooCommerce, for the shops' image.  "
    "[default: stores:sandboxWoocommerce, else a stand-in]",
)
@click.option(
    "--storefront",
    type=click.Path(path_type=Path),
    help="Folder or zip archive of the real Storefront.  [default: stores:sandboxStorefront, else a stand-in]",
)
@click.pass_obj
@common
def up(
    session: Session,
    *,
    name: str,
    port: int | None,
    https_port: int | None,
    woocommerce: Path | None,
    storefront: Path | None,
) -> None:
    """Build what is missing and start the sandbox. One that runs stays as it is, but for new images."""
    from sandbox import instance  # noqa: PLC0415 - loads the Kubernetes client
    from sandbox.images.recipes.shop.recipe import Given  # noqa: PLC0415

    configured = settings.load(session.root, session.environment)
    if port is None:
        port = configured.url_port or _DEFAULT_PORT
    if https_port is None:
        # One that runs stays as it is: only who asks for a port is told that it has another.
        running = instance.running(session.root, name)
        https_port = configured.https_port if running is None else running.https_port
    with BuildProgress(session.output) as progress:
        given = Given(
            woocommerce or _in_project(session.root, configured.sandbox_woocommerce),
            storefront or _in_project(session.root, configured.sandbox_storefront),
        )
        started = instance.up(session.root, name, http_port=port, https_port=https_port, given=given, report=progress)
    session.output.line(f"sandbox {name} runs: stores answer on 127.0.0.1:{started.http_port}")
    if started.https_port is not None:
        session.output.line(f"https: on 127.0.0.1:{started.https_port}, trust {shlex.quote(str(started.ca_file))}")
    session.output.line(f"kubectl: export KUBECONFIG={shlex.quote(str(started.kubeconfig))}")


@sandbox.command(epilog=examples("stores sandbox build"))
@click.pass_obj
@common
def build(session: Session) -> None:
    """Build everything that sandboxes and tests are made of, and start nothing."""
    from sandbox import instance  # noqa: PLC0415

    with BuildProgress(session.output) as progress:
        instance.build(session.root, report=progress)
    session.output.line("everything is built")


@sandbox.command(epilog=examples("stores sandbox down"))
@_name_option
@click.pass_obj
@common
def down(session: Session, *, name: str) -> None:
    """Stop the sandbox and remove all that belongs to it; says what is gone and what is kept."""
    from sandbox import instance  # noqa: PLC0415

    with BuildProgress(session.output) as progress:
        report = instance.down(session.root, name, report=progress)
    if not report.removed:
        session.output.line(f"there was no sandbox {name}")
    for thing in report.removed:
        session.output.line(f"removed  {thing}")
    for thing in report.kept:
        session.output.line(f"kept     {thing}")


@sandbox.command(epilog=examples("stores sandbox status", "stores sandbox status --json"))
@json_option
@_name_option
@click.pass_obj
@common
def status(session: Session, *, as_json: bool, name: str) -> None:
    """Show what the sandbox is doing. Exits with 7 when it does not run."""
    from sandbox import instance  # noqa: PLC0415

    found = instance.status(session.root, name)
    if as_json:
        session.output.json(found)
    elif found.running:
        _print_status(session.output, found)
    if not found.running:
        why = found.ended or "it was never started, or was stopped"
        raise ClusterUnreachableError(f"sandbox {name}", f"it does not run: {why}", "run `stores sandbox up`")


def _components(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the components that have a log; none where that cannot be asked."""
    from sandbox import instance  # noqa: PLC0415

    session = context.find_object(Session) or Session()
    try:
        files = instance.logs(session.root, context.params.get("name") or "local")
    except (StoresError, OSError):
        return []
    return [name for name in files if name.startswith(incomplete)]


@sandbox.command(
    epilog=examples("stores sandbox logs", "stores sandbox logs --json", "stores sandbox logs kubelet --follow")
)
@click.option("--json", "as_json", is_flag=True, help="Without COMPONENT: print the components as one JSON document.")
@_name_option
@click.argument("component", required=False, shell_complete=_components)
@click.option("--follow", "-f", is_flag=True, help="Go on with what is written, until Ctrl-C.")
@click.option(
    "--lines", "-n", default=200, show_default=True, type=click.IntRange(0), help="How many of the last lines."
)
@click.pass_obj
@common
def logs(session: Session, *, as_json: bool, name: str, component: str | None, follow: bool, lines: int) -> None:
    """Print the log of one component; without COMPONENT, list the components that have one."""
    from sandbox import instance  # noqa: PLC0415

    if as_json and component is not None:
        raise click.UsageError("--json is about the list of components; a log is printed as it is.")
    files = instance.logs(session.root, name)
    if as_json:
        session.output.json([{"component": known, "file": file} for known, file in files.items()])
        return
    if component is None:
        for known in files:
            session.output.line(known)
        return
    if component not in files:
        cure = f"use one of: {', '.join(files) or 'none yet'}"
        raise UsageError(f"sandbox {name}", f"'{component}' has no log", cure)
    _print_log(session.output, files[component], lines, follow=follow)


@sandbox.command(epilog=examples('eval "$(stores sandbox env)" && kubectl get pods -A', "stores sandbox env --json"))
@json_option
@_name_option
@click.pass_obj
@common
def env(session: Session, *, as_json: bool, name: str) -> None:
    """Print the variables that make kubectl, pulumi and helm use the sandbox, as shell lines."""
    from sandbox import instance  # noqa: PLC0415

    running = instance.running(session.root, name)
    if running is None:
        raise ClusterUnreachableError(f"sandbox {name}", "it does not run", "run `stores sandbox up`")
    variables = running.environment()
    if as_json:
        session.output.json(variables)
        return
    for key, value in variables.items():
        session.output.line(f"export {key}={shlex.quote(value)}")


def _in_project(root: Path, path: str | None) -> Path | None:
    return None if path is None else root / path


def _print_status(output: Output, found: Status) -> None:
    facts = [
        ["since", moment(found.started_at)],
        ["API server", f"127.0.0.1:{found.api_port}, {'answers' if found.api_answers else 'does not answer'}"],
        ["node", "ready" if found.node_ready else "not ready"],
        ["stores", f"127.0.0.1:{found.http_port}" + (f" and :{found.https_port}" if found.https_port else "")],
        ["memory", f"{found.memory_bytes // 2**20} MiB in {found.processes} processes"],
    ]
    output.table(["sandbox", found.name], facts)
    components = [
        [name, "runs" if state.running else "gave up" if state.gave_up else "stopped", str(state.restarts)]
        for name, state in sorted(found.components.items())
    ]
    output.line()
    output.table(["component", "state", "restarts"], components)
    output.line()
    pods = [[pod.namespace, pod.name, pod.phase, "yes" if pod.ready else "no"] for pod in found.pods]
    output.table(["namespace", "pod", "phase", "ready"], pods)


def _print_log(output: Output, file: Path, lines: int, *, follow: bool) -> None:
    with file.open(encoding="utf-8", errors="replace") as stream:
        last = stream.readlines()
        for line in last[len(last) - min(lines, len(last)) :]:
            output.line(clean(line.rstrip("\n")))
        while follow:
            new = stream.readline()
            if new:
                output.line(clean(new.rstrip("\n")))
            else:
                time.sleep(_FOLLOW_S)
