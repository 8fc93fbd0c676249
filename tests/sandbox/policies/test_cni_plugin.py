from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sandbox.policies import cni_plugin
from sandbox.policies.enforcer import Address, addresses

RESULT = {"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.42.0.9/32", "gateway": "10.42.0.1"}]}
ARGUMENTS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=x;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u1"


def call(folder: Path, command: str, *, container: str = "c1", **config: Any) -> tuple[int, Any]:
    variables = {"CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_ARGS": ARGUMENTS}
    body = {"cniVersion": "0.4.0", "name": "pods", "type": cni_plugin.TYPE, "folder": str(folder), **config}
    out = io.StringIO()
    code = cni_plugin.main(variables, io.StringIO(json.dumps(body)), out)
    return code, json.loads(out.getvalue()) if out.getvalue() else None


@contextmanager
def enforcer(folder: Path, answer: Callable[[Any], str]) -> Iterator[list[Any]]:
    """Answer the plugin's questions, and keep them."""
    asked: list[Any] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, connection.makefile("rw") as lines:
                    asked.append(json.loads(lines.readline()))
                    lines.write(answer(asked[-1]))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield asked
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cni_plugin, "_WAIT_S", 0.3)


def test_a_pod_gets_its_network_when_the_enforcer_says_so_and_not_before(tmp_path: Path) -> None:
    def answer(_request: Any) -> str:
        # Written down first: an enforcer that is started at this moment knows the address too.
        assert addresses(tmp_path / "pods") == [Address("x", "web", "u1", "10.42.0.9")]
        return "ok\n"

    with enforcer(tmp_path, answer) as asked:
        assert call(tmp_path, "ADD", prevResult=RESULT) == (0, RESULT)
    assert asked == [{"command": "ADD", "namespace": "x", "name": "web", "uid": "u1", "address": "10.42.0.9"}]


@pytest.mark.parametrize("said", ["the rules were not applied in time\n", "", "ok but\n"])
def test_any_other_answer_is_no_network(tmp_path: Path, said: str) -> None:
    with enforcer(tmp_path, lambda _request: said):
        code, error = call(tmp_path, "ADD", prevResult=RESULT)
    assert (code, error["code"]) == (1, 11)
    assert error["msg"].startswith("the network policies of x/web are not in force: ")


def test_without_an_enforcer_there_is_no_network(tmp_path: Path) -> None:
    code, error = call(tmp_path, "ADD", prevResult=RESULT)
    assert code == 1
    assert "the enforcer does not answer" in error["msg"]


def test_a_pod_that_goes_takes_its_address_with_it_whether_anybody_listens_or_not(tmp_path: Path) -> None:
    with enforcer(tmp_path, lambda _request: "ok\n") as asked:
        call(tmp_path, "ADD", prevResult=RESULT)
        call(tmp_path, "ADD", container="c2", prevResult=RESULT)
        assert call(tmp_path, "DEL") == (0, None)
    assert [request["command"] for request in asked] == ["ADD", "ADD", "DEL"]
    assert [file.name for file in (tmp_path / "pods").iterdir()] == ["c2"]
    assert call(tmp_path, "DEL", container="c2") == (0, None)
    assert call(tmp_path, "DEL", container="never-added") == (0, None)
    assert addresses(tmp_path / "pods") == []


def test_a_check_changes_nothing_and_the_version_is_told_without_a_configuration(tmp_path: Path) -> None:
    assert call(tmp_path, "CHECK") == (0, None)
    out = io.StringIO()
    assert cni_plugin.main({"CNI_COMMAND": "VERSION"}, io.StringIO(""), out) == 0
    assert "0.4.0" in json.loads(out.getvalue())["supportedVersions"]


def test_it_runs_with_nothing_but_the_standard_library() -> None:
    done = subprocess.run(
        [sys.executable, "-IS", str(Path(cni_plugin.__file__))],
        env={"CNI_COMMAND": "VERSION"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["cniVersion"] == "0.4.0"
