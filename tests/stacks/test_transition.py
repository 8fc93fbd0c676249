"""What may not change from one manifest to the next, because data hangs on it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stacks.manifest import Caps, Manifest, load
from stacks.transition import AppliedStore, check_transition

GI = 2**30
CAPS = Caps(cpu_millis=2000, memory_bytes=4 * GI, storage_bytes=20 * GI)

TEXT = """\
version: 1
stores:
  - id: tea-house-x7k2m
    name: tea-house
    owner: alice
    cell: "01"
    database: {storage: 2Gi}
    uploads: {storage: 1Gi}
"""

TEA = AppliedStore("tea-house-x7k2m", "tea-house", "alice", "01")


@pytest.fixture
def manifest(write) -> Manifest:
    return load(write(TEXT), "local", CAPS)


def problems(manifest: Manifest, *applied: AppliedStore) -> list[str]:
    by_id = {store.store_id: store for store in applied}
    return [str(problem) for problem in check_transition(manifest, by_id)]


def test_a_new_store_and_an_unchanged_one_are_fine(manifest: Manifest) -> None:
    assert problems(manifest) == []
    assert problems(manifest, TEA) == []


def test_name_and_owner_may_change(manifest: Manifest) -> None:
    assert problems(manifest, replace(TEA, name="old-name", owner="bob")) == []


def test_a_cell_may_not_change(manifest: Manifest) -> None:
    assert problems(manifest, replace(TEA, cell="02")) == [
        (
            "stacks/local/stores.yaml:6: store 'tea-house-x7k2m': cell 01 was 02 when it was made, "
            'and a store cannot move; restore cell: "02"'
        )
    ]


def test_a_block_may_not_vanish_without_a_tombstone(manifest: Manifest) -> None:
    gone = AppliedStore("shop-00001", "shop", "bob", "01")
    assert problems(manifest, TEA, gone) == [
        (
            "stacks/local/stores.yaml: store 'shop-00001' of owner 'bob' exists, but its block is gone; "
            "put the block back, and run `stores rm shop-00001 --env local` to delete the store"
        )
    ]


def test_an_edited_id_is_told_as_what_it_is(manifest: Manifest) -> None:
    assert problems(manifest, replace(TEA, store_id="tea-house-aaaaa")) == [
        (
            "stacks/local/stores.yaml:3: store 'tea-house-x7k2m': its id was tea-house-aaaaa, and an id cannot change: "
            "namespace, address and data belong to it; restore id: tea-house-aaaaa"
        )
    ]
