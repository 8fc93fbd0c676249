"""What to do with a release of the name that is already there, above all with one that a killed run has left.

Helm marks a release as pending while it works on it, and refuses any other work on it from then on, for good when
the program was killed. Only what this very resource of this very stack left behind is touched: two runs of one stack
exclude each other, so then nobody else is at work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.plugins.failures import PluginError
from sandbox.plugins.kubernetes.helm.program import Helm
from sandbox.plugins.kubernetes.helm.storage import Record, is_ours
from sandbox.plugins.kubernetes.kinds import RELEASE_TOKEN

_DEPLOYED_ONCE = frozenset({"deployed", "superseded"})


@dataclass(frozen=True)
class Plan:
    """How to get to a release that can be worked on."""

    upgrades: bool
    """There is a release to upgrade; otherwise it is installed."""
    uninstall: bool = False
    rollback_to: int | None = None
    warning: str = ""


def plan_of(records: Sequence[Record], *, owner: str, name: str, in_state: bool) -> Plan:
    """Return what to do. Raises PluginError where the release is somebody else's business.

    `owner` is the label of the resource; `in_state` says whether the engine knows the release.
    """
    if not records:
        if in_state:
            raise PluginError(f"release '{name}': it was uninstalled by hand; run `pulumi refresh`, then try again")
        return Plan(upgrades=False)
    *earlier, last = records
    if last.is_pending:
        return _after_interruption(earlier, last, owner=owner, name=name)
    if in_state:
        return Plan(upgrades=True)
    if last.status == "failed" and is_ours(last, [], owner) and not _was_deployed(earlier):
        return Plan(
            upgrades=True, warning=f"release '{name}': an interrupted run left it failed; this run goes on with it"
        )
    if last.status == "uninstalled":
        # Whether the name may be used again is for Helm and its `replace` to say.
        return Plan(upgrades=False)
    raise PluginError(
        f"release '{name}': cannot re-use a name that is still in use; adopt the release with `pulumi import "
        f"--generate-code=false {RELEASE_TOKEN} NAME {name}` or the resource option import_, or uninstall it"
    )


def _after_interruption(earlier: Sequence[Record], last: Record, *, owner: str, name: str) -> Plan:
    if not is_ours(last, list(earlier), owner):
        raise PluginError(
            f"release '{name}': revision {last.revision} is {last.status}, by somebody else; wait until that operation "
            "ends, or if it was killed run `helm rollback` (or `helm uninstall` when it was never deployed)"
        )
    target = next((record for record in reversed(earlier) if record.status == "deployed"), None)
    target = target or next((record for record in reversed(earlier) if not record.is_pending), None)
    cut_short = f"release '{name}': a killed run left revision {last.revision} {last.status}"
    if target is None:
        return Plan(upgrades=False, uninstall=True, warning=f"{cut_short}; it is removed and installed anew")
    return Plan(
        upgrades=True,
        rollback_to=target.revision,
        warning=f"{cut_short}; it is rolled back to revision {target.revision}, then upgraded",
    )


def _was_deployed(records: Sequence[Record]) -> bool:
    return any(record.status in _DEPLOYED_ONCE for record in records)


def repair(helm: Helm, plan: Plan, namespace: str, name: str) -> None:
    """Make the release one that can be worked on."""
    if plan.uninstall:
        helm.run(["uninstall", name, "--namespace", namespace, "--wait"])
    if plan.rollback_to is not None:
        helm.run(["rollback", name, str(plan.rollback_to), "--namespace", namespace])
