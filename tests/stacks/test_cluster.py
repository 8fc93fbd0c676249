"""Asking a cluster: what the client makes of a Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stacks.cluster import Cluster

POD = {
    "metadata": {"name": "web-0", "creationTimestamp": "2026-11-01T00:00:00Z"},
    "spec": {"containers": [{"name": "web"}]},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}


class _ApiServer(BaseHTTPRequestHandler):
    """Lists one pod; who wants to run something in it gets a Ctrl-C instead of an answer."""

    def do_GET(self) -> None:
        if "/exec" in self.path:
            os.kill(os.getpid(), signal.SIGINT)
            self.rfile.read()  # until the client gives up
            return
        body = json.dumps({"kind": "PodList", "apiVersion": "v1", "items": [POD]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _ApiServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(
            json.dumps(
                {
                    "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                    "users": [{"name": "u", "user": {}}],
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "x",
                }
            )
        )
        yield Cluster(kubeconfig=str(kubeconfig), context="x")
        server.shutdown()


def test_a_ctrl_c_while_it_connects_to_a_pod_is_a_ctrl_c_and_no_fault_of_the_cluster(cluster: Cluster) -> None:
    with pytest.raises(KeyboardInterrupt):
        cluster.execute("store-a", "app=web", "web", ["true"])
