"""The engine as a plugin sees it: a place for messages beside the resource they belong to."""

from __future__ import annotations

from typing import Final

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

# A state with many large objects passes the default of 4 MiB.
CHANNEL_OPTIONS: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class Engine:
    """Shows messages of the plugin to the person who runs the engine."""

    def __init__(self, address: str) -> None:
        channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)  # type: ignore[no-untyped-call]
        self._stub = engine_pb2_grpc.EngineStub(channel)

    def warn(self, urn: str, text: str) -> None:
        """Show a warning."""
        self._log(engine_pb2.LogSeverity.WARNING, urn, text)

    def status(self, urn: str, text: str) -> None:
        """Show what the resource is waiting for, until the next such text; an empty one clears it."""
        self._log(engine_pb2.LogSeverity.INFO, urn, text, ephemeral=True)

    def _log(self, severity: engine_pb2.LogSeverity.ValueType, urn: str, text: str, *, ephemeral: bool = False) -> None:
        try:
            self._stub.Log(engine_pb2.LogRequest(severity=severity, message=text, urn=urn, ephemeral=ephemeral))
        except grpc.RpcError:
            # An engine that is on its way out takes no more messages. The outcome itself travels in the response.
            return
