"""What Caddy makes of a plan: the real program, on this machine's own address, in front of small web servers."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sandbox import cache, certificates, packages
from sandbox.ingress import caddy_api, program
from sandbox.ingress.addresses import IN_POD, READY_PATH, Addresses
from sandbox.ingress.front import front
from sandbox.ingress.router import initial, marker_of, router
from sandbox.ingress.routes import Plan, Route
from sandbox.progress import silent

LOCALHOST = "127.0.0.1"


class Pod:
    """A web server that tells what it was asked."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = json.dumps({"path": self.path, "headers": dict(self.headers)}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((LOCALHOST, 0), Handler)
        self.address = f"{LOCALHOST}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def pod() -> Iterator[Pod]:
    """Return a running pod."""
    started = Pod()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def caddy() -> Path:
    """Return the program."""
    return program.fetch(cache.root())


class Ingress:
    """A front and a router that can be given plans."""

    def __init__(self, addresses: Addresses, http_port: int, https_port: int) -> None:
        self.addresses = addresses
        self.port = http_port
        self.https_port = https_port

    def serve(self, *routes: Route, tls_hosts: tuple[str, ...] = ()) -> None:
        """Make the router serve the plan."""
        config = router(Plan(routes, tls_hosts), self.addresses)
        caddy_api.load(config, self.addresses)
        assert caddy_api.served(self.addresses) == marker_of(config)

    def get(self, host: str, path: str = "/", **headers: str) -> tuple[int, str]:
        """Return status and body."""
        connection = http.client.HTTPConnection(LOCALHOST, self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Host": host, **headers})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def seen(self, host: str, path: str = "/", **headers: str) -> Any:
        """Return what the pod behind it was asked."""
        status, body = self.get(host, path, **headers)
        assert status == 200, body
        return json.loads(body)


@pytest.fixture
def ingress(caddy: Path, tmp_path: Path) -> Iterator[Ingress]:
    """Return a running front and router, configured as in their image."""
    with _ingress(caddy, tmp_path) as running:
        yield running


@contextmanager
def _ingress(caddy: Path, tmp_path: Path, authority: str | None = None) -> Iterator[Ingress]:
    ports = _free_ports(5)
    addresses = Addresses(
        *(f"{LOCALHOST}:{port}" for port in ports[:3]),
        router_http=f"{tmp_path}/http.sock",
        router_https=f"{tmp_path}/https.sock",
        router_control=f"{LOCALHOST}:{ports[3]}",
        router_admin=f"{LOCALHOST}:{ports[4]}",
    )
    with ExitStack() as stack:
        for name, config in (("front", front(addresses, authority)), ("router", initial(addresses))):
            file = tmp_path / f"{name}.json"
            file.write_text(json.dumps(config))
            stack.enter_context(_running(caddy, file))
        _until(lambda: _listens(ports[0]) and _listens(ports[4]))
        yield Ingress(addresses, ports[0], ports[1])


@contextmanager
def _running(caddy: Path, config: Path) -> Iterator[None]:
    folder = str(config.parent)
    with subprocess.Popen(
        [caddy, "run", "--config", config], env={"XDG_DATA_HOME": folder, "HOME": folder},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield
        finally:
            process.kill()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((LOCALHOST, 0)) for _ in range(count)]
    ports: list[int] = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOCALHOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def route(host: str, *upstreams: str, path: str = "/", exact: bool = False) -> Route:
    """Return a route."""
    return Route(host, path, exact, upstreams)


FULL = Plan(
    (
        route("a.test", "10.42.0.5:8080", path="/x.y+z", exact=True),
        route("a.test", "10.42.0.5:8080", "10.42.0.6:8080"),
        route("b.test"),
        route("*.c.test", "[fd00::5]:8080", path="/shop"),
        route("", "10.42.0.7:8080"),
    ),
    ("a.test", "*.c.test"),
)


@pytest.mark.parametrize(
    "config",
    [front(IN_POD), initial(IN_POD), router(Plan((), ()), IN_POD), router(FULL, IN_POD)],
    ids=["front", "initial", "empty", "full"],
)
def test_caddy_finds_every_configuration_valid(config: Any, caddy: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    result = subprocess.run(
        [caddy, "validate", "--config", file], env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_the_marker_is_that_of_the_plan() -> None:
    first, second = (
        router(Plan((route("a.test", upstream),), ()), IN_POD) for upstream in ("10.0.0.1:1", "10.0.0.2:1")
    )
    assert marker_of(first) == marker_of(json.loads(json.dumps(first)))
    assert marker_of(first) != marker_of(second)


def test_the_front_is_ready_only_when_the_router_serves_a_plan(ingress: Ingress) -> None:
    def ready() -> int:
        return _status(ingress.addresses.front_control, READY_PATH)

    assert caddy_api.served(ingress.addresses) is None
    assert ready() == 502
    ingress.serve()
    assert ready() == 200


def test_visitors_of_a_front_without_a_router_wait_and_are_then_told(ingress: Ingress) -> None:
    status, body = ingress.get("a.test")
    assert status == 503
    assert body.startswith("The way to the stores is being set up.")


def test_a_plan_that_caddy_refuses_is_an_error_and_the_old_one_stays(ingress: Ingress, pod: Pod) -> None:
    ingress.serve(route("a.test", pod.address))
    with pytest.raises(caddy_api.CaddyError, match="400"):
        caddy_api.load({"apps": {"no such app": {}}}, ingress.addresses)
    assert ingress.get("a.test")[0] == 200


def test_a_store_is_reached_by_its_host_whatever_the_port(ingress: Ingress, pod: Pod) -> None:
    ingress.serve(route("a.test", pod.address))
    seen = ingress.seen("a.test:8080", "/shop/?page=2")
    assert seen["path"] == "/shop/?page=2"
    assert seen["headers"]["Host"] == "a.test:8080"
    assert seen["headers"]["X-Forwarded-Proto"] == "http"
    assert seen["headers"]["X-Forwarded-Host"] == "a.test:8080"
    assert ingress.seen("a.test")["headers"]["Host"] == "a.test"


def test_a_visitor_cannot_claim_another_address(ingress: Ingress, pod: Pod) -> None:
    ingress.serve(route("a.test", pod.address))
    seen = ingress.seen("a.test", **{"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"})
    assert seen["headers"]["X-Forwarded-For"] == LOCALHOST
    assert seen["headers"]["X-Forwarded-Proto"] == "http"


def test_an_unknown_host_is_told_that_there_is_no_store(ingress: Ingress, pod: Pod) -> None:
    ingress.serve(route("a.test", pod.address))
    assert ingress.get("b.test") == (404, "No store has this address.\n")
    assert ingress.get("x.a.test")[0] == 404


def test_a_store_without_a_ready_pod_is_unavailable_and_others_are_not(ingress: Ingress, pod: Pod) -> None:
    ingress.serve(route("a.test", pod.address), route("b.test"))
    assert ingress.get("b.test")[0] == 503
    assert ingress.get("a.test")[0] == 200


def test_a_wildcard_is_for_one_label_and_gives_way_to_a_name(ingress: Ingress, pod: Pod) -> None:
    ingress.serve(route("x.a.test"), route("*.a.test", pod.address))
    assert ingress.get("y.a.test")[0] == 200
    assert ingress.get("x.a.test")[0] == 503
    assert ingress.get("y.z.a.test")[0] == 404


def test_a_prefix_is_of_whole_path_elements_and_case_matters(ingress: Ingress, pod: Pod) -> None:
    ingress.serve(route("a.test", pod.address, path="/shop"))
    for path, status in {"/shop": 200, "/shop/": 200, "/shop/x": 200, "/shopping": 404, "/Shop": 404, "/": 404}.items():
        assert ingress.get("a.test", path)[0] == status, path


def test_an_exact_path_is_no_prefix_and_its_characters_mean_themselves(ingress: Ingress, pod: Pod) -> None:
    ingress.serve(route("a.test", pod.address, path="/x.y", exact=True))
    for path, status in {"/x.y": 200, "/x.y?q=1": 200, "/xzy": 404, "/x.y/": 404, "/x.y/z": 404}.items():
        assert ingress.get("a.test", path)[0] == status, path


def test_an_exact_path_wins_and_the_rest_goes_to_the_prefix(ingress: Ingress, pod: Pod) -> None:
    ingress.serve(route("a.test", path="/x", exact=True), route("a.test", pod.address))
    assert ingress.get("a.test", "/x")[0] == 503
    assert ingress.get("a.test", "/y")[0] == 200


def test_a_pod_that_refuses_connections_costs_a_request_nothing_but_time(ingress: Ingress, pod: Pod) -> None:
    gone = Pod()
    gone.stop()
    ingress.serve(route("a.test", gone.address, pod.address))
    assert {ingress.get("a.test")[0] for _ in range(10)} == {200}


def test_a_store_that_never_takes_the_connection_is_a_bad_gateway(ingress: Ingress) -> None:
    gone = Pod()
    gone.stop()
    ingress.serve(route("a.test", gone.address))
    assert ingress.get("a.test") == (502, "The store did not answer.\n")


def test_a_request_under_way_outlives_a_new_plan(ingress: Ingress) -> None:
    reached, release = threading.Event(), threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reached.set()
            assert release.wait(30)
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"late")

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((LOCALHOST, 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"{LOCALHOST}:{server.server_port}"
    ingress.serve(route("a.test", address))
    answers: list[tuple[int, str]] = []
    visitor = threading.Thread(target=lambda: answers.append(ingress.get("a.test")))
    visitor.start()
    assert reached.wait(30)
    ingress.serve(route("a.test", address), route("b.test"))
    assert ingress.get("b.test")[0] == 503
    release.set()
    visitor.join(30)
    server.shutdown()
    server.server_close()
    assert answers == [(200, "late")]


def test_changing_plans_lose_no_visitor_and_break_no_connection(ingress: Ingress, pod: Pod) -> None:
    ingress.serve(route("a.test", pod.address))
    answers: list[int] = []
    done = threading.Event()

    def visit() -> None:
        connection = http.client.HTTPConnection(LOCALHOST, ingress.port, timeout=10)
        while not done.is_set():
            # A connection that broke would be an exception here, and a missing answer below.
            connection.request("GET", "/", headers={"Host": "a.test"})
            response = connection.getresponse()
            response.read()
            answers.append(response.status)
        connection.close()
        answers.append(0)

    visitors = [threading.Thread(target=visit) for _ in range(3)]
    for visitor in visitors:
        visitor.start()
    try:
        for number in range(20):
            ingress.serve(route("a.test", pod.address), route(f"b{number}.test"))
    finally:
        done.set()
        for visitor in visitors:
            visitor.join()
    assert answers.count(0) == len(visitors)
    assert set(answers) == {0, 200}


def test_only_hosts_that_ask_for_it_are_served_with_tls(ingress: Ingress, pod: Pod, tmp_path: Path) -> None:
    hosts = ("a.test", "*.c.test")
    ingress.serve(*(route(host, pod.address) for host in ("a.test", "b.test", "*.c.test")), tls_hosts=hosts)
    authority = tmp_path / "caddy/pki/authorities/local/root.crt"
    for host in ("a.test", "x.c.test"):
        status, body = _get_with_tls(ingress, host, authority)
        assert status == 200
        assert json.loads(body)["headers"]["X-Forwarded-Proto"] == "https"
    for host in ("b.test", "c.test", "x.y.c.test"):
        with pytest.raises(ssl.SSLError):
            _get_with_tls(ingress, host, authority)
    # Without TLS the same host answers too, and sends nobody elsewhere.
    assert ingress.seen("a.test")["headers"]["X-Forwarded-Proto"] == "http"


def test_certificates_are_signed_by_the_given_authority(caddy: Path, pod: Pod, tmp_path: Path) -> None:
    built = packages.build(cache.root(), silent)
    certificates.authority(
        tmp_path, "tls", subject="/CN=test", openssl=built.program("openssl"), environment=built.environment()
    )
    with _ingress(caddy, tmp_path, str(tmp_path)) as ingress:
        ingress.serve(route("a.test", pod.address), tls_hosts=("a.test",))
        assert _get_with_tls(ingress, "a.test", tmp_path / "tls.crt")[0] == 200


def _get_with_tls(ingress: Ingress, host: str, authority: Path) -> tuple[int, str]:
    context = ssl.create_default_context(cafile=str(authority))
    with (
        socket.create_connection((LOCALHOST, ingress.https_port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, response.read().decode()


def _status(address: str, path: str) -> int:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()
