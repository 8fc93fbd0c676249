"""The Pulumi program: every store of the running stack's cell becomes one `StoreTenant`.

The same function runs under plain `pulumi up` and inside the gate. Whoever runs it always registers the whole cell:
a program that registers only some of its stores would lose the others' outputs, or delete them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pulumi
import pulumi_kubernetes as kubernetes

from components import naming
from components.desired import DesiredStore
from components.store_tenant import StoreTenant
from stacks import manifest as manifests
from stacks import platform_key
from stacks import settings as settings_module
from stacks import ticket as tickets
from stacks.cluster import Cluster
from stacks.desired import Plans, caps
from stacks.errors import ClusterUnreachableError, RefusedError, StoresError
from stacks.manifest import Manifest, Store
from stacks.settings import Settings
from stacks.transition import unprotected

PLATFORM_KEYS: Final = "platformKeys"
"""The stack's output that holds the fingerprints of the platform key, by version."""

PROTECTED: Final = "protected"
"""The stack's output that says whether the environment was protected when the stack was last brought up."""


@dataclass(frozen=True)
class RunOptions:
    """What only the gate may decide for one run; a plain `pulumi up` runs with the defaults.

    `withheld` stores are not created, since a limit stands in their way; `frozen` ones exist, and for the same reason
    stay as they were applied, which is given as plain data. `released` stores are tombstoned ones whose
    time has come: first registered without protection, then (`removed`) not at all. `taken_over`
    names the parts of a store that exist and that the state lacks: all of it was lost, or a killed engine could not
    note what it had made. `marked` releases get a description, which is the one input that changes nothing of
    a store and yet makes the engine upgrade its release: so what somebody did by plain Helm is overwritten.
    """

    withheld: frozenset[str] = frozenset()
    released: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    taken_over: Mapping[str, frozenset[str]] = field(default_factory=dict)
    frozen: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    marked: Mapping[str, str] = field(default_factory=dict)
    cluster_uid: str | None = None


def run(root: Path, options: RunOptions | None = None) -> None:
    """Register every store of the running stack's cell. Raises `pulumi.RunError` with all problems of the input."""
    try:
        settings = settings_module.from_engine()
        manifest = manifests.load(root, settings.environment, caps(root, settings))
        if options is None:
            options = _ungated(root, settings, manifest)
        register(root, settings, manifest, options)
    except StoresError as error:
        raise pulumi.RunError(str(error)) from None


def register(root: Path, settings: Settings, manifest: Manifest, options: RunOptions) -> None:
    """Register the provider and the stores of the running stack's cell."""
    cell = cell_of(pulumi.get_stack(), settings.environment)
    uid = options.cluster_uid or live_cluster_uid(settings)
    provider = kubernetes.Provider(
        "kubernetes",
        # Without an identity, a changed address of the same cluster would replace the provider, and so every store.
        cluster_identifier=uid,
        context=settings.context,
        enable_server_side_apply=True,
        # Else a Secret whose content differs from what was applied is replaced, which nothing of a store may ever be.
        enable_secret_mutable=True,
        # What somebody has changed on an object of ours is put back; one that is not ours is never taken over.
        enable_patch_force=True,
        opts=pulumi.ResourceOptions(protect=settings.protected),
    )
    plans = Plans(root, settings)
    key = platform_key.load(root, settings)
    # Not secret: by it a run notices that it was given another environment's key.
    pulumi.export(PLATFORM_KEYS, key.fingerprints())
    # By it a later run notices that the protection was taken out of the settings.
    pulumi.export(PROTECTED, settings.protected)
    for store in registered(manifest, settings, options, cell):
        protect = settings.protected and store.id not in options.released
        StoreTenant(
            desired_store(plans, store, options, settings),
            pulumi.ResourceOptions(providers={"kubernetes": provider}, protect=protect),
            derived=key.store_secrets(store.id, settings.platform_key_version),
            taken_over=options.taken_over.get(store.id, frozenset()),
        )


