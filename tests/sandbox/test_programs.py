from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import golang, program_groups, programs
from sandbox.compiler import Pace
from sandbox.program_groups import Group
from sandbox.progress import Progress, silent
from stacks.errors import ClusterUnreachableError, UsageError

GO = "go1.26.8"


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Group:
    """Return the only group there is: a program of three lines that needs no module."""
    folder = tmp_path / "sources" / "tiny"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module tiny\n\ngo 1.26\n")
    (folder / "main.go").write_text('package main\n\nvar version = ""\n\nfunc main() { println(version) }\n')
    tiny = Group("tiny", "v1.2.3", packages={"tiny": "."}, stamps={"main.version": "v1.2.3"}, expected_s=5)
    monkeypatch.setattr(program_groups, "SOURCES", tmp_path / "sources")
    monkeypatch.setattr(programs, "GROUPS", (tiny,))
    return tiny


def test_a_program_is_built_with_its_version_in_it(group: Group, tmp_path: Path) -> None:
    built = programs.build(tmp_path / "cache", silent)

    said = subprocess.run([built["tiny"]], capture_output=True, text=True, check=True)
    assert said.stderr.strip() == "v1.2.3"
    assert programs.built(tmp_path / "cache") == built


def test_source_that_does_not_compile_leaves_nothing_in_the_cache_and_says_what_go_said(
    group: Group, tmp_path: Path
) -> None:
    (group.folder / "main.go").write_text("package main\n\nfunc main() { undefined() }\n")

    with pytest.raises(ClusterUnreachableError, match="undefined: undefined"):
        programs.build(tmp_path / "cache", silent)

    assert programs.built(tmp_path / "cache") is None


def test_a_build_says_how_far_it_is_and_how_long_is_left(group: Group, tmp_path: Path) -> None:
    said: list[Progress] = []

    programs.build(tmp_path / "cache", said.append)

    assert {progress.step for progress in said} == {"programs"}
    assert said[0].detail == "fetching sources of tiny v1.2.3 (1 of 1)"
    assert said[-1].detail == "compiling tiny v1.2.3 (1 of 1)"
    assert said[-1].total is not None
    assert all(progress.remaining_s is not None for progress in said)


@pytest.mark.parametrize("file", ["go.mod", "go.sum", "main.go"])
def test_a_changed_source_is_another_entry(group: Group, file: str) -> None:
    before = programs.key(group, GO)

    with (group.folder / file).open("a") as source:
        source.write("\n// changed\n")

    assert programs.key(group, GO) != before


def test_another_version_flag_package_or_compiler_is_another_entry(group: Group) -> None:
    keys = {
        programs.key(group, GO),
        programs.key(group, "go1.27.0"),
        programs.key(replace(group, stamps={"main.version": "v1.2.4"}), GO),
        programs.key(replace(group, packages={"other": "."}), GO),
    }

    assert len(keys) == 4


def test_a_file_that_is_no_source_changes_no_entry(group: Group) -> None:
    before = programs.key(group, GO)

    (group.folder / "notes.txt").write_text("nothing to compile")

    assert programs.key(group, GO) == before


@pytest.mark.parametrize("group", [*program_groups.GROUPS, *program_groups.TEST_GROUPS], ids=lambda group: group.name)
def test_the_version_that_is_told_is_the_one_that_is_required(group: Group) -> None:
    required = re.findall(r"^\s*(?:require )?(\S+) (v\S+)", (group.folder / "go.mod").read_text(), re.MULTILINE)
    packages = [package for package in group.packages.values() if package != "."] or ["github.com/coredns/coredns"]

    for package in packages:
        modules = [version for module, version in required if f"{package}/".startswith(f"{module}/")]
        assert modules == [group.version], package


def test_tools_of_tests_are_no_part_of_the_node() -> None:
    assert not {"kubeconform", "helm4", "kube-score"} & set(program_groups.VERSIONS)
    assert "kubelet" in program_groups.VERSIONS


@pytest.mark.parametrize(
    ("version", "parsed"),
    [("go1.26.8", (1, 26)), ("go1.27rc1", (1, 27)), ("go2.0", (2, 0)), ("devel +abc", (0, 0))],
)
def test_versions_of_go_are_read(version: str, parsed: tuple[int, int]) -> None:
    assert golang.parse_version(version) == parsed


@pytest.mark.parametrize(
    ("version", "problem"),
    [(None, "not installed"), ("go1.25.9", "Go is 1.25.9"), ("go1.26.0", None), ("go2.0", None)],
)
def test_go_before_1_26_is_not_good_enough(
    monkeypatch: pytest.MonkeyPatch, version: str | None, problem: str | None
) -> None:
    monkeypatch.setattr(golang, "version", lambda: version)

    if problem is None:
        assert golang.require() == version
    else:
        with pytest.raises(UsageError, match=problem) as caught:
            golang.require()
        assert "kind" in str(caught.value)


def test_what_is_left_falls_as_packages_are_compiled() -> None:
    pace = Pace({"one": 100, "two": 50})

    left = [pace.remaining_s("one", elapsed_s=100 * done, fraction=done) for done in (0.0, 0.25, 0.5, 0.75, 1.0)]

    assert left[0] == 150
    assert left == sorted(left, reverse=True)
    assert left[-1] == pytest.approx(51)


def test_a_machine_that_took_twice_as_long_is_expected_to_stay_slow() -> None:
    pace = Pace({"one": 1000, "two": 50})

    pace.finish("one", 2000)

    assert pace.remaining_s("two", elapsed_s=0, fraction=0) == pytest.approx(100, rel=0.05)


def test_a_group_that_was_there_but_for_a_second_says_little_about_the_next() -> None:
    pace = Pace({"one": 100, "two": 50})

    pace.resume("one", 0.001)
    pace.finish("one", 3)

    assert pace.remaining_s("two", elapsed_s=0, fraction=0) == pytest.approx(50, rel=0.15)


def test_a_build_that_was_interrupted_is_expected_to_take_what_is_left() -> None:
    pace = Pace({"one": 100, "two": 50})

    pace.resume("one", 0.25)

    assert pace.remaining_s("one", elapsed_s=0, fraction=0) == 75
