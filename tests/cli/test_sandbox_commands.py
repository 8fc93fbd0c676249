"""Commands of the sandbox: what they ask it for, what they print of it. The sandbox itself has tests of its own."""

# ruff: noqa: ARG002 - the signatures are those of sandbox.instance

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sandbox import instance
from sandbox.cluster import Pod
from sandbox.images.recipes.shop.recipe import Given
from sandbox.instance import DownReport, Instance, Status
from sandbox.progress import Progress
from sandbox.supervisor import State
from stacks.errors import UsageError

AT = datetime(2026, 11, 23, 8, 30, 5, tzinfo=UTC)
RUNNING = Status(
    "local",
    exists=True,
    running=True,
    api_answers=True,
    node_ready=True,
    http_port=8080,
    api_port=6443,
    started_at=AT,
    memory_bytes=900 * 2**20,
    processes=40,
    components={"kubelet": State(running=True, gave_up=False, restarts=2, last_end=None)},
    pods=(Pod("kube-system", "coredns", ready=True, phase="Running"),),
)


@dataclass
class FakeSandbox:
    """Answers for `sandbox.instance` with what a test put there."""

    folder: Path
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    found: Status = RUNNING
    report: DownReport = field(
        default_factory=lambda: DownReport(
            was_running=True,
            ended_processes=40,
            removed=["40 processes"],
            kept=["the build cache"],
            ledger_archive=None,
        )
    )
    alive: bool = True
    given: Given | None = None
    https_port: int | None = None

    def instance(self, name: str) -> Instance:
        return Instance(name, self.folder, 8080, self.https_port, 6443, {})

    def up(
        self,
        root: Path,
        name: str,
        *,
        http_port: int,
        https_port: int | None,
        given: Given,
        report: Callable[[Progress], None],
    ) -> Instance:
        self.given = given
        self.asked.append(("up", name, http_port, https_port))
        report(Progress("build", "kubelet", 1, 9, 100.0))
        return self.instance(name)

    def build(self, root: Path, *, report: Callable[[Progress], None]) -> None:
        self.asked.append(("build",))

    def down(self, root: Path, name: str, *, report: Callable[[Progress], None]) -> DownReport:
        self.asked.append(("down", name))
        return self.report

    def status(self, root: Path, name: str) -> Status:
        return self.found

    def running(self, root: Path, name: str) -> Instance | None:
        return self.instance(name) if self.alive else None

    def logs(self, root: Path, name: str) -> dict[str, Path]:
        return {path.stem: path for path in sorted(self.folder.glob("*.log"))}


