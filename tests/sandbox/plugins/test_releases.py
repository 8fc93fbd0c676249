"""Helm releases on a real API server, with the real `helm` program, one call at a time."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from sandbox.instance import Instance
from sandbox.plugins.failures import PartialFailureError, PluginError
from sandbox.plugins.kubernetes import diagnosis
from sandbox.plugins.kubernetes.client import Client
from sandbox.plugins.kubernetes.helm import storage
from sandbox.plugins.kubernetes.helm.releases import _label
from sandbox.plugins.wire import UNKNOWN, Asset, Secret, has_secret, plain

from .conftest import CHART
from .engine_double import STACK, CheckError, EngineDouble, Messages

pytestmark = pytest.mark.cluster

RELEASE = "kubernetes:helm.sh/v3:Release"
UNPULLABLE = "nowhere.invalid/image:1"


def release(namespace: str, **more: Any) -> dict[str, Any]:
    return {"chart": str(CHART), "name": "rel", "namespace": namespace, "maxHistory": 5} | more


class Operator:
    """A person with the `helm` program."""

    def __init__(self, instance: Instance, namespace: str) -> None:
        self._command = [str(instance.programs["helm"]), "--namespace", namespace]
        self._kubeconfig = str(instance.kubeconfig)

    def run(self, *arguments: str) -> str:
        command = [*self._command, "--kubeconfig", self._kubeconfig, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def history(self) -> list[tuple[int, str]]:
        found = json.loads(self.run("history", "rel", "-o", "json"))
        return [(entry["revision"], entry["status"]) for entry in found]


@pytest.fixture
def operator(sandbox_instance: Instance, namespace: str) -> Operator:
    return Operator(sandbox_instance, namespace)


def mark(client: Client, namespace: str, revision: int, **labels: str) -> None:
    """Change what Helm has recorded of a revision, as a killed program leaves it."""
    path = f"/api/v1/namespaces/{namespace}/secrets/sh.helm.release.v1.rel.v{revision}"
    secret = client.get(path)
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"labels": {**secret["metadata"]["labels"], **labels}},
    }
    if "status" in labels:
        document["data"] = {"release": _with_status(secret["data"]["release"], labels["status"])}
    client.apply(path, document, manager="test", force=True)


def _with_status(encoded: str, status: str) -> str:
    document = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(encoded))))
    document["info"]["status"] = status
    return base64.b64encode(base64.b64encode(gzip.compress(json.dumps(document).encode()))).decode()


def test_a_release_is_installed_upgraded_and_uninstalled(
    engine: EngineDouble, client: Client, namespace: str, operator: Operator
) -> None:
    inputs = release(namespace, values={"text": "one"})
    assert engine.up(RELEASE, "r", inputs) == "create"
    kept = engine.kept(RELEASE, "r")
    assert kept.id == f"{namespace}/rel"
    assert kept.outputs["status"] == {
        "appVersion": "1.0",
        "chart": "chart",
        "name": "rel",
        "namespace": namespace,
        "revision": 1,
        "status": "deployed",
        "version": "0.1.0",
    }
    assert kept.outputs["resourceNames"] == {"ConfigMap/v1": [f"{namespace}/rel"], "Secret/v1": ["rel"]}
    assert kept.outputs["version"] == "0.1.0"
    assert engine.up(RELEASE, "r", inputs) == "same"

    inputs["values"] = {"text": "two"}
    assert engine.diff(RELEASE, "r", inputs).paths == {"values.text"}
    assert engine.up(RELEASE, "r", inputs) == "update"
    assert client.get(f"/api/v1/namespaces/{namespace}/configmaps/rel")["data"] == {"text": "two"}
    assert engine.kept(RELEASE, "r").outputs["status"]["revision"] == 2
    assert operator.history() == [(1, "superseded"), (2, "deployed")]

    engine.destroy(RELEASE, "r")
    assert storage.records(client, namespace, "rel") == []


def test_defaults_are_those_of_the_official_plugin(engine: EngineDouble) -> None:
    inputs = engine.check(RELEASE, "r", {"chart": str(CHART), "compat": "true"})
    assert inputs["name"].startswith("r-")
    assert (inputs["namespace"], inputs["timeout"], inputs["version"]) == ("default", 300, "0.1.0")
    assert (inputs["skipAwait"], inputs["description"], inputs["values"]) == (False, "", {})
    assert "compat" not in inputs


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"chart": ""}, "chart"),
        ({"chart": "./not-there"}, "chart"),
        ({"chart": "/not/there"}, "chart"),
        ({"manifest": {}}, "manifest"),
        ({"resourceNames": {}}, "resourceNames"),
        ({"valeus": {}}, "valeus"),
        ({"timeout": "5m"}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"atomic": "true"}, "atomic"),
        ({"repositoryOpts": {"repo": "https://a.invalid", "password": "hunter22"}}, "repositoryOpts.password"),
        ({"repositoryOpts": {"url": "https://a.invalid"}}, "repositoryOpts.url"),
    ],
)
def test_inputs_that_cannot_be_honoured_are_refused(engine: EngineDouble, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(CheckError) as error:
        engine.check(RELEASE, "r", {"chart": str(CHART)} | wrong)
    assert set(error.value.reasons) == {named}


def test_a_preview_installs_nothing_and_takes_values_that_are_not_known(
    engine: EngineDouble, client: Client, namespace: str
) -> None:
    foretold = engine.preview(RELEASE, "r", release(namespace, values={"text": UNKNOWN, "password": Secret("x")}))
    assert foretold["values"] == {"text": UNKNOWN, "password": Secret("x")}
    assert foretold["status"] is UNKNOWN
    assert storage.records(client, namespace, "rel") == []


def test_files_of_values_lie_below_the_values_in_place(engine: EngineDouble, namespace: str, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("text: from the file\nnumber: 3\n")
    files = [Asset(text="text: from the text\nnumber: 2\n"), Asset(path=str(file))]
    inputs = engine.check(RELEASE, "r", release(namespace, valueYamlFiles=files, values={"text": "in place"}))
    assert inputs["values"] == {"text": "in place", "number": 3}
    secret = engine.check(RELEASE, "r", release(namespace, valueYamlFiles=Secret(files)))
    assert isinstance(secret["values"], Secret)


def test_secret_values_stay_secret_in_state_and_on_no_command_line(
    engine: EngineDouble, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    real = subprocess.Popen

    class Recorded(real):  # type: ignore[misc, valid-type]
        def __init__(self, command: list[str], **options: Any) -> None:
            commands.append(command)
            super().__init__(command, **options)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    engine.up(RELEASE, "r", release(namespace, values={"text": "open", "password": Secret("hunter22")}))
    outputs = engine.kept(RELEASE, "r").outputs
    assert outputs["values"] == {"text": "open", "password": Secret("hunter22")}
    assert isinstance(outputs["__inputs"], Secret)
    assert commands
    assert "hunter22" not in str(commands)


def test_values_that_the_chart_refuses_leave_nothing_behind_and_are_not_repeated(
    engine: EngineDouble, client: Client, namespace: str
) -> None:
    with pytest.raises(PluginError, match=r"password") as error:
        engine.up(RELEASE, "r", release(namespace, values={"password": Secret("HUNTER22")}))
    assert not isinstance(error.value, PartialFailureError)
    assert "HUNTER22" not in str(error.value)
    assert engine.state == {}
    assert storage.records(client, namespace, "rel") == []


def test_a_release_that_does_not_become_ready_says_why_and_is_tried_again(
    engine: EngineDouble, namespace: str, operator: Operator
) -> None:
    inputs = release(namespace, values={"image": UNPULLABLE}, timeout=3)
    with pytest.raises(PartialFailureError) as error:
        engine.up(RELEASE, "r", inputs)
    said = str(error.value)
    assert f"release '{namespace}/rel' is there, but failed" in said
    assert "container main: " in said
    assert UNPULLABLE in said
    kept = engine.kept(RELEASE, "r")
    assert kept.failed
    assert kept.outputs["status"]["status"] == "failed"

    with pytest.raises(PartialFailureError, match=r"revision 1 is failed"):
        engine.refresh(RELEASE, "r")
    assert engine.kept(RELEASE, "r").failed
    assert "status.status" in engine.diff(RELEASE, "r", inputs).paths

    inputs["values"] = {"text": "no image"}
    assert engine.up(RELEASE, "r", inputs) == "update"
    # Helm calls every revision superseded that has a successor, also one that failed.
    assert operator.history() == [(1, "superseded"), (2, "deployed")]


def test_the_resources_own_timeout_goes_before_the_input(engine: EngineDouble, namespace: str) -> None:
    inputs = release(namespace, values={"image": UNPULLABLE}, timeout=600)
    with pytest.raises(PartialFailureError, match=r"deadline|timed out"):
        engine.up(RELEASE, "r", inputs, timeout_s=2)


def test_a_log_is_shown_without_the_values_of_secrets() -> None:
    pod = {
        "metadata": {"name": "p"},
        "status": {
            "phase": "Running",
            "containerStatuses": [
                {
                    "name": "main",
                    "restartCount": 2,
                    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
                    "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}},
                }
            ],
        },
    }
    secret = {"type": "Opaque", "data": {"password": "aHVudGVyMjI="}}
    event = {
        "metadata": {},
        "involvedObject": {"kind": "Pod", "name": "p", "uid": "1"},
        "reason": "BackOff",
        "message": "Back-off restarting",
    }

    class Answers:
        def get(self, path: str, _query: object = None) -> dict[str, Any]:
            return {"items": {"pods": [pod], "secrets": [secret], "events": [event]}[path.rpartition("/")[2]]}

        def text(self, _path: str, query: dict[str, str]) -> str:
            assert query == {"container": "main", "tailLines": "10", "previous": "true"}
            return "the password is hunter22\n"

    assert diagnosis.explain(Answers(), "n", "rel") == [
        "pod p is Running",
        "  container main: CrashLoopBackOff: back-off 10s, ended with code 3 (Error), 2 restarts",
        "    | the password is [secret]",
        "event of Pod p: BackOff: Back-off restarting",
    ]


def test_a_name_that_is_in_use_is_refused(
    engine: EngineDouble, messages: Messages, namespace: str, operator: Operator
) -> None:
    operator.run("install", "rel", str(CHART))
    engine.preview(RELEASE, "r", release(namespace))
    assert "the run will fail here" in messages.warnings[0]
    with pytest.raises(PluginError, match=rf"cannot re-use a name.*pulumi import.*{namespace}/rel"):
        engine.up(RELEASE, "r", release(namespace))
    assert operator.history() == [(1, "deployed")]


def test_a_rollback_by_hand_is_seen_by_a_refresh_and_undone_by_the_next_run(
    engine: EngineDouble, client: Client, namespace: str, operator: Operator
) -> None:
    engine.up(RELEASE, "r", release(namespace, values={"text": "one", "number": 1}))
    inputs = release(namespace, values={"text": "two", "password": "new"})
    engine.up(RELEASE, "r", inputs)
    operator.run("rollback", "rel", "1")
    assert engine.up(RELEASE, "r", inputs) == "same"

    kept = engine.refresh(RELEASE, "r")
    assert kept is not None
    assert kept.outputs["status"]["revision"] == 3
    assert kept.outputs["values"] == {"text": "one", "number": 1}
    assert engine.diff(RELEASE, "r", inputs).paths == {"values.text", "values.password"}
    assert engine.up(RELEASE, "r", inputs) == "update"
    assert client.get(f"/api/v1/namespaces/{namespace}/configmaps/rel")["data"] == {"text": "two"}


def test_a_release_that_was_uninstalled_by_hand_is_gone_after_a_refresh(
    engine: EngineDouble, namespace: str, operator: Operator
) -> None:
    engine.up(RELEASE, "r", release(namespace))
    operator.run("uninstall", "rel")
    with pytest.raises(PluginError, match=r"uninstalled by hand.*pulumi refresh"):
        engine.up(RELEASE, "r", release(namespace, values={"text": "two"}))
    assert engine.refresh(RELEASE, "r") is None
    assert engine.up(RELEASE, "r", release(namespace)) == "create"
    operator.run("uninstall", "rel")
    engine.destroy(RELEASE, "r")


def test_an_import_shows_no_difference_to_the_program_and_keeps_values_secret(
    engine: EngineDouble, namespace: str, operator: Operator
) -> None:
    operator.run("install", "rel", str(CHART), "--set", "text=one,password=hunter22")
    inputs = release(namespace, values={"text": "one", "password": Secret("hunter22")}, timeout=77, cleanupOnFail=True)
    assert engine.adopt(RELEASE, "r", f"{namespace}/rel", inputs).paths == frozenset()
    assert isinstance(engine.kept(RELEASE, "r").outputs["values"], Secret)
    assert engine.up(RELEASE, "r", inputs) == "same"
    inputs["values"]["text"] = "two"
    assert engine.diff(RELEASE, "r", inputs).paths == {"values.text"}
    assert engine.up(RELEASE, "r", inputs) == "update"
    assert has_secret(engine.kept(RELEASE, "r").outputs["values"])


def test_another_name_is_another_release(engine: EngineDouble, namespace: str) -> None:
    engine.up(RELEASE, "r", release(namespace))
    assert engine.diff(RELEASE, "r", release(namespace, name="other")).replaces == {"name"}
    assert engine.diff(RELEASE, "r", release("elsewhere")).replaces == {"namespace"}


def test_a_new_version_of_a_chart_is_a_change(engine: EngineDouble, namespace: str, tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    inputs = release(namespace, chart=str(chart))
    engine.up(RELEASE, "r", inputs)
    (chart / "Chart.yaml").write_text((CHART / "Chart.yaml").read_text().replace("0.1.0", "0.2.0"))
    assert engine.diff(RELEASE, "r", inputs).paths == {"version"}
    assert engine.up(RELEASE, "r", inputs) == "update"
    assert engine.kept(RELEASE, "r").outputs["status"]["version"] == "0.2.0"


def test_an_install_that_was_killed_is_removed_and_done_anew(
    engine: EngineDouble, messages: Messages, client: Client, namespace: str, operator: Operator
) -> None:
    engine.up(RELEASE, "r", release(namespace))
    engine.state.clear()
    mark(client, namespace, 1, status="pending-install")
    assert engine.up(RELEASE, "r", release(namespace)) == "create"
    assert "a killed run left revision 1 pending-install; it is removed and installed anew" in messages.warnings[0]
    assert operator.history() == [(1, "deployed")]


def test_an_upgrade_that_was_killed_is_rolled_back_and_done_again(
    engine: EngineDouble, messages: Messages, client: Client, namespace: str, operator: Operator
) -> None:
    engine.up(RELEASE, "r", release(namespace, values={"text": "one"}))
    engine.up(RELEASE, "r", release(namespace, values={"text": "two"}))
    mark(client, namespace, 1, status="deployed")
    mark(client, namespace, 2, status="pending-upgrade")
    assert engine.up(RELEASE, "r", release(namespace, values={"text": "three"})) == "update"
    assert "it is rolled back to revision 1, then upgraded" in messages.warnings[0]
    assert operator.history()[-1] == (4, "deployed")
    assert client.get(f"/api/v1/namespaces/{namespace}/configmaps/rel")["data"] == {"text": "three"}


def test_a_failed_install_of_a_run_that_was_killed_is_gone_on_with(
    engine: EngineDouble, messages: Messages, client: Client, namespace: str, operator: Operator
) -> None:
    engine.up(RELEASE, "r", release(namespace))
    engine.state.clear()
    mark(client, namespace, 1, status="failed")
    assert engine.up(RELEASE, "r", release(namespace)) == "create"
    assert "an interrupted run left it failed; this run goes on with it" in messages.warnings[0]
    assert operator.history() == [(1, "superseded"), (2, "deployed")]


def test_work_that_somebody_else_has_under_way_is_left_alone(
    engine: EngineDouble, client: Client, namespace: str, operator: Operator
) -> None:
    engine.up(RELEASE, "r", release(namespace))
    operator.run("upgrade", "rel", str(CHART), "--set", "text=by-hand")
    mark(client, namespace, 2, status="pending-upgrade")
    with pytest.raises(PluginError, match=r"revision 2 is pending-upgrade, by somebody else; wait"):
        engine.up(RELEASE, "r", release(namespace, values={"text": "two"}))
    engine.state.clear()
    with pytest.raises(PluginError, match=r"by somebody else"):
        engine.up(RELEASE, "another-resource", release(namespace))


def test_the_mark_of_a_resource_differs_between_stacks() -> None:
    assert _label(f"{STACK}::{RELEASE}::r") != _label(f"urn:pulumi:prod::tests::{RELEASE}::r")


def test_a_cancel_ends_the_program_and_keeps_what_it_had_begun(
    engine: EngineDouble, client: Client, namespace: str
) -> None:
    errors: list[Exception] = []

    def create() -> None:
        try:
            engine.up(RELEASE, "r", release(namespace, values={"image": UNPULLABLE}, timeout=600))
        except PluginError as error:
            errors.append(error)

    thread = threading.Thread(target=create)
    thread.start()
    while not storage.records(client, namespace, "rel"):
        thread.join(0.02)
    engine.provider.interrupt()
    thread.join(30)
    assert not thread.is_alive()
    assert isinstance(errors[0], PartialFailureError)
    assert "cancelled" in str(errors[0])
    assert engine.kept(RELEASE, "r").failed
    assert storage.records(client, namespace, "rel")[-1].status == "failed"


def test_atomic_leaves_nothing_of_a_failed_install(engine: EngineDouble, client: Client, namespace: str) -> None:
    with pytest.raises(PluginError) as error:
        engine.up(RELEASE, "r", release(namespace, values={"image": UNPULLABLE}, timeout=2, atomic=True))
    assert not isinstance(error.value, PartialFailureError)
    assert engine.state == {}
    assert storage.records(client, namespace, "rel") == []


def test_helm_leaves_nothing_on_this_machine(engine: EngineDouble, namespace: str) -> None:
    engine.up(RELEASE, "r", release(namespace))
    folder = engine.provider._cluster.helm._folder
    assert folder.exists()
    engine.provider.close()
    assert not folder.exists()
    assert plain(engine.kept(RELEASE, "r").outputs["status"])["status"] == "deployed"
