"""The last CNI plugin of the pods' network: a pod gets its network only when the policies that mean it are in force.

Called by containerd for every pod, with what https://www.cni.dev/docs/spec/ says. It writes down which pod has which
address, and waits until the enforcer says that its rules know it. No enforcer, no network: the kubelet tries again.
Runs with nothing but the standard library, since it starts anew for each pod.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

TYPE = "stores-policies"
VERSIONS = ("0.3.0", "0.3.1", "0.4.0")
# The kubelet gives containerd two minutes for a pod; an enforcer that was killed is back within seconds.
_WAIT_S = 30.0
_POLL_S = 0.1
# "Try again later", in the words of the specification.
_TRY_AGAIN = 11


class PolicyError(Exception):
    """The pod must not have its network now."""


def main(variables: Mapping[str, str], source: TextIO, out: TextIO) -> int:
    """Do what CNI_COMMAND says and return the exit code."""
    command = variables["CNI_COMMAND"]
    if command == "VERSION":
        json.dump({"cniVersion": VERSIONS[-1], "supportedVersions": VERSIONS}, out)
        return 0
    config = json.load(source)
    folder = Path(config["folder"])
    try:
        if command == "ADD":
            result = config["prevResult"]
            add(folder, variables["CNI_CONTAINERID"], _arguments(variables.get("CNI_ARGS", "")), result)
            json.dump(result, out)
        elif command == "DEL":
            remove(folder, variables["CNI_CONTAINERID"])
    except PolicyError as error:
        json.dump({"cniVersion": config["cniVersion"], "code": _TRY_AGAIN, "msg": str(error)}, out)
        return 1
    return 0


def add(folder: Path, container: str, arguments: Mapping[str, str], result: Mapping[str, Any]) -> None:
    """Return when the policies are in force for the pod. Raises PolicyError when they are not in time."""
    address = next(ip["address"].partition("/")[0] for ip in result["ips"] if ip.get("version", "4") == "4")
    record = {
        "namespace": arguments["K8S_POD_NAMESPACE"],
        "name": arguments["K8S_POD_NAME"],
        "uid": arguments.get("K8S_POD_UID", ""),
        "address": address,
    }
    (folder / "pods").mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{container}.new"
    unfinished.write_text(json.dumps(record))
    unfinished.replace(folder / "pods" / container)
    answer = _ask(folder / "socket", {"command": "ADD", **record})
    if answer != "ok":
        raise PolicyError(f"the network policies of {record['namespace']}/{record['name']} are not in force: {answer}")


def remove(folder: Path, container: str) -> None:
    """Make the pod's address be nobody's. Without an enforcer, the next one finds it so."""
    (folder / "pods" / container).unlink(missing_ok=True)
    try:
        _exchange(folder / "socket", {"command": "DEL"}, timeout_s=1)
    except OSError:
        return


def _ask(path: Path, request: Mapping[str, str]) -> str:
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            answer = _exchange(path, request, timeout_s=max(deadline - time.monotonic(), _POLL_S))
            if answer:
                return answer
            problem = "the enforcer ended in the middle"
        except OSError as error:
            problem = f"the enforcer does not answer ({error})"
        if time.monotonic() > deadline:
            return problem
        time.sleep(_POLL_S)


def _exchange(path: Path, request: Mapping[str, str], *, timeout_s: float) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile() as answer:
            return answer.readline().strip()


def _arguments(text: str) -> Mapping[str, str]:
    return dict(part.split("=", 1) for part in text.split(";") if "=" in part)


if __name__ == "__main__":
    sys.exit(main(os.environ, sys.stdin, sys.stdout))
