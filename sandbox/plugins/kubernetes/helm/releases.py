"""One release: checked, compared, installed, upgraded, read and uninstalled."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2

from sandbox.plugins.difference import MISSING, Change, Kind, covered, differences, parse, value_at
from sandbox.plugins.failures import NotSupportedError, PartialFailureError, PluginError
from sandbox.plugins.kubernetes.client import CancelledError, UnreachableError
from sandbox.plugins.kubernetes.cluster import Cluster
from sandbox.plugins.kubernetes.diagnosis import explain
from sandbox.plugins.kubernetes.helm import arguments, chart, storage
from sandbox.plugins.kubernetes.helm.repair import plan_of, repair
from sandbox.plugins.kubernetes.inputs import fresh_name
from sandbox.plugins.kubernetes.redaction import Redactor
from sandbox.plugins.provider import diff_response, failures
from sandbox.plugins.wire import (
    UNKNOWN,
    Properties,
    Secret,
    decode,
    encode,
    has_unknown,
    keep_secret,
    plain,
    secret_texts,
)

_REPLACING: Final = ("name", "namespace")
# Set in the state of an import: what Helm does not remember, such as a timeout, is then no difference.
_IMPORTED: Final = "__imported"
_HEALTHY: Final = "deployed"


class Releases:
    """Answers what the engine asks about releases."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def check(self, request: provider_pb2.CheckRequest) -> provider_pb2.CheckResponse:
        """Return the inputs with defaults, the values of files, and the version of the chart."""
        given = decode(request.news)
        given.pop("__defaults", None)
        found = list(arguments.problems(given))
        if found:
            return provider_pb2.CheckResponse(inputs=request.news, failures=failures(found))
        old_name = decode(request.olds).get("name")
        name = old_name or fresh_name(request.name or request.urn.rpartition("::")[2], request.randomSeed)
        inputs = arguments.filled(given, name=str(plain(name)), namespace=self._cluster.namespace)
        if given.get("allowNullValues"):
            self._cluster.engine.warn(request.urn, "`allowNullValues` has no effect: nulls in values are always kept")
        source = {key: inputs.get(key) for key in ("chart", "version", "repositoryOpts")}
        if not has_unknown(source):
            try:
                inputs["version"] = self._chart(plain(inputs)).version
            except (PluginError, OSError) as error:
                found.append(("chart", str(error)))
        return provider_pb2.CheckResponse(inputs=encode(inputs), failures=failures(found))

    def diff(self, request: provider_pb2.DiffRequest) -> provider_pb2.DiffResponse:
        """Compare the inputs with the state, which a refresh has brought up to what is live."""
        state = decode(request.olds)
        new = plain(decode(request.news))
        old = plain(decode(request.old_inputs) or _saved_inputs(state))
        ignored = [parse(path) for path in request.ignoreChanges]
        changes = [change for change in _changes(plain(state), old, new) if not covered(change.path, ignored)]
        return diff_response(changes, replaces=lambda change: change.path[0] in _REPLACING)

    def create(self, request: provider_pb2.CreateRequest) -> provider_pb2.CreateResponse:
        """Install. Fails where a release of its name exists, unless it is what an interrupted run of ours has left."""
        inputs = decode(request.properties)
        if request.preview:
            self._warn_of_existing(request.urn, plain(inputs))
            return provider_pb2.CreateResponse(properties=encode(_foretold(inputs)))
        live = self._deploy(request.urn, inputs, request.timeout, in_state=False)
        return provider_pb2.CreateResponse(id=_id(live), properties=encode(_outputs(inputs, live)))

    def update(self, request: provider_pb2.UpdateRequest) -> provider_pb2.UpdateResponse:
        """Upgrade."""
        inputs = decode(request.news)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=encode(_foretold(inputs)))
        live = self._deploy(request.urn, inputs, request.timeout, in_state=True)
        return provider_pb2.UpdateResponse(properties=encode(_outputs(inputs, live)))

    def read(self, request: provider_pb2.ReadRequest) -> provider_pb2.ReadResponse:
        """Return the live revision's values, version and status. Without a state it is an import."""
        state = decode(request.properties)
        namespace, _, name = request.id.rpartition("/")
        try:
            live = storage.latest(self._cluster.client, namespace or self._cluster.namespace, name)
        except UnreachableError:
            if not self._cluster.is_on("deleteUnreachable"):
                raise
            live = None
        if live is None or live.status == "uninstalled":
            return provider_pb2.ReadResponse()
        inputs = decode(request.inputs) or _saved_inputs(state)
        outputs = _outputs(inputs, live) if inputs else _imported(live)
        inputs = inputs or _saved_inputs(outputs)
        if live.status != _HEALTHY:
            raise PartialFailureError(
                f"release '{_id(live)}': revision {live.revision} is {live.status}",
                resource_id=_id(live),
                outputs=outputs,
                inputs=inputs,
            )
        return provider_pb2.ReadResponse(id=_id(live), properties=encode(outputs), inputs=encode(inputs))

    def delete(self, request: provider_pb2.DeleteRequest) -> empty_pb2.Empty:
        """Uninstall, and wait until what belongs to it is gone. A release that is gone already is fine."""
        state = decode(request.properties)
        namespace, _, name = request.id.rpartition("/")
        try:
            if storage.records(self._cluster.client, namespace, name):
                wait = arguments.uninstall_arguments(plain(state), arguments.timeout_s(plain(state), request.timeout))
                self._cluster.helm.run(["uninstall", name, "--namespace", namespace, *wait])
        except UnreachableError:
            if not self._cluster.is_on("deleteUnreachable"):
                raise
            self._cluster.engine.warn(request.urn, "the cluster does not answer; it is taken out of the state alone")
        except CancelledError:
            raise
        except PluginError as error:
            raise PluginError(_redactor(state).clean(f"release '{request.id}': not uninstalled: {error}")) from error
        return empty_pb2.Empty()

    def _warn_of_existing(self, urn: str, inputs: Mapping[str, Any]) -> None:
        namespace, name = inputs["namespace"], inputs["name"]
        if has_unknown([namespace, name]):
            return
        try:
            found = storage.records(self._cluster.client, namespace, name)
            plan_of(found, owner=_label(urn), name=f"{namespace}/{name}", in_state=False)
        except PluginError as error:
            self._cluster.engine.warn(urn, f"the run will fail here: {error}")

    def _chart(self, inputs: Mapping[str, Any]) -> chart.Chart:
        source = arguments.source_arguments(inputs)
        return chart.describe(self._cluster.helm, inputs["chart"], source, inputs["version"])

    def _deploy(self, urn: str, marked: Properties, requested_s: float, *, in_state: bool) -> storage.Release:
        """Return the release's new revision. Raises PartialFailureError where there is one that is not healthy."""
        inputs, redactor = plain(marked), _redactor(marked)
        namespace, name = inputs["namespace"], inputs["name"]
        owner, operation = _label(urn), secrets.token_hex(8)
        before = storage.records(self._cluster.client, namespace, name)
        plan = plan_of(before, owner=owner, name=f"{namespace}/{name}", in_state=in_state)
        if plan.warning:
            self._cluster.engine.warn(urn, plan.warning)
        repair(self._cluster.helm, plan, namespace, name)
        timeout_s = arguments.timeout_s(inputs, requested_s)
        switches = arguments.upgrade_arguments if plan.upgrades else arguments.install_arguments
        command = [
            "upgrade" if plan.upgrades else "install",
            name,
            inputs["chart"],
            *("--namespace", namespace, "--values", "-", "--labels"),
            f"{storage.URN_LABEL}={owner},{storage.OPERATION_LABEL}={operation}",
            *switches(inputs, timeout_s),
        ]
        try:
            if inputs["lint"]:
                self._lint(inputs)
            self._cluster.helm.run(command, values=json.dumps(inputs["values"]))
        except PluginError as error:
            raise self._failed(marked, operation, redactor.clean(str(error))) from error
        live = storage.latest(self._cluster.client, namespace, name)
        if live is None:
            raise PluginError(f"release '{namespace}/{name}': helm succeeded, but nothing of it is recorded")
        return live

    def _lint(self, inputs: Mapping[str, Any]) -> None:
        if chart.local_path(inputs["chart"]) is None:
            raise NotSupportedError("`lint` for a chart that is fetched")
        self._cluster.helm.run(["lint", inputs["chart"], "--values", "-"], values=json.dumps(inputs["values"]))

    def _failed(self, marked: Properties, operation: str, said: str) -> PluginError:
        """Return the error for the engine: with the release's state where it exists, and with the cluster's reasons."""
        inputs = plain(marked)
        namespace, name = inputs["namespace"], inputs["name"]
        found = storage.records(self._cluster.client, namespace, name)
        live = storage.load(self._cluster.client, namespace, name, found[-1].revision) if found else None
        if live is None or found[-1].labels.get(storage.OPERATION_LABEL) != operation:
            # Nothing was recorded: the chart, the values or the name are wrong, or `atomic` has cleaned up.
            return PluginError(f"release '{namespace}/{name}': {said}")
        reasons = explain(self._cluster.client, namespace, name)
        text = "\n".join([f"release '{namespace}/{name}' is there, but {live.status}: {said}", *reasons])
        cleaned = _redactor(marked).clean(text)
        return PartialFailureError(cleaned, resource_id=_id(live), outputs=_outputs(marked, live))


