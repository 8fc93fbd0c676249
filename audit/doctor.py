"""What is in use and what is wrong: engine, plugins, cluster, images, ledger and files, each with its cure.

It goes on after every failure: a doctor that stops at the first illness is of little use. It changes nothing, but for a
probe of the network policies, which only `deep` makes, in a namespace of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final

from audit import policy_probe, policy_verdict, surroundings
from audit.check import Check
from audit.ledger import Ledger
from audit.policy_verdict import FRESH, Verdict, age_text
from audit.target import STATE_FOLDER, Target
from sandbox import cache, images, plugins
from stacks import manifest as manifests
from stacks.cluster import Cluster
from stacks.desired import caps, environment_values
from stacks.errors import StoresError
from stacks.settings import Settings

_TIMEOUT_S: Final = 30
_PLUGINS: Final = (("resource", "kubernetes", "pulumi-kubernetes"), ("resource", "random", "pulumi-random"))


@dataclass(frozen=True)
class Patient:
    """What is examined."""

    root: Path
    settings: Settings
    target: Target
    cluster: Cluster
    deep: bool = False
    report: Callable[[str], None] = lambda _text: None


def examine(patient: Patient) -> list[Check]:
    """Return every check, in the order in which a reader would mend things."""
    examinations: tuple[tuple[str, Callable[[Patient], Iterator[Check]]], ...] = (
        ("engine", _engine),
        ("plugins", _plugins),
        ("state", _state),
        ("ledger", _ledger),
        ("cluster", _cluster),
        ("network policies", _network_policies),
        ("images", _images),
        ("manifest", _manifest),
    )
    return [check for name, examination in examinations for check in _surely(name, examination, patient)]


def _surely(name: str, examination: Callable[[Patient], Iterator[Check]], patient: Patient) -> list[Check]:
    found: list[Check] = []
    try:
        found.extend(examination(patient))
    except StoresError as error:
        found.extend(
            Check(name, "fail", f"{problem.where}: {problem.what}", problem.cure) for problem in error.problems
        )
    return found


def _engine(patient: Patient) -> Iterator[Check]:
    program = _pulumi(patient)
    if program is None:
        cure = "install Pulumi (https://www.pulumi.com/docs/install/), or run `make up` for the sandbox"
        yield Check("engine", "fail", "no `pulumi` program was found", cure)
        return
    version = _output(patient, [program, "version"]).removeprefix("v")
    wanted = metadata.version("pulumi")
    kind = "sandbox" if Path(program).resolve().is_relative_to(cache.root()) else "official"
    detail = f"{version} ({kind}, {program})"
    if version.split(".")[0] != wanted.split(".")[0]:
        yield Check("engine", "fail", detail, f"install version {wanted}, which the program is made for")
    elif version != wanted:
        yield Check("engine", "warn", detail, f"the program is tested with version {wanted}")
    else:
        yield Check("engine", "ok", detail)


def _plugins(patient: Patient) -> Iterator[Check]:
    program = _pulumi(patient)
    if program is None:
        return
    listed = json.loads(_output(patient, [program, "plugin", "ls", "--json"]) or "[]")
    versions = {(plugin["kind"], plugin["name"]): plugin.get("version") or "unknown" for plugin in listed}
    home = Path(_variables(patient).get("PULUMI_HOME") or Path.home() / ".pulumi")
    for plugin_kind, name, package in _PLUGINS:
        version, wanted = versions.get((plugin_kind, name)), metadata.version(package)
        if version is None:
            cure = (
                f"run `pulumi plugin install resource {name} {wanted}`; the engine also does it by itself when online"
            )
            yield Check(f"plugin {name}", "warn", "not installed yet", cure)
            continue
        kind = "sandbox" if plugins.is_ours(home, plugin_kind, name, version) else "official"
        if version != wanted:
            yield Check(f"plugin {name}", "warn", f"{version} ({kind})", f"the program is tested with {wanted}")
        else:
            yield Check(f"plugin {name}", "ok", f"{version} ({kind})")

    yield _language_plugin(patient, program, home)


def _language_plugin(patient: Patient, program: str, home: Path) -> Check:
    """Return the check of what plain `pulumi up` runs the program with; the gate runs it by itself."""
    version = metadata.version("pulumi")
    if plugins.is_ours(home, "language", "python", version):
        return Check("plugin python", "ok", f"{version} (sandbox)")
    beside = Path(program).resolve().with_name("pulumi-language-python")
    found = str(beside) if beside.is_file() else shutil.which(beside.name, path=_variables(patient)["PATH"])
    if found is None:
        cure = "reinstall Pulumi, which brings it; `stores up` works without it"
        return Check("plugin python", "warn", "not found: plain `pulumi up` cannot run the program", cure)
    return Check("plugin python", "ok", f"official, {found}")


def _state(patient: Patient) -> Iterator[Check]:
    url = patient.target.backend_url
    shared = not url.startswith("file://")
    where = "shared" if shared else "on this machine's disk"
    if patient.settings.protected and not shared:
        yield Check("state", "warn", f"{url} ({where})", "back this folder up: it is the only copy of the state")
    else:
        yield Check("state", "ok", f"{url} ({where})")


def _ledger(patient: Patient) -> Iterator[Check]:
    ledger = Ledger.open(patient.target.ledger_url)
    yield Check("ledger", "ok", ledger.describe())
    verification = ledger.verify()
    if verification.ok:
        yield Check("audit log", "ok", f"{verification.entries} entries, chain unbroken")
    else:
        yield Check("audit log", "fail", str(verification), "keep a copy of the database, and see docs/runbooks/")


def _cluster(patient: Patient) -> Iterator[Check]:
    cluster, settings = patient.cluster, patient.settings
    yield Check("cluster", "ok", f"{cluster.address}, Kubernetes {cluster.version}, identity {cluster.uid}")
    if settings.cluster_uid not in (None, cluster.uid):
        yield Check(
            "cluster identity",
            "fail",
            f"the settings name {settings.cluster_uid}",
            "choose the right kubeconfig context",
        )
    values = environment_values(patient.root, settings.environment)
    yield from surroundings.storage(cluster, settings, values)
    yield from surroundings.way_in(cluster, settings, values)
    yield from surroundings.api_server(cluster, settings)


def _network_policies(patient: Patient) -> Iterator[Check]:
    """Yield what was seen of their enforcement, now or by an earlier probe: no API tells it."""
    cluster, settings = patient.cluster, patient.settings
    folder = patient.target.engine_root or patient.root / STATE_FOLDER / settings.environment
    if patient.deep:
        image = environment_values(patient.root, settings.environment)["image"]
        verdict = policy_probe.run(cluster, policy_probe.Image(_reference(image), image["pullPolicy"]), patient.report)
        verdict.save(folder)
    yield policy_check(policy_verdict.load(folder, cluster.uid), datetime.now(UTC))


def policy_check(verdict: Verdict | None, now: datetime) -> Check:
    """Return the check of what a probe has found, if there was one."""
    name, again = (
        "network policies",
        "run `stores doctor --deep`: it tries, in a namespace of its own, for half a minute",
    )
    if verdict is None:
        return Check(name, "warn", "never probed: whether this cluster enforces them is not known", again)
    age = verdict.age(now)
    seen = f"(probed {age_text(age)} ago)"
    closed = {"ingress": verdict.ingress, "egress": verdict.egress}
    opened = [direction for direction, enforced in closed.items() if not enforced]
    if opened:
        what = "not enforced" if len(opened) == 2 else f"not enforced for {opened[0]}"
        return Check(
            name,
            "warn",
            f"{what}: stores can reach each other's pods {seen}",
            "install a network plugin that enforces NetworkPolicies (Calico, Cilium, ...), then `stores doctor --deep`",
        )
    if age > FRESH:
        return Check(name, "warn", f"were enforced, but that is long ago {seen}", again)
    return Check(name, "ok", f"enforced, ingress and egress {seen}")


def _images(patient: Patient) -> Iterator[Check]:
    values = environment_values(patient.root, patient.settings.environment)
    if patient.target.kind == "sandbox":
        for facts in images.describe(cache.root()):
            yield Check(f"image {facts.name}", "ok", f"{facts.version} (sandbox, served as {facts.reference})")
        return
    for name, image in (("wordpress", values["image"]), ("mariadb", values["database"]["image"])):
        yield Check(f"image {name}", "ok", f"{_reference(image)} (pulled by the cluster)")


def _reference(image: Mapping[str, str]) -> str:
    digest = f"@{image['digest']}" if image["digest"] else ""
    return f"{image['registry']}/{image['repository']}:{image['tag']}{digest}"


def _manifest(patient: Patient) -> Iterator[Check]:
    settings = patient.settings
    manifest = manifests.load(patient.root, settings.environment, caps(patient.root, settings))
    yield Check("manifest", "ok", f"{manifest.where}: {len(manifest.stores)} stores of {len(manifest.owners)} owners")


def _pulumi(patient: Patient) -> str | None:
    return shutil.which("pulumi", path=_variables(patient)["PATH"])


def _variables(patient: Patient) -> dict[str, str]:
    return {**os.environ, **patient.target.variables}


def _output(patient: Patient, command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, env=_variables(patient), capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip()
