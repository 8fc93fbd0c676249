"""The schedule and the pods of backups and restores, as Helm renders them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from audit import copies
from components import naming
from stacks.desired import environment_values, merge, store_values
from tests.audit.test_copies import CONTACT, WHOLE
from tests.containers.image import Image, Mount

from .pod_security import violations
from .rendering import ROOT, VALUES, Chart, Rendered, merged

ON = {"backup": {"enabled": True}}
S3 = {"kind": "s3", "url": "https://s3.example.com/bucket/prod", "accessSecret": "backup-access"}


def cron_jobs(rendered: Rendered) -> dict[str, Any]:
    found = {o["metadata"]["name"].rpartition("-")[2]: o["spec"] for o in rendered.objects if o["kind"] == "CronJob"}
    assert set(found) == {"backup", "restore"}
    return found


def pods(rendered: Rendered) -> list[Any]:
    return [spec["jobTemplate"]["spec"]["template"] for spec in cron_jobs(rendered).values()]


def test_a_hundred_stores_do_not_start_together(chart: Chart) -> None:
    names = [naming.new_store_id(name) for name in ("tea-house", "coffee-bar", "shop", "books") for _ in range(10)]
    schedules = [cron_jobs(chart.render(ON, release=name))["backup"]["schedule"] for name in names]
    hours = {int(schedule.split()[1]) for schedule in schedules}
    assert hours <= {1, 2, 3, 4}
    assert max(Counter(schedules).values()) <= 4, Counter(schedules).most_common(3)


@pytest.mark.parametrize(("every", "runs"), [(24, 1), (12, 2), (6, 4), (1, 24)])
def test_a_store_is_backed_up_as_often_as_the_value_says(chart: Chart, every: int, runs: int) -> None:
    values = {"backup": {"enabled": True, "everyHours": every, "spreadMinutes": min(240, 60 * every)}}
    minute, hours, *rest = cron_jobs(chart.render(values))["backup"]["schedule"].split()
    assert 0 <= int(minute) <= 59
    assert rest == ["*", "*", "*"]
    found = [int(hour) for hour in hours.split(",")]
    assert len(set(found)) == runs
    assert all(0 <= hour <= 23 for hour in found)


def test_the_template_of_restores_never_runs_by_itself(chart: Chart) -> None:
    restore = cron_jobs(chart.render(ON))["restore"]
    assert restore["suspend"] is True
    assert restore["jobTemplate"]["spec"]["backoffLimit"] == 0
    assert cron_jobs(chart.render(ON))["backup"]["concurrencyPolicy"] == "Forbid"


@pytest.mark.parametrize("environment", ["local", "prod"])
def test_pods_of_backups_are_restricted_and_have_limits(chart: Chart, environment: str) -> None:
    for pod in pods(chart.render(files=[VALUES / f"values-{environment}.yaml"])):
        assert list(violations(pod)) == []
        for container in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert set(container["resources"]["limits"]) >= {"cpu", "memory"}


def test_no_password_is_in_a_variable_or_an_argument(chart: Chart) -> None:
    for pod in pods(chart.render(merged(ON, {"backup": {"repository": S3}}))):
        for container in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]:
            assert not any("valueFrom" in variable for variable in container["env"])
            assert "args" not in container


def test_only_the_dump_and_restic_see_what_they_need(chart: Chart) -> None:
    backup = cron_jobs(chart.render(ON))["backup"]["jobTemplate"]["spec"]["template"]["spec"]
    (dump,), (restic,) = backup["initContainers"], backup["containers"]
    assert "repository" not in {mount["name"] for mount in dump["volumeMounts"]}
    assert not {"credentials", "credentials-all"} & {mount["name"] for mount in restic["volumeMounts"]}
    assert all(mount.get("readOnly") for mount in restic["volumeMounts"] if mount["mountPath"].startswith("/backup/"))


def claims(spec: dict[str, Any]) -> dict[str, str]:
    found = [volume for volume in spec["volumes"] if "persistentVolumeClaim" in volume]
    return {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in found}


def test_what_is_saved_and_put_back_is_the_whole_volume_that_wp_content_lies_on(chart: Chart) -> None:
    rendered = chart.render(merged(ON, {"wpContent": {"mode": "persistent"}}))
    web = rendered.pods()["wordpress"]["spec"]
    content = [
        claims(web)[mount["name"]]
        for mount in rendered.container("wordpress")["volumeMounts"]
        if mount["mountPath"] in ("/var/www/html/wp-content", "/var/www/html/wp-content/uploads")
    ]
    assert len(content) == 2
    for kind, container, place in (("backup", "restic", "/backup/volume"), ("restore", "files", "/volume")):
        spec = cron_jobs(rendered)[kind]["jobTemplate"]["spec"]["template"]["spec"]
        (found,) = [each for each in spec["containers"] if each["name"] == container]
        (mount,) = [each for each in found["volumeMounts"] if each["mountPath"] == place]
        assert "subPath" not in mount
        assert mount.get("readOnly", False) == (kind == "backup")
        assert {claims(spec)[mount["name"]]} == set(content)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"repository": {**S3, "accessSecret": ""}},
            "backup.repository.accessSecret: empty, but backup.repository.kind is s3",
        ),
        ({"repository": {"accessSecret": "x"}}, 'backup.repository.accessSecret: "x" would do nothing'),
        ({"everyHours": 1}, "backup.spreadMinutes: 240 is more than the 60 minutes between two backups"),
    ],
)
def test_values_that_contradict_each_other_are_refused(chart: Chart, values: dict[str, Any], said: str) -> None:
    assert said in chart.refusal({"backup": {"enabled": True, **values}})


@pytest.mark.parametrize("environment", ["local", "prod"])
def test_a_backup_says_what_a_copy_of_the_store_needs_and_no_more(chart: Chart, environment: str) -> None:
    values = environment_values(ROOT, environment)
    given = merge(values, store_values(WHOLE))
    # As the platform does where a block names limits alone.
    for part in ("web", "database"):
        given[part]["resources"]["requests"] = given[part]["resources"]["limits"]
    rendered = chart.render(given)
    text = rendered.one("ConfigMap", "backup")["data"]["store.json"]
    found = copies.of_backup(json.loads(text)["values"], values, CONTACT, same_owner=True)
    expected = copies.of_store(WHOLE, CONTACT, same_owner=True)
    # The address's scheme is not among a block's chart values; see stacks.desired.
    assert found == {key: value for key, value in expected.items() if key != "https"}
    assert WHOLE.domains[0] not in json.dumps(json.loads(text)["values"])


def test_a_backups_pod_that_an_older_chart_made_speaks_to_its_server(
    wordpress: Image, chart: Chart, tmp_path: Path
) -> None:
    """It gets these scripts as well, when it starts while its chart changes; its environment stays as it was."""
    scripts = chart.render(ON).one("ConfigMap", "backup")["data"]
    tmp_path.chmod(0o755)
    (tmp_path / "client.sh").write_text(scripts["client.sh"])
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/mariadb-password").write_text("secret")
    where = [Mount(tmp_path, "/etc/store", read_only=True)]
    script = ["bash", "-euo", "pipefail", "-c", ". /etc/store/client.sh; client"]
    for name, told in (("DATABASE_HOST", "3306"), ("DATABASE_ADDRESS", "3307")):
        environment = {name: "db" if told == "3306" else "db:3307", "DATABASE_USER": "wordpress"}
        done = wordpress.start(script, user=33, mounts=where, environment=environment).ended(60)
        assert done.code == 0, done
        assert f"host=db\nport={told}\nuser=wordpress\n" in done.out
