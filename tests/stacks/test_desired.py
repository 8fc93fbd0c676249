from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from charts import quota
from components.objects import Destination
from stacks import desired, manifest, settings
from stacks.desired import Plans
from stacks.errors import ManifestError
from stacks.manifest_model import Database, Image, Package, Store, Uploads, Web
from stacks.settings import Reach

ROOT = Path(__file__).parents[2]


@pytest.fixture
def plans() -> Plans:
    return Plans(ROOT, settings.load(ROOT, "local"))


def store(**more: Any) -> Store:
    return Store(
        id="tea-house-x7k2m", name="tea-house", owner="alice", cell="01", title="Tea House",
        admin_email="alice@example.com", **more,
    )  # fmt: skip


def values(plans: Plans, **more: Any) -> Any:
    return plans.desired(store(**more)).release.values


def test_the_address_has_the_environments_domain_and_port(plans: Plans) -> None:
    found = plans.desired(store())
    assert found.url == "http://tea-house-x7k2m.127.0.0.1.nip.io:8080"
    assert found.release.values["ingress"]["host"] == "tea-house-x7k2m.127.0.0.1.nip.io"


@pytest.mark.parametrize("environment", sorted(path.parent.name for path in ROOT.glob("stacks/*/stores.yaml")))
def test_what_is_shipped_keeps_its_own_rules(environment: str) -> None:
    chosen = settings.load(ROOT, environment)
    known = manifest.load(ROOT, environment, desired.caps(ROOT, chosen))
    plans = Plans(ROOT, chosen)
    assert [plans.desired(store).url for store in known.stores]


def test_prod_is_told_apart_by_values_alone() -> None:
    found = Plans(ROOT, settings.load(ROOT, "prod")).desired(store())
    assert found.url == "https://tea-house-x7k2m.example.com"
    assert found.protected
    assert found.release.values["ingress"]["tls"]["enabled"]
    assert found.release.values["uploads"]["storageClass"] == "gp2"


def test_the_chart_is_a_relative_path_so_that_every_checkout_plans_the_same(plans: Plans) -> None:
    assert plans.desired(store()).release.chart == "./charts/store"


def test_a_block_changes_only_what_it_names(plans: Plans) -> None:
    plain, sized = values(plans), values(plans, web=Web(memory="600Mi"))
    assert sized["web"]["resources"]["limits"]["memory"] == "600Mi"
    assert sized["web"]["resources"]["limits"]["cpu"] == plain["web"]["resources"]["limits"]["cpu"]
    assert sized["database"] == plain["database"]


def test_every_part_of_a_block_arrives(plans: Plans) -> None:
    found = values(
        plans,
        web=Web(cpu="700m", memory="600Mi"),
        database=Database(cpu="300m", memory="400Mi", storage="3Gi"),
        uploads=Uploads(storage="2Gi"),
        image=Image(tag="7.1.5-php8.4-apache"),
    )
    assert found["web"]["resources"]["limits"] == {"cpu": "700m", "memory": "600Mi"}
    assert found["database"]["resources"]["limits"] == {"cpu": "300m", "memory": "400Mi"}
    assert found["database"]["storage"]["size"] == "3Gi"
    assert found["uploads"]["size"] == "2Gi"
    assert found["image"]["tag"] == "7.1.5-php8.4-apache"
    assert found["store"]["title"] == "Tea House"


def test_the_receiver_of_the_settings_is_in_the_values_and_its_door_in_the_policy() -> None:
    receiver = {
        "url": "http://receiver.platform.svc:8000/hooks/{store}",
        "namespace": "platform",
        "labels": {"app": "receiver"},
        "port": 9000,
    }
    config = settings.config_of(ROOT, "local") | {"webhookReceiver": receiver}
    found = Plans(ROOT, settings.parse(config, "here")).desired(store())
    assert found.release.values["webhooks"]["receiverUrl"] == receiver["url"]
    (door,) = found.objects["policy-wordpress"]["spec"]["egress"][2:]
    # The port of its pods, not of its Service.
    assert door["ports"] == [{"protocol": "TCP", "port": 9000}]


