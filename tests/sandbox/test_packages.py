from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import cache, packages
from sandbox.packages import Packages
from sandbox.progress import silent
from stacks.errors import ClusterUnreachableError


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("etcd Version: 3.4.23\nGit SHA: Not provided", "3.4.23"),
        ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", "1.6.20~ds1"),
        ("nftables v1.0.6 (Lester Gooch #5)", "1.0.6"),
        ("OpenSSL 3.0.19 27 Jan 2026", "3.0.19"),
        ("odd", "odd"),
    ],
)
def test_versions_are_found_in_what_programs_say(said: str, version: str) -> None:
    assert packages.parse_version(said) == version


def test_unpacked_programs_come_before_those_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "usr/sbin").mkdir(parents=True)

    path = Packages(tmp_path).environment()["PATH"].split(":")

    assert path[0] == str(tmp_path / "usr/sbin")
    assert "/usr/sbin" in path


def test_a_set_whose_programs_do_not_start_any_more_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_unpack", lambda _, folder: (folder / "root").mkdir())
    answers = iter([["nft"], []])
    monkeypatch.setattr(Packages, "broken", lambda _: next(answers))
    stale = tmp_path / "packages" / packages._key()
    (stale / "root" / "old").mkdir(parents=True)

    found = packages.build(tmp_path, silent)

    assert found.root.is_dir()
    assert not (found.root / "old").exists()


def test_programs_that_never_start_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_unpack", lambda _, folder: (folder / "root").mkdir())
    monkeypatch.setattr(Packages, "broken", lambda _: ["etcd", "runc"])

    with pytest.raises(ClusterUnreachableError, match="etcd, runc"):
        packages.build(tmp_path, silent)


def test_every_program_of_the_node_runs_on_this_machine() -> None:
    found = packages.build(cache.root(), silent)

    assert all(version[0].isdigit() for version in found.versions().values()), found.versions()
    assert (found.cni_plugins / "ptp").exists()
