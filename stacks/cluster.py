"""The live cluster, asked directly: which one it is, and what of a store is really there.

Reads only. The engine makes objects; this module must never change one. What the gate itself does in a cluster (a Job,
the number of web pods during a restore) stands in `audit`, and goes through `ask` for one and the same kind of error.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar

from stacks import evidence as evidences
from stacks import helm_history, terminating
from stacks.errors import ClusterUnreachableError
from stacks.evidence import Evidence
from stacks.helm_history import Revision, RevisionContent

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 20
# Of a list of Secrets only the metadata: neither Helm's manifests nor anybody's secret leaves the API server.
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

T = TypeVar("T")


@dataclass(frozen=True)
class NamespaceState:
    """A namespace as it is."""

    terminating: bool


class Cluster:
    """One cluster of a kubeconfig. Every method raises ClusterUnreachableError when it cannot be asked."""

    def __init__(
        self, *, kubeconfig: str | None = None, context: str | None = None, retries: int | None = None
    ) -> None:
        """Prepare to ask the cluster; `kubeconfig` None takes KUBECONFIG or the user's own file.

        `retries` is how often the client asks again by itself, each time as long as before; None is its own figure, 3.
        """
        self._kubeconfig = kubeconfig
        self._context = context
        self._retries = retries

    def asked_once(self) -> Cluster:
        """Return the same cluster for questions whose answer nobody waits long for: none is asked again."""
        return Cluster(kubeconfig=self._kubeconfig, context=self._context, retries=0)

    @cached_property
    def address(self) -> str:
        """The API server's address, for messages."""
        return str(self._core.api_client.configuration.host)

    @cached_property
    def uid(self) -> str:
        """The identity of the cluster: the uid of its kube-system namespace."""
        namespace = self._ask(lambda: self._core.read_namespace("kube-system", _request_timeout=self._timeouts))
        return str(namespace.metadata.uid)

    @cached_property
    def version(self) -> str:
        """The API server's version, such as `v1.34.3`."""
        from kubernetes import client  # noqa: PLC0415 - see _core

        api = client.VersionApi(self._core.api_client)
        return str(self._ask(lambda: api.get_code(_request_timeout=self._timeouts)).git_version)

    def namespace(self, name: str) -> NamespaceState | None:
        """Return the namespace's state, or None when it is gone."""
        found = self._ask(lambda: self._core.read_namespace(name, _request_timeout=self._timeouts))
        if found is None:
            return None
        return NamespaceState(terminating=found.metadata.deletion_timestamp is not None)

    def holders(self, name: str) -> tuple[str, ...]:
        """Return what keeps a terminating namespace, each in a sentence; empty when nothing does, or it is gone."""
        found = self._ask(lambda: self._core.read_namespace(name, _request_timeout=self._timeouts))
        return () if found is None else terminating.holders(self._core.api_client, found)

    def namespaces(self, selector: str) -> Mapping[str, Mapping[str, str]]:
        """Return the labels of every namespace that matches a label selector, by name."""
        found = self._ask(lambda: self._core.list_namespace(label_selector=selector, _request_timeout=self._timeouts))
        return {item.metadata.name: item.metadata.labels or {} for item in found.items}

    def secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return a Secret's text values, or None when there is none."""
        found = self._ask(lambda: self._core.read_namespaced_secret(name, namespace, _request_timeout=self._timeouts))
        if found is None:
            return None
        return {key: base64.b64decode(value).decode() for key, value in (found.data or {}).items()}

    def revisions(self, namespace: str, release: str) -> tuple[Revision, ...]:
        """Return the revisions that Helm has on record of a release, the oldest first; empty where there is none."""
        selector = f"owner=helm,name={release}"
        answer = self._ask(
            lambda: self._core.list_namespaced_secret(
                namespace,
                label_selector=selector,
                _headers={"Accept": _METADATA_ONLY},
                _preload_content=False,
                _request_timeout=self._timeouts,
            )
        )
        items = (json.loads(answer.data)["items"] or []) if answer is not None else []
        return helm_history.revisions((item["metadata"].get("labels") or {}) for item in items)

    def revision(self, namespace: str, release: str, number: int) -> RevisionContent | None:
        """Return one revision of a release in full, or None where Helm has forgotten it."""
        secret = self.secret(namespace, helm_history.secret_name(release, number))
        return None if secret is None else helm_history.content(secret["release"])

    def execute(self, namespace: str, selector: str, container: str, command: Sequence[str]) -> str | None:
        """Return what a command prints in the newest ready pod of a selector; None where there is none, or it failed.

        Only for commands that look: this module changes nothing. It needs the right to `create pods/exec`.
        """
        pods = self._ask(
            lambda: self._core.list_namespaced_pod(namespace, label_selector=selector, _request_timeout=self._timeouts)
        )
        ready = [pod for pod in (pods.items if pods is not None else ()) if _is_ready(pod)]
        if not ready:
            return None
        newest = max(ready, key=lambda pod: pod.metadata.creation_timestamp)
        said: str | None = self._ask(lambda: self._executed(namespace, newest.metadata.name, container, command))
        return said

    def storage_classes(self) -> frozenset[str]:
        """Return the names of the cluster's storage classes."""
        from kubernetes import client  # noqa: PLC0415 - see _core

        api = client.StorageV1Api(self._core.api_client)
        found = self._ask(lambda: api.list_storage_class(_request_timeout=self._timeouts))
        return frozenset(item.metadata.name for item in found.items)

    def ingress_classes(self) -> frozenset[str]:
        """Return the names of the cluster's ingress classes."""
        from kubernetes import client  # noqa: PLC0415 - see _core

        api = client.NetworkingV1Api(self._core.api_client)
        found = self._ask(lambda: api.list_ingress_class(_request_timeout=self._timeouts))
        return frozenset(item.metadata.name for item in found.items)

    def volumes_of(self, namespace: str) -> tuple[str, ...]:
        """Return the volumes of a namespace that are to go with their claims and are still there.

        Volumes that are retained by their class are not among them. Empty where volumes may not be listed.
        """
        found = self._ask(lambda: self._core.list_persistent_volume(_request_timeout=self._timeouts), or_none=403)
        return tuple(
            volume.metadata.name
            for volume in (found.items if found is not None else ())
            if volume.spec.persistent_volume_reclaim_policy == "Delete"
            and volume.spec.claim_ref is not None
            and volume.spec.claim_ref.namespace == namespace
        )

    def evidence(self, namespace: str, host: str | None = None, *, logs: bool = True) -> Evidence:
        """Return what there is to know of a store that does not work; never raises, see `stacks.evidence`."""
        try:
            return evidences.gather(self._core.api_client, namespace, host, logs=logs)
        except ClusterUnreachableError as error:
            return Evidence(unreadable=(str(error),))

    def disk_lines(self, namespace: str) -> tuple[str, ...]:
        """Return what a store's containers have said of full volumes just now; never raises."""
        try:
            return evidences.disk_lines(self._core.api_client, namespace)
        except ClusterUnreachableError:
            return ()

    @property
    def core(self) -> Any:
        """The client's CoreV1Api, for what `audit.jobs` and its like do in the cluster; call it through `ask`."""
        return self._core

    @cached_property
    def batch(self) -> Any:
        """The client's BatchV1Api; call it through `ask`."""
        from kubernetes import client  # noqa: PLC0415 - see _core

        return client.BatchV1Api(self._core.api_client)

    @cached_property
    def apps(self) -> Any:
        """The client's AppsV1Api; call it through `ask`."""
        from kubernetes import client  # noqa: PLC0415 - see _core

        return client.AppsV1Api(self._core.api_client)

    def ask(self, question: Callable[[], T], about: str) -> T | None:
        """Return the answer of one call of the client, or None for what does not exist.

        Raises ClusterUnreachableError, with what the cluster said `about` it, when it refuses or does not answer.
        """
        answer: T | None = self._ask(question, about)
        return answer

    @property
    def _timeouts(self) -> tuple[int, int]:
        return (_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S)

    @cached_property
    def _core(self) -> Any:
        return self._new_core()

    def _new_core(self) -> Any:
        # The client takes most of a second to load; commands that never ask a cluster should not wait for it.
        from kubernetes import client, config  # noqa: PLC0415
        from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415

        settings = client.Configuration()
        # Before the client is made: afterwards it has no effect.
        settings.retries = self._retries
        try:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=self._kubeconfig, context=self._context, client_configuration=settings
            )
        except (ConfigException, OSError) as error:
            raise ClusterUnreachableError(
                "cluster",
                f"no usable kubeconfig: {' '.join(str(error).split())}",
                "run `make up` for the sandbox, or point KUBECONFIG at your cluster",
            ) from None
        return client.CoreV1Api(client.ApiClient(settings))

    def _executed(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> str | None:
        from kubernetes.stream import stream  # noqa: PLC0415 - see _core

        # A client of its own: while it streams, the client's other calls would go the same way.
        socket = stream(
            self._new_core().connect_get_namespaced_pod_exec,
            pod,
            namespace,
            container=container,
            command=list(command),
            stdin=False,
            stdout=True,
            stderr=True,
            tty=False,
            _preload_content=False,
            _request_timeout=_READ_TIMEOUT_S,
        )
        try:
            socket.run_forever(timeout=_READ_TIMEOUT_S)
            said = str(socket.read_stdout(timeout=1))
            return said if not socket.is_open() and socket.returncode == 0 else None
        finally:
            socket.close()

    def _ask(self, question: Any, about: str | None = None, *, or_none: int = 404) -> Any:
        """Return the answer, or None for what does not exist; and where the cluster answers with code `or_none`."""
        core = self._core
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        try:
            return question()
        except ApiException as error:
            if error.status in (404, or_none):
                return None
            if isinstance(error.__context__, KeyboardInterrupt):
                # While it connects to a pod the client takes a Ctrl-C for a fault of the cluster.
                raise error.__context__ from None
            raise ClusterUnreachableError(
                f"cluster {core.api_client.configuration.host}",
                _refusal(error, about),
                "check the kubeconfig's user and rights, then run `stores doctor`",
            ) from None
        except (HTTPError, OSError) as error:
            raise ClusterUnreachableError(
                f"cluster {core.api_client.configuration.host}",
                f"it does not answer: {_cause(error)}",
                "start it (`make up` starts the sandbox) or point KUBECONFIG at another, then run `stores doctor`",
            ) from None


def _refusal(error: Any, about: str | None) -> str:
    if about is None:
        return f"it refused a question: {error.status} {error.reason}"
    try:
        said = str(json.loads(error.body)["message"])
    except (KeyError, TypeError, ValueError):
        said = str(error.reason)
    return f"it refused {about}: {error.status} {' '.join(said.split())}"


def _is_ready(pod: Any) -> bool:
    """Return whether a pod takes requests and is not on its way out."""
    conditions = (pod.status.conditions or ()) if pod.status is not None else ()
    ready = any(condition.type == "Ready" and condition.status == "True" for condition in conditions)
    return ready and pod.metadata.deletion_timestamp is None


def _cause(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    text = str(reason if isinstance(reason, BaseException) else error)
    return " ".join(text.split(": ", 1)[-1].split())