def test_a_public_receiver_needs_a_door_only_where_its_port_is_not_open_anyway() -> None:
    def doors(url: str) -> list[Any]:
        config = settings.config_of(ROOT, "local") | {"webhookReceiver": {"url": url}}
        found = Plans(ROOT, settings.parse(config, "here")).desired(store())
        return [door["ports"][0]["port"] for door in found.objects["policy-wordpress"]["spec"]["egress"][2:]]

    assert doors("https://hooks.example.com/{store}") == []
    assert doors("https://hooks.example.com:8443") == [8443]
    assert doors("http://hooks.example.com") == [80]


def test_the_mail_servers_door_has_the_port_of_the_values() -> None:
    config = settings.parse(settings.config_of(ROOT, "local"), "here")
    smtp = desired.environment_values(ROOT, "local")
    assert desired.destinations(config, smtp) == ()
    smtp["mail"]["smtp"] |= {"host": "smtp.example.com", "port": 587}
    assert desired.destinations(config, smtp) == (Destination(587),)
    inside = config.model_copy(update={"mail_server": Reach(namespace="mail", labels={"app": "relay"}, port=2525)})
    assert desired.destinations(inside, smtp) == (Destination(2525, "mail", {"app": "relay"}),)


def backed_up_to(url: str, where: Any = None) -> tuple[settings.Settings, dict[str, Any]]:
    """Return settings and values of an environment whose backups go to that address."""
    values = desired.environment_values(ROOT, "prod")
    values["backup"]["repository"]["url"] = url
    config = settings.parse(settings.config_of(ROOT, "prod"), "here")
    return config.model_copy(update={"backup_repository": None if where is None else Reach(**where)}), values


PODS = {"namespace": "storage", "labels": {"app": "minio"}, "port": 9000}


@pytest.mark.parametrize(
    ("url", "where", "expected"),
    [
        ("https://s3.eu-central-1.amazonaws.com/b", None, Destination(443)),
        ("https://backup.stores-platform.example.com/b", None, Destination(443)),
        ("https://s3.corp.example:8443/b", {"cidrs": ("10.9.0.0/28",)}, Destination(8443, cidrs=("10.9.0.0/28",))),
        ("https://s3.corp.example/b", {"cidrs": ("10.9.0.4/32",), "port": 9000},
         Destination(9000, cidrs=("10.9.0.4/32",))),
        # The port of its pods, not of its Service; and no other pod of that namespace.
        ("http://minio.storage.svc/b", PODS, Destination(9000, "storage", {"app": "minio"})),
        ("http://backup.stores-platform.svc:8000", None,
         Destination(8000, "stores-platform", {"app.kubernetes.io/name": "backup-server"})),
        ("http://backup.stores-platform.svc.cluster.local:8000", None,
         Destination(8000, "stores-platform", {"app.kubernetes.io/name": "backup-server"})),
    ],
)  # fmt: skip
def test_backups_reach_their_repository_where_the_settings_say_it_is(url: str, where: Any, expected: Any) -> None:
    assert desired.repository_of(*backed_up_to(url, where)) == expected


def test_a_repository_inside_of_the_cluster_needs_the_labels_of_its_pods() -> None:
    with pytest.raises(ManifestError) as raised:
        desired.repository_of(*backed_up_to("http://minio.storage.svc:9000/b"))
    assert str(raised.value) == (
        "Pulumi.prod.yaml: backup.repository.url http://minio.storage.svc:9000/b is inside of the cluster, and a "
        "policy cannot name a Service; name `namespace`, `labels` and `port` of its pods in stores:backupRepository"
    )


def test_the_platforms_own_server_needs_no_place() -> None:
    with pytest.raises(ManifestError) as raised:
        desired.repository_of(*backed_up_to("http://backup.stores-platform.svc:8000", PODS))
    assert str(raised.value) == (
        "Pulumi.prod.yaml: stores:backupRepository would do nothing: http://backup.stores-platform.svc:8000 is the "
        "platform's own server; remove it, or name the other place in backup.repository.url of the values"
    )


def test_stores_without_backups_reach_no_repository() -> None:
    config, values = backed_up_to("http://minio.storage.svc/b")
    values["backup"]["enabled"] = False
    assert desired.repository_of(config, values) is None
    assert not desired.on_our_server(values)


