from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from .rendering import CHART, RELEASE, ROOT, VALUES, Chart, leaves, load, maps, merged, nested

DEFAULTS = load(CHART / "values.yaml")
LEAVES = dict(leaves(DEFAULTS))
ENVIRONMENTS = ("local", "prod")

# Where people may write keys of their own.
OPEN_MAPS = {("ingress", "annotations")}

# Another valid value for each leaf whose type alone does not tell one.
OTHER: Mapping[str, Any] = {
    "imagePullSecrets": [{"name": "registry"}],
    "serviceAccount.create": True,
    "web.trustedProxies": ["10.1.0.0/16"],
    "web.maxRequestWorkers": 3,
    "web.replicas": 2,
    "database.innodbBufferPoolSizeMib": 100,
    "image.digest": "sha256:" + "1" * 64,
    "database.image.digest": "sha256:" + "1" * 64,
    "image.pullPolicy": "Always",
    "database.image.pullPolicy": "Always",
    "store.adminEmail": "other@example.com",
    "uploads.accessMode": "ReadWriteMany",
    "ingress.annotations": {"example.com/a": "b"},
    "ingress.scheme": "https",
    "ingress.port": 8081,
    "web.resources.limits.memory": "1Gi",
    "webhooks.receiverUrl": "http://receiver.example.com:9000/hooks/{store}",
    "webhooks.ca.configMap": "authorities",
    "mail.smtp.encryption": "tls",
    "mail.smtp.from": "shop@example.com",
    "ingress.kind": "HTTPRoute",
    "ingress.domains": ["shop.example.org"],
    "gateway.parentRefs": [{"name": "stores", "sectionName": "https"}],
    "backup.repository.url": "http://elsewhere.example.com:9000",
    "backup.everyHours": 12,
    "backup.check.weekday": 1,
    "backup.check.subset": "6%",
    "backup.scratchSize": "3Gi",
    "backup.image.digest": "sha256:" + "1" * 64,
    "backup.image.pullPolicy": "Always",
    "store.locale": "de_DE",
    "store.country": "DE",
    "store.currency": "EUR",
    "woocommerce.url": "https://example.com/a.zip",
    "woocommerce.sha256": "1" * 64,
    "storefront.url": "https://example.com/a.zip",
    "storefront.sha256": "1" * 64,
    "plugins": [{"slug": "own", "version": "1", "url": "https://example.com/own.zip", "sha256": "1" * 64}],
    "themes": [{"slug": "own", "version": "1", "url": "https://example.com/own.zip", "sha256": "1" * 64}],
    "wpContent.mode": "persistent",
}

TLS_ON = {"scheme": "https", "port": 443, "tls": {"enabled": True, "secretName": "own"}}
RECEIVER = {"receiverUrl": "https://receiver.example.com"}
SMTP = {"host": "smtp.example.com", "user": "shop", "existingSecret": "smtp"}
SERVER = {"host": "db.example.com"}
ROUTE = {"ingress": {"kind": "HTTPRoute"}}
ARCHIVE = {"version": "1", "url": "https://example.com/b.zip", "sha256": "2" * 64}

# What must be set as well for a value to be allowed, or to have an effect.
NEEDS: Mapping[str, Mapping[str, Any]] = {
    "web.replicas": {"uploads": {"accessMode": "ReadWriteMany"}},
    "web.resources.limits.memory": {"web": {"resources": {"limits": {"memory": "2Gi"}}}},
    "ingress.scheme": {"ingress": {"port": 8080}},
    **{f"{name}.{key}": {name: ARCHIVE} for name in ("woocommerce", "storefront") for key in ("url", "sha256")},
    "ingress.tls.secretName": {"ingress": TLS_ON},
    "ingress.tls.clusterIssuer": {"ingress": TLS_ON},
    "webhooks.ca.configMap": {"webhooks": RECEIVER},
    "webhooks.ca.key": {"webhooks": RECEIVER | {"ca": {"configMap": "authorities"}}},
    **{
        f"mail.smtp.{name}": {"mail": {"smtp": SMTP}}
        for name in ("port", "encryption", "user", "existingSecret", "existingSecretKey", "from", "fromName")
    },
    "mail.smtp.ca.configMap": {"mail": {"smtp": SMTP}},
    "mail.smtp.ca.key": {"mail": {"smtp": SMTP | {"ca": {"configMap": "authorities"}}}},
    **{f"database.external.{key}": {"database": {"external": SERVER}} for key in ("port", "ca.configMap", "ca.secret")},
    "database.external.ca.key": {"database": {"external": SERVER | {"ca": {"configMap": "authorities"}}}},
    "gateway.parentRefs": ROUTE,
    **{
        ".".join(path): {"backup": {"enabled": True}} for path in LEAVES if path[0] == "backup" and path[1] != "enabled"
    },
    "backup.repository.accessSecret": {
        "backup": {"enabled": True, "repository": {"kind": "s3", "accessSecret": "keys"}}
    },
}

