"""How a call of a plugin can fail. The texts reach people through the engine, so they name a cure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi.runtime.proto import provider_pb2

from sandbox.plugins.wire import encode


class PluginError(Exception):
    """What was asked could not be done; nothing of it is in the state."""


class NotSupportedError(PluginError):
    """The official plugin can do this, the sandbox's cannot."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} is not part of the sandbox's plugin; for it, use a cluster of your own and the official plugin"
        )


class PartialFailureError(PluginError):
    """The object exists, but did not become what it should. The engine keeps it, and the next run tries again."""

    def __init__(
        self,
        text: str,
        *,
        resource_id: str,
        outputs: Mapping[str, Any],
        inputs: Mapping[str, Any] | None = None,
        reasons: Sequence[str] = (),
    ) -> None:
        super().__init__(text)
        self._resource_id = resource_id
        self._outputs = outputs
        self._inputs = inputs
        self._reasons = tuple(reasons) or (text,)

    def detail(self) -> provider_pb2.ErrorResourceInitFailed:
        """Return the message by which the engine knows this kind of failure."""
        return provider_pb2.ErrorResourceInitFailed(
            id=self._resource_id,
            properties=encode(self._outputs),
            reasons=self._reasons,
            inputs=None if self._inputs is None else encode(self._inputs),
        )