def test_a_private_object_store_is_opened_for_the_stores_backups_alone() -> None:
    config = settings.config_of(ROOT, "prod")
    plain = Plans(ROOT, settings.parse(config, "here")).desired(store()).objects
    opened = Plans(ROOT, settings.parse(config | {"backupRepository": {"cidrs": ["10.9.0.0/28"]}}, "here"))
    found = opened.desired(store()).objects
    assert {part for part in found if found[part] != plain[part]} == {"policy-backup"}
    (rule,) = found["policy-backup"]["spec"]["egress"][1:]
    assert rule == {
        "to": [{"ipBlock": {"cidr": "10.9.0.0/28"}}],
        "ports": [{"protocol": "TCP", "port": 443}],
    }


def shared(host: str, where: Any = None, port: int = 3306) -> tuple[settings.Settings, dict[str, Any]]:
    """Return settings and values of an environment whose stores share a database server."""
    values = desired.environment_values(ROOT, "prod")
    values["database"]["external"] |= {"host": host, "port": port}
    config = settings.parse(settings.config_of(ROOT, "prod"), "here")
    return config.model_copy(update={"database_server": None if where is None else Reach(**where)}), values


@pytest.mark.parametrize(
    ("host", "where", "expected"),
    [
        ("", None, None),
        ("db.example.com", None, Destination(3307)),
        ("203.0.114.7", None, Destination(3307)),
        ("db.example.com", {"cidrs": ("10.20.0.0/28",)}, Destination(3307, cidrs=("10.20.0.0/28",))),
        ("10.20.0.4", {"cidrs": ("10.20.0.4/32",)}, Destination(3307, cidrs=("10.20.0.4/32",))),
        ("db.databases.svc", PODS, Destination(9000, "storage", {"app": "minio"})),
    ],
)
def test_the_database_server_is_reached_where_the_settings_say_it_is(host: str, where: Any, expected: Any) -> None:
    assert desired.database_of(*shared(host, where, 3307)) == expected


@pytest.mark.parametrize(
    ("host", "where", "problem"),
    [
        ("db.databases.svc", None, "is inside of the cluster, and a policy cannot name a Service; name `namespace`"),
        ("10.20.0.4", None, "database.external.host 10.20.0.4 is not public; name its range in `cidrs` of stores:data"),
        ("", PODS, "stores:databaseServer would do nothing: database.external.host of the values is empty; remove it"),
    ],
)
def test_a_database_server_that_no_policy_could_name_is_refused(host: str, where: Any, problem: str) -> None:
    with pytest.raises(ManifestError) as raised:
        desired.database_of(*shared(host, where))
    assert problem in str(raised.value)


def test_a_shared_server_is_opened_for_wordpress_and_backups_of_each_store(monkeypatch: pytest.MonkeyPatch) -> None:
    config, values = shared("db.example.com", {"cidrs": ("10.20.0.0/28",)})
    plain = Plans(ROOT, config.model_copy(update={"database_server": None})).desired(store()).objects
    monkeypatch.setattr(desired, "environment_values", lambda *_: values)
    found = Plans(ROOT, config).desired(store()).objects
    assert {part for part in found if found[part] != plain[part]} == {"policy-wordpress", "policy-backup"}
    for part in ("policy-wordpress", "policy-backup"):
        assert found[part]["spec"]["egress"][0] == {
            "to": [{"ipBlock": {"cidr": "10.20.0.0/28"}}],
            "ports": [{"protocol": "TCP", "port": 3306}],
        }


def test_a_shared_server_counts_against_no_store_and_cannot_be_sized_by_one() -> None:
    _, values = shared("db.example.com")
    assert {key for key in desired.sizes_in(values) if key.startswith("database.")} == set()


def test_where_and_how_a_store_sells_arrives_and_the_environments_choice_stays_otherwise(plans: Plans) -> None:
    own = Package(slug="own", version="1.0", url="https://example.com/own.zip", sha256="a" * 64)
    found = values(plans, country="DE:DE-BE", locale="de_DE", plugins=(own,), themes=(own,), wp_content="persistent")
    assert found["store"]["country"] == "DE:DE-BE"
    assert found["store"]["locale"] == "de_DE"
    assert found["store"]["currency"] == values(plans)["store"]["currency"]
    assert found["plugins"] == found["themes"] == [
        {"slug": "own", "version": "1.0", "url": "https://example.com/own.zip", "sha256": "a" * 64}
    ]  # fmt: skip
    assert found["wpContent"] == {"mode": "persistent"}
    assert values(plans)["wpContent"] == {"mode": "immutable"}


