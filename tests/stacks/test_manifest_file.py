"""Edits of stores.yaml by the tool: nothing lost, nothing half written, nothing overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components import naming
from stacks.errors import LockedError, ManifestError, UsageError
from stacks.manifest import Caps, load
from stacks.manifest_file import ManifestFile

CAPS = Caps(cpu_millis=2000, memory_bytes=4 * 2**30, storage_bytes=20 * 2**30)

BARE = """\
# ours
version: 1
stores:
  - name: tea-house   # first
    owner: alice
  - name: tea-house
    owner: bob
"""


def first(alphabet: str) -> str:
    return alphabet[0]


def text(root: Path) -> str:
    return (root / "stacks/local/stores.yaml").read_text()


def fill(root: Path) -> ManifestFile:
    file = ManifestFile(root, "local")
    file.fill()
    file.save()
    return file


def test_fmt_writes_ids_and_cells_and_keeps_every_comment(write) -> None:
    root = write(BARE)
    [one, two] = ManifestFile(root, "local").fill()
    assert text(root) == BARE
    fill(root)
    stores = load(root, "local", CAPS).stores
    assert [(store.name, store.owner, store.cell) for store in stores] == [
        ("tea-house", "alice", "01"), ("tea-house", "bob", "01")]  # fmt: skip
    assert len({store.id for store in stores}) == 2
    assert all(naming.ID_PATTERN.fullmatch(store.id) for store in stores)
    assert "# ours" in text(root)
    assert "# first" in text(root)
    assert (one.where, one.cell, two.name) == ("stacks/local/stores.yaml:4", "01", "tea-house")


def test_fmt_a_second_time_writes_nothing(write) -> None:
    root = write(BARE)
    fill(root)
    before = text(root)
    file = ManifestFile(root, "local")
    assert file.fill() == []
    assert not file.changed
    assert not file.save()
    assert text(root) == before


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.sampled_from(["", "  # why", "\n    web: {cpu: 500m}"])), max_size=25
    )
)
def test_fmt_is_idempotent_and_keeps_what_is_there(write, blocks: list[tuple[bool, bool, str]]) -> None:
    lines = ["version: 1", "stores:" if blocks else "stores: []"]
    for number, (has_id, has_cell, more) in enumerate(blocks):
        parts = [f"id: shop-{number:05d}"] if has_id else []
        parts += ["name: shop", f"owner: alice{more}"]
        parts += ['cell: "07"'] if has_cell else []
        lines.append("  - " + "\n    ".join(parts))
    root = write("\n".join(lines) + "\n")
    fill(root)
    once = text(root)
    fill(root)
    assert text(root) == once
    for number, (has_id, _, _) in enumerate(blocks):
        assert (f"shop-{number:05d}" in once) == has_id
    for line in lines:
        assert line.removeprefix("  - ").split("\n")[0] in once


def test_an_id_that_is_wrong_is_left_to_people(write) -> None:
    root = write(
        BARE.replace("  - name: tea-house   #", "  - id: Wrong\n    name: tea-house   #").replace(
            "bob\n", "bob\n    cell: 7\n"
        )
    )
    fill(root)
    assert "id: Wrong" in text(root)
    assert "cell: 7" in text(root)


def test_fmt_fills_the_first_cell_with_room(write) -> None:
    full = "".join(f'  - {{id: shop-{n:05d}, name: shop, owner: alice, cell: "01"}}\n' for n in range(9))
    root = write(f"version: 1\nstores:\n{full}  - {{name: a, owner: bob}}\n  - {{name: b, owner: bob}}\n")
    fill(root)
    assert [store.cell for store in load(root, "local", CAPS).stores] == ["01"] * 10 + ["02"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "- name: tea-house   # first\n    owner",
            "- owner",
            "name is missing, and the id is made from it; add `name:`",
        ),
        ("tea-house   #", "Tea House   #", "name 'Tea House' has ' ', 'H', 'T'; write tea-house"),
        ("    owner: alice\n", "    owner: alice\n    owner: alice\n", "the key owner stands twice"),
        ("  - name: tea-house   # first\n    owner: alice\n", "  - text\n", "store number 1 is not a mapping"),
    ],
)
def test_fmt_writes_nothing_while_a_block_cannot_get_an_id(write, old: str, new: str, expected: str) -> None:
    assert old in BARE
    root = write(BARE.replace(old, new))
    with pytest.raises(ManifestError, match=r"stacks/local/stores.yaml:\d+: ") as refused:
        ManifestFile(root, "local").fill()
    assert expected in str(refused.value)


def test_a_file_without_a_list_of_stores_cannot_be_edited(write) -> None:
    for broken in ("version: 1\n", "version: 1\nstores: 5\n", "", None):
        with pytest.raises(ManifestError):
            ManifestFile(write(broken), "local")


def test_add_writes_what_more_it_is_given_in_the_usual_order_and_it_reads_back(write) -> None:
    root = write("version: 1\nstores: []\n")
    package = {"slug": "wishes", "version": "1.10", "url": "https://example.com/w.zip", "sha256": "a" * 64}
    more = {"wpContent": "persistent", "web": {"cpu": "1"}, "plugins": [package], "https": True, "currency": "EUR"}
    file = ManifestFile(root, "local")
    file.add("tea-house", "alice", "Tee: #1", more=more, choose=first)
    file.save()
    (store,) = load(root, "local", CAPS).stores
    spec = store.spec()
    assert {key: spec[key] for key in more} == more
    assert store.title == "Tee: #1"
    keys = [line.split(":")[0].strip(" -") for line in text(root).splitlines() if line[2:4] in ("- ", "  ")]
    shown = [key for key in keys if key in ("id", "name", "owner", "cell", "title", "web", "https", *more)]
    assert shown == ["id", "name", "owner", "cell", "title", "web", "https", "currency", "plugins", "wpContent"]


def test_add_appends_a_whole_block(write) -> None:
    root = write(BARE)
    file = ManifestFile(root, "local")
    written = file.add("coffee-bar", "bob", choose=first)
    assert file.save()
    assert text(root) == BARE + (
        '  - id: coffee-bar-bbbbb\n    name: coffee-bar\n    owner: bob\n    cell: "01"\n    title: Coffee Bar\n'
    )
    assert (written.store_id, written.where) == ("coffee-bar-bbbbb", "stacks/local/stores.yaml:8")


def test_add_never_gives_an_id_twice(write) -> None:
    letters = iter("bbbbbbbbbbccccc")
    file = ManifestFile(write("version: 1\nstores: []\n"), "local")
    ids = [file.add("tea", "alice", choose=lambda _alphabet: next(letters)).store_id for _ in range(2)]
    assert ids == ["tea-bbbbb", "tea-ccccc"]


def test_add_refuses_with_all_that_is_wrong_and_writes_nothing(write) -> None:
    root = write(BARE)
    file = ManifestFile(root, "local")
    with pytest.raises(UsageError) as refused:
        file.add("Tea", "alcie", title=" ")
    assert [str(problem) for problem in refused.value.problems] == [
        "store 'Tea': name 'Tea' has 'T'; write tea",
        "store 'Tea': title is empty; write the name that customers see",
        "store 'Tea': owner 'alcie' is not in stacks/local/owners.yaml; use alice, or add 'alcie' there",
    ]
    assert not file.changed
    assert text(root) == BARE


def test_rm_writes_a_tombstone_once(write) -> None:
    root = write(BARE)
    file = fill(root)
    store_id = load(root, "local", CAPS).stores[1].id
    file = ManifestFile(root, "local")
    assert file.tombstone(store_id)
    assert not file.tombstone(store_id)
    file.save()
    assert [store.state for store in load(root, "local", CAPS).stores] == ["active", "deleted"]


def test_an_unknown_id_is_refused_with_the_one_that_was_meant(write) -> None:
    root = write(BARE)
    fill(root)
    known = load(root, "local", CAPS).stores[0].id
    with pytest.raises(UsageError, match=f"there is no store '{known}x'; write {known}"):
        ManifestFile(root, "local").tombstone(f"{known}x")


def test_a_block_can_be_removed(write) -> None:
    root = write(BARE)
    fill(root)
    keep, drop = load(root, "local", CAPS).stores
    file = ManifestFile(root, "local")
    file.remove(drop.id)
    file.save()
    assert load(root, "local", CAPS).stores == (keep,)


def test_a_value_can_be_set_deep_in_a_block(write) -> None:
    root = write(BARE)
    fill(root)
    store = load(root, "local", CAPS).stores[0]
    file = ManifestFile(root, "local")
    assert file.set_value(store.id, "image.tag", "7.1")
    assert not file.set_value(store.id, "image.tag", "7.1")
    file.save()
    assert load(root, "local", CAPS).stores[0].spec()["image"] == {"tag": "7.1"}


def test_a_file_that_changed_meanwhile_is_not_overwritten(write) -> None:
    root = write(BARE)
    file = ManifestFile(root, "local")
    file.add("coffee-bar", "bob")
    write(BARE + "# somebody was here\n")
    with pytest.raises(LockedError, match="changed by somebody else meanwhile; run the command again"):
        file.save()
    assert text(root) == BARE + "# somebody was here\n"


def test_a_failed_write_leaves_the_old_file_and_no_other(write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(BARE)
    file = ManifestFile(root, "local")
    file.add("coffee-bar", "bob")

    def full_disk(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        file.save()
    assert text(root) == BARE
    assert sorted(path.name for path in (root / "stacks/local").iterdir()) == ["owners.yaml", "stores.yaml"]


def test_mode_and_link_of_the_file_are_kept(write, tmp_path: Path) -> None:
    root = write(BARE)
    path = root / "stacks/local/stores.yaml"
    target = tmp_path / "elsewhere.yaml"
    path.rename(target)
    target.chmod(0o640)
    path.symlink_to(target)
    fill(root)
    assert path.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert "id: tea-house-" in target.read_text()


IMAGES = """\
version: 1
stores:
  - id: tea-house-x7k2m
    name: tea-house   # first
    owner: alice
    cell: "01"
    # pinned since the outage
    image:
      tag: 6.8.3-php8.4-apache   # tried by Mara
  - {id: coffee-bar-p4n9d, name: coffee-bar, owner: bob, cell: "01"}
  - id: milk-bar-c2c2c
    name: milk-bar
    owner: bob
    cell: "01"
    uploads:
      storage: 2Gi   # many photos
    # the end