# The chart refuses it unless other values change with it; that it is read is shown by the tests of certificates and of
# backups.
NEVER_ALONE = {("ingress", "tls", "enabled"), ("backup", "repository", "kind")}


def another(path: tuple[str, ...], value: Any) -> Any:
    """Return a valid value that differs from the default."""
    name = ".".join(path)
    if name in OTHER:
        return OTHER[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if path[-1] in {"cpu", "memory", "size"}:
        return re.sub(r"\d+", lambda digits: str(int(digits[0]) + 1), value)
    return f"{value}x" if value else "other"


@pytest.mark.parametrize("path", [p for p in LEAVES if p not in NEVER_ALONE], ids=".".join)
def test_every_value_is_read_by_a_template(chart: Chart, path: tuple[str, ...]) -> None:
    base = dict(NEEDS.get(".".join(path), {}))
    changed = merged(base, nested(path, another(path, LEAVES[path])))
    assert chart.render(base).text != chart.render(changed).text


@pytest.mark.parametrize("path", [p for p in maps(DEFAULTS) if p not in OPEN_MAPS], ids=lambda p: ".".join(p) or "top")
def test_an_unknown_key_is_refused_at_every_level(chart: Chart, path: tuple[str, ...]) -> None:
    refusal = chart.refusal(nested((*path, "unknownKey"), 1))
    assert "additional properties 'unknownKey' not allowed" in refusal
    assert f"at '{''.join(f'/{part}' for part in path)}'" in refusal


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_a_value_that_is_taken_away_is_refused_by_name(chart: Chart, path: tuple[str, ...]) -> None:
    refusal = chart.refusal(nested(path, None))
    assert "missing propert" in refusal
    assert f"'{path[-1]}'" in refusal


@pytest.mark.parametrize(
    ("path", "allowed", "refused"),
    [
        ("ingress.port", [1, 8080, 65535], [0, 65536, "8080", 80.5]),
        ("web.replicas", [1], [0, 11, -1]),
        ("web.userId", [1, 10033], [0, -1, 2147483648, "33"]),
        ("database.userId", [1, 10999], [0, -1, 2147483648]),
        ("web.maxRequestWorkers", [0, 2, 256], [1, 257, -1]),
        ("web.php.memoryLimitMib", [64, 4096], [63, 4097]),
        ("web.php.uploadMaxMib", [1, 2048], [0, 2049]),
        ("web.shutdown.drainSeconds", [1, 35], [0, 121]),
        ("web.shutdown.graceSeconds", [20, 600], [10, 601]),
        ("install.waitSeconds", [10, 3600], [9, 3601]),
        ("cron.intervalSeconds", [10, 3600], [9, 3601]),
        ("cron.queueSeconds", [1, 60], [0, 61]),
        ("webhooks.keepDays", [1, 365], [0, 366]),
        (
            "webhooks.receiverUrl",
            ["", "https://a.example.com", "http://a.b.svc:9000/hooks/{store}"],
            [
                "ftp://a",
                "https://user:password@a",
                "https://a/?key=1",
                "https://a b",
                "a.example.com",
                "https://a/\n",
                "http://a:0",
                "http://a:65536",
                "http://a:99999",
            ],
        ),
        ("mail.smtp.port", [1, 65535], [0, 65536, "587"]),
        ("mail.smtp.encryption", ["starttls", "tls", "none"], ["", "ssl", "STARTTLS"]),
        ("mail.smtp.host", [""], ["a b", "user@host", "https://a"]),
        ("database.maxConnections", [10, 10000], [9, 10001]),
        ("database.innodbBufferPoolSizeMib", [0, 16, 65536], [15, 65537]),
        ("database.name", ["wp_1"], ["", "1wp", "wp-1", "x`; DROP", "a" * 65]),
        (
            "database.external.host",
            ["", "db", "db-1.example.com", "10.0.0.7"],
            ["a:3306", "-a", "a_b", "a b", "https://a"],
        ),
        ("database.external.port", [1, 65535], [0, 65536, "3306"]),
        ("database.user", ["wp"], ["", "root", "mysql", "healthcheck", "a" * 33]),
        ("store.title", ["x", "x" * 200, "T'é\"a"], ["", "x" * 201, "two\nlines"]),
        ("store.adminUser", ["admin", "a.b@c"], ["", "a b", "x'", "a" * 61]),
        ("store.adminEmail", ["a@b"], ["", "ab", "a b@c", "a@" + "b" * 99]),
        ("image.tag", ["7", "7.1_x-y"], ["", "a b", "-x", "a" * 129]),
        ("image.digest", [""], ["sha256:12", "latest", "sha256:" + "G" * 64]),
        ("image.registry", ["localhost:5000", "a:65535"], ["", "a/b", "https://a", "a:65536"]),
        ("backup.repository.url", ["http://a:1", "http://a:65535/b"], ["http://a:0", "http://a:65536", "http://a:"]),
        ("image.pullPolicy", ["Always", "Never"], ["", "always"]),
        ("uploads.size", ["1Gi", "512Mi", "2Ti"], ["", "0Gi", "1G", "1.5Gi", "-1Gi", 1]),
        ("uploads.accessMode", ["ReadWriteOnce", "ReadWriteMany"], ["ReadWriteOncePod", "ReadOnlyMany", ""]),
        ("web.resources.limits.memory", ["448Mi", "4Gi"], ["1024", "1024Ki", "0Mi", "1.5Gi", 1024]),
        ("web.resources.limits.cpu", ["1", "500m", "0.5", 1, 0.5], ["", "0m", "-1", "1 core", 0]),
        ("ingress.scheme", ["http"], ["", "HTTP", "ftp"]),
        ("ingress.host", ["", "a.example.com", "x"], ["a_b", "a..b", "-a.b", "A.b", "a.b'", "a.b:80", "*.a"]),
        ("ingress.domain", ["127.0.0.1.nip.io"], ["", ".a", "a."]),
        ("ingress.kind", ["Ingress", "HTTPRoute"], ["", "ingress", "Gateway"]),
        (
            "ingress.domains",
            [[], ["a.bc"], [f"a{n}.bc" for n in range(10)]],
            [["bc"], ["A.bc"], ["*.a.bc"], ["a.bc:80"], ["a.1"], ["a.bc", "a.bc"], [f"a{n}.bc" for n in range(11)]],
        ),
        ("gateway.parentRefs", [[{"name": "a", "port": 1}]], [[], [{}], ["a"], [{"name": "a", "port": 0}]]),
        (
            "web.trustedProxies",
            [["10.0.0.0/8"], ["255.255.255.255/32"], ["::1"], ["fd00::/8", "::/0", "fe80::1/128"], ["0.0.0.0/0"]],
            [
                [],
                ["any"],
                ["10.0.0.0/8\nListen 1"],
                ["10.0.0.0/33"],
                ["10.0.0.0/99"],
                ["256.0.0.0/8"],
                ["10.0.0/8"],
                ["fd00::/129"],
                ["10"],
                ["cafe"],
            ],
        ),
    ],
)
def test_values_are_refused_from_their_bounds_on(
    chart: Chart, path: str, allowed: list[Any], refused: list[Any]
) -> None:
    parts = path.split(".")
    for value in allowed:
        chart.render(nested(parts, value))
    for value in refused:
        assert "values don't meet the specifications of the schema" in chart.refusal(nested(parts, value)), value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"ingress": merged(TLS_ON, {"kind": "HTTPRoute"})},
            (
                "ingress.tls.secretName: own would do nothing with ingress.kind HTTPRoute; "
                "name the Secret in the Gateway's listener, and empty it here"
            ),
        ),
        (
            {"ingress": {"domains": [f"{RELEASE}.127.0.0.1.nip.io"]}},
            (
                f"ingress.domains: {RELEASE}.127.0.0.1.nip.io is the platform's host already; "
                "remove it from ingress.domains"
            ),
        ),
        (
            {"ingress": merged(TLS_ON, {"scheme": "http", "port": 80})},
            (
                "ingress.scheme: http, but ingress.tls.enabled is true; "
                "set ingress.scheme to https and ingress.port to 443, or ingress.tls.enabled to false"
            ),
        ),
        (
            {"ingress": merged(TLS_ON, {"enabled": False})},
            (
                "ingress.tls.enabled: true, but ingress.enabled is false; "
                "set ingress.enabled to true, or ingress.tls.enabled to false"
            ),
        ),
        (
            {"ingress": {"tls": {"clusterIssuer": "letsencrypt"}}},
            (
                'ingress.tls.enabled: false, so ingress.tls.secretName "" and ingress.tls.clusterIssuer "letsencrypt" '
                "would do nothing; set ingress.tls.enabled to true, or empty both"
            ),
        ),
        ({"ingress": {"scheme": "https"}}, "ingress.port: 80 is not https's port; set ingress.port to 443"),
        ({"ingress": {"port": 443}}, "ingress.port: 443 is not http's port; set ingress.port to 80"),
        (
            {"web": {"replicas": 2}},
            (
                "web.replicas: 2 web pods cannot share a volume with uploads.accessMode ReadWriteOnce; "
                "set uploads.accessMode to ReadWriteMany, or web.replicas to 1"
            ),
        ),
        (
            {"web": {"resources": {"limits": {"memory": "255Mi"}, "requests": {"memory": "64Mi"}}}},
            "web.resources.limits.memory: 255Mi is too little for WordPress; set at least 256Mi",
        ),
        (
            {"database": {"resources": {"limits": {"memory": "191Mi"}, "requests": {"memory": "64Mi"}}}},
            "database.resources.limits.memory: 191Mi is too little for MariaDB; set at least 192Mi",
        ),
        (
            {"cron": {"resources": {"limits": {"memory": "191Mi"}}}},
            (
                "cron.resources.limits.memory: 191Mi leaves 95 MiB to a task of WordPress, beside the 96 MiB of what "
                "runs it; set at least 192Mi"
            ),
        ),
        (
            {"web": {"resources": {"requests": {"memory": "1025Mi"}}}},
            (
                "web.resources.requests.memory: 1025Mi is above web.resources.limits.memory 1024Mi; "
                "lower it, or raise the limit"
            ),
        ),
        (
            {"database": {"resources": {"requests": {"cpu": 0.5}, "limits": {"cpu": "499m"}}}},
            (
                "database.resources.requests.cpu: 0.5 is above database.resources.limits.cpu 499m; "
                "lower it, or raise the limit"
            ),
        ),
        (
            {"cron": {"resources": {"requests": {"ephemeral-storage": "2Gi"}, "limits": {"ephemeral-storage": "1Gi"}}}},
            (
                "cron.resources.requests.ephemeral-storage: 2Gi is above cron.resources.limits.ephemeral-storage 1Gi; "
                "lower it, or raise the limit"
            ),
        ),
        (
            {"web": {"php": {"uploadMaxMib": 377}, "resources": {"limits": {"ephemeral-storage": "2049Mi"}}}},
            (
                "web.resources.limits.ephemeral-storage: 2049Mi is less than the 2050Mi of code and temporary files "
                "that go with web.php.uploadMaxMib 377; set at least 2050Mi, or lower web.php.uploadMaxMib"
            ),
        ),
        (
            {"web": {"shutdown": {"drainSeconds": 36}}},
            (
                "web.shutdown.graceSeconds: 45 leaves less than 10 seconds after web.shutdown.drainSeconds 36; "
                "set at least 46"
            ),
        ),
        (
            {"mail": {"smtp": SMTP | {"existingSecret": ""}}},
            (
                'mail.smtp.existingSecret: empty, but mail.smtp.user is "shop"; '
                "name the Secret with the password, or empty mail.smtp.user"
            ),
        ),
        (
            {"mail": {"smtp": SMTP | {"user": ""}}},
            (
                'mail.smtp.user: empty, so the password of mail.smtp.existingSecret "smtp" would do nothing; '
                "set mail.smtp.user, or empty mail.smtp.existingSecret"
            ),
        ),
        (
            {"mail": {"smtp": SMTP | {"encryption": "none"}}},
            (
                "mail.smtp.encryption: none, so the password of mail.smtp.user would travel in the clear; "
                "set it to starttls or tls, or empty mail.smtp.user"
            ),
        ),
        (
            {"mail": {"smtp": {"from": "shop@example.com"}}},
            (
                "mail.smtp.host: empty, so the other values of mail.smtp would do nothing; "
                "set mail.smtp.host, or empty them"
            ),
        ),
        (
            {"webhooks": {"receiverUrl": "http://receiver.example.com", "ca": {"configMap": "authorities"}}},
            (
                "webhooks.ca.configMap: authorities would do nothing, because webhooks.receiverUrl is "
                '"http://receiver.example.com"; set an https URL, or empty webhooks.ca.configMap'
            ),
        ),
        (
            {"woocommerce": ARCHIVE | {"sha256": ""}},
            (
                "woocommerce.url: https://example.com/b.zip, without woocommerce.sha256; "
                "set both woocommerce.version and woocommerce.sha256, so that it can only be what was meant"
            ),
        ),
        (
            {"storefront": ARCHIVE | {"version": ""}},
            (
                "storefront.url: https://example.com/b.zip, without storefront.version; "
                "set both storefront.version and storefront.sha256, so that it can only be what was meant"
            ),
        ),
        (
            {"woocommerce": {"sha256": "1" * 64}},
            ("woocommerce.sha256: set, but woocommerce.url is empty; set woocommerce.url, or empty woocommerce.sha256"),
        ),
        (
            {"plugins": [ARCHIVE | {"slug": "own"}, ARCHIVE | {"slug": "own"}]},
            "plugins[1].slug: own is already plugins[0]; remove one of them",
        ),
        (
            {"themes": [ARCHIVE | {"slug": "storefront"}]},
            (
                "themes[0].slug: storefront has a value of its own; "
                "set storefront.version, storefront.url and storefront.sha256 instead"
            ),
        ),
        (
            {"database": {"external": SERVER | {"ca": {"configMap": "a", "secret": "b"}}}},
            'database.external.ca: both configMap "a" and secret "b"; keep one of them',
        ),
        (
            {"database": {"external": {"ca": {"secret": "b"}}}},
            (
                "database.external.ca: set, but database.external.host is empty, so it would do nothing; "
                "set database.external.host, or empty it"
            ),
        ),
        (
            {"web": {"replicas": 2}, "uploads": {"accessMode": "ReadWriteMany"}, "wpContent": {"mode": "persistent"}},
            (
                "wpContent.mode: persistent is for one web pod, and web.replicas is 2; "
                "set web.replicas to 1, or wpContent.mode to immutable"
            ),
        ),
    ],
)
def test_a_mistake_that_no_schema_sees_is_refused_with_its_cure(
    chart: Chart, values: dict[str, Any], message: str
) -> None:
    assert f"\n{message}\n" in chart.refusal(values)


