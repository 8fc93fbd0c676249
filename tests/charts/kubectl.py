"""The two commands of kubectl that a person types for a release by hand; a sandbox has no kubectl of its own."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path

from kubernetes import client
from kubernetes.config import new_client_from_config

from .live import RESTRICTED


def main(arguments: list[str]) -> None:
    core = client.CoreV1Api(new_client_from_config(os.environ["KUBECONFIG"]))
    match arguments:
        case ["create", "namespace", name]:
            core.create_namespace({"metadata": {"name": name, "labels": RESTRICTED}})
        case ["--namespace", namespace, "create", "secret", "generic", name, "--from-file", folder]:
            files = [file for file in Path(folder).iterdir() if file.is_file()]
            data = {file.name: base64.b64encode(file.read_bytes()).decode() for file in files}
            core.create_namespaced_secret(namespace, {"metadata": {"name": name}, "data": data})
        case _:
            sys.exit(f"kubectl: {arguments} is not known here")


if __name__ == "__main__":
    main(sys.argv[1:])
