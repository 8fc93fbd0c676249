from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.charts.conftest import chart, kubeconform, schemas  # noqa: F401 - fixtures
from tests.charts.rendering import KUBERNETES, ROOT, Chart
from tests.charts.test_chart_conformance import conform
from tests.posture import complete
from tests.posture.judges import CHECKOV, Verdict, checkov, exceptions, kube_score

BEYOND_THE_DIGEST = 2


@pytest.fixture(scope="module")
def file(chart: Chart, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """Return a file with every object of the complete store."""
    path = tmp_path_factory.mktemp("posture") / "store.yaml"
    path.write_text(complete.text(chart))
    return path


@pytest.fixture(scope="module")
def by_checkov(file: Path) -> Verdict:
    """Return checkov's verdict; its environment is made if it is not there."""
    made = subprocess.run(["make", str(CHECKOV.parents[1].relative_to(ROOT) / ".ready")], cwd=ROOT, check=False)
    assert made.returncode == 0
    return checkov(file)


@pytest.fixture(scope="module")
def by_kube_score(file: Path, programs: Mapping[str, Path]) -> Verdict:
    return kube_score(programs["kube-score"], file, KUBERNETES)


def test_the_complete_store_has_every_kind_of_object(chart: Chart) -> None:  # noqa: F811
    kinds = {o["kind"] for o in complete.objects(chart)}
    assert kinds >= {
        "Namespace", "ResourceQuota", "LimitRange", "NetworkPolicy", "ServiceAccount", "Secret", "Deployment",
        "StatefulSet", "Service", "Ingress", "PersistentVolumeClaim", "ConfigMap",
    }  # fmt: skip


def test_checkov_finds_nothing_that_is_not_explained(by_checkov: Verdict) -> None:
    explained = {finding for finding in exceptions().findings if finding.tool == "checkov"}
    assert by_checkov.checks > 150
    assert sorted(by_checkov.findings - explained) == [], "a new finding: repair it, or explain it in exceptions.yaml"
    assert sorted(explained - by_checkov.findings) == [], "a stale exception: remove it from exceptions.yaml"


def test_kube_score_finds_nothing_critical_that_is_not_explained(by_kube_score: Verdict) -> None:
    explained = {finding for finding in exceptions().findings if finding.tool == "kube-score"}
    assert by_kube_score.checks > 50
    assert sorted(by_kube_score.findings - explained) == [], "a new finding: repair it, or explain it"
    assert sorted(explained - by_kube_score.findings) == [], "a stale exception: remove it from exceptions.yaml"


def test_the_exceptions_stay_few() -> None:
    rules = exceptions().rules
    assert len({rule for tool, rule in rules if tool == "checkov"} - {"CKV_K8S_43"}) <= BEYOND_THE_DIGEST
    assert {rule for tool, rule in rules if tool == "kube-score"} <= {"networkpolicy-targets-pod"}


def test_every_object_is_what_kubernetes_takes(file: Path, kubeconform: Path, schemas: Path) -> None:  # noqa: F811
    text = file.read_text()
    result = conform(kubeconform, schemas, text)
    count = len(list(yaml.safe_load_all(text)))
    assert f"Valid: {count}, Invalid: 0, Errors: 0, Skipped: 0" in result.stdout, result.stdout


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"), "CKV_K8S_22"),
        (("automountServiceAccountToken: false", "automountServiceAccountToken: true"), "CKV_K8S_38"),
        (("runAsUser: 10033", "runAsUser: 33"), "CKV_K8S_40"),
    ],
)
def test_the_judges_notice_what_gets_worse(
    file: Path, by_checkov: Verdict, tmp_path: Path, change: tuple[str, str], rule: str
) -> None:
    worse = tmp_path / "worse.yaml"
    assert change[0] in file.read_text()
    worse.write_text(file.read_text().replace(*change))
    assert {finding.rule for finding in checkov(worse).findings - by_checkov.findings} == {rule}


def test_kube_score_notices_a_missing_limit(file: Path, programs: Mapping[str, Path], tmp_path: Path) -> None:
    worse = tmp_path / "worse.yaml"
    worse.write_text(file.read_text().replace("imagePullPolicy: Always", "imagePullPolicy: IfNotPresent"))
    found = kube_score(programs["kube-score"], worse, KUBERNETES).findings
    assert "container-image-pull-policy" in {finding.rule for finding in found}
