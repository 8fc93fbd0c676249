"""A whole shop that serves: one pod of the chart with its web server, asked as customers, code and operators ask it."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pymysql

from tests.charts.rendering import RELEASE, Chart

from .database import DatabaseServer, database_server
from .image import Contained, Done, Image, Mount
from .network import Network
from .pod import Pod, Shop

HOST: Final = f"{RELEASE}.127.0.0.1.nip.io"
# What a shop may not call unless it is told to: the receiver and the mail server have private addresses.
RECEIVER_IP: Final = "10.77.0.10"
OTHER_IP: Final = "10.77.0.11"
# A folder with the real WooCommerce; nothing of it is part of this project.
REAL_VARIABLE: Final = "STORES_TEST_WOOCOMMERCE"
_BUNDLED_WOOCOMMERCE: Final = "/usr/src/wordpress/wp-content/plugins/woocommerce"
_STOPPING: Final = "/tmp/stopping"  # noqa: S108 - in the container
# What `cron` runs to be inside of WordPress; the code's value is the last line. PHP is not the container's first
# process, which nothing inside can kill.
_EVALUATE: Final = """php <<'PHP'
<?php require '/etc/store/cron/wordpress.php'; pretend_request('/'); require '/var/www/html/wp-load.php';
{switch} $result = (static function () {{ {code} }})(); done(); fwrite(STDERR, "\\n=== " . json_encode($result));
PHP
exit $?
"""


@dataclass
class ServingShop:
    """One shop with the one pod that it has."""

    chart: Chart
    values: Mapping[str, Any]
    shop: Shop
    pod: Pod
    application_password: str = ""

    # --- the pod

    def configure(self, **values: Any) -> None:
        """Render the chart with these values on top; the pod that serves then is one of that chart."""
        self.values = {**self.values, **values}
        self.pod.follow(self.chart.render(self.values))

    def install(self) -> str:
        """Run the init containers; return the log of the install."""
        if not (self.pod.folder / "code").exists():
            self.pod.fill()
        done = self.pod.run("install")
        assert done.code == 0, done
        return done.out

    def serve(self) -> None:
        """Serve, and let `rest` sign in."""
        self.pod.serve()
        make = "WP_Application_Passwords::create_new_application_password(1, ['name' => 'tests'])[0]"
        self.application_password = self.php(f"return {make};")

    def run(self, container: str, script: str | None = None, **how: Any) -> Done:
        """Run a container of the pod to its end; `script` instead of its own command."""
        return self.pod.run(container, script, **how)

    def start(self, container: str, script: str | None = None, **variables: str) -> Contained:
        """Start a container of the pod; its output is one pipe."""
        return self.pod.start(container, script, **variables)

    def php(self, code: str, *, user: str = "", **variables: str) -> Any:
        """Run code inside WordPress, as a plugin's command would; what it returns comes back as JSON."""
        done = self._evaluated(code, user, variables)
        assert done.code == 0, done
        assert "\n=== " in done.out, done
        return json.loads(done.out.rsplit("\n=== ", 1)[1].splitlines()[0])

    def php_dies(self, code: str) -> None:
        """Run code inside WordPress that ends its process."""
        done = self._evaluated(code, "", {})
        assert "\n=== " not in done.out, f"the process ended as any other: {done}"

    def cron(self, rounds: int = 1, **variables: str) -> str:
        """Run the loop of the container `cron` for so many rounds, without its pauses; return its log."""
        # As the container's first process does: what an earlier one was told to end by is gone.
        self.place(_STOPPING).unlink(missing_ok=True)
        variables = {"CRON_QUEUE_SECONDS": "0", "CRON_INTERVAL_SECONDS": "3600", "CRON_ROUNDS": str(rounds)} | variables
        done = self.pod.run("cron", "exec php /etc/store/cron/loop.php", **variables)
        assert done.code == 0, done
        return done.out

    def settle(self) -> None:
        """Everything that waits has been sent, whatever became of it."""
        self.query("UPDATE wp_store_outbox SET next_attempt_at = NULL")
        self.cron()
        self.query("UPDATE wp_store_outbox SET state = 'delivered' WHERE state <> 'delivered'")

    def place(self, path: str, container: str = "cron") -> Path:
        """Return what lies at a path in a container, of what is mounted there."""
        return self.pod.place(path, container)

    # --- the web

    def web_log(self) -> str:
        """Return what Apache and PHP have logged."""
        return self.pod.web_log.read_text(errors="replace")

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        password: str = "",
        user: str = "admin",
        visitor: str = "203.0.113.7",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Ask the shop as the ingress controller would, for a visitor at an address; JSON both ways."""
        sent = {"Host": HOST, "X-Forwarded-Proto": "https", "X-Forwarded-For": visitor, "User-Agent": "tests/1"}
        sent |= {"Content-Type": "application/json", **(headers or {})}
        if password:
            sent["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        answer = self.pod.get(path, method=method, headers=sent, body=body)
        try:
            return answer.code, answer.json(), answer.headers
        except json.JSONDecodeError:
            return answer.code, answer.body, answer.headers

    def rest(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Ask WooCommerce's REST interface as the administrator, with an application password; return its data."""
        status, data, _ = self.ask(method, f"/wp-json/wc/v3{path}", body, password=self.application_password, **options)
        assert status in {200, 201}, (status, data)
        return data

    @property
    def network(self) -> Network:
        """The network of the shop, its database and whom it talks to."""
        return self.server.network

    # --- the database

    @property
    def server(self) -> DatabaseServer:
        """The server of the shop's database, which is the shop's alone."""
        return self.shop.server

    @property
    def secrets(self) -> Mapping[str, str]:
        """What the shop's credentials hold, by key."""
        return self.shop.secrets

    def connection(self) -> pymysql.Connection[pymysql.cursors.Cursor]:
        """Return a connection to the shop's database."""
        return self.server.connect(self.shop.database)

    def rows(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        """Return the rows of one statement in the shop's database, by the names of their columns."""
        return self.shop.rows(statement, *arguments)

    def query(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Return the rows of one statement in the shop's database."""
        return self.shop.query(statement, *arguments)

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """Return what the outbox holds, with the payload decoded."""
        found = self.rows("SELECT * FROM wp_store_outbox WHERE id > %s ORDER BY id", after)
        return [row | {"payload": json.loads(row["payload"])} for row in found]

    def last_event(self) -> int:
        """Return the number of the newest event."""
        return int(self.query("SELECT COALESCE(MAX(id), 0) FROM wp_store_outbox")[0][0])

    def _evaluated(self, code: str, user: str, variables: Mapping[str, str]) -> Done:
        switch = f"wp_set_current_user(get_user_by('login', '{user}')->ID);" if user else ""
        return self.pod.run("cron", _EVALUATE.format(switch=switch, code=code), **variables)


@contextlib.contextmanager
def whole_shop(
    wordpress: Image, mariadb: Image, chart: Chart, values: Mapping[str, Any], folder: Path,
    *, woocommerce: Path | None = None,
) -> Iterator[ServingShop]:  # fmt: skip
    """Give a shop, neither installed nor serving, until the end of the block; all of it lies in `folder`."""
    own = () if woocommerce is None else (Mount(woocommerce, _BUNDLED_WOOCOMMERCE, read_only=True),)
    with database_server(mariadb, folder / "mariadb", RECEIVER_IP, OTHER_IP) as server:
        shop = Shop.new(wordpress, server, folder, chart.render(values), own_mounts=own)
        pod = shop.pod()
        try:
            yield ServingShop(chart, values, shop, pod)
        finally:
            pod.end()
