from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sandbox import cache


def test_an_entry_is_built_once_and_then_taken_as_it_is(tmp_path: Path) -> None:
    calls: list[Path] = []

    def build(folder: Path) -> None:
        calls.append(folder)
        (folder / "thing").write_text("made")

    entry = cache.ensure(tmp_path / "things" / "one", build)
    cache.ensure(entry, build)

    assert (entry / "thing").read_text() == "made"
    assert len(calls) == 1


def test_a_build_that_fails_leaves_no_entry(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError("out of disk")

    with pytest.raises(RuntimeError):
        cache.ensure(tmp_path / "one", build)

    assert not (tmp_path / "one").exists()


def test_what_a_killed_build_left_is_never_part_of_an_entry(tmp_path: Path) -> None:
    left = tmp_path / "one.unfinished-12345"
    left.mkdir()
    (left / "half").write_text("half")

    entry = cache.ensure(tmp_path / "one", lambda folder: (folder / "whole").touch())

    assert [path.name for path in entry.iterdir()] == ["whole"]
    assert not left.exists()


def test_a_second_builder_waits_for_the_first_and_builds_nothing(tmp_path: Path) -> None:
    begun, may_end, waits = threading.Event(), threading.Event(), threading.Event()
    builds: list[str] = []

    def slow(folder: Path) -> None:
        builds.append("first")
        begun.set()
        assert may_end.wait(30)

    first = threading.Thread(target=lambda: cache.ensure(tmp_path / "one", slow))
    first.start()
    assert begun.wait(30)
    second = threading.Thread(
        target=lambda: cache.ensure(tmp_path / "one", lambda _: builds.append("second"), waiting=waits.set)
    )
    second.start()
    assert waits.wait(30)
    may_end.set()
    first.join(30)
    second.join(30)

    assert builds == ["first"]
    assert (tmp_path / "one").is_dir()


def test_a_key_tells_parts_apart_that_read_the_same_when_joined() -> None:
    assert cache.key_of("ab", "c") != cache.key_of("a", "bc")
    assert cache.key_of("ab", "c") == cache.key_of(b"ab", b"c")
