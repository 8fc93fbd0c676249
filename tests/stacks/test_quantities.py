from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks.quantities import (
    QuantityError,
    format_bytes,
    format_cpu_millis,
    parse_bytes,
    parse_cpu_millis,
)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("1", 1),
        ("768Mi", 768 * 2**20),
        ("1.5Gi", 3 * 2**29),
        (".5Ki", 512),
        ("1k", 1000),
        ("9G", 9 * 10**9),
        ("1Ei", 2**60),
    ],
)
def test_sizes_are_read_as_kubernetes_reads_them(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize(("text", "millis"), [("0", 0), ("500m", 500), ("2", 2000), ("0.5", 500), ("1.", 1000)])
def test_cpus_are_read_as_kubernetes_reads_them(text: str, millis: int) -> None:
    assert parse_cpu_millis(text) == millis


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("9GB", "write 9Gi"),
        ("500m", "write 500Mi"),
        ("5gi", "write 5Gi"),
        ("3x", "write 3Mi or 3Gi"),
        ("", "write a number with Mi or Gi"),
        ("-1Gi", "write a number with Mi or Gi"),
        ("1 Gi", "write a number with Mi or Gi"),
        ("1e3", "write a number with Mi or Gi"),
        ("0.3", "round it up"),
        ("\u0661Gi", "write a number with Mi or Gi"),
    ],
)
def test_a_text_that_is_no_size_is_refused_with_what_to_write(text: str, cure: str) -> None:
    with pytest.raises(QuantityError) as refused:
        parse_bytes(text)
    assert refused.value.cure.startswith(cure)


@pytest.mark.parametrize("text", ["2Gi", "500mm", "", "m", "0.0005", "1,5"])
def test_a_text_that_is_no_cpu_is_refused(text: str) -> None:
    with pytest.raises(QuantityError):
        parse_cpu_millis(text)


@given(st.integers(min_value=0, max_value=2**60))
def test_a_size_that_was_written_reads_as_itself(count: int) -> None:
    assert parse_bytes(format_bytes(count)) == count


@given(st.integers(min_value=0, max_value=10**9))
def test_a_cpu_amount_that_was_written_reads_as_itself(millis: int) -> None:
    assert parse_cpu_millis(format_cpu_millis(millis)) == millis


def test_the_same_size_has_one_notation() -> None:
    assert {format_bytes(parse_bytes(text)) for text in ("1Gi", "1024Mi", "1048576Ki", "1073741824")} == {"1Gi"}