def _ungated(root: Path, settings: Settings, manifest: Manifest) -> RunOptions:
    """Return what a plain `pulumi` may do.

    In a protected environment it may preview, and change what a ticket of the gate admits; for anything else it raises
    RefusedError. Settings that say otherwise by now (`pulumi up -c stores:protected=false`) are no way past that: the
    stack remembers.
    """
    if not settings.protected:
        if not pulumi.runtime.is_dry_run() and _was_protected():
            raise RefusedError.of([unprotected(settings.environment)])
        return RunOptions()
    ticket = tickets.from_environment(platform_key.load(root, settings))
    if ticket is not None:
        cell = cell_of(pulumi.get_stack(), settings.environment)
        ticket.check(environment=settings.environment, cell=cell, manifest_digest=manifest.digest)
        return RunOptions(
            withheld=frozenset(ticket.withheld), frozen=ticket.frozen, cluster_uid=_the_cluster(ticket, settings)
        )
    if pulumi.runtime.is_dry_run():
        return RunOptions()
    raise RefusedError(
        f"environment {settings.environment}",
        "it is protected: a plain `pulumi up` asks no limit and leaves no audit trail",
        f"run `stores up --env {settings.environment}`, or get a ticket with `stores admit`; `pulumi preview` is free",
    )


def _was_protected() -> bool:
    """Return whether the running stack was protected when it was last brought up, by its own outputs."""
    name = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    # The engine's own function. Its provider is noted in the state, counts in no preview, and the gate drops it.
    found = pulumi.runtime.invoke("pulumi:pulumi:readStackOutputs", {"name": name}).value
    return bool(found["outputs"].get(PROTECTED))


def _the_cluster(ticket: tickets.Ticket, settings: Settings) -> str:
    live = live_cluster_uid(settings)
    if live != ticket.cluster_uid:
        raise RefusedError(
            f"ticket of run {ticket.run_id}",
            f"it is for the cluster {ticket.cluster_uid}, and this one is {live}",
            "choose the right kubeconfig context; nothing was changed",
        )
    return live


def desired_store(plans: Plans, store: Store, options: RunOptions, settings: Settings) -> DesiredStore:
    """Return what a store is registered as: what the manifest wants, or what it is where that is not allowed."""
    if store.id in options.frozen:
        desired = DesiredStore.from_dict(options.frozen[store.id], timeout_s=settings.release_timeout_seconds)
    else:
        desired = plans.desired(store)
    description = options.marked.get(store.id)
    return (
        desired if description is None else replace(desired, release=replace(desired.release, description=description))
    )


def registered(manifest: Manifest, settings: Settings, options: RunOptions, cell: str) -> list[Store]:
    """Return the stores that the program registers, in file order.

    A tombstoned store of a protected environment stays until the gate removes it: a final backup and a grace period
    come first, and only the gate knows when they are over.
    """
    return [
        store
        for store in manifest.stores
        if store.cell == cell
        and store.id not in options.withheld
        and store.id not in options.removed
        and (not store.deleted or settings.protected or store.id in options.frozen)
    ]


def live_cluster_uid(settings: Settings) -> str:
    """Return the live cluster's identity; raises RefusedError when the settings name another one."""
    cluster = Cluster(context=settings.context)
    uid = cluster.uid
    if not uid:
        raise ClusterUnreachableError(f"cluster {cluster.address}", "it has no kube-system namespace", "check it")
    if settings.cluster_uid is not None and uid != settings.cluster_uid:
        raise RefusedError(
            f"cluster {cluster.address}",
            f"its identity is {uid}, but environment {settings.environment} belongs to {settings.cluster_uid}",
            "choose the right kubeconfig context; nothing was changed",
        )
    return uid


def cell_of(stack: str, environment: str) -> str:
    """Return the cell of a stack's name; raises RefusedError for a stack of another environment."""
    name, _, suffix = stack.partition("-")
    cell = suffix or naming.FIRST_CELL
    if name != environment or naming.stack(environment, cell) != stack or not naming.CELL_PATTERN.fullmatch(cell):
        raise RefusedError(
            f"stack {stack}",
            f"it runs with the settings of environment {environment!r}",
            f"pass --config-file Pulumi.{name}.yaml, or choose the stack {environment}",
        )
    return cell
