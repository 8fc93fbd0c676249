"""Kubernetes' quantities as numbers, and what a pod counts for in a quota."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from .rendering import Object

_SUFFIXES: Final[Mapping[str, Fraction]] = {
    "m": Fraction(1, 1000),
    **{suffix: Fraction(1024**power) for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti"), start=1)},
}


def amount(quantity: Any) -> Fraction:
    """Return the quantity in its base unit: cores, bytes."""
    text = str(quantity)
    for suffix, factor in _SUFFIXES.items():
        if text.endswith(suffix):
            return Fraction(text.removesuffix(suffix)) * factor
    return Fraction(text)


def pod_amount(pod: Object, kind: str, resource: str) -> Fraction:
    """Return what the pod counts for: init containers run one after another, and before the others."""

    def of(container: Object) -> Fraction:
        return amount(container["resources"][kind][resource])

    spec = pod["spec"]
    return max([*map(of, spec.get("initContainers", [])), sum(map(of, spec["containers"]), Fraction(0))])