def test_a_request_never_exceeds_a_smaller_limit() -> None:
    plans = Plans(ROOT, settings.load(ROOT, "prod"))
    resources = values(plans, web=Web(memory="256Mi"))["web"]["resources"]
    assert resources["requests"]["memory"] == "256Mi"


def test_the_values_are_complete(plans: Plans) -> None:
    chart = desired.environment_values(ROOT, "local")
    found = values(plans)
    assert set(chart) == set(found)


def test_no_secret_is_in_the_values(plans: Plans) -> None:
    assert values(plans)["credentials"] == {"existingSecret": "tea-house-x7k2m-credentials"}


def write_chart(folder: Path) -> Path:
    for name in ("Chart.yaml", "templates/a.yaml", "ci/values.yaml", "tests/a.yaml", "README.md"):
        file = folder / "store" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return folder / "store"


@pytest.mark.parametrize(("name", "noticed"), [("templates/a.yaml", True), ("ci/values.yaml", False),
                                               ("README.md", False), ("tests/a.yaml", False)])  # fmt: skip
def test_an_edit_of_what_is_deployed_changes_the_digest(tmp_path: Path, name: str, *, noticed: bool) -> None:
    chart = write_chart(tmp_path)
    before = desired.chart_digest(chart)
    (chart / name).write_text("edited")
    assert (desired.chart_digest(chart) != before) is noticed


def test_a_renamed_template_changes_the_digest(tmp_path: Path) -> None:
    chart = write_chart(tmp_path)
    before = desired.chart_digest(chart)
    (chart / "templates/a.yaml").rename(chart / "templates/b.yaml")
    assert desired.chart_digest(chart) != before


def test_the_digest_is_the_same_wherever_the_checkout_lies(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert desired.chart_digest(write_chart(one)) == desired.chart_digest(write_chart(two))


def test_overlaid_lists_are_replaced_and_mappings_merge() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert desired.merge(base, {"a": {"c": [3]}}) == {"a": {"b": 1, "c": [3]}, "d": 1}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


@pytest.mark.parametrize("environment", ["local", "prod"])
def test_a_block_that_names_its_sizes_as_they_are_by_default_fits(environment: str) -> None:
    """What the environment gives everybody must be within the caps, with all that runs beside."""
    found = desired.caps(ROOT, settings.load(ROOT, environment))
    for kind, total in (("cpu", found.cpu_millis), ("memory", found.memory_bytes)):
        web, database = found.defaults[f"web.{kind}"], found.defaults[f"database.{kind}"]
        pods = found.web_pods(None)
        assert pods == 2
        assert pods * (web + found.per_web_pod[kind]) + database + found.beside[kind] <= total, kind


@pytest.mark.parametrize(
    ("values", "wp_content", "pods"),
    [
        ({}, None, 2),
        ({"web": {"replicas": 2}}, None, 3),
        ({"wpContent": {"mode": "persistent"}}, None, 1),
        ({"wpContent": {"mode": "persistent"}}, "immutable", 2),
        ({}, "persistent", 1),
    ],
)
def test_the_caps_know_how_many_web_pods_an_update_runs(
    tmp_path: Path, values: dict[str, Any], wp_content: str | None, pods: int
) -> None:
    """As the Deployment's replicas and surge are: what charts.quota adds up from the rendered one."""
    for file in ("charts/store/values.yaml", "values/values-prod.yaml"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text((ROOT / file).read_text())
    merged = desired.merge(YAML(typ="safe").load(tmp_path / "values/values-prod.yaml"), values)
    YAML(typ="safe").dump(merged, tmp_path / "values/values-prod.yaml")
    found = desired.caps(tmp_path, settings.load(ROOT, "prod"))
    assert found.web_pods(wp_content) == pods
    assert found.per_web_pod == {"cpu": 100, "memory": 256 * 2**20}


def test_the_solver_that_is_counted_is_the_documented_one() -> None:
    assert quota.solver_of(ROOT / quota.ISSUERS)["resources"]["limits"] == desired.SOLVER_LIMITS
