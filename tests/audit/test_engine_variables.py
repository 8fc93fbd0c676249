"""What of the environment reaches the engine: no secret that is none of its business, in a real process too."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from audit.engine.process import Process
from audit.engine.variables import for_engine

CANARY = "canary-0f6a"
OURS = {"STORES_LEDGER_URL": f"mysql://app:{CANARY}@db/ledger", "STORES_PLATFORM_KEY_FILE": f"/run/{CANARY}"}
STRANGERS = {"GITHUB_TOKEN": CANARY, "ACTIONS_RUNTIME_TOKEN": CANARY, "MYSQL_PWD": CANARY, "DATABASE_PASSWORD": CANARY}
THEIRS = {
    "PATH": "/usr/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "KUBECONFIG": "/k",
    "STORES_HELM": "/usr/bin/helm",
    "PULUMI_BACKEND_URL": "s3://state",
    "PULUMI_CONFIG_PASSPHRASE": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "GOOGLE_APPLICATION_CREDENTIALS": "/g",
    "PGPASSWORD": "x",
    "HTTPS_PROXY": "http://proxy",
    "no_proxy": "127.0.0.1",
}


def test_the_engine_gets_what_it_reads_and_nothing_else() -> None:
    assert for_engine({**OURS, **STRANGERS, **THEIRS}) == THEIRS


def test_what_somebodys_plugin_needs_is_named_and_ours_never_goes() -> None:
    more = {"STORES_ENGINE_VARIABLES": "GITHUB_TOKEN, STORES_LEDGER_URL,,MISSING"}
    assert for_engine({**OURS, **STRANGERS, **THEIRS, **more}) == {**THEIRS, "GITHUB_TOKEN": CANARY}


@pytest.mark.parametrize("way", ["run", "feed"])
def test_no_canary_is_in_the_environment_of_a_process_that_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    program, seen = tmp_path / "pulumi", tmp_path / "seen"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\nopen({str(seen)!r}, 'w').write(json.dumps(dict(os.environ)))\n"
    )
    program.chmod(0o700)
    for name, value in {**OURS, **STRANGERS}.items():
        monkeypatch.setenv(name, value)
    process = Process.__new__(Process)
    process.command = str(program)
    process._process, process._stops, process._interrupts, process._code = None, 0, 0, 0
    if way == "run":
        process.run(["preview"], str(tmp_path), {"PULUMI_BACKEND_URL": "file:///s"})
    else:
        process.feed(["stack", "import"], "{}", tmp_path, {"PULUMI_BACKEND_URL": "file:///s"})
    found = json.loads(seen.read_text())
    assert found["PULUMI_BACKEND_URL"] == "file:///s"
    assert "PATH" in found
    assert CANARY not in str(found)
