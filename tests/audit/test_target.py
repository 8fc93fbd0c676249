from __future__ import annotations

import stat
from pathlib import Path

import pytest

from audit import target
from stacks.errors import ClusterUnreachableError, RefusedError, UsageError
from stacks.settings import Settings

LOCAL = Settings(environment="local", protected=False)
PROD = Settings(environment="prod", protected=True)
DATABASE = "mysql+pymysql://stores@db/stores"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE",
                 "PULUMI_SECRETS_PROVIDER", "STORES_LEDGER_URL", "STORES_CLUSTER", "STORES_SANDBOX"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def safe_prod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://states")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "long enough to be one")
    monkeypatch.setenv("STORES_LEDGER_URL", DATABASE)


def test_a_laptop_keeps_state_passphrase_and_ledger_in_its_checkout(tmp_path: Path) -> None:
    found = target.resolve(tmp_path, LOCAL)
    assert found.kind == "kubeconfig"
    assert found.backend_url == (tmp_path / ".stores/local/state").as_uri()
    assert found.ledger_url == f"sqlite:///{tmp_path / '.stores/local/ledger.sqlite'}"


def test_a_checkouts_passphrase_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    first = Path(target.resolve(tmp_path, LOCAL).variables["PULUMI_CONFIG_PASSPHRASE_FILE"])
    text = first.read_text()
    second = Path(target.resolve(tmp_path, LOCAL).variables["PULUMI_CONFIG_PASSPHRASE_FILE"])
    assert second.read_text() == text
    assert len(text.strip()) >= 32
    assert stat.S_IMODE(first.stat().st_mode) == 0o600


def test_a_passphrase_of_the_users_own_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "mine")
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in target.resolve(tmp_path, LOCAL).variables
    assert not (tmp_path / ".stores/local/passphrase").exists()


@pytest.mark.usefixtures("safe_prod")
def test_a_protected_environment_with_shared_state_runs(tmp_path: Path) -> None:
    found = target.resolve(tmp_path, PROD)
    assert (found.backend_url, found.ledger_url) == ("s3://states", DATABASE)


@pytest.mark.usefixtures("safe_prod")
@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("PULUMI_BACKEND_URL", None, "its state would lie on this machine's disk"),
        ("PULUMI_BACKEND_URL", "file:///srv/state", "its state would lie on this machine's disk"),
        ("PULUMI_CONFIG_PASSPHRASE", "", "encrypted with an empty passphrase"),
        ("PULUMI_CONFIG_PASSPHRASE", None, "encrypted with an empty passphrase"),
        ("STORES_LEDGER_URL", None, "its ledger would be an SQLite file"),
        ("STORES_LEDGER_URL", "sqlite:////srv/ledger", "its ledger would be an SQLite file"),
    ],
)
def test_a_protected_environment_refuses_what_hangs_on_one_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str | None, told: str
) -> None:
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    with pytest.raises(RefusedError, match=told):
        target.resolve(tmp_path, PROD)


@pytest.mark.usefixtures("safe_prod")
def test_a_single_host_may_keep_its_state_on_its_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "file:///srv/state")
    single = Settings(environment="prod", protected=True, single_host=True)
    assert target.resolve(tmp_path, single).backend_url == "file:///srv/state"


@pytest.mark.usefixtures("safe_prod")
def test_a_cloud_key_needs_no_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE")
    monkeypatch.setenv("PULUMI_SECRETS_PROVIDER", "awskms://alias/stores")
    assert target.resolve(tmp_path, PROD).kind == "kubeconfig"


def test_a_sandbox_that_does_not_run_is_told_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(ClusterUnreachableError, match="sandbox local: it is not running"):
        target.resolve(tmp_path, LOCAL, "sandbox")


@pytest.mark.usefixtures("safe_prod")
def test_a_protected_environment_never_runs_in_a_sandbox(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="throw-away"):
        target.resolve(tmp_path, PROD, "sandbox")


def test_an_unknown_kind_of_cluster_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'moon'"):
        target.resolve(tmp_path, LOCAL, "moon")
