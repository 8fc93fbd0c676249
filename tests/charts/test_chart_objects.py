from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from components import naming

from .pod_security import violations
from .quantities import amount, pod_amount
from .rendering import CHART, RELEASE, VALUES, Chart, Object, Rendered, load

ENVIRONMENTS = ("default", "local", "prod")
SALTS = {
    f"wordpress-{name}-{kind}" for name in ("auth", "secure-auth", "logged-in", "nonce") for kind in ("key", "salt")
}


@pytest.fixture(scope="session", params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest, chart: Chart) -> Rendered:
    files = [] if request.param == "default" else [VALUES / f"values-{request.param}.yaml"]
    return chart.render(files=files)


def mounts(container: Object) -> dict[str, Object]:
    return {mount["mountPath"]: mount for mount in container["volumeMounts"]}


def secret_keys(pod: Object, container: Object) -> set[str]:
    """Return the keys of the credentials Secret that the container can read."""
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    mounted = [volumes[mount["name"]] for mount in container["volumeMounts"]]
    return {item["key"] for volume in mounted if "secret" in volume for item in volume["secret"]["items"]}


def test_a_store_consists_of_these_objects(rendered: Rendered) -> None:
    assert rendered.names() == {
        ("Deployment", f"{RELEASE}-wordpress"),
        ("Service", f"{RELEASE}-wordpress"),
        ("Ingress", f"{RELEASE}-wordpress"),
        ("ConfigMap", f"{RELEASE}-wordpress-apache"),
        ("ConfigMap", f"{RELEASE}-wordpress-php"),
        ("ConfigMap", f"{RELEASE}-wordpress-install"),
        ("ConfigMap", f"{RELEASE}-wordpress-cron"),
        ("ConfigMap", f"{RELEASE}-wordpress-platform"),
        ("ConfigMap", f"{RELEASE}-wordpress-schema"),
        ("PersistentVolumeClaim", f"{RELEASE}-uploads"),
        ("StatefulSet", f"{RELEASE}-mariadb"),
        ("Service", f"{RELEASE}-mariadb"),
        ("Service", f"{RELEASE}-mariadb-pods"),
        ("ConfigMap", f"{RELEASE}-mariadb"),
        ("PersistentVolumeClaim", f"{RELEASE}-mariadb"),
        ("ConfigMap", f"{RELEASE}-store-info"),
    }


def test_every_template_file_makes_one_object() -> None:
    for template in (CHART / "templates").glob("*.yaml"):
        assert len(re.findall(r"(?m)^kind: ", template.read_text())) == 1, template.name


def test_every_pod_keeps_the_restricted_profile(environment: Rendered) -> None:
    for component, pod in environment.pods().items():
        assert list(violations(pod)) == [], component


def test_every_root_file_system_is_read_only(environment: Rendered) -> None:
    for name, container in environment.containers():
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, name


