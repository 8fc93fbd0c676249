"""Which variables of the environment the engine gets, and with it its plugins, Helm and a kubeconfig's own programs.

What nobody of them reads they do not get: the ledger's address has a password in it, and a CI system's environment has
tokens that are none of their business. What more a plugin of somebody needs is named in $STORES_ENGINE_VARIABLES.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MORE: Final = "STORES_ENGINE_VARIABLES"
_OURS: Final = "STORES_"
_PLUGINS_OWN: Final = "STORES_HELM"
"""By which the sandbox's plugin finds its Helm."""

_NAMES: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM", "TMPDIR", "HOSTNAME"),
        *("LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
        *("GODEBUG", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK"),
    }
)
# The engine's own, Helm's, and those by which the clouds' state backends, secrets providers and clusters are reached.
_PREFIXES: Final = (
    *("PULUMI_", "HELM_", "LC_", "XDG_", "OTEL_", "GRPC_"),
    *("AWS_", "GOOGLE_", "CLOUDSDK_", "GCLOUD_", "AZURE_", "AAD_", "ARM_", "OCI_", "VAULT_"),
    # PGHOST, PGPASSWORD, ...: a state in PostgreSQL.
    "PG",
)


def for_engine(variables: Mapping[str, str]) -> dict[str, str]:
    """Return those of the variables that the engine and its plugins get. Ours they never do, whoever names them."""
    named = {name.strip() for name in variables.get(MORE, "").split(",")}
    return {
        name: value
        for name, value in variables.items()
        if name == _PLUGINS_OWN
        or (not name.startswith(_OURS) and (name in _NAMES or name in named or name.startswith(_PREFIXES)))
    }
