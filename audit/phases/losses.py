"""What an engine's preview would take from stores that nobody asked to remove. Pure.

The plan compares data and so knows what is wanted. The engine knows what it would really do: a changed provider, a
plugin's own rules or a defect of ours may replace what nobody named. So nothing is applied before it was previewed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from audit.engine.events import Step
from components import desired
from stacks.errors import Problem

# Losing one of these loses data, or locks a shop out of it. Policies, quotas and limits come back as they were.
_KEPT: Final = frozenset({desired.NAMESPACE, desired.RELEASE, desired.CREDENTIALS, *desired.RANDOM_PARTS})

# The engine's words for steps that end an existing object.
# Source: pulumi/pulumi, pkg/resource/deploy/step.go and sdk/go/common/display.
_ENDING: Final = frozenset({"delete", "replace", "delete-replaced", "create-replacement", "discard-replaced"})


def losses(steps: Iterable[Step], leaving: Collection[str]) -> list[Problem]:
    """Return one problem per object that would end, of stores other than those that leave; in the steps' order."""
    found: dict[tuple[str, str], Problem] = {}
    for step in steps:
        if step.store_id is None or step.store_id in leaving or step.part not in _KEPT or step.op not in _ENDING:
            continue
        why = f" (because of {', '.join(step.paths)})" if step.paths else ""
        verb = "delete" if step.op == "delete" else "replace"
        found.setdefault(
            (step.store_id, step.part),
            Problem(
                f"store '{step.store_id}'",
                f"the engine would {verb} its {step.part}{why}, and nobody asked for that",
                "nothing was changed; look at `stores plan` and `pulumi preview --diff`, and undo what causes it",
            ),
        )
    return list(found.values())
