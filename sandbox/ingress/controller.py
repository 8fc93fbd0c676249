"""Keeps the router serving what the cluster's Ingress objects ask for, and writes their status. Runs in the pod."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass

from sandbox.ingress import caddy_api
from sandbox.ingress.addresses import IN_POD
from sandbox.ingress.kubernetes_api import Api, ApiError, Mirror
from sandbox.ingress.router import marker_of, router
from sandbox.ingress.routes import Object, has_class, plan

log = logging.getLogger("ingress")

_INGRESSES = "/apis/networking.k8s.io/v1/ingresses"
_SERVICES = "/api/v1/services"
_SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
# Changes come in bursts: a new store is an Ingress, a Service and several EndpointSlices.
_BURST_S = 0.05
# Each new configuration makes the front open its connections to the router anew.
_BETWEEN_LOADS_S = 0.5
# How long a router that was started anew, and has forgotten everything, may stay that way.
_CHECK_S = 2.0


@dataclass(frozen=True)
class Settings:
    """What the controller is told by its environment."""

    class_name: str
    address: str

    @classmethod
    def of_environment(cls) -> Settings:
        """Return the settings; a missing one is a KeyError, which ends the process with its name."""
        return cls(class_name=os.environ["INGRESS_CLASS"], address=os.environ["INGRESS_ADDRESS"])


class Controller:
    """Compares what should be served with what is, and repairs the difference."""

    def __init__(self, settings: Settings, api: Api) -> None:
        self._settings = settings
        self._api = api
        self._changed = threading.Event()
        self._loaded_at_s = -_BETWEEN_LOADS_S
        self._ingresses = Mirror(api, _INGRESSES, self._changed)
        self._services = Mirror(api, _SERVICES, self._changed)
        self._slices = Mirror(api, _SLICES, self._changed)

    def run(self) -> None:
        """Serve until the process is told to stop."""
        for mirror in (self._ingresses, self._services, self._slices):
            mirror.start()
        while True:
            if self._changed.wait(_CHECK_S):
                time.sleep(max(_BURST_S, self._loaded_at_s + _BETWEEN_LOADS_S - time.monotonic()))
                self._changed.clear()
            try:
                self._repair()
            except (caddy_api.CaddyError, ApiError) as error:
                log.warning("%s", error)

    def _repair(self) -> None:
        ingresses, services, slices = self._ingresses.objects(), self._services.objects(), self._slices.objects()
        if ingresses is None or services is None or slices is None:
            return
        wanted = plan(ingresses, services, slices, self._settings.class_name)
        config = router(wanted, IN_POD)
        if caddy_api.served(IN_POD) != marker_of(config):
            caddy_api.load(config, IN_POD)
            self._loaded_at_s = time.monotonic()
            log.info("serving %d routes, %d hosts with TLS", len(wanted.routes), len(wanted.tls_hosts))
        # Only now: the status says that the address answers for this Ingress.
        for ingress in ingresses:
            if has_class(ingress, self._settings.class_name):
                self._write_status(ingress)

    def _write_status(self, ingress: Object) -> None:
        wanted = [{"ip": self._settings.address}]
        current = ((ingress.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        if [{"ip": entry.get("ip")} for entry in current] == wanted:
            return
        namespace, name = ingress["metadata"]["namespace"], ingress["metadata"]["name"]
        path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses/{name}/status"
        try:
            self._api.merge(path, {"status": {"loadBalancer": {"ingress": wanted}}})
        except ApiError as error:
            # It may have been deleted a moment ago. If not, the next round tries again.
            log.warning("%s", error)


def main() -> None:
    """Run the controller as the container's program."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # As a container's first process it would otherwise not notice the signal.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    Controller(Settings.of_environment(), Api()).run()


if __name__ == "__main__":
    main()