"""


@pytest.mark.parametrize("store_id", ["tea-house-x7k2m", "coffee-bar-p4n9d", "milk-bar-c2c2c"])
def test_an_images_tag_is_written_and_taken_back_without_another_character_of_the_file_changed(
    write, store_id: str
) -> None:
    root = write(IMAGES)
    file = ManifestFile(root, "local")
    before = file.image_tag(store_id)
    assert file.set_image_tag(store_id, "7.1.4-php8.4-apache")
    file.save()
    changed = ManifestFile(root, "local")
    assert changed.image_tag(store_id) == "7.1.4-php8.4-apache"
    tags = {store.id: store.image.tag if store.image else None for store in load(root, "local", CAPS).stores}
    assert tags.pop(store_id) == "7.1.4-php8.4-apache"
    assert "7.1.4-php8.4-apache" not in tags.values()
    assert all(comment in text(root) for comment in ("# first", "# pinned", "# tried by Mara", "# many photos"))
    assert changed.set_image_tag(store_id, before)
    changed.save()
    assert text(root) == IMAGES


def test_a_tag_that_is_there_already_is_not_written_again(write) -> None:
    file = ManifestFile(write(IMAGES), "local")
    assert not file.set_image_tag("tea-house-x7k2m", "6.8.3-php8.4-apache")
    assert not file.set_image_tag("coffee-bar-p4n9d", None)
    assert not file.changed


@pytest.mark.parametrize("tag", ["latest", "", "a b", "-x", "a" * 129])
def test_what_is_no_tag_is_never_written(write, tag: str) -> None:
    file = ManifestFile(write(IMAGES), "local")
    with pytest.raises(UsageError, match="image tag: "):
        file.set_image_tag("coffee-bar-p4n9d", tag)
    assert not file.changed
