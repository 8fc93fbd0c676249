"""Adds up what a whole store takes of its quota, at its worst moments, from its rendered objects.

`make docs` writes the table in charts/store/README.md; with `--check` nothing is written, and a stale table ends with
code 1. Objects are counted by kind, never by name, so that what a template adds is counted too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from sandbox import cache, program_groups, programs
from sandbox.progress import silent
from stacks import settings
from stacks.desired import Plans, merge
from stacks.manifest_model import Store
from stacks.quantities import format_bytes, format_cpu_millis, parse_bytes, parse_cpu_millis

ROOT: Final = Path(__file__).parents[1]
README: Final = "charts/store/README.md"
ISSUERS: Final = "docs/cluster/cluster-issuers.yaml"
BEGIN: Final = "<!-- begin of the quota that `make docs` writes -->"
END: Final = "<!-- end of the quota -->"
# Each with the values that lie over those of the environment.
VARIANTS: Final[Sequence[tuple[str, str, Mapping[str, Any]]]] = (
    ("prod", "", {}),
    ("prod", " with one [database server](../../docs/database.md) for all", {"database": {"external": {"host": "db"}}}),
    ("local", "", {}),
)
# What the complete store has switched on, so that each template counts.
FEATURES: Final = "tests/posture/features.yaml"

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Amount:
    """CPU in thousandths, memory in bytes."""

    cpu_millis: int = 0
    memory_bytes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.cpu_millis + other.cpu_millis, self.memory_bytes + other.memory_bytes)

    def __mul__(self, count: int) -> Amount:
        return Amount(self.cpu_millis * count, self.memory_bytes * count)

    def __str__(self) -> str:
        return f"{format_cpu_millis(self.cpu_millis)} / {format_bytes(self.memory_bytes)}"

    def most(self, other: Amount) -> Amount:
        """Return the larger of both, of CPU and of memory."""
        return Amount(max(self.cpu_millis, other.cpu_millis), max(self.memory_bytes, other.memory_bytes))


@dataclass(frozen=True)
class Row:
    """One part of a store: `pods` of it run at the same time at worst; `suspended` ones only while no update runs."""

    name: str
    pods: int
    surge: int
    requests: Amount
    limits: Amount
    suspended: bool = False


def rows(objects: Sequence[Object], solver: Object, release: str) -> list[Row]:
    """Return what a store consists of; a finished Job counts for nothing, a waiting one for nothing yet."""
    found = [row for o in objects for row in _row(o, release)]
    resources = solver["resources"]
    return [*found, Row("certificate solver", 1, 0, _amount(resources["requests"]), _amount(resources["limits"]))]


def totals(parts: Sequence[Row]) -> dict[str, tuple[int, Amount, Amount]]:
    """Return pods, requests and limits of each worst moment.

    An update runs the surge beside all that may run by itself; what is suspended runs on a person's word, one at a
    time, and never during an update.
    """
    steady = [(row, row.pods) for row in parts if not row.suspended]
    moments = {"while an update runs": [(row, count + row.surge) for row, count in steady]}
    moments |= {f"while {row.name} runs": [*steady, (row, 1)] for row in parts if row.suspended}
    return {
        name: (
            sum(count for _, count in running),
            sum((row.requests * count for row, count in running), Amount()),
            sum((row.limits * count for row, count in running), Amount()),
        )
        for name, running in moments.items()
    }


def _row(o: Object, release: str) -> Iterator[Row]:
    spec, kind = o.get("spec", {}), o["kind"]
    name = o["metadata"]["name"].removeprefix(f"{release}-")
    if kind == "Deployment":
        surge = spec["strategy"].get("rollingUpdate", {}).get("maxSurge", 0)
        yield _pods(name, spec["template"], spec["replicas"], surge)
    elif kind in {"StatefulSet", "ReplicaSet"}:
        yield _pods(name, spec["template"], spec["replicas"], 0)
    elif kind == "Job":
        yield _pods(name, spec["template"], spec.get("parallelism", 1), 0)
    elif kind == "CronJob":
        if spec.get("concurrencyPolicy", "Allow") == "Allow":
            raise ValueError(f"CronJob {name} may run any number of times at once; set concurrencyPolicy: Forbid")
        job = spec["jobTemplate"]["spec"]
        row = _pods(name, job["template"], job.get("parallelism", 1), 0)
        yield Row(row.name, row.pods, 0, row.requests, row.limits, suspended=bool(spec.get("suspend")))
    elif kind == "Pod":
        yield _pods(name, o, 1, 0)
    elif kind in {"DaemonSet", "ReplicationController"}:
        raise ValueError(f"{kind} {name}: nobody knows how many pods it makes; use a Deployment")


def _pods(name: str, template: Object, count: int, surge: int) -> Row:
    spec = template["spec"]
    return Row(name, count, surge, requests=_pod(spec, "requests"), limits=_pod(spec, "limits"))


def _pod(spec: Object, kind: str) -> Amount:
    """Return what a pod counts for: init containers run one after another, before the others."""
    together = sum((_amount(c["resources"][kind]) for c in spec["containers"]), Amount())
    for container in spec.get("initContainers", []):
        together = together.most(_amount(container["resources"][kind]))
    return together


def _amount(quantities: Mapping[str, Any]) -> Amount:
    return Amount(parse_cpu_millis(str(quantities["cpu"])), parse_bytes(str(quantities["memory"])))


def solver_of(issuers: Path) -> Object:
    """Return the pod of the HTTP-01 solver, as the documented ClusterIssuer makes it."""
    for document in YAML(typ="safe").load_all(issuers):
        for solver in document["spec"]["acme"]["solvers"]:
            if "http01" in solver:
                found: Object = solver["http01"]["ingress"]["podTemplate"]["spec"]
                return found
    raise ValueError(f"{issuers}: no issuer has an HTTP-01 solver")


def complete_values(root: Path, environment: str, store: Store) -> dict[str, Any]:
    """Return the values of a store with everything switched on."""
    desired = Plans(root, settings.load(root, environment)).desired(store)
    return merge(desired.release.values, YAML(typ="safe").load(root / FEATURES))


def table(root: Path, helm: Path) -> str:
    """Return the table of every environment, in Markdown."""
    store = Store(id="s", name="s", owner="o", cell="01", title="t", admin_email="a@example.com")
    version = program_groups.VERSIONS["kube-apiserver"].removeprefix("v")
    parts = []
    for environment, variant, overlay in VARIANTS:
        command = [
            str(helm),
            "template",
            store.id,
            str(root / "charts/store"),
            "--kube-version",
            version,
            "--values",
            "-",
        ]
        values = json.dumps(merge(complete_values(root, environment, store), overlay))
        rendered = subprocess.run(command, input=values, capture_output=True, text=True, check=True).stdout
        objects = [o for o in YAML(typ="safe").load_all(rendered) if o]
        quota = settings.load(root, environment).quota
        parts.append(
            _markdown(
                f"`{environment}`{variant}", rows(objects, solver_of(root / ISSUERS), store.id), quota.cpu, quota.memory
            )
        )
    return "\n\n".join(parts)


def _markdown(name: str, parts: Sequence[Row], cpu: str, memory: str) -> str:
    lines = [f"| {name}: CPU / memory | pods | requests of each | limits of each |", "|---|---|---|---|"]
    for row in parts:
        count = "on a person's word" if row.suspended else f"{row.pods} + {row.surge}" if row.surge else str(row.pods)
        lines.append(f"| {row.name} | {count} | {row.requests} | {row.limits} |")
    for moment, (pods, requests, limits) in totals(parts).items():
        lines.append(f"| **{moment}** | {pods} | **{requests}** | **{limits}** of {cpu} / {memory} |")
    return "\n".join(lines)


def main() -> int:
    """Write or check the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the table is stale")
    check = parser.parse_args().check
    readme = ROOT / README
    old = readme.read_text()
    before, found_begin, rest = old.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found_begin and found_end):
        raise ValueError(f"{README} lacks the lines {BEGIN!r} and {END!r}; put them where the table belongs")
    new = f"{before}{BEGIN}\n{table(ROOT, programs.build(cache.root(), silent)['helm'])}\n{END}{after}"
    if new == old:
        return 0
    if check:
        print(f"{README}: the quota is stale; run `make docs`", file=sys.stderr)
        return 1
    readme.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
