from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sandbox import cgroups, golang, machine
from stacks.errors import UsageError


def test_this_machine_carries_a_sandbox(tmp_path: Path) -> None:
    assert machine.problems([tmp_path]) == []


def test_one_message_names_everything_that_is_missing_and_the_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(machine.shutil, "which", lambda _: None)
    monkeypatch.setattr(golang, "version", lambda: "go1.19.8")
    monkeypatch.setattr(cgroups, "missing_controllers", lambda: ["memory"])

    with pytest.raises(UsageError) as caught:
        machine.require([tmp_path])

    (problem,) = caught.value.problems
    for part in ("need root", "apt-get", "Go is 1.19.8", "control group for memory"):
        assert part in problem.what
    for part in ("kind", "k3s", "README.md"):
        assert part in problem.cure


def test_another_system_than_linux_is_the_only_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    assert machine.problems([tmp_path]) == ["the system is darwin, and a node needs Linux"]


@pytest.mark.parametrize("folder", ["/run/user/0/shop", "/var/lib/jenkins/shop", "/var/log/shop"])
def test_a_checkout_that_the_node_could_not_see_is_refused(folder: str) -> None:
    (problem,) = machine.problems([Path(folder)])

    assert folder in problem


def test_namespaces_that_are_refused_are_told_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "NAMESPACES", ("--no-such-namespace",))

    (problem,) = machine.problems([tmp_path])

    assert "no-such-namespace" in problem


def test_images_are_laid_by_overlay_where_the_file_system_can(tmp_path: Path) -> None:
    assert machine.snapshotter(tmp_path) in {"overlayfs", "native"}
    assert list(tmp_path.iterdir()) == []


def test_images_are_copied_where_the_kernel_refuses_an_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_tool", lambda _: "/bin/false")

    assert machine.snapshotter(tmp_path) == "native"
