"""What Ingress objects mean."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.ingress.routes import Plan, Route, plan

from .objects import READY, STARTING, STOPPING, endpoints, ingress, path, service


def of(*ingresses: dict[str, Any], services: Any = None, slices: Any = None) -> Plan:
    """Return the plan, with one Service that has one ready pod unless told otherwise."""
    found_services = [service()] if services is None else services
    found_slices = [endpoints(("10.42.0.5", READY))] if slices is None else slices
    return plan(ingresses, found_services, found_slices, "nginx")


def upstreams(services: Any, slices: Any, port: Any = 80) -> tuple[str, ...]:
    """Return the upstreams of the only route."""
    return of(ingress("i", path("a.test", port=port)), services=services, slices=slices).routes[0].upstreams


def test_a_rule_becomes_a_route_to_the_services_own_address() -> None:
    found = of(ingress("i", path("a.test")))
    assert found == Plan((Route("a.test", "/", exact=False, upstreams=("10.43.0.10:80",)),), ())


def test_a_headless_service_is_reached_at_its_ready_pods() -> None:
    slices = [endpoints(("10.42.0.6", READY), ("10.42.0.7", STARTING)), endpoints(("10.42.0.5", READY))]
    assert upstreams([service(address="None")], slices) == ("10.42.0.5:8080", "10.42.0.6:8080")


def test_pods_that_stop_serve_only_as_long_as_no_other_is_ready() -> None:
    headless = [service(address="None")]
    assert upstreams(headless, [endpoints(("10.42.0.5", READY), ("10.42.0.6", STOPPING))]) == ("10.42.0.5:8080",)
    assert upstreams(headless, [endpoints(("10.42.0.6", STOPPING))]) == ("10.42.0.6:8080",)
    assert upstreams([service()], [endpoints(("10.42.0.6", STOPPING))]) == ("10.43.0.10:80",)


def test_an_endpoint_that_says_nothing_of_its_state_is_ready() -> None:
    assert upstreams([service(address="None")], [endpoints(("10.42.0.5", {}))]) == ("10.42.0.5:8080",)


@pytest.mark.parametrize(
    ("services", "slices"),
    [
        ([], [endpoints(("10.42.0.5", READY))]),
        ([service()], []),
        ([service()], [endpoints(("10.42.0.5", STARTING))]),
        ([service(namespace="store-b")], [endpoints(("10.42.0.5", READY))]),
        ([service()], [endpoints(("10.42.0.5", READY), namespace="store-b")]),
        ([service(ports=(("other", 81),))], [endpoints(("10.42.0.5", READY))]),
    ],
    ids=["no service", "no pods", "no ready pod", "service elsewhere", "pods elsewhere", "no such port"],
)
def test_what_cannot_answer_is_a_route_without_upstreams(services: Any, slices: Any) -> None:
    assert upstreams(services, slices) == ()


def test_a_port_is_found_by_its_name_and_by_its_number() -> None:
    services = [service(ports=(("http", 80), ("admin", 81)))]
    slices = [endpoints(("10.42.0.5", READY), ports=(("http", 8080), ("admin", 9090)))]
    assert upstreams(services, slices, port="admin") == ("10.43.0.10:81",)
    assert upstreams(services, slices, port=81) == ("10.43.0.10:81",)
    assert upstreams([service(address="None", ports=(("http", 80), ("admin", 81)))], slices, port=81) == (
        "10.42.0.5:9090",
    )


def test_the_only_port_of_a_service_may_have_no_name() -> None:
    services = [service(ports=(("", 80),))]
    assert upstreams(services, [endpoints(("10.42.0.5", READY), ports=(("", 8080),))]) == ("10.43.0.10:80",)


def test_an_address_of_the_sixth_version_is_in_brackets() -> None:
    assert upstreams([service(address="fd00::10")], [endpoints(("fd00::5", READY))]) == ("[fd00::10]:80",)


def test_other_classes_are_left_alone() -> None:
    assert (
        of(ingress("i", path("a.test"), class_name="other"), ingress("j", path("b.test"), class_name=None)).routes == ()
    )


def test_the_older_annotation_names_the_class_too() -> None:
    old = ingress("i", path("a.test"), class_name=None)
    old["metadata"]["annotations"] = {"kubernetes.io/ingress.class": "nginx"}
    assert [route.host for route in of(old).routes] == ["a.test"]


def test_named_hosts_come_before_wildcards_and_those_before_any_host() -> None:
    found = of(ingress("i", path(""), path("*.a.test"), path("z.a.test")))
    assert [route.host for route in found.routes] == ["z.a.test", "*.a.test", ""]


def test_exact_paths_come_first_then_long_prefixes_before_short_ones() -> None:
    found = of(
        ingress(
            "i", path("a.test"), path("a.test", "/shop"), path("a.test", "/shop/cart"), path("a.test", "/s", "Exact")
        )
    )
    assert [(route.path, route.exact) for route in found.routes] == [
        ("/s", True), ("/shop/cart", False), ("/shop", False), ("/", False),
    ]  # fmt: skip


def test_the_older_of_two_objects_keeps_what_both_want() -> None:
    services = [service(), service(namespace="store-b", address="10.43.0.20")]
    slices = [endpoints(("10.42.0.5", READY)), endpoints(("10.42.0.6", READY), namespace="store-b")]
    older = ingress("i", path("a.test"), created="2026-01-01T00:00:00Z")
    newer = ingress("i", path("a.test"), namespace="store-b", created="2026-01-02T00:00:00Z")
    for order in ((older, newer), (newer, older)):
        assert [route.upstreams for route in of(*order, services=services, slices=slices).routes] == [
            ("10.43.0.10:80",)
        ]


def test_a_trailing_slash_of_a_prefix_means_nothing_and_of_an_exact_path_something() -> None:
    found = of(ingress("i", path("a.test", "/x/"), path("a.test", "/y/", "Exact")))
    assert [(route.path, route.exact) for route in found.routes] == [("/y/", True), ("/x", False)]


def test_a_default_backend_takes_what_no_rule_takes() -> None:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    found = of(ingress("i", path("a.test"), defaultBackend=backend))
    assert found.routes[-1] == Route("", "/", exact=False, upstreams=("10.43.0.10:80",))


def test_a_backend_that_is_no_service_is_a_route_without_upstreams() -> None:
    wanted = path("a.test")
    wanted["backend"] = {"resource": {"kind": "Bucket", "name": "b"}}
    assert of(ingress("i", wanted)).routes[0].upstreams == ()


def test_hosts_with_a_tls_section_are_named_once() -> None:
    first = ingress("i", path("a.test"), tls=[{"hosts": ["b.test", "a.test"], "secretName": "x"}, {}])
    second = ingress("j", path("a.test"), tls=[{"hosts": ["a.test"]}])
    assert of(first, second).tls_hosts == ("a.test", "b.test")
