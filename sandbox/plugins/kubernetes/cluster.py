"""One configured provider: the cluster that it works on, and how the program wants it to work."""

from __future__ import annotations

import threading
from functools import cached_property

from sandbox.plugins.engine import Engine
from sandbox.plugins.kubernetes.client import Client
from sandbox.plugins.kubernetes.kinds import Discovery, Kind
from sandbox.plugins.kubernetes.kubeconfig import Access
from sandbox.plugins.kubernetes.settings import Settings


class Cluster:
    """Connects when it is first needed, so that a missing cluster fails what needs it and nothing else."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.engine = engine
        self._lock = threading.Lock()

    @cached_property
    def access(self) -> Access:
        """Return which cluster it is. Raises PluginError where the kubeconfig does not say."""
        return self.settings.access()

    @cached_property
    def client(self) -> Client:
        """Return the connection to the API server."""
        return Client(self.access, throttle=self.settings.throttle(), timeout_s=self.settings.client.get("timeout"))

    @cached_property
    def discovery(self) -> Discovery:
        """Return the API server's kinds."""
        return Discovery(self.client)

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
        if "client" in self.__dict__:
            self.client.cancel()
