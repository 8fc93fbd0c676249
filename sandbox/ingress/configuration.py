"""Caddy's configuration for a plan of routes. Pure: a plan in, a JSON document out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, TypeAlias

from sandbox.ingress.routes import ANY_HOST, Plan, Route

Json: TypeAlias = dict[str, Any]

ADMIN = "127.0.0.1:2019"
HTTP_PORT = 8080
HTTPS_PORT = 8443
READY_PORT = 8081
READY_PATH = "/ready"

# How long a request waits for a pod that takes its connection. A pod that is being replaced needs less than a second.
_TRY_DURATION = "3s"
_TRY_INTERVAL = "100ms"


def configuration(plan: Plan) -> Json:
    """Return the configuration that serves the plan.

    A server of its own answers READY_PATH with the digest of everything else: whoever gets it knows that Caddy serves
    exactly this.
    """
    config: Json = {
        "admin": {"listen": ADMIN, "config": {"persist": False}},
        # Each change of a pod is a new configuration, which Caddy would describe in ten lines.
        "logging": {"logs": {"default": {"level": "WARN"}}},
        "apps": _apps(plan),
    }
    marker = digest(config)
    config["apps"]["http"]["servers"]["ready"] = {
        "listen": [f":{READY_PORT}"],
        "protocols": ["h1"],
        "automatic_https": {"disable": True},
        "routes": [{"match": [{"path": [READY_PATH]}], "handle": [_text(200, marker)]}],
    }
    return config


def digest(config: Json) -> str:
    """Return a name for exactly this configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def marker_of(config: Json) -> str:
    """Return what READY_PATH answers when Caddy serves this configuration."""
    return str(config["apps"]["http"]["servers"]["ready"]["routes"][0]["handle"][0]["body"])


def _apps(plan: Plan) -> Json:
    servers: Json = {"http": {"listen": [f":{HTTP_PORT}"], "protocols": ["h1"], **_server(_hosts(plan.routes))}}
    apps: Json = {"http": {"servers": servers}}
    if plan.tls_hosts:
        secure = [route for route in plan.routes if _has_certificate(route.host, plan.tls_hosts)]
        servers["https"] = {
            "listen": [f":{HTTPS_PORT}"],
            "protocols": ["h1", "h2"],
            "tls_connection_policies": [{}],
            **_server(_hosts(secure)),
        }
        # A CA of its own, made anew with each pod and never put into anybody's trust store.
        apps["pki"] = {"certificate_authorities": {"local": {"install_trust": False}}}
        apps["tls"] = {
            "certificates": {"automate": list(plan.tls_hosts)},
            "automation": {"policies": [{"subjects": list(plan.tls_hosts), "issuers": [{"module": "internal"}]}]},
        }
    return apps


def _server(routes: Sequence[Json]) -> Json:
    return {
        # Certificates are only for hosts that ask for one, and no request is sent from http to https: from outside the
        # sandbox the ports are others than here, so the new address would lead nowhere.
        "automatic_https": {"disable": True},
        "routes": list(routes),
        "errors": {"routes": [{"handle": [_text("{http.error.status_code}", "The store did not answer.\n")]}]},
    }


def _has_certificate(host: str, tls_hosts: Sequence[str]) -> bool:
    return host in tls_hosts or f"*.{host.partition('.')[2]}" in tls_hosts


def _hosts(routes: Sequence[Route]) -> list[Json]:
    found: list[Json] = []
    anywhere = [_path(route) for route in routes if route.host == ANY_HOST]
    named = (route for route in routes if route.host != ANY_HOST)
    for host, its_routes in groupby(named, key=lambda route: route.host):
        inside = [*(_path(route) for route in its_routes), _not_found()]
        found.append({
            "match": [{"host": [host]}],
            "handle": [{"handler": "subroute", "routes": inside}],
            "terminal": True,
        })  # fmt: skip
    return [*found, *anywhere, _not_found()]


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
        yield _text(503, "No pod of this store is ready. Try again in a moment.\n", {"Retry-After": ["5"]})
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
    return {"handle": [_text(404, "No store has this address.\n")]}


def _text(status: int | str, body: str, headers: dict[str, list[str]] | None = None) -> Json:
    return {
        "handler": "static_response",
        "status_code": status,
        "headers": {"Content-Type": ["text/plain; charset=utf-8"], **(headers or {})},
        "body": body,
    }
