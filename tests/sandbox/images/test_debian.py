"""Which packages the images are made of, and where they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.images import debian, tools
from sandbox.images.debian import Archive, Mirrors, Package, find_mirrors, parse_simulation, sources
from sandbox.progress import silent
from stacks.errors import UsageError

SIMULATION = """\
NOTE: This is only a simulation!
Inst libc6 (2.41-12+deb13u4 Debian-Security:13/stable-security [amd64])
Inst mariadb-server (1:11.8.6-0+deb13u1 Debian:13.7/stable [amd64]) [libc6:amd64 ]
Inst tzdata (2026f-0+deb13u1 Debian:13-updates/stable-updates, Debian:unstable [all])
Conf libc6 (2.41-12+deb13u4 Debian-Security:13/stable-security [amd64])
Inst upgraded [1.0] (2.0 Debian:13.7/stable [amd64])
"""


def test_a_simulation_tells_name_version_and_architecture() -> None:
    assert parse_simulation(SIMULATION) == (
        Package("libc6", "2.41-12+deb13u4", "amd64"),
        Package("mariadb-server", "1:11.8.6-0+deb13u1", "amd64"),
        Package("tzdata", "2026f-0+deb13u1", "all"),
    )


def test_a_package_is_found_under_the_name_that_apt_gives_it() -> None:
    package = Package("mariadb-server", "1:11.8.6-0+deb13u1", "amd64")
    assert package.file_name == "mariadb-server_1%3a11.8.6-0+deb13u1_amd64.deb"


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("1:11.8.6-0+deb13u1", "11.8.6"), ("7.1.4+dfsg1-1", "7.1.4"), ("8.4.28-1~deb13u1", "8.4.28"),
        ("2026f-0+deb13u1", "2026f"), ("6.5", "6.5"), ("2:6.3.0+dfsg-3", "6.3.0"),
    ],
)  # fmt: skip
def test_the_authors_version_is_told_without_what_debian_adds(version: str, upstream: str) -> None:
    assert Package("any", version, "all").upstream == upstream


def test_mirrors_are_the_machines_own() -> None:
    told = (
        "Docker|Docker CE|https://docker.invalid/\n"
        "Debian|Debian|http://mirror.invalid/debian/\n"
        "Debian|Debian|http://other.invalid/debian/\n"
        "Debian|Debian-Security|http://mirror.invalid/security/\n"
    )
    assert find_mirrors(told) == Mirrors("http://mirror.invalid/debian/", "http://mirror.invalid/security/")
    assert find_mirrors("Debian|Debian|http://mirror.invalid/\n") == Mirrors("http://mirror.invalid/", None)


@pytest.mark.parametrize("told", ["", "Ubuntu|Ubuntu|http://mirror.invalid/\n"])
def test_a_machine_without_debians_packages_is_told_so(told: str) -> None:
    with pytest.raises(UsageError, match="no source of Debian packages"):
        find_mirrors(told)


def test_every_source_is_checked_against_debians_keyring() -> None:
    lines = list(sources(Mirrors("http://a.invalid/", "http://b.invalid/")))
    assert len(lines) == 4
    assert all(f"[signed-by={tools.KEYRING}]" in line for line in lines)
    assert lines[-1].endswith("http://b.invalid/ trixie-security main")
    assert not any("security" in line for line in sources(Mirrors("http://a.invalid/", None)))


def test_only_wordpress_and_its_libraries_come_from_the_newer_release(archives: dict[str, Path]) -> None:
    assert archives
    from_newer = debian.preferences().split("\n\n")
    assert from_newer[0].splitlines() == ["Package: *", "Pin: release n=sid", "Pin-Priority: -1"]
    assert "wordpress*" in from_newer[1]


@pytest.mark.parametrize(
    ("name", "value"), [("Acquire::AllowInsecureRepositories", "true"), ("DPkg::Post-Invoke", "rm"), ("Dir::Etc", "/x")]
)
def test_of_the_machines_apt_only_the_transport_is_kept(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*command: str) -> str:
        if command[1] == "dump":
            return f'Acquire::http::Proxy "http://proxy.invalid";\n{name} "{value}";\n'
        return "Debian|Debian|http://mirror.invalid/\n"

    monkeypatch.setattr(tools, "run", told)
    archive = Archive(tmp_path, "amd64")
    archive._set_up()
    settings = (tmp_path / "etc/apt.conf").read_text().splitlines()
    assert 'Acquire::http::Proxy "http://proxy.invalid";' in settings
    last = {line.split(" ", 1)[0]: line for line in settings}
    assert last.get(name) != f'{name} "{value}";'
    assert 'Dir::Etc::sourceparts "/dev/null";' in settings


def test_what_is_downloaded_is_not_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(tmp_path, "amd64")
    archive.debs.mkdir(parents=True)
    wanted = (Package("a", "1", "all"), Package("b", "1:2", "amd64"))
    for package in wanted:
        (archive.debs / package.file_name).touch()
    monkeypatch.setattr(tools, "started", lambda *_arguments, **_options: pytest.fail("apt was started"))
    archive.download(wanted, silent)


def test_packages_that_nothing_needs_any_more_are_removed(tmp_path: Path) -> None:
    archive = Archive(tmp_path, "amd64")
    archive.debs.mkdir(parents=True)
    for version in ("1", "2"):
        (archive.debs / Package("a", version, "all").file_name).touch()
    archive.forget([Package("a", "2", "all")])
    assert [file.name for file in archive.debs.iterdir()] == ["a_2_all.deb"]


def test_everything_that_is_missing_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tools.shutil, "which", lambda name: None if name in {"cc", "dpkg-deb"} else f"/bin/{name}")
    monkeypatch.setattr(tools.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(tools, "KEYRING", tmp_path / "no-keyring.gpg")
    with pytest.raises(UsageError) as raised:
        tools.require()
    message = str(raised.value)
    for part in ("cc (package gcc", "dpkg-deb (package dpkg)", "root rights", "no-keyring.gpg"):
        assert part in message
    assert "apt-get" not in message
    assert len(raised.value.problems) == 1
