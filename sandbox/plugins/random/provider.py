"""`pulumi-resource-random`: a changed argument means another value, and values live in the engine's state alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2

from sandbox.plugins.difference import covered, differences, parse
from sandbox.plugins.failures import NotSupportedError, PluginError
from sandbox.plugins.provider import ENGINE_SETTINGS, Provider, diff_response, failures, resource_type
from sandbox.plugins.random.resources import DEFINITIONS, Definition
from sandbox.plugins.wire import UNKNOWN, Secret, decode, encode, has_unknown, keep_secret, plain


class RandomProvider(Provider):
    """Draws random values and keeps them by having them in the state."""

    distribution = "pulumi-random"

    def check_config(self, request: provider_pb2.CheckRequest) -> provider_pb2.CheckResponse:
        """Refuse every setting, as the official plugin has none."""
        unknown = sorted(set(request.news.fields) - ENGINE_SETTINGS)
        problems = [(name, "this provider has no settings; remove it") for name in unknown]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures(problems))

    def diff_config(self, _: provider_pb2.DiffRequest) -> provider_pb2.DiffResponse:
        """Say that nothing changed."""
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def configure(self, _: provider_pb2.ConfigureRequest) -> provider_pb2.ConfigureResponse:
        """Say what the plugin understands."""
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def check(self, request: provider_pb2.CheckRequest) -> provider_pb2.CheckResponse:
        """Return the arguments as they are; defaults appear in the outputs only, as in the official plugin."""
        problems = _problems(_definition(request), plain(decode(request.news)))
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures(problems))

    def diff(self, request: provider_pb2.DiffRequest) -> provider_pb2.DiffResponse:
        """Compare the arguments with the state: writing a default out is no change."""
        old = plain(decode(request.olds))
        new = _definition(request).filled(_given(plain(decode(request.news))))
        ignored = [parse(path) for path in request.ignoreChanges]
        # The state has no entry for an argument that was not given and has no default; that equals None.
        changes = differences({name: old.get(name) for name in new}, new)
        return diff_response(
            [change for change in changes if not covered(change.path, ignored)], replaces=lambda _: True
        )

    def create(self, request: provider_pb2.CreateRequest) -> provider_pb2.CreateResponse:
        """Draw."""
        definition = _definition(request)
        inputs = decode(request.properties)
        arguments = definition.filled(_given(inputs))
        results: Mapping[str, Any] = dict.fromkeys(definition.results, UNKNOWN)
        name = ""
        if not request.preview:
            name, results = definition.draw(plain(arguments))
            self._warn_about_missing(definition, results, request.urn)
        outputs = _without_none(keep_secret(arguments, inputs) | _marked(definition, results))
        return provider_pb2.CreateResponse(id=name, properties=encode(outputs))

    def read(self, request: provider_pb2.ReadRequest) -> provider_pb2.ReadResponse:
        """Return the state as it is, or make one from an import id."""
        if request.properties.fields:
            return provider_pb2.ReadResponse(id=request.id, properties=request.properties, inputs=request.inputs)
        definition = _definition(request)
        try:
            name, outputs = definition.imported(request.id)
        except ValueError as error:
            raise PluginError(f"cannot import '{request.id}' as {resource_type(request)}: {error}") from error
        kept = _without_none(_marked(definition, outputs))
        inputs = {key: value for key, value in kept.items() if key in definition.required}
        return provider_pb2.ReadResponse(id=name, properties=encode(kept), inputs=encode(inputs))

    def update(self, request: provider_pb2.UpdateRequest) -> provider_pb2.UpdateResponse:
        """Refuse: `diff` never asks for it."""
        raise PluginError(f"{request.urn}: a random value cannot be changed in place, only replaced")

    def delete(self, _: provider_pb2.DeleteRequest) -> empty_pb2.Empty:
        """Forget it; there is nothing else to do."""
        return empty_pb2.Empty()

    def interrupt(self) -> None:
        """Do nothing: nothing here waits."""

    def close(self) -> None:
        """Do nothing: nothing here waits."""

    def _warn_about_missing(self, definition: Definition, results: Mapping[str, Any], urn: str) -> None:
        for name in definition.results:
            if name not in results:
                self.engine.warn(urn, f"output {name} is left out: this system's libcrypt has no bcrypt")


def _definition(request: Any) -> Definition:
    token = resource_type(request)
    if token not in DEFINITIONS:
        raise NotSupportedError(token)
    return DEFINITIONS[token]


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    # The official plugin adds `__defaults` to the inputs in its states.
    return _without_none({name: value for name, value in arguments.items() if name != "__defaults"})


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _marked(definition: Definition, outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Secret(value) if name in definition.secrets else value for name, value in outputs.items()}


def _problems(definition: Definition, news: Mapping[str, Any]) -> list[tuple[str, str]]:
    arguments = _given(news)
    found = [(name, f"missing; {name} is required") for name in definition.required if name not in arguments]
    for name, value in arguments.items():
        wanted = definition.types.get(name)
        if wanted is None:
            found.append((name, "unknown argument; remove it"))
        elif value is not UNKNOWN and (not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))):
            found.append((name, f"is a {type(value).__name__}, not a {wanted.__name__}"))
    if found or has_unknown(arguments):
        return found
    return list(definition.problems(arguments))