def _changes(state: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[Change]:
    """Yield what differs between the new inputs and what is live, and what the program has taken out."""
    imported = state.get(_IMPORTED) is True
    for name, value in new.items():
        if imported and name not in arguments.LIVE:
            continue
        if imported and name == "chart" and _is_chart_named(value, state.get("chart")):
            continue
        for change in differences(state.get(name, MISSING), value, (name,)):
            if not _is_addition_by_others(change, old) and not _is_default(change):
                yield change
    for name in sorted(old.keys() - new.keys() - {"checksum", "resourceNames", "valueYamlFiles"}):
        if not imported and not name.startswith("__"):
            yield Change((name,), Kind.DELETE, old[name], MISSING)
    status = (state.get("status") or {}).get("status") if isinstance(state.get("status"), dict) else None
    if status is not None and status is not UNKNOWN and status != _HEALTHY:
        # Seen by a refresh, or left by a failed run: the next run tries again even if the program is the same.
        yield Change(("status", "status"), Kind.UPDATE, status, _HEALTHY)


def _is_chart_named(reference: Any, name: Any) -> bool:
    """Say whether a chart's reference is to one of this name; a release does not remember where it came from."""
    return isinstance(reference, str) and reference.rstrip("/").rpartition("/")[2].startswith(str(name))


def _is_addition_by_others(change: Change, old: Mapping[str, Any]) -> bool:
    """Say whether a value is live that we never gave, as with `reuseValues`."""
    return change.kind is Kind.DELETE and value_at(old, change.path) is MISSING


def _is_default(change: Change) -> bool:
    """Say whether the new input says no more than its absence: a null value, or a switch that is off."""
    return change.kind is Kind.ADD and (change.new is None or (len(change.path) == 1 and change.new in (False, "", 0)))


def _foretold(inputs: Properties) -> Properties:
    return {**_kept(inputs), "resourceNames": UNKNOWN, "status": UNKNOWN, "__inputs": Secret(inputs)}


def _outputs(inputs: Properties, live: storage.Release) -> Properties:
    """Return the state of a release: its inputs, with what is live in the place of what was asked for."""
    return {
        **_kept(inputs),
        "values": keep_secret(live.config, inputs.get("values")),
        "version": live.version,
        "resourceNames": storage.resource_names(live.manifest),
        "status": _status(live),
        "__inputs": Secret(inputs),
    }


def _imported(live: storage.Release) -> Properties:
    """Return the state of a release that was found. Which of its values are secret is not known, so all are."""
    given = {"chart": live.chart, "values": live.config, "version": live.version}
    inputs = arguments.filled(given, name=live.name, namespace=live.namespace)
    inputs["values"] = Secret(live.config)
    return {**_outputs(inputs, live), "values": Secret(live.config), _IMPORTED: True}


def _kept(inputs: Properties) -> Properties:
    return {name: value for name, value in inputs.items() if not name.startswith("__")}


def _status(live: storage.Release) -> Properties:
    return {
        "appVersion": live.app_version,
        "chart": live.chart,
        "name": live.name,
        "namespace": live.namespace,
        "revision": live.revision,
        "status": live.status,
        "version": live.version,
    }


def _saved_inputs(state: Properties) -> Properties:
    found = state.get("__inputs")
    if isinstance(found, Secret):
        found = found.value
    return dict(found) if isinstance(found, dict) else {}


def _redactor(marked: Properties) -> Redactor:
    return Redactor(secret_texts(_kept(marked)))


def _label(urn: str) -> str:
    return sha256(urn.encode()).hexdigest()[:16]


def _id(live: storage.Release) -> str:
    return f"{live.namespace}/{live.name}"
