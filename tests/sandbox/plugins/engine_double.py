"""Does with a provider what the engine does for single resources, in memory and at once.

It stands in where a test is about many cases of one resource; that the real engine agrees is shown in test_engine.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pulumi.runtime.proto import provider_pb2

from sandbox.plugins.failures import PartialFailureError
from sandbox.plugins.provider import Provider
from sandbox.plugins.wire import decode, encode

STACK = "urn:pulumi:dev::tests"


@dataclass
class Messages:
    """Takes the place of the engine that a provider speaks to."""

    warnings: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)

    def warn(self, _urn: str, text: str) -> None:
        self.warnings.append(text)

    def status(self, _urn: str, text: str) -> None:
        self.statuses.append(text)


@dataclass(frozen=True)
class Kept:
    """What the engine's state has of one resource."""

    id: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    failed: bool = False


@dataclass(frozen=True)
class Diff:
    """What a provider says has changed."""

    paths: frozenset[str]
    replaces: frozenset[str]
    delete_before_replace: bool


class CheckError(Exception):
    """The inputs were refused: property -> reason."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(str(reasons))
        self.reasons = reasons


class EngineDouble:
    """One stack, in memory."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.state: dict[str, Kept] = {}

    def check(self, token: str, name: str, inputs: Mapping[str, Any], *, fresh: bool = False) -> dict[str, Any]:
        urn = _urn(token, name)
        olds = None if fresh or urn not in self.state else encode(self.state[urn].inputs)
        request = provider_pb2.CheckRequest(
            urn=urn, type=token, name=name, olds=olds, news=encode(inputs), randomSeed=b"seed"
        )
        response = self.provider.check(request)
        if response.failures:
            raise CheckError({failure.property: failure.reason for failure in response.failures})
        return decode(response.inputs)

    def diff(self, token: str, name: str, inputs: Mapping[str, Any], ignore_changes: tuple[str, ...] = ()) -> Diff:
        """Return what the provider says of new, unchecked inputs."""
        return self._diff(token, name, self.check(token, name, inputs), ignore_changes)

    def preview(self, token: str, name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the foretold outputs."""
        urn = _urn(token, name)
        checked = self.check(token, name, inputs)
        if urn in self.state and not self._diff(token, name, checked).replaces:
            return decode(self._update(token, name, checked, preview=True).properties)
        request = provider_pb2.CreateRequest(urn=urn, type=token, name=name, properties=encode(checked), preview=True)
        return decode(self.provider.create(request).properties)

    def up(
        self,
        token: str,
        name: str,
        inputs: Mapping[str, Any],
        *,
        ignore_changes: tuple[str, ...] = (),
        timeout_s: float = 0,
    ) -> str:
        """Make the resource what the inputs say; return create, same, update or replace."""
        urn = _urn(token, name)
        checked = self.check(token, name, inputs)
        if urn not in self.state:
            self._create(token, name, checked, timeout_s)
            return "create"
        diff = self._diff(token, name, checked, ignore_changes)
        if diff.replaces:
            checked = self.check(token, name, inputs, fresh=True)
            old = self.state[urn]
            if diff.delete_before_replace:
                self.destroy(token, name)
            self._create(token, name, checked, timeout_s)
            if not diff.delete_before_replace:
                self._delete(urn, token, old)
            return "replace"
        if not diff.paths and not self.state[urn].failed:
            return "same"
        with self._keeping(urn, checked):
            response = self._update(token, name, checked, ignore_changes=ignore_changes, timeout_s=timeout_s)
            self.state[urn] = Kept(self.state[urn].id, checked, decode(response.properties))
        return "update"

    def refresh(self, token: str, name: str) -> Kept | None:
        """Read the resource; return what is kept of it then."""
        urn = _urn(token, name)
        kept = self.state.pop(urn)
        with self._keeping(urn, kept.inputs):
            request = provider_pb2.ReadRequest(
                urn=urn, type=token, name=name, id=kept.id, inputs=encode(kept.inputs), properties=encode(kept.outputs)
            )
            response = self.provider.read(request)
            if response.id:
                self.state[urn] = Kept(response.id, decode(response.inputs), decode(response.properties))
        return self.state.get(urn)

    def adopt(self, token: str, name: str, resource_id: str, inputs: Mapping[str, Any]) -> Diff:
        """Import as the resource option import_ does; return by what the program's inputs differ."""
        urn = _urn(token, name)
        response = self.provider.read(provider_pb2.ReadRequest(urn=urn, type=token, name=name, id=resource_id))
        self.state[urn] = Kept(response.id, decode(response.inputs), decode(response.properties))
        checked = self.check(token, name, inputs)
        diff = self._diff(token, name, checked)
        self.state[urn] = Kept(response.id, checked, decode(response.properties))
        return diff

    def destroy(self, token: str, name: str, *, timeout_s: float = 0) -> None:
        urn = _urn(token, name)
        self._delete(urn, token, self.state[urn], timeout_s)
        del self.state[urn]

    def kept(self, token: str, name: str) -> Kept:
        return self.state[_urn(token, name)]

    def _diff(self, token: str, name: str, checked: Mapping[str, Any], ignore_changes: tuple[str, ...] = ()) -> Diff:
        kept = self.kept(token, name)
        request = provider_pb2.DiffRequest(
            id=kept.id,
            urn=_urn(token, name),
            type=token,
            name=name,
            olds=encode(kept.outputs),
            old_inputs=encode(kept.inputs),
            news=encode(checked),
            ignoreChanges=ignore_changes,
        )
        response = self.provider.diff(request)
        return Diff(frozenset(response.detailedDiff), frozenset(response.replaces), response.deleteBeforeReplace)

    def _create(self, token: str, name: str, checked: Mapping[str, Any], timeout_s: float) -> None:
        urn = _urn(token, name)
        with self._keeping(urn, checked):
            request = provider_pb2.CreateRequest(
                urn=urn, type=token, name=name, properties=encode(checked), timeout=timeout_s
            )
            response = self.provider.create(request)
            self.state[urn] = Kept(response.id, checked, decode(response.properties))

    def _update(
        self,
        token: str,
        name: str,
        checked: Mapping[str, Any],
        *,
        preview: bool = False,
        ignore_changes: tuple[str, ...] = (),
        timeout_s: float = 0,
    ) -> provider_pb2.UpdateResponse:
        kept = self.kept(token, name)
        return self.provider.update(
            provider_pb2.UpdateRequest(
                id=kept.id,
                urn=_urn(token, name),
                type=token,
                name=name,
                olds=encode(kept.outputs),
                old_inputs=encode(kept.inputs),
                news=encode(checked),
                preview=preview,
                ignoreChanges=ignore_changes,
                timeout=timeout_s,
            )
        )

    def _delete(self, urn: str, token: str, kept: Kept, timeout_s: float = 0) -> None:
        self.provider.delete(
            provider_pb2.DeleteRequest(
                urn=urn, type=token, id=kept.id, properties=encode(kept.outputs), timeout=timeout_s
            )
        )

    def _keeping(self, urn: str, inputs: Mapping[str, Any]) -> _Keeping:
        return _Keeping(self, urn, inputs)


class _Keeping:
    """Puts the partial state of a failure into the engine's state, as the real engine does, and lets it pass on."""

    def __init__(self, engine: EngineDouble, urn: str, inputs: Mapping[str, Any]) -> None:
        self._engine = engine
        self._urn = urn
        self._inputs = inputs

    def __enter__(self) -> None:
        return

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, PartialFailureError):
            detail = error.detail()
            inputs = decode(detail.inputs) if detail.HasField("inputs") else self._inputs
            self._engine.state[self._urn] = Kept(detail.id, inputs, decode(detail.properties), failed=True)


def _urn(token: str, name: str) -> str:
    return f"{STACK}::{token}::{name}"
