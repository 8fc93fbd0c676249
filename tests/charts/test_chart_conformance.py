from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from .pod_security import violations
from .rendering import CHART, ROOT, VALUES, Chart, Object, Rendered

CASES = sorted((CHART / "ci").glob("*-values.yaml"))


def conform(kubeconform: Path, schemas: Path, objects: str) -> subprocess.CompletedProcess[str]:
    location = f"{schemas}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    return subprocess.run(
        [str(kubeconform), "-strict", "-summary", "-schema-location", location],
        input=objects, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("values", CASES, ids=lambda path: path.stem)
def test_every_object_is_what_kubernetes_takes(chart: Chart, kubeconform: Path, schemas: Path, values: Path) -> None:
    rendered = chart.render(files=[values])
    result = conform(kubeconform, schemas, rendered.text)
    assert result.returncode == 0, result.stdout
    assert f"Valid: {len(rendered.objects)}, Invalid: 0, Errors: 0, Skipped: 0" in result.stdout


@pytest.mark.parametrize("kind", ["Ingress", "HTTPRoute"])
def test_every_way_in_is_what_its_controllers_take(chart: Chart, kubeconform: Path, schemas: Path, kind: str) -> None:
    values = {"ingress": {"kind": kind, "domains": ["tea.example.org", "www.tea.example.org"]}}
    rendered = chart.render(values, files=[VALUES / "values-prod.yaml"])
    result = conform(kubeconform, schemas, rendered.text)
    assert result.returncode == 0, result.stdout
    assert f"Valid: {len(rendered.objects)}, Invalid: 0, Errors: 0, Skipped: 0" in result.stdout
    if kind == "HTTPRoute":
        assert conform(kubeconform, schemas, rendered.text.replace("hostnames:", "hosts:")).returncode != 0
        assert conform(kubeconform, schemas, rendered.text.replace("certificateRefs:", "certs:")).returncode != 0


@pytest.mark.parametrize("ca", [{"configMap": "db-ca"}, {"secret": "db-ca"}])
def test_a_store_without_a_server_of_its_own_is_what_kubernetes_takes(
    chart: Chart, kubeconform: Path, schemas: Path, ca: dict[str, str]
) -> None:
    values = {"database": {"external": {"host": "db.example.com", "ca": ca}}}
    rendered = chart.render(values, files=[VALUES / "values-prod.yaml"])
    for pod in (*rendered.pods().values(), *pods_of_jobs(rendered)):
        assert list(violations(pod)) == []
    result = conform(kubeconform, schemas, rendered.text)
    assert result.returncode == 0, result.stdout
    assert f"Valid: {len(rendered.objects)}, Invalid: 0, Errors: 0, Skipped: 0" in result.stdout


def pods_of_jobs(rendered: Rendered) -> list[Object]:
    return [o["spec"]["jobTemplate"]["spec"]["template"] for o in rendered.objects if o["kind"] == "CronJob"]


@pytest.mark.parametrize("file", sorted((ROOT / "docs" / "cluster").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_documented_manifests_are_what_their_controllers_take(kubeconform: Path, schemas: Path, file: Path) -> None:
    documents = list(yaml.safe_load_all(file.read_text()))
    # As JSON: anchors are the reader's convenience.
    result = conform(kubeconform, schemas, "\n---\n".join(json.dumps(document) for document in documents))
    assert f"Valid: {len(documents)}, Invalid: 0, Errors: 0, Skipped: 0" in result.stdout, result.stdout


def test_solvers_of_the_documented_issuer_are_reached_inside_the_quota() -> None:
    """A quota without NodePorts refuses cert-manager's default kind of Service."""
    for issuer in yaml.safe_load_all((ROOT / "docs/cluster/cluster-issuers.yaml").read_text()):
        for solver in issuer["spec"]["acme"]["solvers"]:
            if "http01" in solver:
                assert solver["http01"]["ingress"]["serviceType"] == "ClusterIP"


@pytest.mark.parametrize("values", CASES, ids=lambda path: path.stem)
def test_both_lines_of_helm_render_and_lint_alike(chart: Chart, programs: Mapping[str, Path], values: Path) -> None:
    """Byte for byte, but for the empty lines at the end of an object, which Helm 3 takes away."""
    newer = Chart(programs["helm4"])
    older_made, newer_made = (helm.render(files=[values]) for helm in (chart, newer))
    assert newer_made.objects == older_made.objects
    texts = [re.sub(r"\s+(\n---\n|$)", r"\1", made.text) for made in (older_made, newer_made)]
    assert texts[0] == texts[1]
    assert newer.lint([values]) == ""


def test_both_lines_of_helm_refuse_alike(chart: Chart, programs: Mapping[str, Path]) -> None:
    newer = Chart(programs["helm4"])
    for wrong in ({"web": {"replicas": 2}}, {"ingress": {"port": 443, "scheme": "http"}}, {"unknown": 1}):
        told = [line for line in chart.refusal(wrong).splitlines() if ";" in line or "not allowed" in line]
        assert told
        assert all(line in newer.refusal(wrong) for line in told)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("automountServiceAccountToken:", "automountServiceAcountToken:"),
        ("maxSurge: 1", "maxSurge: [1]"),
        ("replicas: 1", 'replicas: "1"'),
        ("storage: 1Gi", "storage: 1 Gi"),
        ("  strategy:", "  strategy:\n  strategy:"),
    ],
)
def test_the_check_notices_a_wrong_object(
    chart: Chart, kubeconform: Path, schemas: Path, right: str, wrong: str
) -> None:
    text = chart.render().text
    assert right in text
    result = conform(kubeconform, schemas, text.replace(right, wrong))
    assert result.returncode != 0
    assert wrong.strip().partition(":")[0] in result.stdout


@pytest.mark.parametrize("values", CASES, ids=lambda path: path.stem)
def test_helm_finds_nothing_to_complain_about(chart: Chart, values: Path) -> None:
    assert chart.lint([values]) == ""
