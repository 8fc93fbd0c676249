"""The plain `helm install` of the chart's README, as it is written there."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import by_hand
from .rendering import CHART, KUBERNETES, NAMESPACE, RELEASE, VALUES, Chart

KUBECTL = """
printf '%q ' "$@" >> {folder}/kubectl.log
echo >> {folder}/kubectl.log
if [ "$1" = --namespace ]; then cp -r "${{@: -1}}" {folder}/secret; fi
"""
# What it would make; nobody waits for it.
HELM = """
printf '%q ' "$@" > {folder}/helm.log
[ "$1" = install ]
shift
arguments=()
while [ $# -gt 0 ]; do
  case $1 in --wait) ;; --timeout) shift ;; *) arguments+=("$1") ;; esac
  shift
done
{helm} template --kube-version {version} "${{arguments[@]}}" > {folder}/objects.yaml
"""


@pytest.fixture
def typed(chart: Chart, tmp_path: Path) -> Path:
    """Return a folder with what the programs were told, the Secret's keys, and the objects that Helm would make."""
    programs = {
        "kubectl": KUBECTL.format(folder=tmp_path),
        "helm": HELM.format(folder=tmp_path, helm=chart.helm, version=KUBERNETES),
    }
    by_hand.run(by_hand.script(), programs, tmp_path / "bin")
    return tmp_path


def secrets_of(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every volume that is a Secret."""
    if isinstance(value, Mapping):
        if "secretName" in value:
            yield value
        for one in value.values():
            yield from secrets_of(one)
    elif isinstance(value, list):
        for one in value:
            yield from secrets_of(one)


def test_every_secret_that_its_pods_mount_is_made_before(typed: Path) -> None:
    (namespace, secret) = [shlex.split(line) for line in (typed / "kubectl.log").read_text().splitlines()]
    assert namespace == ["create", "namespace", NAMESPACE]
    assert secret[:6] == ["--namespace", NAMESPACE, "create", "secret", "generic", f"{RELEASE}-credentials"]
    made = {file.name for file in (typed / "secret").iterdir()}
    assert all(len(file.read_text()) == 48 for file in (typed / "secret").iterdir())
    mounted = list(secrets_of(list(yaml.safe_load_all((typed / "objects.yaml").read_text()))))
    assert mounted
    assert {each["secretName"] for each in mounted} == {f"{RELEASE}-credentials"}
    needed = {item["key"] for each in mounted for item in each["items"]}
    assert needed <= made
    # A folder of passwords on the disk is not what a person wants to keep.
    assert not Path(secret[-1]).exists()


def test_it_leaves_no_job_that_could_only_fail(typed: Path) -> None:
    objects = [o for o in yaml.safe_load_all((typed / "objects.yaml").read_text()) if o]
    kinds = {o["kind"] for o in objects}
    assert {"Deployment", "StatefulSet", "ServiceAccount", "Ingress"} <= kinds
    assert not {"CronJob", "Job"} & kinds
    told = shlex.split((typed / "helm.log").read_text())
    assert told[:3] == ["install", RELEASE, "charts/store"]
    assert told[told.index("--namespace") + 1] == NAMESPACE


@pytest.mark.parametrize(
    ("repository", "told"),
    [
        ({}, ["in the Secret", f"{RELEASE}-credentials the key backup-password, and backup-access, the password"]),
        (
            {"kind": "s3", "url": "https://s3.example.com/b", "accessSecret": "keys"},
            [
                "credentials the key backup-password.",
                "In the Secret keys it needs access-key-id and secret-access-key.",
            ],
        ),
    ],
)
def test_the_notes_say_which_keys_a_backup_needs(
    chart: Chart, tmp_path: Path, repository: dict[str, str], told: list[str]
) -> None:
    notes = chart.notes({"backup": {"enabled": True, "repository": repository}}, tmp_path / "with")
    for text in told:
        assert text in notes
    assert "set backup.enabled=false" in notes
    assert "backup" not in chart.notes({}, tmp_path / "without")
    # And the Secrets that the chart mounts for it have these very keys.
    items = {
        item["key"]
        for o in chart.render({"backup": {"enabled": True, "repository": repository}}).objects
        if o["kind"] == "CronJob"
        for each in secrets_of(o)
        for item in each.get("items", [])
        if item["key"].startswith("backup-")
    }
    assert items == ({"backup-password"} if repository else {"backup-password", "backup-access"})


def test_the_readme_names_the_keys_too(chart: Chart) -> None:
    text = (CHART / "README.md").read_text()
    for key in ("backup-password", "backup-access", "access-key-id", "secret-access-key"):
        assert f"`{key}`" in text
    local = chart.render(files=[VALUES / "values-local.yaml"])
    assert any(o["kind"] == "CronJob" for o in local.objects), "the values that it takes have backups on"
