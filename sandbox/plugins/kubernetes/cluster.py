"""One configured provider: the cluster that it works on, and how the program wants it to work."""

from __future__ import annotations

import threading

from sandbox.plugins.engine import Engine
from sandbox.plugins.kubernetes.client import Client
from sandbox.plugins.kubernetes.helm.program import Helm
from sandbox.plugins.kubernetes.kinds import Discovery, Kind
from sandbox.plugins.kubernetes.kubeconfig import Access
from sandbox.plugins.kubernetes.settings import Settings


class Cluster:
    """Connects when it is first needed, so that a missing cluster fails what needs it and nothing else."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.engine = engine
        self._lock = threading.RLock()
        self._access: Access | None = None
        self._client: Client | None = None
        self._discovery: Discovery | None = None
        self._helm: Helm | None = None

    @property
    def access(self) -> Access:
        """Return which cluster it is. Raises PluginError where the kubeconfig does not say."""
        with self._lock:
            if self._access is None:
                self._access = self.settings.access()
            return self._access

    @property
    def client(self) -> Client:
        """Return the connection to the API server."""
        with self._lock:
            if self._client is None:
                limits = self.settings.client
                self._client = Client(self.access, throttle=self.settings.throttle(), timeout_s=limits.get("timeout"))
            return self._client

    @property
    def discovery(self) -> Discovery:
        """Return the API server's kinds."""
        with self._lock:
            if self._discovery is None:
                self._discovery = Discovery(self.client)
            return self._discovery

    @property
    def helm(self) -> Helm:
        """Return the `helm` program, set up for this cluster."""
        with self._lock:
            if self._helm is None:
                self._helm = Helm(self.access, self.settings)
            return self._helm

    @property
    def namespace(self) -> str:
        """Return the namespace of objects that name none."""
        return self.access.namespace

    def namespaced(self, kind: Kind) -> bool:
        """Say whether objects of the kind live in namespaces."""
        return self.discovery.namespaced(kind)

    def is_on(self, switch: str) -> bool:
        """Say whether the program has set one of the provider's switches."""
        return switch in self.settings.switches

    def cancel(self) -> None:
        """End everything that waits."""
        with self._lock:
            waiting = [part for part in (self._client, self._helm) if part is not None]
        for part in waiting:
            part.cancel()

    def close(self) -> None:
        """End everything, and leave nothing behind on this machine."""
        self.cancel()
        with self._lock:
            used = [part for part in (self._client, self._helm) if part is not None]
        for part in used:
            part.close()
