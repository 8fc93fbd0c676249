"""Which cluster to talk to, and as whom: the part of a kubeconfig that one context selects."""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from sandbox.plugins.failures import NotSupportedError, PluginError

_DEFAULT_PATH: Final = "~/.kube/config"
# Ways to sign in that need another program, or that this client does not speak.
_FOREIGN_USER_KEYS: Final = ("exec", "auth-provider", "username", "password", "as", "as-uid", "as-groups")
_FOREIGN_CLUSTER_KEYS: Final = ("proxy-url",)


@dataclass(frozen=True)
class Access:
    """One cluster and one way to sign in."""

    server: str
    namespace: str
    authority_pem: str | None = None
    verify: bool = True
    server_name: str | None = None
    token: str | None = None
    token_file: Path | None = None
    certificate_pem: str | None = None
    key_pem: str | None = None

    def __repr__(self) -> str:
        return f"Access({self.server})"

    def document(self) -> str:
        """Return a kubeconfig of this access alone, for programs that read one."""
        cluster: dict[str, Any] = {"server": self.server}
        if self.authority_pem:
            cluster["certificate-authority-data"] = _encoded(self.authority_pem)
        if not self.verify:
            cluster["insecure-skip-tls-verify"] = True
        if self.server_name:
            cluster["tls-server-name"] = self.server_name
        user: dict[str, Any] = {}
        if self.token:
            user["token"] = self.token
        if self.token_file:
            user["tokenFile"] = str(self.token_file)
        if self.certificate_pem and self.key_pem:
            user["client-certificate-data"] = _encoded(self.certificate_pem)
            user["client-key-data"] = _encoded(self.key_pem)
        context = {"cluster": "cluster", "user": "user", "namespace": self.namespace}
        # JSON is YAML, and needs no further import.
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "cluster", "cluster": cluster}],
                "users": [{"name": "user", "user": user}],
                "contexts": [{"name": "context", "context": context}],
                "current-context": "context",
            }
        )


def load(
    text_or_path: str | None, *, context: str | None = None, cluster: str | None = None, namespace: str | None = None
) -> Access:
    """Return the access that a kubeconfig gives. Without one: that of KUBECONFIG, or of the user's own file.

    Raises PluginError where it cannot be read, and NotSupportedError for ways to sign in that need a program.
    """
    document, folder = read(text_or_path)
    context_name = context or document.get("current-context")
    if not context_name:
        raise PluginError("kubeconfig: no context is selected; set current-context in it, or the provider's `context`")
    selected = _named(document, "context", context_name)
    cluster_name = cluster or selected.get("cluster", "")
    where = _named(document, "cluster", cluster_name)
    who = _named(document, "user", selected["user"]) if selected.get("user") else {}
    _refuse_foreign(where, who, context_name)
    certificate = _content(who, "client-certificate", folder)
    return Access(
        server=_server(where, cluster_name),
        namespace=namespace or selected.get("namespace") or "default",
        authority_pem=_content(where, "certificate-authority", folder),
        verify=not where.get("insecure-skip-tls-verify", False),
        server_name=where.get("tls-server-name"),
        token=who.get("token"),
        token_file=folder / who["tokenFile"] if who.get("tokenFile") else None,
        certificate_pem=certificate,
        key_pem=_content(who, "client-key", folder) if certificate else None,
    )


def active_cluster(
    text_or_path: str | None, *, context: str | None = None, cluster: str | None = None
) -> Mapping[str, Any] | None:
    """Return the cluster entry that would be used, or None where there is none, as with a file that is gone."""
    if not text_or_path:
        return None
    try:
        document, _ = read(text_or_path)
        selected = _named(document, "context", context or document.get("current-context", ""))
        return _named(document, "cluster", cluster or selected.get("cluster", ""))
    except PluginError:
        return None


def read(text_or_path: str | None) -> tuple[dict[str, Any], Path]:
    """Return the kubeconfig, and the folder that its paths are relative to."""
    if text_or_path:
        path = Path(text_or_path).expanduser() if "\n" not in text_or_path else None
        if path is not None and _is_file(path):
            return _parsed(path.read_text(encoding="utf-8"), str(path)), path.parent.resolve()
        return _parsed(text_or_path, "the provider's kubeconfig"), Path.cwd()
    return _ambient()


def _ambient() -> tuple[dict[str, Any], Path]:
    named = os.environ.get("KUBECONFIG")
    paths = [Path(text).expanduser() for text in (named or _DEFAULT_PATH).split(os.pathsep) if text]
    present = [path for path in paths if _is_file(path)]
    if not present:
        raise PluginError(
            f"kubeconfig: {' and '.join(map(str, paths)) or 'KUBECONFIG'} not found; "
            "start the cluster, or set KUBECONFIG or the provider's `kubeconfig`"
        )
    if len(present) > 1:
        raise NotSupportedError(f"KUBECONFIG with several files ({named})")
    return _parsed(present[0].read_text(encoding="utf-8"), str(present[0])), present[0].parent.resolve()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a text that is no path, such as one that is too long
        return False


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        # The error's own text quotes the file, which holds credentials.
        raise PluginError(f"kubeconfig: {where} is not YAML; correct it") from error
    if not isinstance(document, dict) or "clusters" not in document:
        raise PluginError(f"kubeconfig: {where} is neither a file nor a kubeconfig; correct it")
    return document


def _named(document: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    for entry in document.get(f"{kind}s") or ():
        if entry.get("name") == name:
            content: Mapping[str, Any] = entry.get(kind) or {}
            return content
    raise PluginError(f"kubeconfig: no {kind} '{name}' in it; add it, or select another")


def _server(cluster: Mapping[str, Any], name: str) -> str:
    server = cluster.get("server")
    if not isinstance(server, str) or not server.startswith(("https://", "http://")):
        raise PluginError(f"kubeconfig: cluster '{name}' has no server address; add one")
    return server.rstrip("/")


def _refuse_foreign(cluster: Mapping[str, Any], user: Mapping[str, Any], context: str) -> None:
    for part, keys in ((user, _FOREIGN_USER_KEYS), (cluster, _FOREIGN_CLUSTER_KEYS)):
        for key in keys:
            if part.get(key):
                raise NotSupportedError(f"`{key}` of the kubeconfig's context '{context}'")


def _content(part: Mapping[str, Any], key: str, folder: Path) -> str | None:
    """Return what is given in place as `<key>-data`, or in the file `<key>`."""
    data = part.get(f"{key}-data")
    if data:
        try:
            return base64.b64decode(data, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise PluginError(f"kubeconfig: {key}-data is not PEM in base64; correct it") from error
    path = part.get(key)
    if not path:
        return None
    try:
        return Path(folder, path).read_text(encoding="utf-8")
    except OSError as error:
        raise PluginError(f"kubeconfig: {key} {path}: {error.strerror}; correct it") from error


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
