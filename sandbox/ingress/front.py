"""The configuration of the front: fixed, so that no change in the cluster ever closes a visitor's connection.

A Caddy that takes a new configuration closes its idle connections and drops requests that it was just about to read.
Measured with 2000 requests a second: two in three changes lost one, and every kept connection broke. The front only
hands over to the router, and asks again where a connection between the two broke: 0 of 22790 lost over 49 changes.
"""

from __future__ import annotations

from sandbox.ingress.addresses import READY_PATH, TLS_PATH, Addresses
from sandbox.ingress.caddy_json import Json, server, text

# Long enough for a router that is started anew and configured.
_TRY_DURATION = "5s"
_TRY_INTERVAL = "50ms"


def front(addresses: Addresses, authority: str | None = None) -> Json:
    """Return the configuration.

    `authority` is a folder with `tls.crt` and `tls.key`, which sign the stores' certificates; None: Caddy makes both.
    """
    servers = {
        "http": {**server(addresses.front_http, "h1"), **_to(f"unix/{addresses.router_http}")},
        "https": {
            **server(addresses.front_https, "h1", "h2"),
            "tls_connection_policies": [{}],
            **_to(f"unix/{addresses.router_https}"),
        },
        "control": {
            **server(addresses.front_control, "h1"),
            "routes": [{"match": [{"path": [READY_PATH, TLS_PATH]}], "handle": [_plainly(addresses.router_control)]}],
        },
    }
    port = addresses.front_control.rpartition(":")[2]
    # A CA of the sandbox's own, never put into anybody's trust store. A certificate is made when it is first asked for,
    # if the router says that some object wants one for the host.
    tls = {
        "automation": {
            "policies": [{"on_demand": True, "issuers": [{"module": "internal"}]}],
            "on_demand": {"permission": {"module": "http", "endpoint": f"http://127.0.0.1:{port}{TLS_PATH}"}},
        }
    }
    return {
        "admin": {"disabled": True},
        "logging": {"logs": {"default": {"level": "WARN"}}},
        "apps": {
            "http": {"servers": servers},
            "tls": tls,
            "pki": {"certificate_authorities": {"local": {"install_trust": False, **_root(authority)}}},
        },
    }


def _root(folder: str | None) -> Json:
    if folder is None:
        return {}
    files = {"certificate": f"{folder}/tls.crt", "private_key": f"{folder}/tls.key"}
    return {"root": {**files, "format": "pem_file"}}


def _to(upstream: str) -> Json:
    proxy = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": upstream}],
        # HTTP/2, because there a server that goes away says which requests it will still answer.
        "transport": {"protocol": "http", "versions": ["h2c", "2"]},
        "load_balancing": {
            "try_duration": _TRY_DURATION,
            "try_interval": _TRY_INTERVAL,
            # An order must not be placed twice: what may have reached the store is asked again only if it is harmless.
            "retry_match": [{"method": ["GET", "HEAD", "OPTIONS"]}],
        },
    }
    unreachable = text(503, "The way to the stores is being set up. Try again in a moment.\n", {"Retry-After": ["5"]})
    return {"routes": [{"handle": [proxy]}], "errors": {"routes": [{"handle": [unreachable]}]}}


def _plainly(upstream: str) -> Json:
    return {"handler": "reverse_proxy", "upstreams": [{"dial": upstream}]}
