"""No secret comes out where it may not: of configuration, manifest and a failing program, tried without a cluster.

`tests/e2e/test_canaries.py` looks everywhere after whole runs; this is its short form.
"""

from __future__ import annotations

import os
import subprocess
import traceback
from collections.abc import Mapping
from pathlib import Path

import pulumi
import pytest

from audit.ledger import Ledger
from stacks import manifest as manifests
from stacks import program
from stacks.desired import caps
from stacks.errors import ManifestError, StoresError
from tests.audit.engine_workers import ENVIRONMENT, SHOP, World, request

CANARY = "canary0f6a12345678"


@pytest.fixture
def world(programs: Mapping[str, Path], tmp_path: Path) -> World:
    return World.made(tmp_path, programs["pulumi"].parent.parent)


def holding(folder: Path) -> list[str]:
    """Return every file that has the canary in it."""
    return [str(file) for file in folder.rglob("*") if file.is_file() and CANARY.encode() in file.read_bytes()]


@pytest.mark.parametrize("key", ["stores:storesTotal", "stores:typo", "stores:domain", "acme:token"])
def test_a_secret_in_the_configuration_is_refused_and_shown_only_as_it_is_encrypted(
    world: World, programs: Mapping[str, Path], tmp_path: Path, key: str
) -> None:
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_BACKEND_URL": (tmp_path / "state").as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "correct horse",
    }
    for arguments in (["stack", "init", ENVIRONMENT], ["config", "set", "--secret", "--stack", ENVIRONMENT, key]):
        subprocess.run(
            [str(programs["pulumi"]), "--non-interactive", *arguments],
            cwd=world.root, env=variables, input=CANARY, text=True, check=True, capture_output=True,
        )  # fmt: skip
    assert "secure: v1:" in (world.root / "Pulumi.local.yaml").read_text()
    with pytest.raises(ManifestError) as caught:
        world.settings()
    assert key in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert holding(tmp_path) == []


@pytest.mark.parametrize(
    "block",
    [
        {"password": CANARY},
        {"smtp": {"password": CANARY}},
        {"web": {"env": {"SMTP_PASSWORD": CANARY}}},
        {"plugins": [{"slug": "till", "version": "1.0.0", "licence": CANARY}]},
    ],
)
def test_a_secret_that_was_put_into_the_manifest_is_told_by_its_key_alone(
    world: World, block: Mapping[str, object]
) -> None:
    world.write({"id": SHOP, "name": "tea", "owner": "alice", "cell": "01", **block})
    with pytest.raises(ManifestError, match=r"unknown key|licence") as caught:
        manifests.load(world.root, ENVIRONMENT, caps(world.root, world.settings()))
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.timeout(120)
def test_a_program_that_fails_with_a_trace_leaves_no_secret_in_output_log_and_state(
    world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("STORES_LEDGER_URL", "GITHUB_TOKEN"):
        monkeypatch.setenv(name, f"mysql://app:{CANARY}@db/ledger")
    ran: list[str] = []

    def fails(_root: Path, _options: object) -> None:
        password = CANARY
        pulumi.export("password", pulumi.Output.secret(password))
        ran.append(password)
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr(program, "run", fails)
    with Ledger.open(world.ledger_url) as ledger, world.engine() as engine:
        run = world.run(ledger, engine)
        try:
            told = str(run.execute(request(run)).exit_error)
        except StoresError as error:
            told = "".join(traceback.format_exception(error))
        log = str(ledger.entries(None))
    assert CANARY in ran
    assert list((tmp_path / "state").rglob("*.json")), "the state is among what is looked at"
    assert "a defect of ours" in told + log, "the failure itself is told"
    shown = capfd.readouterr()
    assert [place for place in (told, log, *world.told, shown.out, shown.err) if CANARY in place] == []
    assert holding(tmp_path) == []
