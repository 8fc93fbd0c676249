"""The configuration of the router for a plan of routes. Pure: a plan in, a JSON document out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from sandbox.ingress.addresses import READY_PATH, TLS_PATH, Addresses
from sandbox.ingress.caddy_json import Json, server, text
from sandbox.ingress.routes import ANY_HOST, Plan, Route

# How long a request waits for a pod that takes its connection. A pod that is being replaced needs less than a second.
_TRY_DURATION = "3s"
_TRY_INTERVAL = "100ms"


def router(plan: Plan, addresses: Addresses) -> Json:
    """Return the configuration that serves the plan.

    READY_PATH of the control server answers with the digest of everything else: whoever gets it knows that Caddy serves
    exactly this. TLS_PATH tells the front whether a host gets a certificate.
    """
    secure = [route for route in plan.routes if _has_certificate(route.host, plan.tls_hosts)]
    config: Json = {
        "admin": {"listen": addresses.router_admin, "config": {"persist": False}},
        # Each change in the cluster is a new configuration, which Caddy would describe in ten lines.
        "logging": {"logs": {"default": {"level": "WARN"}}},
        "apps": {"http": {"servers": {
            "http": _server(addresses.router_http, plan.routes),
            "https": _server(addresses.router_https, secure),
            "control": {**server(addresses.router_control, "h1"), "routes": [_tls_route(plan.tls_hosts)]},
        }}},
    }  # fmt: skip
    marker = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    ready = {"match": [{"path": [READY_PATH]}], "handle": [text(200, marker)]}
    config["apps"]["http"]["servers"]["control"]["routes"].insert(0, ready)
    return config


def initial(addresses: Addresses) -> Json:
    """Return the configuration of a router that knows nothing yet."""
    return {
        "admin": {"listen": addresses.router_admin, "config": {"persist": False}},
        "logging": {"logs": {"default": {"level": "WARN"}}},
    }


def marker_of(config: Json) -> str:
    """Return what READY_PATH answers when Caddy serves this configuration."""
    return str(config["apps"]["http"]["servers"]["control"]["routes"][0]["handle"][0]["body"])


def _server(socket: str, routes: Sequence[Route]) -> Json:
    return {
        **server(f"unix/{socket}", "h1", "h2c"),
        # Only the front reaches the socket, and it has already thrown away what visitors claim about themselves.
        "trusted_proxies_unix": True,
        "routes": _hosts(routes),
        "errors": {"routes": [{"handle": [text("{http.error.status_code}", "The store did not answer.\n")]}]},
    }


def _has_certificate(host: str, tls_hosts: Sequence[str]) -> bool:
    return host in tls_hosts or f"*.{host.partition('.')[2]}" in tls_hosts


def _tls_route(tls_hosts: Sequence[str]) -> Json:
    names = "|".join(re.escape(host).replace(r"\*", "[^.]+", 1) for host in tls_hosts)
    asked = {"{http.request.uri.query.domain}": {"pattern": f"^({names})$"}}
    allowed = {"match": [{"vars_regexp": asked}], "handle": [text(200, "yes")], "terminal": True}
    return {
        "match": [{"path": [TLS_PATH]}],
        "handle": [
            {"handler": "subroute", "routes": [*([allowed] if tls_hosts else []), {"handle": [text(404, "no")]}]}
        ],
    }


def _hosts(routes: Sequence[Route]) -> list[Json]:
    found: list[Json] = []
    named = (route for route in routes if route.host != ANY_HOST)
    for host, its_routes in groupby(named, key=lambda route: route.host):
        inside = [*(_path(route) for route in its_routes), _not_found()]
        found.append({
            "match": [{"host": [host]}],
            "handle": [{"handler": "subroute", "routes": inside}],
            "terminal": True,
        })  # fmt: skip
    return [*found, *(_path(route) for route in routes if route.host == ANY_HOST), _not_found()]


def _path(route: Route) -> Json:
    handled: Json = {"handle": list(_handlers(route)), "terminal": True}
    pattern = _pattern(route)
    if pattern is not None:
        handled["match"] = [{"path_regexp": {"pattern": pattern}}]
    return handled


def _pattern(route: Route) -> str | None:
    # Caddy's plain path matcher does not tell upper from lower case, and knows no "whole elements only".
    if route.exact:
        return f"^{re.escape(route.path)}$"
    return None if route.path == "/" else f"^{re.escape(route.path)}(/|$)"


def _handlers(route: Route) -> Iterator[Json]:
    if not route.upstreams:
        yield text(503, "No pod of this store is ready. Try again in a moment.\n", {"Retry-After": ["5"]})
        return
    proxy: Json = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": upstream} for upstream in route.upstreams],
        "load_balancing": {
            "selection_policy": {"policy": "least_conn"},
            # A connection that was refused is tried again, whatever the request; one that broke later only for GET.
            "try_duration": _TRY_DURATION,
            "try_interval": _TRY_INTERVAL,
        },
        "transport": {"protocol": "http", "dial_timeout": "2s"},
    }
    if len(route.upstreams) > 1:
        # So that the next try goes elsewhere. With one pod there is no elsewhere, only waiting.
        proxy["health_checks"] = {"passive": {"fail_duration": "2s", "max_fails": 1}}
    yield proxy


def _not_found() -> Json:
    return {"handle": [text(404, "No store has this address.\n")]}
