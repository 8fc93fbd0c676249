"""Why a release is not ready: what its pods, its events and the ends of its logs say."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sandbox.plugins.failures import PluginError
from sandbox.plugins.kubernetes.client import Client
from sandbox.plugins.kubernetes.redaction import Redactor

_MOST_PODS: Final = 5
_MOST_EVENTS: Final = 8
_LOG_LINES: Final = 10
_HELM_STORAGE: Final = "helm.sh/release.v1"


def explain(client: Client, namespace: str, release: str) -> list[str]:
    """Return lines that say what is not ready, and why. Empty where the namespace tells nothing.

    No value of a Secret of the namespace is in them. Never raises: it is asked when something has failed already.
    """
    try:
        lines = [*_pods(client, namespace, release), *_events(client, namespace)]
        return _redactor(client, namespace).clean("\n".join(lines)).splitlines()
    except PluginError as error:
        return [f"(why is not known: {error})"]


def _redactor(client: Client, namespace: str) -> Redactor:
    secrets = client.get(f"/api/v1/namespaces/{namespace}/secrets").get("items") or ()
    values = [
        value
        for secret in secrets
        if secret.get("type") != _HELM_STORAGE
        for value in (secret.get("data") or {}).values()
    ]
    return Redactor(text for value in values for text in _texts(value))


def _texts(value: str) -> Iterator[str]:
    yield value
    try:
        yield base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return


def _pods(client: Client, namespace: str, release: str) -> Iterator[str]:
    pods = client.get(f"/api/v1/namespaces/{namespace}/pods").get("items") or ()
    ours = [pod for pod in pods if _labels(pod).get("app.kubernetes.io/instance") == release] or pods
    waiting = [pod for pod in ours if not _is_ready(pod)]
    for pod in waiting[:_MOST_PODS]:
        yield from _pod(client, namespace, pod)
    if len(waiting) > _MOST_PODS:
        yield f"and {len(waiting) - _MOST_PODS} more pods"


def _labels(pod: Mapping[str, Any]) -> Mapping[str, str]:
    return pod["metadata"].get("labels") or {}


def _is_ready(pod: Mapping[str, Any]) -> bool:
    status = pod.get("status") or {}
    if status.get("phase") == "Succeeded":
        return True
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in status.get("conditions") or ()
    )


def _pod(client: Client, namespace: str, pod: Mapping[str, Any]) -> Iterator[str]:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    yield f"pod {name} is {status.get('phase', 'without a phase')}"
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") != "True":
            yield f"  not scheduled: {condition.get('message') or condition.get('reason')}"
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if container.get("ready"):
            continue
        state = _container_state(container)
        if state:
            yield f"  container {container['name']}: {state}"
        yield from _log(client, namespace, name, container)


def _container_state(container: Mapping[str, Any]) -> str:
    """Return what the container does, or "" for one that has done its work, or still waits for others."""
    state = container.get("state") or {}
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    texts: list[str] = []
    if state.get("waiting") and state["waiting"].get("reason") != "PodInitializing":
        waiting = state["waiting"]
        texts.append(": ".join(filter(None, (waiting.get("reason"), waiting.get("message")))))
    if state.get("running"):
        texts.append("running, but not ready")
    if ended and ended.get("exitCode"):
        texts.append(f"ended with code {ended['exitCode']} ({ended.get('reason', 'no reason given')})")
    if container.get("restartCount"):
        texts.append(f"{container['restartCount']} restarts")
    return ", ".join(texts)


def _log(client: Client, namespace: str, pod: str, container: Mapping[str, Any]) -> Iterator[str]:
    state = container.get("state") or {}
    restarted = bool(container.get("restartCount")) and not state.get("terminated")
    has_run = restarted or state.get("running") or (state.get("terminated") or {}).get("exitCode")
    if not has_run:
        return
    query = {"container": container["name"], "tailLines": str(_LOG_LINES)}
    if restarted and not state.get("running"):
        query["previous"] = "true"
    try:
        text = client.text(f"/api/v1/namespaces/{namespace}/pods/{pod}/log", query)
    except PluginError:
        return  # the kubelet may have cleaned the container up
    for line in text.splitlines():
        yield f"    | {line}"


def _events(client: Client, namespace: str) -> Iterator[str]:
    query = {"fieldSelector": "type=Warning"}
    events = client.get(f"/api/v1/namespaces/{namespace}/events", query).get("items") or ()
    seen: dict[tuple[str, str], str] = {}
    for event in sorted(events, key=_time):
        about = event.get("involvedObject") or {}
        text = f"{about.get('kind')} {about.get('name')}: {event.get('reason')}: {event.get('message', '').strip()}"
        seen.pop((str(about.get("uid")), str(event.get("reason"))), None)
        seen[str(about.get("uid")), str(event.get("reason"))] = text
    for text in list(seen.values())[-_MOST_EVENTS:]:
        yield f"event of {text}"


def _time(event: Mapping[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp"))