def test_all_mistakes_are_told_at_once(chart: Chart) -> None:
    refusal = chart.refusal({"web": {"replicas": 2}, "ingress": {"port": 443}})
    assert "web.replicas: 2" in refusal
    assert "ingress.port: 443" in refusal


def test_a_release_name_of_44_characters_fits_and_one_more_is_refused(chart: Chart) -> None:
    chart.render(release="a" * 44)
    message = "has 45 characters, and the names that are made of it have room for 44; choose a shorter one"
    assert f'the release\'s name "{"a" * 45}" {message}' in chart.refusal({}, release="a" * 45)


def values_of(values: Mapping[str, Any]) -> set[tuple[str, ...]]:
    """Return which values these set; a map with people's own keys is one value."""
    own = {path: place for place in OPEN_MAPS for path, _ in leaves(values) if path[: len(place)] == place}
    return {own.get(path, path) for path, _ in leaves(values)}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_sets_only_values_that_the_chart_has(environment: str) -> None:
    overlay = values_of(load(VALUES / f"values-{environment}.yaml"))
    known = {*LEAVES, *((*path[:-1], "ephemeral-storage") for path in LEAVES if path[-1] == "memory")}
    assert overlay <= known


@pytest.mark.parametrize("script", ["readme.py", "ci_values.py"])
def test_what_is_generated_is_as_it_would_be_generated(script: str) -> None:
    """The README's tables, and ci/: chart-testing takes each file of it as the complete values of one case."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "charts" / script), "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_the_values_of_ci_install_without_anything_else(chart: Chart) -> None:
    for environment in ENVIRONMENTS:
        complete = load(CHART / "ci" / f"{environment}-values.yaml")
        assert values_of(complete) >= set(LEAVES)
        assert ("ServiceAccount", f"{RELEASE}-store") in chart.render(complete).names()


def test_a_value_without_a_line_is_an_error_of_the_readme(tmp_path: Any) -> None:
    (tmp_path / "values.yaml").write_text("# -- Said.\na: 1\nb:\n  c: 2\n")
    (tmp_path / "README.md").write_text((CHART / "README.md").read_text())
    result = subprocess.run(
        [sys.executable, str(ROOT / "charts" / "readme.py"), "--check", "--chart", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode != 0
    assert "values.yaml:4: b.c has no `# --` line" in result.stderr


def test_helm_upgrade_with_reused_values_and_another_image_changes_just_that(chart: Chart) -> None:
    """`--reuse-values --set image.tag=..` merges into the complete values of the release before."""
    complete = load(CHART / "ci" / "prod-values.yaml")
    before = chart.render(complete).text
    after = chart.render(merged(complete, {"image": {"tag": "7.1.5-php8.4-apache"}})).text
    assert before != after
    assert after == before.replace("7.1.4-php8.4-apache", "7.1.5-php8.4-apache")
    assert RELEASE in after
