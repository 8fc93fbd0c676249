"""One object of any kind: checked, compared, made, read, changed, waited for and deleted."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2

from sandbox.plugins.difference import Change, covered, differences, parse
from sandbox.plugins.failures import PartialFailureError, PluginError
from sandbox.plugins.kubernetes import applying, checkpoint, refusals
from sandbox.plugins.kubernetes import inputs as forms
from sandbox.plugins.kubernetes.client import ApiError, UnreachableError
from sandbox.plugins.kubernetes.cluster import Cluster
from sandbox.plugins.kubernetes.kinds import Kind, Resource, kind_of
from sandbox.plugins.kubernetes.readiness import DEFAULT_TIMEOUT_S, NeverReadyError, readiness_of
from sandbox.plugins.kubernetes.replacement import replaces, replacing_fields
from sandbox.plugins.kubernetes.subject import Subject
from sandbox.plugins.kubernetes.waiting import NotReadyError, until_gone, until_ready
from sandbox.plugins.provider import diff_response, failures, resource_type
from sandbox.plugins.wire import decode, encode, has_unknown, keep_secret, plain

# Kinds whose deletion the official plugin does not wait for when they say so.
_UNAWAITED_DELETION: Final = frozenset(
    {"DaemonSet", "Deployment", "Job", "Namespace", "Pod", "ReplicationController", "StatefulSet"}
)
_PROPAGATION: Final = {"orphan": "Orphan", "background": "Background"}


class Objects:
    """Answers what the engine asks about objects."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._replaced: set[str] = set()

    def check(self, request: provider_pb2.CheckRequest) -> provider_pb2.CheckResponse:
        """Return the inputs with a name and a namespace."""
        kind = kind_of(resource_type(request))
        given = decode(request.news)
        inputs = forms.normalized(kind, given)
        found = list(forms.problems(kind, given))
        if not forms.is_named(inputs) and not found:
            inputs, unnamed = _named(request, inputs, decode(request.olds))
            found += unnamed
        metadata = inputs.get("metadata")
        if isinstance(metadata, dict) and not metadata.get("namespace") and self._cluster.namespaced(kind):
            inputs["metadata"] = {**metadata, "namespace": self._cluster.namespace}
        if forms.annotation(inputs, "helm.sh/hook") and not self._cluster.is_on("suppressHelmHookWarnings"):
            self._cluster.engine.warn(request.urn, "a Helm hook outside of a release is made as an ordinary object")
        return provider_pb2.CheckResponse(inputs=encode(inputs), failures=failures(found))

    def diff(self, request: provider_pb2.DiffRequest) -> provider_pb2.DiffResponse:
        """Compare the inputs with those of last time, which a refresh has brought up to what is live."""
        kind = kind_of(resource_type(request))
        state = decode(request.olds)
        old = self._comparable(kind, decode(request.old_inputs) or checkpoint.saved_inputs(state))
        new = self._comparable(kind, decode(request.news))
        ignored = [parse(path) for path in request.ignoreChanges]
        changes = [change for change in differences(old, new) if not covered(change.path, ignored)]
        fields = replacing_fields(
            kind,
            new,
            mutable_config_maps=self._cluster.is_on("enableConfigMapMutable"),
            mutable_secrets=self._cluster.is_on("enableSecretMutable"),
        )
        if changes and state.get(checkpoint.IMPORTED) is True and not has_unknown(new):
            changes = [
                change for change in self._in_effect(request, state, changes) if not covered(change.path, ignored)
            ]
        response = diff_response(
            changes,
            replaces=lambda change: replaces(change, fields),
            delete_before_replace=_keeps_its_name(new, checkpoint.live(state)),
        )
        if response.replaces:
            with self._lock:
                self._replaced.add(request.urn)
        return response

    def create(self, request: provider_pb2.CreateRequest) -> provider_pb2.CreateResponse:
        """Make the object, and wait until it is ready. Fails where one of its name exists."""
        subject = Subject.of(request, decode(request.properties), {})
        if request.preview:
            return provider_pb2.CreateResponse(properties=encode(self._foretold_creation(subject)))
        with refusals.translated(subject):
            resource, live = applying.make(self._cluster, subject)
        live = self._await(subject, resource, live, request.timeout)
        return provider_pb2.CreateResponse(id=_id(live), properties=encode(_outputs(subject, live)))

    def update(self, request: provider_pb2.UpdateRequest) -> provider_pb2.UpdateResponse:
        """Apply the inputs to the object in the state, and wait until it is ready."""
        state = decode(request.olds)
        subject = Subject.of(request, decode(request.news), state)
        if request.preview and has_unknown(subject.inputs):
            return provider_pb2.UpdateResponse(properties=request.news)
        with refusals.translated(subject):
            resource, live = applying.change(
                self._cluster,
                subject,
                checkpoint.live(state),
                ignored=request.ignoreChanges,
                dry_run=request.preview,
            )
        if not request.preview:
            live = self._await(subject, resource, live, request.timeout)
        return provider_pb2.UpdateResponse(properties=encode(_outputs(subject, live)))

    def read(self, request: provider_pb2.ReadRequest) -> provider_pb2.ReadResponse:
        """Return the live object, and the inputs with what has drifted. Without a state it is an import."""
        kind = kind_of(resource_type(request))
        state = decode(request.properties)
        before = decode(request.inputs) or checkpoint.saved_inputs(state)
        live = self._find(request.urn, kind, request.id)
        if live is None:
            return provider_pb2.ReadResponse()
        if before:
            drifted = forms.drifted(plain(before), checkpoint.live(state), forms.underscored(live))
            inputs = keep_secret(drifted, before)
        else:
            inputs = forms.from_live(kind, forms.underscored(live))
        subject = Subject.of(request, inputs, state)
        outputs = _outputs(subject, live)
        if not before:
            outputs[checkpoint.IMPORTED] = True
        missing = self._missing(subject, live) if before else None
        if missing:
            text = subject.redactor().clean(f"{kind} '{request.id}': {missing}")
            raise PartialFailureError(text, resource_id=request.id, outputs=outputs, inputs=subject.inputs)
        return provider_pb2.ReadResponse(id=request.id, properties=encode(outputs), inputs=encode(subject.inputs))

    def delete(self, request: provider_pb2.DeleteRequest) -> empty_pb2.Empty:
        """Delete the object in the state, with all that belongs to it, and wait until it is gone."""
        state = decode(request.properties)
        subject = Subject.of(request, checkpoint.saved_inputs(state), state)
        try:
            resource = self._cluster.discovery.find(subject.kind)
            if resource is not None:
                with refusals.translated(subject):
                    self._delete(request, subject, resource, checkpoint.live(state))
        except UnreachableError:
            if not self._cluster.is_on("deleteUnreachable"):
                raise
            self._cluster.engine.warn(request.urn, "the cluster does not answer; it is taken out of the state alone")
        return empty_pb2.Empty()

    def _comparable(self, kind: Kind, inputs: Mapping[str, Any]) -> dict[str, Any]:
        result = plain(forms.normalized(kind, inputs))
        metadata = result.get("metadata")
        if isinstance(metadata, dict):
            # An object without a namespace is in "default"; one that cannot have a namespace has none.
            metadata["namespace"] = (metadata.get("namespace") or "default") if self._cluster.namespaced(kind) else ""
        return dict(result)

    def _in_effect(
        self, request: provider_pb2.DiffRequest, state: Mapping[str, Any], changes: list[Change]
    ) -> list[Change]:
        """Return what would change of an imported object: only the API server can tell a default from an input."""
        live = checkpoint.live(state)
        subject = Subject.of(request, decode(request.news), state)
        if (subject.namespace, subject.name) != (live["metadata"].get("namespace", ""), live["metadata"]["name"]):
            return changes
        try:
            return applying.would_change(self._cluster, subject, live, ignored=request.ignoreChanges)
        except (ApiError, UnreachableError):
            # It refuses the change, or somebody else has set the field: then there is one.
            return changes

    def _foretold_creation(self, subject: Subject) -> dict[str, Any]:
        """Return the outputs by a dry run, or the inputs where only the real run can tell."""
        if has_unknown(subject.inputs):
            return subject.inputs
        try:
            live = applying.try_making(self._cluster, subject)
        except UnreachableError as error:
            self._cluster.engine.warn(subject.urn, f"not tried out in this preview: {error}")
            return subject.inputs
        except ApiError as error:
            if refusals.is_taken(error):
                self._warn_of_existing(subject)
                return subject.inputs
            with refusals.translated(subject):
                raise
        return subject.inputs if live is None else _outputs(subject, checkpoint.foretold(live, subject.document))

    def _warn_of_existing(self, subject: Subject) -> None:
        with self._lock:
            replaced = subject.urn in self._replaced
        # The predecessor of a replacement is deleted before its successor is made.
        if not replaced:
            self._cluster.engine.warn(
                subject.urn, f"the run will fail here: {subject.what}: {refusals.exists(subject)}"
            )

    def _await(self, subject: Subject, resource: Resource, live: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Return the object once it is ready. From here on every failure leaves it in the state."""
        readiness = readiness_of(subject.kind)
        if readiness is None or subject.is_on(forms.SKIP_AWAIT):
            return live
        annotated = forms.annotation(subject.document, forms.TIMEOUT) or ""
        chosen_s = timeout_s or (float(annotated) if annotated.isdigit() else readiness.timeout_s)
        try:
            return until_ready(
                self._cluster.client,
                resource,
                live,
                readiness,
                timeout_s=chosen_s,
                report=lambda text: self._cluster.engine.status(subject.urn, text),
            )
        except PluginError as error:
            seen = error.live if isinstance(error, NotReadyError) else live
            reason = subject.redactor().clean(str(error))
            raise PartialFailureError(
                f"{subject.what} is there, but {reason}",
                resource_id=_id(seen),
                outputs=_outputs(subject, seen),
                reasons=[reason],
            ) from error

    def _missing(self, subject: Subject, live: Mapping[str, Any]) -> str | None:
        readiness = readiness_of(subject.kind)
        if readiness is None or not readiness.on_refresh or subject.is_on(forms.SKIP_AWAIT):
            return None
        try:
            return readiness.condition(self._cluster.client)(live)
        except NeverReadyError as error:
            return str(error)

    def _find(self, urn: str, kind: Kind, resource_id: str) -> dict[str, Any] | None:
        namespace, _, name = resource_id.rpartition("/")
        try:
            resource = self._cluster.discovery.find(kind)
            if resource is None:
                return None
            return self._cluster.client.get(resource.path(namespace or self._cluster.namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise PluginError(f"{kind} '{resource_id}': cannot be read: {error}") from error
        except UnreachableError:
            if not self._cluster.is_on("deleteUnreachable"):
                raise
            self._cluster.engine.warn(urn, "the cluster does not answer; it is taken for gone")
            return None

    def _delete(
        self, request: provider_pb2.DeleteRequest, subject: Subject, resource: Resource, state: Mapping[str, Any]
    ) -> None:
        namespace, _, name = request.id.rpartition("/")
        policy = (forms.annotation(subject.document, forms.PROPAGATION) or "").lower()
        options: dict[str, Any] = {"propagationPolicy": _PROPAGATION.get(policy, "Foreground")}
        uid = forms.metadata(state).get("uid")
        if uid:
            options["preconditions"] = {"uid": uid}
        live = self._ask_for_deletion(resource.path(namespace or self._cluster.namespace, name), options)
        if live is None or (subject.is_on(forms.SKIP_AWAIT) and subject.kind.name in _UNAWAITED_DELETION):
            return
        until_gone(
            self._cluster.client,
            resource,
            live,
            timeout_s=request.timeout or DEFAULT_TIMEOUT_S,
            report=lambda text: self._cluster.engine.status(request.urn, text),
        )

    def _ask_for_deletion(self, path: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the object that is on its way out, or None where it is gone already."""
        try:
            answer = self._cluster.client.delete(path, options)
        except ApiError as error:
            if error.status == 404:
                return None
            if error.status != 409:
                raise
            # A namespace that is being deleted refuses to be deleted again.
            live = self._cluster.client.get(path)
            if not live["metadata"].get("deletionTimestamp"):
                raise
            return live
        return None if answer.get("kind") == "Status" else answer


def _outputs(subject: Subject, live: Mapping[str, Any]) -> dict[str, Any]:
    return checkpoint.outputs(subject.kind, live, subject.inputs, manager=subject.manager)


def _named(
    request: provider_pb2.CheckRequest, inputs: Mapping[str, Any], olds: Mapping[str, Any]
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    options = request.autonaming if request.HasField("autonaming") else None
    if forms.annotation(olds, forms.AUTONAMED) == "true":
        return forms.autonamed(inputs, str(forms.metadata(olds)["name"])), []
    if options is not None and options.mode == provider_pb2.CheckRequest.AutonamingOptions.DISABLE:
        return dict(inputs), [("metadata.name", "missing, and automatic naming is switched off; set it")]
    proposed = options.proposed_name if options is not None else ""
    resource_name = request.name or request.urn.rpartition("::")[2]
    return forms.autonamed(inputs, proposed or forms.fresh_name(resource_name, request.randomSeed)), []


def _keeps_its_name(new: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Say whether the successor would meet its predecessor, which therefore has to go first."""
    mine, theirs = forms.metadata(new), forms.metadata(live)
    return (
        forms.annotation(new, forms.AUTONAMED) != "true"
        and mine.get("name") == theirs.get("name")
        and (mine.get("namespace") or "") == (theirs.get("namespace") or "")
    )


def _id(live: Mapping[str, Any]) -> str:
    metadata = live["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else str(metadata["name"])
