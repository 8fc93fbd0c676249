from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.desired import DERIVED_KEYS
from stacks import platform_key
from stacks.errors import UsageError
from stacks.platform_key import PlatformKey
from stacks.settings import Settings

LOCAL = Settings(environment="local", protected=False)
PROD = Settings(environment="prod", protected=True)
FIRST, SECOND = "ab" * 32, "cd" * 32
STORE = "tea-x7k2m"


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(platform_key.VARIABLE, raising=False)


@pytest.fixture
def key(tmp_path: Path) -> PlatformKey:
    file = tmp_path / "key"
    file.write_text(f"# of an example\n1:{FIRST}\n\n2:{SECOND}\n")
    return PlatformKey.read(file)


def test_a_secret_is_the_documented_hmac_so_that_any_receiver_can_derive_it(key: PlatformKey) -> None:
    expected = hmac.new(bytes.fromhex(SECOND), b"webhook-secret:tea-x7k2m", hashlib.sha256).hexdigest()
    assert key.store_secrets(STORE, 2)["webhook-secret"] == expected


def test_the_words_of_the_manual_open_a_backup_and_the_key_is_in_none_of_their_arguments(
    key: PlatformKey, tmp_path: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs/backup.md").read_text()
    (script,) = re.findall(r"```sh\n(umask 077\n.*?)```", page, re.DOTALL)
    restic = tmp_path / "restic"
    restic.write_text('#!/bin/sh\necho "$@" > asked\n')
    restic.chmod(0o755)
    (tmp_path / "key").rename(tmp_path / "platform-key")
    script = re.sub(r"\bID\b", STORE, script)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    trace = subprocess.run(
        ["bash", "-xeuc", script], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    password = tmp_path / "password"
    assert password.read_text().strip() == key.backup_secrets(STORE)["backup-password"]
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    for secret in (FIRST, SECOND, password.read_text().strip()):
        assert secret not in trace.stderr + trace.stdout
    assert (tmp_path / "asked").read_text().startswith("--password-file password -r s3:https://")


def test_every_store_and_every_purpose_has_a_secret_of_its_own(key: PlatformKey) -> None:
    found = [*key.store_secrets(STORE, 1).values(), *key.store_secrets("tea-x7k2n", 1).values()]
    assert len(set(found)) == 2 * len(DERIVED_KEYS)
    assert set(key.store_secrets(STORE, 1)) == set(DERIVED_KEYS)


def test_a_new_version_changes_the_webhooks_secret_and_no_backups_password(key: PlatformKey) -> None:
    before, after = key.store_secrets(STORE, 1), key.store_secrets(STORE, 2)
    assert before["webhook-secret"] != after["webhook-secret"]
    assert before["backup-password"] == after["backup-password"]


def test_a_version_that_the_file_lacks_is_named_with_those_that_it_has(key: PlatformKey) -> None:
    with pytest.raises(UsageError, match="no version 3, only 1, 2"):
        key.store_secrets(STORE, 3)


def test_fingerprints_tell_versions_apart_and_not_the_key(key: PlatformKey) -> None:
    prints = key.fingerprints()
    assert set(prints) == {"1", "2"}
    assert prints["1"] != prints["2"]
    assert prints["1"] not in FIRST + SECOND
    assert FIRST not in repr(key)
    assert repr(bytes.fromhex(FIRST)) not in repr(key)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no version 1"),
        (f"2:{SECOND}\n", "no version 1"),
        (f"1:{FIRST}\n1:{SECOND}\n", "line 2 gives version 1 again"),
        (f"1:{FIRST[:-1]}\n", "line 1 is not"),
        (f"0:{FIRST}\n", "line 1 is not"),
        (f"{FIRST}\n", "line 1 is not"),
    ],
)
def test_a_file_that_is_no_key_is_refused_without_telling_its_content(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    with pytest.raises(UsageError, match=told) as refused:
        PlatformKey.read(file)
    assert FIRST[:16] not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(platform_key.VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(UsageError, match="absent: it cannot be read"):
        platform_key.load(tmp_path, LOCAL)


def test_a_checkout_makes_its_own_key_once_readable_by_its_owner_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: platform_key.load(tmp_path, LOCAL).fingerprints()["1"], range(16)))
    assert len(set(found)) == 1
    (file,) = (tmp_path / ".stores/local").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_protected_environment_has_no_key_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="STORES_PLATFORM_KEY_FILE is not set"):
        platform_key.load(tmp_path, PROD)
    assert list(tmp_path.iterdir()) == []
