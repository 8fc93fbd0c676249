"""What is in use and what is wrong: engine, plugins, cluster, images, ledger and files, each with its cure.

It changes nothing and goes on after every failure: a doctor that stops at the first illness is of little use.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from audit.ledger import Ledger
from audit.target import Target
from sandbox import cache, images, plugins
from stacks import manifest as manifests
from stacks.cluster import Cluster
from stacks.desired import caps, environment_values
from stacks.errors import StoresError
from stacks.settings import Settings

State = Literal["ok", "warn", "fail"]

_TIMEOUT_S: Final = 30
_PLUGINS: Final = (("resource", "kubernetes", "pulumi-kubernetes"), ("resource", "random", "pulumi-random"))


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `cure` is empty unless something is to be done."""

    name: str
    state: State
    detail: str
    cure: str = ""


@dataclass(frozen=True)
class Patient:
    """What is examined."""

    root: Path
    settings: Settings
    target: Target
    cluster: Cluster


def examine(patient: Patient) -> list[Check]:
    """Return every check, in the order in which a reader would mend things."""
    examinations: tuple[tuple[str, Callable[[Patient], Iterator[Check]]], ...] = (
        ("engine", _engine),
        ("plugins", _plugins),
        ("state", _state),
        ("ledger", _ledger),
        ("cluster", _cluster),
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
    classes = cluster.storage_classes()
    for name in sorted({values["uploads"]["storageClass"], values["database"]["storage"]["storageClass"]} - {""}):
        if name in classes:
            yield Check("storage class", "ok", name)
        else:
            known = ", ".join(sorted(classes)) or "none"
            cure = f"make it, or name one of the cluster's ({known}) in values/values-{settings.environment}.yaml"
            yield Check("storage class", "fail", f"{name!r} is not in the cluster", cure)
    wanted = values["ingress"]["className"]
    ingress_classes = cluster.ingress_classes()
    if wanted in ingress_classes:
        yield Check("ingress class", "ok", wanted)
    else:
        known = ", ".join(sorted(ingress_classes)) or "none"
        cure = f"install an ingress controller, or set ingress.className (the cluster has: {known})"
        yield Check("ingress class", "fail", f"{wanted!r} is not in the cluster", cure)
    if cluster.namespace(settings.ingress_namespace) is None:
        cure = "set stores:ingressNamespace to where the controller runs: the network policies admit only that one"
        yield Check("ingress namespace", "fail", f"{settings.ingress_namespace!r} is not in the cluster", cure)
    else:
        yield Check("ingress namespace", "ok", settings.ingress_namespace)


def _images(patient: Patient) -> Iterator[Check]:
    values = environment_values(patient.root, patient.settings.environment)
    if patient.target.kind == "sandbox":
        for facts in images.describe(cache.root()):
            yield Check(f"image {facts.name}", "ok", f"{facts.version} (sandbox, served as {facts.reference})")
        return
    for name, image in (("wordpress", values["image"]), ("mariadb", values["database"]["image"])):
        digest = f"@{image['digest']}" if image["digest"] else ""
        reference = f"{image['registry']}/{image['repository']}:{image['tag']}{digest}"
        yield Check(f"image {name}", "ok", f"{reference} (pulled by the cluster)")


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
