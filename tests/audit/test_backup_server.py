"""What the gate keeps in the platform's namespace for backups; the cluster only takes note of what it is given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from audit import live
from audit.backup_server import BackupServer
from components.objects import Destination, Surroundings, door_to
from stacks import settings as settings_module
from stacks.desired import environment_values
from stacks.platform_key import PlatformKey
from stacks.settings import Reach

ROOT = Path(__file__).parents[2]


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the cluster is given, by kind and name."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(live, "read", lambda *_: None)
    monkeypatch.setattr(live, "pods", lambda *_: [])
    monkeypatch.setattr(live, "apply", lambda _, item: found.update({(item["kind"], item["metadata"]["name"]): item}))
    return found


def server(environment: str, where: Reach | None = None) -> BackupServer:
    """Return the platform's part of an environment whose object store is there."""
    settings = settings_module.load(ROOT, environment).model_copy(update={"backup_repository": where})
    unasked: Any = None
    return BackupServer(
        ROOT, settings, unasked, PlatformKey({1: os.urandom(32)}), environment_values(ROOT, environment)
    )


@pytest.mark.parametrize(
    ("where", "door"),
    [
        (None, Destination(443)),
        (Reach(cidrs=("10.9.0.0/28",), port=9000), Destination(9000, cidrs=("10.9.0.0/28",))),
        (Reach(namespace="storage", labels={"app": "minio"}), Destination(443, "storage", {"app": "minio"})),
    ],
)
def test_what_reads_the_backups_reaches_the_object_store_where_it_is(
    applied: dict[str, Any], where: Reach | None, door: Destination
) -> None:
    assert server("prod", where).ensure(["tea-x7k2m"])
    assert door_to(door, Surroundings()) in applied["NetworkPolicy", "backup-client"]["spec"]["egress"]
    assert ("Deployment", "backup") not in applied


def test_what_reads_the_backups_of_the_platforms_own_server_reaches_nothing_else(applied: dict[str, Any]) -> None:
    assert server("local").ensure(["tea-x7k2m"])
    assert ("Deployment", "backup") in applied
    assert "ipBlock" not in str(applied["NetworkPolicy", "backup-client"])
