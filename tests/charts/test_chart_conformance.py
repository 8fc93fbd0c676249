from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .rendering import CHART, VALUES, Chart

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
