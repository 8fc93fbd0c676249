"""`pulumi-resource-kubernetes`: hands objects to one half, releases to the other."""

from __future__ import annotations

from typing import Any

from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2

from sandbox.plugins.engine import Engine
from sandbox.plugins.failures import PluginError
from sandbox.plugins.kubernetes.cluster import Cluster
from sandbox.plugins.kubernetes.helm.releases import Releases
from sandbox.plugins.kubernetes.kinds import RELEASE_TOKEN
from sandbox.plugins.kubernetes.objects import Objects
from sandbox.plugins.kubernetes.settings import problems, replacing_settings, settings
from sandbox.plugins.provider import Provider, failures, resource_type
from sandbox.plugins.wire import decode, plain


class KubernetesProvider(Provider):
    """Works on one cluster, which `configure` selects."""

    distribution = "pulumi-kubernetes"

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._cluster: Cluster | None = None
        self._halves: tuple[Objects, Releases] | None = None

    def check_config(self, request: provider_pb2.CheckRequest) -> provider_pb2.CheckResponse:
        """Return the settings as they are, or what is wrong with them."""
        found = problems(plain(decode(request.news)))
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures(found))

    def diff_config(self, request: provider_pb2.DiffRequest) -> provider_pb2.DiffResponse:
        """Say whether it is another cluster."""
        old = plain(decode(request.old_inputs) or decode(request.olds))
        changed, replacing = replacing_settings(old, plain(decode(request.news)))
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=changed,
            replaces=replacing,
        )

    def configure(self, request: provider_pb2.ConfigureRequest) -> provider_pb2.ConfigureResponse:
        """Take the settings. The cluster is asked nothing yet."""
        self._cluster = Cluster(settings(request.variables), self.engine)
        self._halves = Objects(self._cluster), Releases(self._cluster)
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    def check(self, request: provider_pb2.CheckRequest) -> provider_pb2.CheckResponse:
        """Check an object or a release."""
        return self._half(request).check(request)

    def diff(self, request: provider_pb2.DiffRequest) -> provider_pb2.DiffResponse:
        """Compare an object or a release."""
        return self._half(request).diff(request)

    def create(self, request: provider_pb2.CreateRequest) -> provider_pb2.CreateResponse:
        """Make an object or a release."""
        return self._half(request).create(request)

    def read(self, request: provider_pb2.ReadRequest) -> provider_pb2.ReadResponse:
        """Read an object or a release."""
        return self._half(request).read(request)

    def update(self, request: provider_pb2.UpdateRequest) -> provider_pb2.UpdateResponse:
        """Change an object or a release."""
        return self._half(request).update(request)

    def delete(self, request: provider_pb2.DeleteRequest) -> empty_pb2.Empty:
        """Delete an object or a release."""
        return self._half(request).delete(request)

    def interrupt(self) -> None:
        """End everything that waits."""
        if self._cluster is not None:
            self._cluster.cancel()

    def close(self) -> None:
        """End everything, and leave nothing behind."""
        if self._cluster is not None:
            self._cluster.close()

    def _half(self, request: Any) -> Objects | Releases:
        if self._halves is None:
            raise PluginError("the provider was not configured: one of its settings is not known before the run")
        return self._halves[resource_type(request) == RELEASE_TOKEN]