@pytest.mark.parametrize(
    ("files", "expected"),
    [([], {"wordpress": 33, "mariadb": 999}), (["values-prod.yaml"], {"wordpress": 10033, "mariadb": 10999})],
)
def test_pods_run_as_the_accounts_of_the_official_images_and_in_prod_as_nobody(
    chart: Chart, files: list[str], expected: dict[str, int]
) -> None:
    for component, pod in chart.render(files=[VALUES / name for name in files]).pods().items():
        context = pod["spec"]["securityContext"]
        assert {context[key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {expected[component]}, component


def test_no_pod_has_a_token_of_the_api(environment: Rendered) -> None:
    for component, pod in environment.pods().items():
        assert pod["spec"]["automountServiceAccountToken"] is False, component
        assert pod["spec"]["serviceAccountName"] == naming.service_account(RELEASE)


def test_every_container_says_what_it_needs_and_may_take(environment: Rendered) -> None:
    for name, container in environment.containers():
        resources = container["resources"]
        for resource in ("cpu", "memory"):
            assert 0 < amount(resources["requests"][resource]) <= amount(resources["limits"][resource]), (
                name,
                resource,
            )


def test_a_container_that_fails_leaves_its_last_words_in_the_pods_status(rendered: Rendered) -> None:
    for name, container in rendered.containers():
        assert container["terminationMessagePolicy"] == "FallbackToLogsOnError", name


def test_no_secret_is_in_the_rendered_chart(chart: Chart) -> None:
    rendered = chart.render({"serviceAccount": {"create": True}})
    assert "Secret" not in {o["kind"] for o in rendered.objects}
    for name, container in rendered.containers():
        for variable in container.get("env", []):
            assert "valueFrom" not in variable, name
            if re.search("PASSWORD|_KEY|SALT|SECRET", variable["name"]):
                assert variable["name"].endswith("_FILE"), (name, variable)
                assert variable["value"].startswith("/etc/store/credentials/"), (name, variable)
        assert "envFrom" not in container, name


def test_each_container_sees_only_the_secrets_that_it_needs(rendered: Rendered) -> None:
    seen = {
        name: secret_keys(rendered.pods()[name.split("/", maxsplit=1)[0]], container)
        for name, container in rendered.containers()
    }
    assert seen == {
        "wordpress/wordpress-files": set(),
        "wordpress/install": {"mariadb-password", "wordpress-password", *SALTS},
        "wordpress/wordpress": {"mariadb-password", *SALTS},
        "wordpress/cron": {"mariadb-password", *SALTS},
        "mariadb/mariadb": {"mariadb-root-password", "mariadb-password"},
    }


def test_every_secret_file_that_a_variable_names_is_mounted(rendered: Rendered) -> None:
    for name, container in rendered.containers():
        pod = rendered.pods()[name.split("/", maxsplit=1)[0]]
        named = {v["value"].rpartition("/")[2] for v in container.get("env", []) if v["name"].endswith("_FILE")}
        # The first init container only needs the variables' names, to know that there are settings.
        if container["name"] != "wordpress-files":
            assert named <= secret_keys(pod, container), name


def test_only_the_containers_that_sign_or_send_can_read_what_they_need_for_it(chart: Chart, rendered: Rendered) -> None:
    def readers(release: Rendered, folder: str) -> set[str]:
        return {name for name, container in release.containers() if folder in mounts(container)}

    assert readers(rendered, "/etc/store/webhook") == readers(rendered, "/etc/store/smtp") == set()
    receiver = chart.render({"webhooks": {"receiverUrl": "https://receiver.example.com/{store}"}})
    assert readers(receiver, "/etc/store/webhook") == {"wordpress/install", "wordpress/cron"}
    smtp = {"host": "smtp.example.com", "user": "shop", "existingSecret": "smtp"}
    mail = chart.render({"mail": {"smtp": smtp}})
    assert readers(mail, "/etc/store/smtp") == {"wordpress/install", "wordpress/wordpress", "wordpress/cron"}
    settings = json.loads(mail.one("ConfigMap", "wordpress-platform")["data"]["settings.json"])
    assert settings["mail"]["user"] == "shop"
    assert settings["receiver"] is None
    settings = json.loads(receiver.one("ConfigMap", "wordpress-platform")["data"]["settings.json"])
    assert settings["receiver"]["url"] == f"https://receiver.example.com/{RELEASE}"


def test_the_platforms_own_plugins_are_read_only_in_every_container_that_loads_wordpress(rendered: Rendered) -> None:
    for name in ("install", "wordpress", "cron"):
        assert mounts(rendered.container(name))["/var/www/html/wp-content/mu-plugins"]["readOnly"] is True, name


def test_the_credentials_secret_is_the_platforms_or_the_given_one(chart: Chart, rendered: Rendered) -> None:
    def names(of: Rendered) -> set[str]:
        return {
            v["secret"]["secretName"] for pod in of.pods().values() for v in pod["spec"]["volumes"] if "secret" in v
        }

    assert names(rendered) == {naming.credentials_secret(RELEASE)}
    assert names(chart.render({"credentials": {"existingSecret": "other"}})) == {"other"}


def test_every_object_carries_the_labels(environment: Rendered) -> None:
    for o in environment.objects:
        labels = o["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "store"
        assert labels["app.kubernetes.io/instance"] == RELEASE
        assert labels["app.kubernetes.io/component"] in {"wordpress", "mariadb", "backup", "store"}
        assert labels["app.kubernetes.io/part-of"] == "multi-store-platform"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"


@pytest.mark.parametrize(("component", "other"), [("wordpress", "mariadb"), ("mariadb", "wordpress")])
def test_a_service_selects_the_pods_of_its_component_alone(rendered: Rendered, component: str, other: str) -> None:
    selector = rendered.one("Service", component)["spec"]["selector"]
    pods = rendered.pods()
    assert selector.items() <= pods[component]["metadata"]["labels"].items()
    assert not selector.items() <= pods[other]["metadata"]["labels"].items()


def test_the_services_ports_lead_to_the_pods(rendered: Rendered) -> None:
    def ports(component: str) -> tuple[int, int]:
        port = rendered.one("Service", component)["spec"]["ports"][0]
        named = {p["name"]: p["containerPort"] for p in rendered.container(component)["ports"]}
        return port["port"], named[port["targetPort"]]

    assert ports("wordpress") == (80, 8080)
    assert ports("mariadb") == (3306, 3306)


def test_no_service_is_reachable_from_outside(environment: Rendered) -> None:
    assert {o["spec"]["type"] for o in environment.objects if o["kind"] == "Service"} == {"ClusterIP"}


def test_volumes_outlive_the_release(environment: Rendered) -> None:
    claims = [o for o in environment.objects if o["kind"] == "PersistentVolumeClaim"]
    assert len(claims) == 2
    for claim in claims:
        assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_code_is_read_only_once_the_shop_is_installed(rendered: Rendered) -> None:
    for name in ("wordpress", "cron"):
        assert mounts(rendered.container(name))["/var/www/html"]["readOnly"] is True
        assert "readOnly" not in mounts(rendered.container(name))["/var/www/html/wp-content/uploads"]
    volumes = {v["name"]: v for v in rendered.pods()["wordpress"]["spec"]["volumes"]}
    assert "emptyDir" in volumes["code"]


def test_a_new_web_pod_serves_before_the_old_one_stops(rendered: Rendered) -> None:
    strategy = rendered.one("Deployment", "wordpress")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    container = rendered.container("wordpress")
    assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": 10}}
    assert rendered.pods()["wordpress"]["spec"]["terminationGracePeriodSeconds"] == 45


def test_two_pods_never_share_a_wp_content_that_can_be_changed(chart: Chart) -> None:
    rendered = chart.render({"wpContent": {"mode": "persistent"}})
    assert rendered.one("Deployment", "wordpress")["spec"]["strategy"] == {"type": "Recreate"}
    for name in ("wordpress-files", "install", "wordpress", "cron"):
        paths = mounts(rendered.container(name))
        assert paths["/var/www/html/wp-content"]["subPath"] == "wp-content", name
        assert paths["/var/www/html/wp-content"]["name"] == "uploads", "no further volume, which the quota would count"
    assert "validate_timestamps = 1" in rendered.one("ConfigMap", "wordpress-php")["data"]["store.ini"]
    environment = {entry["name"]: entry.get("value") for entry in rendered.container("wordpress")["env"]}
    assert "DISALLOW_FILE_MODS" not in environment["WORDPRESS_CONFIG_EXTRA"]
    assert "define('DISALLOW_FILE_EDIT', true);" in environment["WORDPRESS_CONFIG_EXTRA"]


def test_what_is_fetched_is_beside_the_uploads_and_only_the_install_sees_it(rendered: Rendered) -> None:
    place = "/var/lib/store/packages"
    assert mounts(rendered.container("install"))[place]["subPath"] == "packages"
    assert [
        name for name in ("wordpress-files", "wordpress", "cron") if place in mounts(rendered.container(name))
    ] == []
    environment = {entry["name"]: entry.get("value") for entry in rendered.container("wordpress")["env"]}
    assert "define('DISALLOW_FILE_MODS', true);" in environment["WORDPRESS_CONFIG_EXTRA"]


def test_the_new_pod_of_a_one_node_volume_starts_beside_the_old_one(chart: Chart, rendered: Rendered) -> None:
    pod = rendered.pods()["wordpress"]
    (term,) = pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    shared = chart.render({"uploads": {"accessMode": "ReadWriteMany"}, "web": {"replicas": 2}})
    assert "affinity" not in shared.pods()["wordpress"]["spec"]


def test_several_web_pods_of_one_version_spread_over_the_nodes(chart: Chart, rendered: Rendered) -> None:
    assert "topologySpreadConstraints" not in rendered.pods()["wordpress"]["spec"]
    shared = chart.render({"uploads": {"accessMode": "ReadWriteMany"}, "web": {"replicas": 2}})
    pod = shared.pods()["wordpress"]
    (constraint,) = pod["spec"]["topologySpreadConstraints"]
    # One node is no reason for a shop with one pod only.
    assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
    assert constraint["topologyKey"] == "kubernetes.io/hostname"
    assert constraint["matchLabelKeys"] == ["pod-template-hash"]
    assert constraint["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_only_several_web_pods_have_a_disruption_budget(chart: Chart, rendered: Rendered) -> None:
    assert "PodDisruptionBudget" not in {kind for kind, _ in rendered.names()}
    several = chart.render({"uploads": {"accessMode": "ReadWriteMany"}, "web": {"replicas": 2}})
    budget = several.one("PodDisruptionBudget", "wordpress")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= several.pods()["wordpress"]["metadata"]["labels"].items()


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_ask_as_the_ingress_would(chart: Chart, probe: str) -> None:
    prod = chart.render(files=[VALUES / "values-prod.yaml"])
    headers = {h["name"]: h["value"] for h in prod.container("wordpress")[probe]["httpGet"]["httpHeaders"]}
    assert headers == {"Host": f"{RELEASE}.example.com", "X-Forwarded-Proto": "https"}


def test_an_outage_of_the_database_does_not_restart_wordpress(rendered: Rendered) -> None:
    container = rendered.container("wordpress")
    path = container["livenessProbe"]["httpGet"]["path"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/wp-login.php"
    assert f"Alias {path} /etc/store/alive" in rendered.one("ConfigMap", "wordpress-apache")["data"]["000-default.conf"]


def test_mariadb_has_ten_minutes_for_its_first_start(rendered: Rendered) -> None:
    probe = rendered.container("mariadb")["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 600


def test_mariadbs_root_is_local(rendered: Rendered) -> None:
    environment = {v["name"]: v["value"] for v in rendered.container("mariadb")["env"]}
    assert environment["MARIADB_ROOT_HOST"] == "localhost"


@pytest.mark.parametrize(
    ("ingress", "url"),
    [
        ({}, f"http://{RELEASE}.127.0.0.1.nip.io"),
        ({"port": 8080}, f"http://{RELEASE}.127.0.0.1.nip.io:8080"),
        ({"scheme": "https", "port": 443, "domain": "example.com"}, f"https://{RELEASE}.example.com"),
        ({"scheme": "https", "port": 8443, "domain": "example.com"}, f"https://{RELEASE}.example.com:8443"),
        ({"host": "tea.example.org"}, "http://tea.example.org"),
    ],
)
def test_the_shop_has_one_address_everywhere(chart: Chart, ingress: dict[str, Any], url: str) -> None:
    rendered = chart.render({"ingress": ingress})
    (rule,) = rendered.one("Ingress", "wordpress")["spec"]["rules"]
    extra = {v["name"]: v["value"] for v in rendered.container("wordpress")["env"]}["WORDPRESS_CONFIG_EXTRA"]
    probe = {h["name"]: h["value"] for h in rendered.container("wordpress")["readinessProbe"]["httpGet"]["httpHeaders"]}
    assert rendered.one("ConfigMap", "store-info")["data"]["url"] == url
    assert f"define('WP_HOME', '{url}');" in extra
    assert f"define('WP_SITEURL', '{url}');" in extra
    assert url == f"{probe['X-Forwarded-Proto']}://{probe['Host']}"
    assert rule["host"] == probe["Host"].partition(":")[0]
    if "host" not in ingress:
        values = {"scheme": "http", "port": 80, "domain": "127.0.0.1.nip.io", **ingress}
        assert url == naming.url(RELEASE, scheme=values["scheme"], domain=values["domain"], port=values["port"])


def test_the_chart_itself_knows_no_controllers_annotations(chart: Chart) -> None:
    assert "nginx.ingress.kubernetes.io" not in chart.render().text
    assert not [file for file in (CHART / "templates").iterdir() if "nginx.ingress" in file.read_text()]


def test_local_volumes_are_of_local_path_and_prods_of_gp2(chart: Chart) -> None:
    for name, storage_class in (("local", "local-path"), ("prod", "gp2")):
        rendered = chart.render(files=[VALUES / f"values-{name}.yaml"])
        claims = [o for o in rendered.objects if o["kind"] == "PersistentVolumeClaim"]
        assert {claim["spec"]["storageClassName"] for claim in claims} == {storage_class}


def test_prods_database_is_larger_than_the_local_one(chart: Chart) -> None:
    local, prod = (chart.render(files=[VALUES / f"values-{name}.yaml"]) for name in ("local", "prod"))
    for kind in ("requests", "limits"):
        assert pod_amount(prod.pods()["mariadb"], kind, "memory") > pod_amount(local.pods()["mariadb"], kind, "memory")

    def size(of: Rendered) -> Any:
        return amount(of.one("PersistentVolumeClaim", "mariadb")["spec"]["resources"]["requests"]["storage"])

    assert size(prod) > size(local)


@pytest.mark.parametrize(("memory", "workers"), [("256Mi", 2), ("512Mi", 4), ("768Mi", 6), ("1Gi", 9), ("1024Mi", 9)])
def test_web_workers_follow_the_memory(chart: Chart, memory: str, workers: int) -> None:
    rendered = chart.render({"web": {"resources": {"limits": {"memory": memory}, "requests": {"memory": "128Mi"}}}})
    assert f"MaxRequestWorkers {workers}\n" in rendered.one("ConfigMap", "wordpress-apache")["data"]["zz-store.conf"]


@pytest.mark.parametrize(("memory", "pool"), [("192Mi", 72), ("384Mi", 144), ("1Gi", 384)])
def test_the_buffer_pool_follows_the_memory(chart: Chart, memory: str, pool: int) -> None:
    rendered = chart.render(
        {"database": {"resources": {"limits": {"memory": memory}, "requests": {"memory": "128Mi"}}}}
    )
    assert f"innodb_buffer_pool_size = {pool}M\n" in rendered.one("ConfigMap", "mariadb")["data"]["store.cnf"]


def test_the_surge_web_pods_fit_the_databases_connections(environment: Rendered) -> None:
    def setting(config: str, key: str, pattern: str) -> int:
        found = re.search(pattern, environment.one("ConfigMap", config)["data"][key])
        assert found is not None
        return int(found[1])

    workers = setting("wordpress-apache", "zz-store.conf", r"MaxRequestWorkers (\d+)")
    assert 2 * workers < setting("mariadb", "store.cnf", r"max_connections = (\d+)")


@pytest.mark.parametrize(
    ("values", "restarted"),
    [
        ({"chartDigest": "sha256:0123"}, set()),
        ({"store": {"title": "Other"}}, {"wordpress"}),
        ({"image": {"tag": "7.1.5-php8.4-apache"}}, {"wordpress"}),
        ({"web": {"php": {"uploadMaxMib": 65}}}, {"wordpress"}),
        ({"web": {"maxRequestWorkers": 3}}, {"wordpress"}),
        ({"database": {"maxConnections": 50}}, {"mariadb"}),
        ({"uploads": {"size": "2Gi"}}, set()),
        ({"database": {"storage": {"size": "2Gi"}}}, set()),
        ({"ingress": {"className": "other"}}, set()),
    ],
)
def test_a_change_restarts_only_what_it_concerns(
    chart: Chart, rendered: Rendered, values: dict[str, Any], restarted: set[str]
) -> None:
    before, after = rendered.pod_digests(), chart.render(values).pod_digests()
    assert {component for component in before if before[component] != after[component]} == restarted


def test_a_new_version_of_the_chart_alone_restarts_nothing(chart: Chart, rendered: Rendered, tmp_path: Path) -> None:
    newer = tmp_path / "store"
    shutil.copytree(CHART, newer)
    meta = newer / "Chart.yaml"
    meta.write_text(re.sub(r"(?m)^version: .*$", "version: 99.0.0", meta.read_text()))
    after = Chart(chart.helm, newer).render()
    assert after.one("Deployment", "wordpress")["metadata"]["labels"]["helm.sh/chart"] == "store-99.0.0"
    assert after.pod_digests() == rendered.pod_digests()


def test_selectors_and_claims_never_change(chart: Chart, rendered: Rendered) -> None:
    """Kubernetes refuses to change them, so an upgrade that does would fail."""
    other = chart.render(
        {
            "store": {"title": "Other"},
            "image": {"tag": "8.0"},
            "chartDigest": "x",
            "database": {"image": {"tag": "12.0"}},
        }
    )
    for kind, name in (("Deployment", "wordpress"), ("StatefulSet", "mariadb")):
        assert other.one(kind, name)["spec"]["selector"] == rendered.one(kind, name)["spec"]["selector"]
    assert other.one("StatefulSet", "mariadb")["spec"]["serviceName"] == f"{RELEASE}-mariadb-pods"
    assert "volumeClaimTemplates" not in other.one("StatefulSet", "mariadb")["spec"]


def test_an_image_is_named_by_registry_repository_tag_and_digest(chart: Chart, rendered: Rendered) -> None:
    values = load(CHART / "values.yaml")
    assert rendered.container("wordpress")["image"] == f"docker.io/library/wordpress:{values['image']['tag']}"
    digest = "sha256:" + "0" * 64
    pinned = chart.render({"image": {"registry": "mirror.example.com:5000", "tag": "7", "digest": digest}})
    images = {container["image"] for name, container in pinned.containers() if name.startswith("wordpress/")}
    assert images == {f"mirror.example.com:5000/library/wordpress:7@{digest}"}


def test_the_chart_names_the_wordpress_that_its_image_has() -> None:
    version = load(CHART / "Chart.yaml")["appVersion"]
    assert load(CHART / "values.yaml")["image"]["tag"].startswith(f"{version}-")


def test_the_install_gets_its_settings_as_data_and_every_step(rendered: Rendered) -> None:
    data = rendered.one("ConfigMap", "wordpress-install")["data"]
    files = {
        path.name: path.read_text() for part in ("install", "address") for path in (CHART / "files" / part).iterdir()
    }
    assert {name: text for name, text in data.items() if name != "settings.json"} == files


@pytest.mark.parametrize(
    ("config", "mounted_by", "script"),
    [
        ("wordpress-install", "install", "run.sh"),
        ("wordpress-cron", "cron", "run.sh"),
        ("mariadb", "mariadb", "start.sh"),
    ],
)
def test_every_script_is_there_to_be_run(rendered: Rendered, config: str, mounted_by: str, script: str) -> None:
    container = rendered.container(mounted_by)
    folder, _, name = container["command"][-1].rpartition("/")
    assert name == script
    pod = next(
        pod
        for pod in rendered.pods().values()
        if container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
    )
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert volumes[mounts(container)[folder]["name"]]["configMap"]["name"] == f"{RELEASE}-{config}"
    assert script in rendered.one("ConfigMap", config)["data"]


@pytest.mark.parametrize("title", ['Bob\'s "Tea" & <Café>', "100% $HOME `id` \\n {{ .Values }}", "茶"])
def test_any_title_reaches_the_install_unchanged(chart: Chart, title: str) -> None:
    settings = chart.render({"store": {"title": title}}).one("ConfigMap", "wordpress-install")["data"]["settings.json"]
    assert json.loads(settings)["title"] == title


def test_the_notes_name_the_address_and_both_ways_to_the_credentials(chart: Chart, tmp_path: Path) -> None:
    """Helm renders notes only with a cluster, so a copy of the chart renders them into a ConfigMap."""
    copy = tmp_path / "store"
    shutil.copytree(CHART, copy)
    (copy / "templates" / "NOTES.txt").rename(copy / "notes")
    template = 'kind: ConfigMap\nmetadata: {name: "{{ .Release.Name }}-notes"}\ndata:\n  notes: |\n'
    (copy / "templates" / "notes.yaml").write_text(template + '    {{- tpl (.Files.Get "notes") . | nindent 4 }}\n')
    notes = Chart(chart.helm, copy).render({"ingress": {"port": 8080}}).one("ConfigMap", "notes")["data"]["notes"]
    assert f"http://{RELEASE}.127.0.0.1.nip.io:8080/wp-admin/" in notes
    assert f"stores credentials {RELEASE}\n" in notes
    assert f"get secret {RELEASE}-credentials --output go-template='{{{{ index .data" in notes
    assert f"ServiceAccount {RELEASE}-store, which this chart makes only with serviceAccount.create=true" in notes
    assert "DNS" not in notes
    domains = {"ingress": {"domains": ["tea.example.org", "www.tea.example.org"]}}
    notes = Chart(chart.helm, copy).render(domains).one("ConfigMap", "notes")["data"]["notes"]
    assert "http://tea.example.org/wp-admin/" in notes
    assert "a DNS record of tea.example.org, www.tea.example.org that leads to the same place as" in notes


@pytest.mark.parametrize(("limit", "php"), [("256Mi", 192), ("319Mi", 255), ("320Mi", 256), ("2Gi", 256)])
def test_no_request_may_take_all_that_its_container_has(chart: Chart, limit: str, php: int) -> None:
    rendered = chart.render({"web": {"resources": {"limits": {"memory": limit}, "requests": {"memory": "128Mi"}}}})
    assert f"memory_limit = {php}M\n" in rendered.one("ConfigMap", "wordpress-php")["data"]["store.ini"]
    extra = {v["name"]: v["value"] for v in rendered.container("wordpress")["env"]}["WORDPRESS_CONFIG_EXTRA"]
    # Else WordPress raises it to 256M in its admin pages, and to 40M for visitors.
    assert "define('WP_MAX_MEMORY_LIMIT', ini_get('memory_limit'));" in extra


@pytest.mark.parametrize(("limit", "task"), [("192Mi", "96"), ("256Mi", "160"), ("1Gi", "928")])
def test_a_scheduled_task_has_what_the_others_of_its_container_leave(chart: Chart, limit: str, task: str) -> None:
    rendered = chart.render({"cron": {"resources": {"limits": {"memory": limit}}}})
    assert {v["name"]: v["value"] for v in rendered.container("cron")["env"]}["CRON_PHP_MEMORY_MIB"] == task
