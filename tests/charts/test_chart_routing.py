"""The way in: Ingress or HTTPRoute, certificates, the shop's own domains and its one address."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .rendering import RELEASE, VALUES, Chart, Rendered, merged

PROD = [VALUES / "values-prod.yaml"]
PLATFORM = f"{RELEASE}.example.com"
TEA, WWW = "tea.example.org", "www.tea.example.org"
ISSUER = {"cert-manager.io/cluster-issuer": "letsencrypt"}
# What the values of prod say to the controller that they name.
UPLOADS = {"nginx.ingress.kubernetes.io/proxy-body-size": "72m"}


def domains(*names: str, **more: Any) -> dict[str, Any]:
    return {"ingress": {"domains": list(names), **more}}


def url_of(rendered: Rendered) -> str:
    return str(rendered.one("ConfigMap", "store-info")["data"]["url"])


def backends(rendered: Rendered, name: str) -> dict[str, Any]:
    rules = rendered.one("Ingress", name)["spec"]["rules"]
    return {rule["host"]: [path["backend"] for path in rule["http"]["paths"]] for rule in rules}


def test_prod_relies_on_the_controllers_wildcard_certificate(chart: Chart) -> None:
    ingress = chart.render(files=PROD).one("Ingress", "wordpress")
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["spec"]["tls"] == [{"hosts": [PLATFORM]}]
    assert ingress["metadata"]["annotations"] == UPLOADS


def test_what_wordpress_takes_passes_prods_controller_on_every_host(chart: Chart) -> None:
    """ingress-nginx answers 413 to more than 1 MiB unless told otherwise; a form has 8 MiB more than its file."""
    rendered = chart.render(domains(TEA), files=PROD)
    php = rendered.one("ConfigMap", "wordpress-php")["data"]["store.ini"]
    upload = int(re.search(r"upload_max_filesize = (\d+)M", php)[1])  # type: ignore[index]
    assert f"post_max_size = {upload + 8}M" in php
    for name in ("wordpress", "domains"):
        annotations = rendered.one("Ingress", name)["metadata"]["annotations"]
        assert annotations["nginx.ingress.kubernetes.io/proxy-body-size"] == f"{upload + 8}m"


def test_a_named_certificate_is_cert_managers_only_with_an_issuer(chart: Chart) -> None:
    tls = {"enabled": True, "secretName": "own", "clusterIssuer": ""}
    values = {"ingress": {"scheme": "https", "port": 443, "tls": tls}}
    given = chart.render(values).one("Ingress", "wordpress")
    assert "annotations" not in given["metadata"]
    assert given["spec"]["tls"][0]["secretName"] == "own"
    issued = chart.render(merged(values, {"ingress": {"tls": {"clusterIssuer": "letsencrypt"}}}))
    assert issued.one("Ingress", "wordpress")["metadata"]["annotations"] == ISSUER


def test_each_own_domain_has_a_certificate_of_its_own(chart: Chart) -> None:
    rendered = chart.render(domains(TEA, WWW), files=PROD)
    ingress = rendered.one("Ingress", "domains")
    assert ingress["metadata"]["annotations"] == ISSUER | UPLOADS
    assert ingress["spec"]["tls"] == [
        {"hosts": [TEA], "secretName": f"tls-{TEA}"},
        {"hosts": [WWW], "secretName": f"tls-{WWW}"},
    ]
    # The platform's host never waits for them.
    assert rendered.one("Ingress", "wordpress")["spec"]["tls"] == [{"hosts": [PLATFORM]}]
    assert rendered.one("Ingress", "wordpress")["metadata"]["annotations"] == UPLOADS


def test_without_an_issuer_the_controller_is_asked_for_the_domains_certificates(chart: Chart) -> None:
    rendered = chart.render(merged(domains(TEA), {"ingress": {"tls": {"clusterIssuer": ""}}}), files=PROD)
    ingress = rendered.one("Ingress", "domains")
    assert ingress["spec"]["tls"] == [{"hosts": [TEA]}]
    assert ingress["metadata"]["annotations"] == UPLOADS


def test_every_host_leads_to_wordpress(chart: Chart) -> None:
    rendered = chart.render(domains(TEA, WWW), files=PROD)
    backend = [{"service": {"name": f"{RELEASE}-wordpress", "port": {"name": "http"}}}]
    assert backends(rendered, "domains") == {TEA: backend, WWW: backend}
    assert backends(rendered, "wordpress") == {PLATFORM: backend}


def test_a_store_without_domains_has_one_way_in(chart: Chart) -> None:
    kinds = [kind for kind, _ in chart.render(files=PROD).names() if kind in {"Ingress", "HTTPRoute", "ListenerSet"}]
    assert kinds == ["Ingress"]


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, f"https://{PLATFORM}"),
        (domains(TEA), f"https://{TEA}"),
        (domains(WWW, TEA), f"https://{WWW}"),
        (domains(TEA, port=8443), f"https://{TEA}:8443"),
    ],
)
def test_the_first_domain_is_the_address_everywhere(chart: Chart, values: dict[str, Any], url: str) -> None:
    rendered = chart.render(values, files=PROD)
    extra = {v["name"]: v["value"] for v in rendered.container("wordpress")["env"]}["WORDPRESS_CONFIG_EXTRA"]
    assert url_of(rendered) == url
    assert f"define('WP_HOME', '{url}');" in extra
    assert f"define('WP_SITEURL', '{url}');" in extra
    assert f'"url": "{url}"' in rendered.one("ConfigMap", "wordpress-install")["data"]["settings.json"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        headers = {h["name"]: h["value"] for h in rendered.container("wordpress")[probe]["httpGet"]["httpHeaders"]}
        assert headers == {"Host": url.removeprefix("https://"), "X-Forwarded-Proto": "https"}


def test_one_value_makes_routes_of_a_gateway(chart: Chart) -> None:
    rendered = chart.render(merged(domains(TEA), {"ingress": {"kind": "HTTPRoute"}}), files=PROD)
    assert "Ingress" not in {kind for kind, _ in rendered.names()}
    gateway = {"name": "stores", "namespace": "gateway"}
    platform = rendered.one("HTTPRoute", "wordpress")["spec"]
    assert platform["parentRefs"] == [gateway]
    assert platform["hostnames"] == [PLATFORM]
    (rule,) = platform["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert rule["backendRefs"] == [{"name": f"{RELEASE}-wordpress", "port": 80}]
    own = rendered.one("HTTPRoute", "domains")["spec"]
    listeners = {"group": "gateway.networking.k8s.io", "kind": "ListenerSet", "name": f"{RELEASE}-domains"}
    assert own["parentRefs"] == [gateway, listeners]
    assert own["hostnames"] == [TEA]
    assert own["rules"] == platform["rules"]


def test_own_domains_bring_their_listeners_to_the_gateway(chart: Chart) -> None:
    rendered = chart.render(merged(domains(TEA, WWW), {"ingress": {"kind": "HTTPRoute"}}), files=PROD)
    listeners = rendered.one("ListenerSet", "domains")
    assert listeners["metadata"]["annotations"] == ISSUER
    assert listeners["spec"]["parentRef"] == {"name": "stores", "namespace": "gateway"}
    assert [(one["hostname"], one["tls"]["certificateRefs"]) for one in listeners["spec"]["listeners"]] == [
        (TEA, [{"name": f"tls-{TEA}"}]),
        (WWW, [{"name": f"tls-{WWW}"}]),
    ]
    assert {one["allowedRoutes"]["namespaces"]["from"] for one in listeners["spec"]["listeners"]} == {"Same"}


@pytest.mark.parametrize("tls", [{"enabled": False, "clusterIssuer": ""}, {"clusterIssuer": ""}])
def test_without_an_issuer_the_gateway_has_the_domains_listeners_itself(chart: Chart, tls: dict[str, Any]) -> None:
    values = merged(domains(TEA, kind="HTTPRoute"), {"ingress": {"tls": tls}})
    rendered = chart.render(values, files=PROD)
    assert "ListenerSet" not in {kind for kind, _ in rendered.names()}
    assert rendered.one("HTTPRoute", "domains")["spec"]["parentRefs"] == [{"name": "stores", "namespace": "gateway"}]


@pytest.mark.parametrize("kind", ["Ingress", "HTTPRoute"])
def test_no_way_in_is_made_when_none_is_asked_for(chart: Chart, kind: str) -> None:
    values = domains(TEA, enabled=False, kind=kind, tls={"enabled": False, "clusterIssuer": ""})
    assert not {"Ingress", "HTTPRoute", "ListenerSet"} & {k for k, _ in chart.render(values, files=PROD).names()}


def rewriting(rendered: Rendered) -> str:
    site = str(rendered.one("ConfigMap", "wordpress-apache")["data"]["000-default.conf"])
    return "\n".join(line.strip() for line in site.splitlines() if re.match(r" *(Rewrite|Header)", line))


def test_a_shop_with_one_plain_address_redirects_nobody(chart: Chart) -> None:
    assert rewriting(chart.render()) == ""


def test_hosts_are_matched_literally(chart: Chart) -> None:
    assert r"^(www\.tea\.example\.org|tea-house-a1b2c\.example\.com)(:[0-9]+)?$" in rewriting(
        chart.render(domains(TEA, WWW), files=PROD)
    )


def test_http_is_redirected_only_where_the_shop_is_https(chart: Chart) -> None:
    assert "X-Forwarded-Proto" in rewriting(chart.render(files=PROD))
    assert "X-Forwarded-Proto" not in rewriting(chart.render(domains(TEA)))
