"""The shop's one address, by Apache of the sandbox's image: who comes another way is sent there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.containers.image import Image, Mount

from .rendering import RELEASE, VALUES, Chart

PROD = [VALUES / "values-prod.yaml"]
PLATFORM = f"{RELEASE}.example.com"
TEA, WWW = "tea.example.org", "www.tea.example.org"

# Asks each of REQUESTS as it stands, byte by byte, and prints the heads of the answers.
CLIENT = r"""
$answers = [];
foreach (json_decode(getenv('REQUESTS'), true) as $request) {
    $connection = stream_socket_client('tcp://127.0.0.1:8080', $code, $message, 10);
    fwrite($connection, $request);
    $answers[] = explode("\r\n\r\n", stream_get_contents($connection), 2)[0];
}
echo json_encode($answers);
"""
SERVE = r"""
echo the shop >/var/www/html/index.html
apache2-foreground >/tmp/out 2>/tmp/errors &
for _ in $(seq 300); do (exec 3<>/dev/tcp/127.0.0.1/8080) 2>/dev/null && break; sleep 0.05; done
php -r "$CLIENT" || cat /tmp/errors
"""


@dataclass(frozen=True)
class Answer:
    """The head of an answer."""

    status: int
    headers: Mapping[str, str]

    @classmethod
    def of(cls, head: str) -> Answer:
        first, *lines = head.split("\r\n")
        return cls(int(first.split()[1]), {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)})

    @property
    def leads_to(self) -> tuple[int, str]:
        return self.status, self.headers.get("location", "")


@pytest.fixture
def serve(chart: Chart, wordpress: Image, tmp_path: Path) -> Any:
    """Return what asks an Apache that is configured by these values, all requests at once."""

    def asked(values: dict[str, Any], files: Sequence[Path], *requests: str) -> list[Answer]:
        data = chart.render(values, files=files).one("ConfigMap", "wordpress-apache")["data"]
        places = {
            "ports.conf": "/etc/apache2/ports.conf",
            "000-default.conf": "/etc/apache2/sites-available/000-default.conf",
            "remoteip.conf": "/etc/apache2/conf-available/remoteip.conf",
            "zz-store.conf": "/etc/apache2/conf-enabled/zz-store.conf",
            "alive": "/etc/store/alive",
        }
        for name in places:
            (tmp_path / name).write_text(data[name])
        done = wordpress.run(
            SERVE,
            user=33,
            mounts=[Mount(tmp_path / name, place, read_only=True) for name, place in places.items()],
            writable=["/tmp", "/run", "/var/www/html"],  # noqa: S108 - inside of the container
            environment={"CLIENT": CLIENT, "REQUESTS": json.dumps(requests)},
        )
        assert done.code == 0, done.out
        return [Answer.of(head) for head in json.loads(done.out)]

    return asked


def request(host: str, target: str = "/", scheme: str = "https", method: str = "GET") -> str:
    told = f"X-Forwarded-Proto: {scheme}\r\n" if scheme else ""
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{told}Connection: close\r\n\r\n"


def test_every_other_way_leads_to_the_one_address(serve) -> None:
    values = {"ingress": {"domains": [TEA, WWW]}}
    answers = serve(
        values, PROD,
        request(TEA),
        request(PLATFORM, "/shop/?a=1&b=%2F"),
        request(WWW, "/caf%C3%A9/"),
        request(WWW, "/what%3F/%2e%2e/"),
        request(TEA, "/checkout/", scheme="http"),
        request(PLATFORM.upper(), "/", scheme="http"),
        request(WWW, "/wp-json/wc/v3/orders?x=y", method="POST"),
        request("other.example.com", "/"),
        request(PLATFORM, "/.store/alive"),
        request(TEA, "/.store/alive", scheme=""),
        request(f"{PLATFORM}:8443", "//evil.example.net/"),
    )  # fmt: skip
    assert [answer.leads_to for answer in answers] == [
        (200, ""),
        (301, f"https://{TEA}/shop/?a=1&b=%2F"),
        (301, f"https://{TEA}/caf%C3%A9/"),
        (301, f"https://{TEA}/what%3F/%2e%2e/"),
        (301, f"https://{TEA}/checkout/"),
        (301, f"https://{TEA}/"),
        (308, f"https://{TEA}/wp-json/wc/v3/orders?x=y"),
        # Whose host it is decides the ingress; WordPress itself knows what to do with the rest.
        (200, ""),
        (301, f"https://{TEA}/.store/alive"),
        (200, ""),
        (301, f"https://{TEA}//evil.example.net/"),
    ]
    assert {a.headers.get("cache-control") for a in answers if a.status in {301, 308}} == {"max-age=300"}
    assert answers[0].headers.get("cache-control") is None


def test_browsers_remember_for_a_day_that_a_shop_is_there_by_https_alone(serve) -> None:
    values = {"ingress": {"domains": [TEA]}}
    safe, probe = serve(values, PROD, request(TEA), request(TEA, "/.store/alive", scheme=""))
    assert safe.headers["strict-transport-security"] == "max-age=86400"
    assert "strict-transport-security" not in probe.headers
    host = f"{RELEASE}.127.0.0.1.nip.io"
    (plain,) = serve({}, [], request(host, scheme="https"))
    assert "strict-transport-security" not in plain.headers


def test_a_plain_shop_is_served_as_it_is(serve) -> None:
    host = f"{RELEASE}.127.0.0.1.nip.io"
    answers = serve({}, [], request(host, scheme="http"), request(host, scheme="https"), request("x", "/.store/alive"))
    assert [answer.leads_to for answer in answers] == [(200, "")] * 3


def test_a_port_that_is_not_the_schemes_own_is_in_the_address(serve) -> None:
    values = {"ingress": {"domains": [TEA], "port": 8080}}
    host = f"{RELEASE}.127.0.0.1.nip.io:8080"
    (answer,) = serve(values, [], request(host, "/a", scheme="http"))
    assert answer.leads_to == (301, f"http://{TEA}:8080/a")
