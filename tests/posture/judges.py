"""Two programs that judge Kubernetes objects, as data: which rule finds fault with which object."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.charts.rendering import ROOT
from tests.posture.complete import HERE, STORE

CHECKOV = ROOT / ".venv-posture" / "bin" / "checkov"
_CRITICAL = 1


@dataclass(frozen=True, order=True)
class Finding:
    """One rule's complaint about one object, `Kind/name` without the store id."""

    tool: str
    rule: str
    object: str


@dataclass(frozen=True)
class Verdict:
    """What a program found, and how many checks it made in all: one that has seen nothing finds nothing."""

    findings: frozenset[Finding]
    checks: int


@dataclass(frozen=True)
class Exceptions:
    """The explained findings."""

    findings: frozenset[Finding]
    rules: frozenset[tuple[str, str]]


def exceptions() -> Exceptions:
    """Return exceptions.yaml; an entry without a reason is an error."""
    entries = yaml.safe_load((HERE / "exceptions.yaml").read_text())
    for entry in entries:
        assert set(entry) == {"tool", "rule", "name", "objects", "why"}, entry
        assert len(entry["why"]) > 40, f"say why {entry['rule']} stays"
    found = frozenset(Finding(e["tool"], e["rule"], name) for e in entries for name in e["objects"])
    return Exceptions(found, frozenset((entry["tool"], entry["rule"]) for entry in entries))


def checkov(file: Path) -> Verdict:
    """Return what checkov finds, in a network of its own that leads nowhere."""
    command = [
        "unshare", "--net", str(CHECKOV), "--file", str(file), "--framework", "kubernetes", "--compact",
        "--skip-download", "--output", "json",
    ]  # fmt: skip
    result = subprocess.run(
        command, env={"PATH": os.defpath, "HOME": str(file.parent)}, capture_output=True, text=True, check=False
    )
    assert result.returncode in {0, 1}, result.stderr
    report = json.loads(result.stdout)
    assert report["summary"]["parsing_errors"] == 0, report["summary"]
    findings = {Finding("checkov", c["check_id"], _object(*c["resource"].split("."))) for c in _of(report, "failed")}
    return Verdict(frozenset(findings), len(_of(report, "failed")) + len(_of(report, "passed")))


def _of(report: dict[str, dict[str, list[dict[str, str]]]], kind: str) -> list[dict[str, str]]:
    return report["results"][f"{kind}_checks"]


def kube_score(program: Path, file: Path, kubernetes: str) -> Verdict:
    """Return what kube-score calls critical."""
    minor = "v" + ".".join(kubernetes.split(".")[:2])
    result = subprocess.run(
        [str(program), "score", "--kubernetes-version", minor, "--output-format", "json", str(file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode in {0, 1}, result.stderr
    report = json.loads(result.stdout)
    made = [(o, check) for o in report for check in o["checks"] if not check["skipped"]]
    findings = {
        Finding("kube-score", check["check"]["id"], _object(o["type_meta"]["kind"], "", o["object_meta"]["name"]))
        for o, check in made
        if check["grade"] == _CRITICAL
    }
    return Verdict(frozenset(findings), len(made))


def _object(kind: str, _namespace: str, name: str) -> str:
    return f"{kind}/{name.removeprefix(f'{STORE.id}-')}"
