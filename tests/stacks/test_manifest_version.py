from __future__ import annotations

import pytest

from stacks import manifest_file, manifest_version
from stacks.errors import ManifestError
from stacks.manifest import Caps, load
from stacks.manifest_file import ManifestFile
from stacks.manifest_version import CURRENT_VERSION, MIGRATIONS, migrated

CAPS = Caps(cpu_millis=2000, memory_bytes=4 * 2**30, storage_bytes=20 * 2**30)
OLD = "version: 0 # old\nshops: []\n"


def test_every_older_version_has_a_way_to_the_current_one() -> None:
    assert sorted(MIGRATIONS) == list(range(1, CURRENT_VERSION))


def test_steps_are_taken_one_after_the_other() -> None:
    steps = {1: lambda text: text + "b", 2: lambda text: text + "c"}
    assert migrated("a", 1, steps, current=3) == "abc"
    assert migrated("a", 3, steps, current=3) == "a"


def test_an_older_file_is_rewritten_by_fmt_and_read_by_nobody_before(write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(OLD)
    steps = {0: lambda text: text.replace("version: 0", "version: 1").replace("shops:", "stores:")}
    monkeypatch.setattr(manifest_version, "MIGRATIONS", steps)
    monkeypatch.setattr(manifest_file, "MIGRATIONS", steps)
    monkeypatch.setattr(manifest_file, "migrated", lambda text, version: migrated(text, version, steps))
    with pytest.raises(ManifestError, match=r"version 0 is an older format.*run `stores fmt --env local`"):
        load(root, "local", CAPS)
    file = ManifestFile(root, "local")
    assert file.changed
    file.save()
    assert (root / "stacks/local/stores.yaml").read_text() == "version: 1 # old\nstores: []\n"
    assert load(root, "local", CAPS).stores == ()
