"""Where the parts of the ingress meet each other inside the pod."""

from __future__ import annotations

from dataclasses import dataclass

READY_PATH = "/ready"
TLS_PATH = "/tls"
# Where the pod finds the authority that signs the stores' certificates: a Secret of the sandbox's own.
AUTHORITY_FOLDER = "/etc/ingress-ca"


@dataclass(frozen=True)
class Addresses:
    """Of two Caddys: the front, which visitors reach and which never changes, and the router, which changes often."""

    front_http: str = ":8080"
    front_https: str = ":8443"
    front_control: str = ":8081"
    router_http: str = "/run/ingress/http.sock"
    router_https: str = "/run/ingress/https.sock"
    router_control: str = "127.0.0.1:8079"
    router_admin: str = "127.0.0.1:2019"


IN_POD = Addresses()
