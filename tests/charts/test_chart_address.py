"""The shop's one address, by Apache and PHP of the sandbox's image: redirects, and rewritten texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.containers.image import Image, Mount

from .rendering import CHART, RELEASE, VALUES, Chart

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


def test_a_plain_shop_is_served_as_it_is(serve) -> None:
    host = f"{RELEASE}.127.0.0.1.nip.io"
    answers = serve({}, [], request(host, scheme="http"), request(host, scheme="https"), request("x", "/.store/alive"))
    assert [answer.leads_to for answer in answers] == [(200, "")] * 3


def test_a_port_that_is_not_the_schemes_own_is_in_the_address(serve) -> None:
    values = {"ingress": {"domains": [TEA], "port": 8080}}
    host = f"{RELEASE}.127.0.0.1.nip.io:8080"
    (answer,) = serve(values, [], request(host, "/a", scheme="http"))
    assert answer.leads_to == (301, f"http://{TEA}:8080/a")


# --- texts that hold an address


def rewritten(image: Image, before: str, now: str, *values: str) -> list[str]:
    code = (CHART / "files/install/address.php").read_text().replace("<?php", "", 1)
    script = code + (
        "$rewrite = address_rewriter(getenv('BEFORE'), getenv('NOW'));"
        "echo json_encode(array_map(fn ($v) => rewrite_value($v, $rewrite), json_decode(getenv('VALUES'), true)));"
    )
    script = script.replace("declare(strict_types=1);", "")
    done = image.run(
        'php -r "$CODE"',
        user=33,
        writable=["/tmp"],  # noqa: S108
        environment={"CODE": script, "BEFORE": before, "NOW": now, "VALUES": json.dumps(values)},
    )
    assert done.code == 0, done.out
    found: list[str] = json.loads(done.out)
    return found


OLD = "http://tea.127.0.0.1.nip.io:8080"
NEW = "https://tea.example.org"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'<a href="{OLD}/wp-admin/">', f'<a href="{NEW}/wp-admin/">'),
        (f"see {OLD}.", f"see {NEW}."),
        (OLD, NEW),
        ("https://tea.127.0.0.1.nip.io:8080/x", f"{NEW}/x"),
        ('src="//tea.127.0.0.1.nip.io:8080/x"', 'src="//tea.example.org/x"'),
        (r'{"u":"http:\/\/tea.127.0.0.1.nip.io:8080\/x"}', r'{"u":"https:\/\/tea.example.org\/x"}'),
        ("?to=http%3A%2F%2Ftea.127.0.0.1.nip.io%3A8080%2Fx", "?to=https%3A%2F%2Ftea.example.org%2Fx"),
        # Other addresses.
        ("http://tea.127.0.0.1.nip.io:80801/", None),
        ("http://tea.127.0.0.1.nip.io/", None),
        ("http://a.tea.127.0.0.1.nip.io:8080/", None),
        ("mail@tea.127.0.0.1.nip.io:8080", None),
    ],
)
def test_an_address_is_rewritten_in_every_notation_and_no_other_is(
    wordpress: Image, text: str, expected: str | None
) -> None:
    assert rewritten(wordpress, OLD, NEW, text) == [text if expected is None else expected]


@pytest.mark.parametrize("following", [":8080/", "x/", ".evil.example/", "-a/"])
def test_a_host_that_only_begins_alike_is_another(wordpress: Image, following: str) -> None:
    text = f"https://tea.example.org{following}"
    assert rewritten(wordpress, NEW, OLD, text) == [text]


def test_rewriting_twice_changes_nothing_more(wordpress: Image) -> None:
    once = rewritten(wordpress, "https://tea.example.org", "https://tea.example.org:8443", "https://tea.example.org/a")
    assert once == ["https://tea.example.org:8443/a"]
    assert rewritten(wordpress, "https://tea.example.org", "https://tea.example.org:8443", *once) == once


def test_serialized_values_keep_their_form(wordpress: Image) -> None:
    def string(text: str) -> str:
        return f's:{len(text.encode())}:"{text}";'

    inner = f"a:1:{{{string('é')}{string(OLD + '/é')}}}"
    before = f'a:3:{{i:0;{string(OLD)}i:1;{string(inner)}i:2;O:8:"stdClass":1:{{{string("u")}{string(OLD)}}}}}'
    new_inner = f"a:1:{{{string('é')}{string(NEW + '/é')}}}"
    after = f'a:3:{{i:0;{string(NEW)}i:1;{string(new_inner)}i:2;O:8:"stdClass":1:{{{string("u")}{string(NEW)}}}}}'
    foreign = f'C:7:"Foreign":{len(OLD)}:{{{OLD}}}'
    broken = f's:3:"{OLD}";'
    assert rewritten(wordpress, OLD, NEW, before) == [after]
    assert rewritten(wordpress, OLD, NEW, f"a:1:{{i:0;{foreign}}}") == [f"a:1:{{i:0;{foreign}}}"]
    # What PHP itself cannot read is a text like any other.
    assert rewritten(wordpress, OLD, NEW, broken) == [f's:3:"{NEW}";']
