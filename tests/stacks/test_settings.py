from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stacks import settings
from stacks.errors import ManifestError
from stacks.settings import Settings

ROOT = Path(__file__).parents[2]


def write(folder: Path, text: str, environment: str = "local") -> Path:
    (folder / f"Pulumi.{environment}.yaml").write_text(text)
    return folder


def problems(folder: Path) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        settings.load(folder, "local")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(("environment", "protected"), [("local", False), ("prod", True)])
def test_the_committed_settings_are_right(environment: str, *, protected: bool) -> None:
    found = settings.load(ROOT, environment)
    assert (found.environment, found.protected) == (environment, protected)


@pytest.mark.parametrize("environment", ["local", "prod"])
def test_the_committed_settings_hold_no_secret_and_no_machines_salt(environment: str) -> None:
    text = (ROOT / f"Pulumi.{environment}.yaml").read_text()
    assert set(settings.stack_document(ROOT, environment)) == {"config"}
    assert "secure:" not in text


def test_the_defaults_are_the_promised_ones() -> None:
    found = Settings(environment="local", protected=False)
    assert (found.stores_per_owner, found.creates_per_hour, found.stores_total) == (10, 5, 100)
    assert (found.quota.cpu, found.quota.memory) == ("2", "4Gi")
    assert found.deletion_grace_hours == 168


def test_text_as_the_engine_gives_it_reads_like_the_files_own_types() -> None:
    typed = settings.parse({"environment": "local", "protected": False, "urlPort": 8080, "quotaCpu": "2"}, "here")
    texts = settings.parse({"environment": "local", "protected": "false", "urlPort": "8080", "quotaCpu": "2"}, "here")
    assert typed == texts


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "config:\n  stores:protected: maybe\n  stores:storesTotal: -1\n  stores:typo: 1\n")
    told = problems(tmp_path)
    assert [text.split(": ")[1] for text in told] == [
        "stores:environment", "stores:protected", "stores:storesTotal", "stores:typo",
    ]  # fmt: skip
    assert "-1" in told[2]


def test_a_stack_without_config_plans_nothing() -> None:
    with pytest.raises(ManifestError, match="stores:environment: Field required"):
        settings.parse({}, "the config of stack prod-02")


@pytest.mark.parametrize("key", ["clusterCidrs", "ingressCidrs", "dnsCidrs"])
@pytest.mark.parametrize("value", ["10.0.0.1/24", "fd00::/8", "nodes"])
def test_what_is_no_range_of_ipv4_is_refused(tmp_path: Path, key: str, value: str) -> None:
    write(tmp_path, f"config:\n  stores:environment: local\n  stores:protected: false\n  stores:{key}: ['{value}']\n")
    (problem,) = problems(tmp_path)
    assert problem.startswith(f"Pulumi.local.yaml: stores:{key}.0: ")
    assert f"(it is '{value}')" in problem


def test_the_file_of_another_environment_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "config:\n  stores:environment: prod\n  stores:protected: false\n")
    assert problems(tmp_path) == [
        "Pulumi.local.yaml: environment is 'prod', but the file is that of 'local'; set stores:environment to local"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is empty"),
        ("config: [", "it is no YAML"),
        ("encryptionsalt: v1", "it has no `config:`"),
        ("config:\n  aws:region: x\n", "the key 'aws:region' is not ours"),
    ],
)
def test_a_file_that_is_no_settings_is_one_clear_problem(tmp_path: Path, text: str, told: str) -> None:
    write(tmp_path, text)
    (problem,) = problems(tmp_path)
    assert problem.startswith(f"Pulumi.local.yaml: {told}")


def test_an_unknown_environment_names_those_there_are(tmp_path: Path) -> None:
    write(tmp_path, "config: {}", "prod")
    (problem,) = problems(tmp_path)
    assert problem == "Pulumi.local.yaml: there is no environment 'local'; use one of: prod"


def test_the_projects_config_schema_says_what_the_settings_say() -> None:
    schema = YAML(typ="safe").load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert all(entry["description"] for entry in schema.values())
    fields = {f"stores:{field.alias}": field for field in Settings.model_fields.values()}
    assert set(schema) <= set(fields)
    optional = {
        "stores:context",
        "stores:clusterUid",
        "stores:clusterCidrs",
        "stores:ingressCidrs",
        "stores:ingressLabels",
        "stores:dnsPorts",
        "stores:dnsCidrs",
        "stores:urlPort",
        "stores:httpsPort",
        "stores:caFile",
        "stores:backupServerStorageClass",
        "stores:finalBackup",
        "stores:admins",
        "stores:webhookReceiver",
        "stores:mailServer",
        "stores:backupRepository",
        "stores:databaseServer",
        "stores:sandboxWoocommerce",
        "stores:sandboxStorefront",
    }
    assert set(fields) - set(schema) == optional
    for name, entry in schema.items():
        assert ("default" in entry) is not fields[name].is_required(), name
        if "default" in entry:
            assert entry["default"] == fields[name].default, name


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    missing = [field.alias for field in Settings.model_fields.values() if f"`stores:{field.alias}`" not in page]
    assert missing == []


@pytest.mark.parametrize(
    ("receiver", "problem"),
    [
        ({"url": "http://receiver.platform.svc:8000/"}, "name the `namespace`, `labels` and `port` of its pods"),
        ({"url": "https://a.example.com", "namespace": "platform"}, "`namespace` and `labels` go together"),
        ({"url": "https://a.example.com", "labels": {"app": "x"}}, "`namespace` and `labels` go together"),
        (
            {"url": "https://a.example.com", "namespace": "p", "labels": {"app": "x"}, "cidrs": ["10.0.0.0/8"]},
            "keep one of them",
        ),
        ({"url": "https://user:password@a.example.com"}, "String should match pattern"),
        ({"url": "a.example.com"}, "String should match pattern"),
        ({"url": "https://a.example.com", "port": 0}, "greater than or equal to 1"),
        ({"url": "https://a.example.com", "secret": "x"}, "Extra inputs are not permitted"),
        ({}, "Field required"),
    ],
)
def test_a_receiver_that_no_shop_could_reach_is_refused(receiver: dict[str, object], problem: str) -> None:
    with pytest.raises(ManifestError) as caught:
        settings.parse({"environment": "local", "protected": False, "webhookReceiver": receiver}, "here")
    assert problem in str(caught.value)


def test_a_receiver_as_the_engine_gives_it_reads_like_the_files_own() -> None:
    receiver = {"url": "http://a.svc/{store}", "namespace": "p", "labels": {"app": "x"}, "port": 9000}
    found = settings.parse({"environment": "local", "protected": False, "webhookReceiver": receiver}, "here")
    assert found.webhook_receiver is not None
    assert found.webhook_receiver.destination(found.webhook_receiver.url_port).port == 9000
