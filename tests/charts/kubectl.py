"""The commands of kubectl that a person types by hand, as the pages say; a sandbox has no kubectl of its own."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.config import new_client_from_config

from .live import RESTRICTED


def main(arguments: list[str]) -> None:
    match arguments:
        case ["create", "namespace", name]:
            _core().create_namespace({"metadata": {"name": name, "labels": RESTRICTED}})
        case ["--namespace", namespace, "create", "secret", "generic", name, "--from-file", folder]:
            files = [file for file in Path(folder).iterdir() if file.is_file()]
            data = {file.name: base64.b64encode(file.read_bytes()).decode() for file in files}
            _core().create_namespaced_secret(namespace, {"metadata": {"name": name}, "data": data})
        case ["--namespace", namespace, "create", "configmap", name, source, "--dry-run=client", "--output=yaml"]:
            print(json.dumps(_config_map(namespace, name, Path(source.removeprefix("--from-file=")))))
        case ["--namespace", namespace, "apply", "--filename=-"]:
            _apply(namespace, json.load(sys.stdin))
        case ["--namespace", namespace, "get", "secret", name, "--output", template]:
            (key,) = (each for each in template.split('"') if each.startswith("mariadb-"))
            data = _core().read_namespaced_secret(name, namespace).data
            print(base64.b64decode(data[key]).decode())
        case _:
            sys.exit(f"kubectl: {arguments} is not known here")


def _core() -> client.CoreV1Api:
    return client.CoreV1Api(new_client_from_config(os.environ["KUBECONFIG"]))


def _config_map(namespace: str, name: str, file: Path) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {file.name: file.read_text()}}


def _apply(namespace: str, config_map: dict[str, Any]) -> None:
    """Make it, or let what is there be that."""
    core = _core()
    try:
        core.create_namespaced_config_map(namespace, config_map)
    except ApiException as error:
        if error.status != 409:
            raise
        core.replace_namespaced_config_map(config_map["metadata"]["name"], namespace, config_map)


if __name__ == "__main__":
    main(sys.argv[1:])