@pytest.fixture
def sandbox(project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> FakeSandbox:
    fake = FakeSandbox(tmp_path_factory.mktemp("sand box"))
    for name in ("up", "build", "down", "status", "running", "logs"):
        monkeypatch.setattr(instance, name, getattr(fake, name))
    monkeypatch.delenv("STORES_SANDBOX", raising=False)
    (project / "Pulumi.local.yaml").write_text(
        "config:\n  stores:environment: local\n  stores:protected: false\n  stores:urlPort: 9090\n"
    )
    return fake


def test_up_listens_where_the_settings_say_and_shows_its_progress(sandbox, stores) -> None:
    done = stores("sandbox", "up")
    assert done.code == 0
    assert sandbox.asked == [("up", "local", 9090, None)]
    assert "build: kubelet, 1 of 9, about 1 min 40 s left" in done.err
    assert done.out.startswith("sandbox local runs: stores answer on 127.0.0.1:8080\nkubectl: export KUBECONFIG='")


def test_up_takes_a_port_and_a_name(sandbox, stores, monkeypatch: pytest.MonkeyPatch) -> None:
    stores("sandbox", "up", "--port", "0", "--name", "try")
    monkeypatch.setenv("STORES_SANDBOX", "other")
    stores("sandbox", "up", "--port", "1", "--https-port", "2")
    assert sandbox.asked == [("up", "try", 0, None), ("up", "other", 1, 2)]


def test_the_real_woocommerce_comes_from_the_settings_or_the_command_line(
    project: Path, sandbox, stores, tmp_path: Path
) -> None:
    stores("sandbox", "up")
    assert sandbox.given == Given()
    with (project / "Pulumi.local.yaml").open("a") as settings:
        settings.write("  stores:sandboxWoocommerce: ../woocommerce.zip\n  stores:sandboxStorefront: /x/storefront\n")
    stores("sandbox", "up")
    assert sandbox.given == Given(project / "../woocommerce.zip", Path("/x/storefront"))
    stores("sandbox", "up", "--woocommerce", str(tmp_path))
    assert sandbox.given == Given(tmp_path, Path("/x/storefront"))


@pytest.mark.parametrize(("alive", "runs_with", "asked"), [(False, None, 9443), (True, None, None), (True, 7443, 7443)])
def test_the_settings_choose_the_https_port_of_a_new_sandbox_alone(
    project: Path, sandbox, stores, *, alive: bool, runs_with: int | None, asked: int | None
) -> None:
    with (project / "Pulumi.local.yaml").open("a") as settings:
        settings.write("  stores:httpsPort: 9443\n")
    sandbox.alive, sandbox.https_port = alive, runs_with
    stores("sandbox", "up")
    assert sandbox.asked == [("up", "local", 9090, asked)]


def test_up_names_the_https_port_and_whom_to_trust(sandbox, stores) -> None:
    sandbox.https_port = 8443
    assert f"https: on 127.0.0.1:8443, trust '{sandbox.folder}/ca.crt'\n" in stores("sandbox", "up").out


def test_build_starts_nothing(sandbox, stores) -> None:
    assert stores("sandbox", "build").out == "everything is built\n"
    assert sandbox.asked == [("build",)]


def test_down_says_what_is_gone_and_what_is_kept(sandbox, stores) -> None:
    assert stores("sandbox", "down").out == "removed  40 processes\nkept     the build cache\n"
    sandbox.report = DownReport(was_running=False, ended_processes=0, removed=[], kept=[], ledger_archive=None)
    assert stores("sandbox", "down").out == "there was no sandbox local\n"


def test_status_shows_node_components_and_pods(sandbox, stores) -> None:
    done = stores("sandbox", "status")
    assert done.code == 0
    for line in ("node        ready", "memory      900 MiB in 40 processes", "kubelet    runs   2"):
        assert line in done.out
    assert "kube-system  coredns  Running  yes" in done.out
    assert json.loads(stores("sandbox", "status", "--json").out)["started_at"] == "2026-11-23T08:30:05Z"


def test_status_of_a_sandbox_that_does_not_run_ends_in_7_and_says_why(sandbox, stores) -> None:
    sandbox.found = Status("local", exists=True, running=False, ended="the machine was restarted since")
    done = stores("sandbox", "status")
    assert (done.code, done.out) == (7, "")
    assert "error: sandbox local: it does not run: the machine was restarted since; run" in done.err
    assert json.loads(stores("sandbox", "status", "--json").out)["running"] is False


def test_logs_lists_the_components_and_prints_the_last_lines_of_one(sandbox, stores) -> None:
    (sandbox.folder / "etcd.log").write_text("one\ntwo\nthr\x1bee\n")
    (sandbox.folder / "kubelet.log").write_text("")
    assert stores("sandbox", "logs").out == "etcd\nkubelet\n"
    assert stores("sandbox", "logs", "etcd", "-n", "2").out == "two\nthr\\x1bee\n"
    assert stores("sandbox", "logs", "etcd", "-n", "0").out == ""
    assert stores("sandbox", "logs", "kubelet").out == ""
    done = stores("sandbox", "logs", "apiserver")
    assert (done.code, done.err) == (
        2, "error: sandbox local: 'apiserver' has no log; use one of: etcd, kubelet\n")  # fmt: skip


def test_env_prints_lines_that_a_shell_takes(sandbox, stores) -> None:
    lines = stores("sandbox", "env").out.splitlines()
    assert f"export KUBECONFIG='{sandbox.folder}/kubeconfig'" in lines
    assert all(line.startswith("export ") for line in lines)
    assert "KUBECONFIG" in json.loads(stores("sandbox", "env", "--json").out)
    sandbox.alive = False
    assert stores("sandbox", "env").code == 7


def test_a_machine_that_cannot_carry_a_sandbox_is_told_in_one_line(sandbox, stores, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UsageError("sandbox", "this machine has no cgroups", "use kind or k3s")

    monkeypatch.setattr(instance, "build", refuse)
    done = stores("sandbox", "build")
    assert (done.code, done.err) == (2, "error: sandbox: this machine has no cgroups; use kind or k3s\n")
