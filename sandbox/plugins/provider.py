"""The protocol of a provider plugin, as Python methods that take a request and return a response or raise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from sandbox.plugins.difference import Change, Kind, dotted
from sandbox.plugins.engine import Engine
from sandbox.plugins.failures import NotSupportedError
from sandbox.plugins.server import handlers, serve

# Inputs of every provider that the engine itself reads.
ENGINE_SETTINGS: Final = frozenset({"version", "pluginDownloadURL"})

_RPCS: Final = {
    "GetPluginInfo": "plugin_info",
    "CheckConfig": "check_config",
    "DiffConfig": "diff_config",
    "Configure": "configure",
    "Check": "check",
    "Diff": "diff",
    "Create": "create",
    "Read": "read",
    "Update": "update",
    "Delete": "delete",
    "Invoke": "invoke",
    "Call": "call",
    "Construct": "construct",
    "Cancel": "cancel",
}
_KINDS: Final = {
    Kind.ADD: (provider_pb2.PropertyDiff.Kind.ADD, provider_pb2.PropertyDiff.Kind.ADD_REPLACE),
    Kind.DELETE: (provider_pb2.PropertyDiff.Kind.DELETE, provider_pb2.PropertyDiff.Kind.DELETE_REPLACE),
    Kind.UPDATE: (provider_pb2.PropertyDiff.Kind.UPDATE, provider_pb2.PropertyDiff.Kind.UPDATE_REPLACE),
}


class Provider(ABC):
    """A provider. RPCs that have no method here are answered as not implemented, which the engine takes well."""

    distribution: str
    """The SDK package whose version the plugin says it has."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def plugin_info(self, _: empty_pb2.Empty) -> plugin_pb2.PluginInfo:
        """Return the version."""
        return plugin_pb2.PluginInfo(version=version(self.distribution))

    @abstractmethod
    def check_config(self, request: provider_pb2.CheckRequest) -> provider_pb2.CheckResponse:
        """Return the provider's settings, or what is wrong with them."""

    @abstractmethod
    def diff_config(self, request: provider_pb2.DiffRequest) -> provider_pb2.DiffResponse:
        """Say whether changed settings make it another provider."""

    @abstractmethod
    def configure(self, request: provider_pb2.ConfigureRequest) -> provider_pb2.ConfigureResponse:
        """Take the settings for all that follows."""

    @abstractmethod
    def check(self, request: provider_pb2.CheckRequest) -> provider_pb2.CheckResponse:
        """Return the inputs with defaults, or what is wrong with them."""

    @abstractmethod
    def diff(self, request: provider_pb2.DiffRequest) -> provider_pb2.DiffResponse:
        """Say what changed, and whether it takes a replacement."""

    @abstractmethod
    def create(self, request: provider_pb2.CreateRequest) -> provider_pb2.CreateResponse:
        """Make it, or in a preview say how it would look."""

    @abstractmethod
    def read(self, request: provider_pb2.ReadRequest) -> provider_pb2.ReadResponse:
        """Return how it is, for a refresh or an import; an empty id says that it is gone."""

    @abstractmethod
    def update(self, request: provider_pb2.UpdateRequest) -> provider_pb2.UpdateResponse:
        """Change it, or in a preview say how it would look."""

    @abstractmethod
    def delete(self, request: provider_pb2.DeleteRequest) -> empty_pb2.Empty:
        """Delete it and wait until it is gone."""

    def invoke(self, request: provider_pb2.InvokeRequest) -> provider_pb2.InvokeResponse:
        """Refuse: the platform's program calls no function of a provider."""
        raise NotSupportedError(f"the function {request.tok}")

    def call(self, request: provider_pb2.CallRequest) -> provider_pb2.CallResponse:
        """Refuse: the platform's program calls no method of a remote component."""
        raise NotSupportedError(f"the method {request.tok}")

    def construct(self, request: provider_pb2.ConstructRequest) -> provider_pb2.ConstructResponse:
        """Refuse: the platform's program uses no remote component."""
        raise NotSupportedError(request.type)

    def cancel(self, _: empty_pb2.Empty) -> empty_pb2.Empty:
        """End everything that waits: the person at the engine has asked for it."""
        self.interrupt()
        return empty_pb2.Empty()

    @abstractmethod
    def interrupt(self) -> None:
        """End everything that waits; each call that did says how far it came."""

    @abstractmethod
    def close(self) -> None:
        """End everything, as the engine has no more use for the plugin or is gone."""


def resource_type(request: Any) -> str:
    """Return the type token of a request about a resource."""
    # The URN's type part lists the types of all parents, joined by "$".
    token: str = request.type or request.urn.split("::")[2].rpartition("$")[2]
    return token


def diff_response(
    changes: Iterable[Change],
    *,
    replaces: Callable[[Change], bool],
    delete_before_replace: bool = False,
) -> provider_pb2.DiffResponse:
    """Return the engine's form of `changes`."""
    detailed: dict[str, provider_pb2.PropertyDiff] = {}
    replacing: list[str] = []
    for change in changes:
        path = dotted(change.path)
        forced = replaces(change)
        detailed[path] = provider_pb2.PropertyDiff(kind=_KINDS[change.kind][forced], inputDiff=True)
        if forced:
            replacing.append(path)
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME if detailed else provider_pb2.DiffResponse.DIFF_NONE,
        replaces=replacing,
        deleteBeforeReplace=bool(replacing) and delete_before_replace,
        detailedDiff=detailed,
        hasDetailedDiff=True,
    )


def failures(problems: Iterable[tuple[str, str]]) -> list[provider_pb2.CheckFailure]:
    """Return the engine's form of (property, what is wrong with it)."""
    return [provider_pb2.CheckFailure(property=name, reason=reason) for name, reason in problems]


def run(provider: Callable[[Engine], Provider], arguments: Sequence[str]) -> None:
    """Serve the provider until the engine ends it."""

    def register(server: grpc.Server, engine: Engine) -> Callable[[], None]:
        served = provider(engine)
        servicer = provider_pb2_grpc.ResourceProviderServicer()
        methods: Mapping[str, Any] = handlers(served, _RPCS)
        for rpc, handler in methods.items():
            setattr(servicer, rpc, handler)
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
        return served.close

    serve(arguments, register)
