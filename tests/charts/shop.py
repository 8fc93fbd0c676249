"""A whole shop without a cluster: the chart's own scripts and files in the image's root, beside a real MariaDB.

The pod that Helm renders is laid out in one folder tree (code, ConfigMaps, Secrets, environment), in a network and
mount namespace of its own; its containers are run as the pod would, as user 33. Test programs (the receiver of
webhooks, the mail server) run in this process, on sockets that were made inside of that network.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import hmac
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pymysql

from tests.audit import mariadb_server

from .rendering import RELEASE, Chart, Rendered

USER: Final = 33
CODE: Final = "/var/www/html"
WEB_PORT: Final = 8080
HOST: Final = f"{RELEASE}.127.0.0.1.nip.io"
# What a shop may not call unless it is told to: the receiver and the mail server have private addresses.
RECEIVER_IP: Final = "10.77.0.10"
OTHER_IP: Final = "10.77.0.11"
SECRETS: Final = {
    "mariadb-root-password": "root-of-the-tests",
    "mariadb-password": "shop-of-the-tests",
    "wordpress-password": "admin-of-the-tests",
    "webhook-secret": hashlib.sha256(b"webhook secret of the tests").hexdigest(),
    "smtp-password": "smtp-of-the-tests",
}
# A folder with the real WooCommerce; nothing of it is part of this project.
REAL_VARIABLE: Final = "STORES_TEST_WOOCOMMERCE"
STOP_S: Final = 60
STOPPING: Final = "/tmp/stopping"  # noqa: S108 - in the shop's own root
WEB_LOG: Final = "/run/web.log"
_CLONE_NEWNET: Final = 0x40000000

_ENTER: Final = """
set -eu
root=$1 lower=$2 upper=$3 work=$4 sockets=$5
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$upper,workdir=$work" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd"
for number in 0:stdin 1:stdout 2:stderr; do
    ln -s "/proc/self/fd/${number%%:*}" "$root/dev/${number#*:}"
done
for folder in /tmp /run; do mount -t tmpfs -o mode=1777 tmpfs "$root$folder"; done
mkdir -p "$root/run/mysqld" "$root/run/apache2" "$root/run/lock/apache2"
chmod 1777 "$root/run/apache2" "$root/run/lock/apache2"
mount --bind "$sockets" "$root/run/mysqld"
ip link set lo up
for address in 10.77.0.10 10.77.0.11; do ip address add "$address/32" dev lo; done
echo ready
exec sleep infinity
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n{self.out}"


@dataclass
class Shop:
    """One shop: its files, its database, its network."""

    folder: Path
    chart: Chart
    server: mariadb_server.MariadbServer
    values: dict[str, Any]
    main: subprocess.Popen[str]
    pid: int
    rendered: Rendered = field(init=False)
    extra_files: dict[str, str] = field(default_factory=dict)
    _web: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> Path:
        return self.folder / "root"

    # --- the pod -----------------------------------------------------------------------------------------------

    def configure(self, **values: Any) -> None:
        """Render the chart with these values on top, and lay out its files."""
        self.values = {**self.values, **values}
        self.rendered = self.chart.render(self.values)
        pod = self.rendered.pods()["wordpress"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for path in ("etc/store", "var/www/html/wp-content/mu-plugins"):
            shutil.rmtree(self._inside(path), ignore_errors=True)
        for _name, container in self.rendered.containers():
            for mount in container["volumeMounts"]:
                files = self._volume(volumes.get(mount["name"], {}))
                if files is None:
                    self._make_volume(mount["mountPath"])
                    continue
                target = mount["mountPath"]
                for name, content in files.items():
                    if mount.get("subPath", name) == name:
                        self.write(target if "subPath" in mount else f"{target}/{name}", content)
        # The official image finds MariaDB by name and port; here it is a socket.
        self.write("/usr/local/etc/php/conf.d/zz-test.ini", "mysqli.default_socket = /run/mysqld/socket\n")
        for path, content in self.extra_files.items():
            self.write(path, content)
        # Made by this process just now, and in a pod by the container that fills the code.
        os.chown(self._inside("var/www/html/wp-content"), USER, USER)

    def run(self, container: str, *command: str, timeout_s: float = 120, **variables: str) -> Done:
        """Run a command as a container of the pod would, by default the container's own."""
        process = self.start(container, *command, **variables)
        out, _ = process.communicate(timeout=timeout_s)
        return Done(process.returncode, out.decode(errors="replace"))

    def start(self, container: str, *command: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start a command as a container of the pod would; its output is one pipe."""
        spec = self.rendered.container(container)
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PHP_INI_DIR": "/usr/local/etc/php",
            "PHP_INI_SCAN_DIR": ":/usr/local/etc/php/conf.d",
            "APACHE_CONFDIR": "/etc/apache2",
            "APACHE_ENVVARS": "/etc/apache2/envvars",
            **{entry["name"]: entry["value"] for entry in spec.get("env", [])},
            "WORDPRESS_DB_HOST": "localhost",
            **variables,
        }
        words = [*command] or [*spec.get("command", ["docker-entrypoint.sh", "apache2-foreground"])]
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid"]
        chroot = ["chroot", f"--userspec={USER}:{USER}", f"--groups={USER}", str(self.root)]
        script = ["/bin/bash", "-c", 'cd /var/www/html && exec "$@"', "container", *words]
        return subprocess.Popen(
            [*enter, *chroot, *script],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def php(self, code: str, *, user: str = "", **variables: str) -> Any:
        """Run code inside WordPress, as a plugin's command would; what it returns comes back as JSON."""
        switch = f"wp_set_current_user(get_user_by('login', '{user}')->ID);" if user else ""
        script = (
            "<?php require '/etc/store/cron/wordpress.php'; pretend_request('/'); require '/var/www/html/wp-load.php';"
            f"{switch} $result = (static function () {{ {code} }})();"
            ' done(); fwrite(STDERR, "\\n=== " . json_encode($result));'
        )
        self.write("/etc/test/run.php", script)
        done = self.run("cron", "php", "/etc/test/run.php", **variables)
        assert done.code == 0, done
        assert "\n=== " in done.out, done
        return json.loads(done.out.rsplit("\n=== ", 1)[1].splitlines()[0])

    def php_dies(self, code: str) -> Done:
        """Run code inside WordPress that ends its process; return how."""
        with contextlib.suppress(AssertionError):
            self.php(code)
            raise RuntimeError("the process ended as any other")
        return Done(1, "")

    def install(self) -> str:
        """Run the init containers; return the log of the install."""
        if not self._inside("var/www/html/wp-load.php").exists():
            done = self.run("wordpress-files")
            assert done.code == 0, done
            uploads = self._inside("var/www/html/wp-content/uploads")
            uploads.mkdir()
            os.chown(uploads, USER, USER)
        # The other part of the volume that has the uploads.
        packages = self._inside("var/lib/store/packages")
        if not packages.exists():
            packages.mkdir(parents=True)
            os.chown(packages, USER, USER)
        done = self.run("install")
        assert done.code == 0, done
        return done.out

    def cron(self, rounds: int = 1, **variables: str) -> str:
        """Run the loop of the container `cron` for so many rounds, without its pauses; return its log."""
        # As the container's first process does: what an earlier one was told to end by is gone.
        if self.exists(STOPPING):
            self.remove(STOPPING)
        variables = {"CRON_QUEUE_SECONDS": "0", "CRON_INTERVAL_SECONDS": "3600"} | variables
        done = self.run("cron", "php", "/etc/store/cron/loop.php", CRON_ROUNDS=str(rounds), **variables)
        assert done.code == 0, done
        return done.out

    def settle(self) -> None:
        """Everything that waits has been sent, whatever became of it."""
        self.execute("UPDATE wp_store_outbox SET next_attempt_at = NULL")
        self.cron()
        self.execute("UPDATE wp_store_outbox SET state = 'delivered' WHERE state <> 'delivered'")

    # --- the web -----------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Start the container `wordpress`, and wait until it answers."""
        # Apache opens its log by name, which user 33 may do with a file and not with a pipe of this process.
        script = f"exec docker-entrypoint.sh apache2-foreground > {WEB_LOG} 2>&1"
        self._web = self.start("wordpress", "bash", "-c", script)
        deadline = time.monotonic() + STOP_S
        while True:
            with contextlib.suppress(OSError):
                self.connect("127.0.0.1", WEB_PORT).close()
                return
            assert self._web.poll() is None, self.web_log()
            assert time.monotonic() < deadline, self.web_log()
            threading.Event().wait(0.05)

    def web_log(self) -> str:
        """Return what Apache and PHP have logged."""
        return self._inside(WEB_LOG).read_text(errors="replace")

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
        sent = {
            "Host": HOST,
            "X-Forwarded-Proto": "https",
            "X-Forwarded-For": visitor,
            "User-Agent": "tests/1",
            "Content-Type": "application/json",
            **(headers or {}),
        }
        if password:
            sent["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        connection = http.client.HTTPConnection(HOST, WEB_PORT, timeout=60)
        connection.sock = self.connect("127.0.0.1", WEB_PORT)
        connection.request(method, path, json.dumps(body) if body is not None else None, sent)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        connection.close()
        try:
            data = json.loads(text)
        except json.JSONDecodeError:
            data = text
        return answer.status, data, dict(answer.getheaders())

    def rest(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Ask WooCommerce's REST interface as the administrator, with an application password; return its data."""
        status, data, _ = self.ask(method, f"/wp-json/wc/v3{path}", body, password=self.application_password, **options)
        assert status in {200, 201}, (status, data)
        return data

    application_password: str = ""

    # --- the database ------------------------------------------------------------------------------------------

    def rows(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        """Return what a query finds in the shop's database."""
        with (
            contextlib.closing(self.server.connect("wordpress")) as connection,
            connection.cursor(pymysql.cursors.DictCursor) as cursor,
        ):
            cursor.execute(query, arguments)
            return list(cursor.fetchall())

    def execute(self, statement: str, *arguments: Any) -> None:
        """Change the shop's database."""
        with contextlib.closing(self.server.connect("wordpress")) as connection, connection.cursor() as cursor:
            cursor.execute(statement, arguments)

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """Return what the outbox holds, with the payload decoded."""
        found = self.rows("SELECT * FROM wp_store_outbox WHERE id > %s ORDER BY id", after)
        return [row | {"payload": json.loads(row["payload"])} for row in found]

    def last_event(self) -> int:
        """Return the number of the newest event."""
        return int(self.rows("SELECT COALESCE(MAX(id), 0) AS id FROM wp_store_outbox")[0]["id"])

    # --- the network -------------------------------------------------------------------------------------------

    def inside(self, work: Callable[[], socket.socket]) -> socket.socket:
        """Return a socket that was made inside of the shop's network."""
        result: list[socket.socket] = []
        errors: list[OSError] = []

        def enter() -> None:
            # A thread of its own: the namespace is the thread's, and stays with it.
            try:
                _enter_network(self.pid)
                result.append(work())
            except OSError as error:
                errors.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return result[0]

    def connect(self, host: str, port: int) -> socket.socket:
        """Return a connection to an address of the shop's network."""
        return self.inside(lambda: socket.create_connection((host, port), timeout=60))

    def listen(self, host: str, port: int) -> socket.socket:
        """Return a socket that listens on an address of the shop's network."""
        return self.inside(lambda: socket.create_server((host, port)))

    # --- files -------------------------------------------------------------------------------------------------

    def write(self, path: str, content: str | bytes) -> None:
        """Write a file of the pod; its folders are made."""
        target = self._inside(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(0o644)

    def exists(self, path: str) -> bool:
        return self._inside(path).exists()

    def remove(self, path: str) -> None:
        self._inside(path).unlink()

    def read(self, path: str) -> str:
        return self._inside(path).read_text()

    def _inside(self, path: str) -> Path:
        return Path(f"/proc/{self.pid}/root{self.root}") / path.removeprefix("/")

    def _make_volume(self, path: str) -> None:
        """Make an empty volume of the pod, which its user may write."""
        folder = self._inside(path)
        if not folder.exists() and not path.startswith(CODE):
            folder.mkdir(parents=True)
            os.chown(folder, USER, USER)

    def _volume(self, volume: Mapping[str, Any]) -> dict[str, str] | None:
        if "configMap" in volume:
            source = volume["configMap"]
            objects = [o for o in self.rendered.objects if o["kind"] == "ConfigMap"]
            found = [o["data"] for o in objects if o["metadata"]["name"] == source["name"]]
            data = dict(found[0]) if found else dict(self.config_maps[source["name"]])
        elif "secret" in volume:
            source = volume["secret"]
            data = {**{item["key"]: f"salt {item['key']}" for item in source["items"]}, **SECRETS}
        else:
            return None
        items = source.get("items")
        return {item["path"]: data[item["key"]] for item in items} if items else data

    config_maps: dict[str, dict[str, str]] = field(default_factory=dict)

    def close(self) -> None:
        # The last process of its own pid namespace takes all others with it.
        os.kill(self.pid, signal.SIGKILL)
        for process in (self.main, self._web):
            if process is not None:
                process.communicate()


@contextlib.contextmanager
def running(
    image_root: Path, chart: Chart, values: Mapping[str, Any], *, woocommerce: Path | None = None
) -> Iterator[Shop]:
    """Run a shop until the end of the block; leave nothing of it."""
    folder = Path(tempfile.mkdtemp(prefix="stores-shop-"))
    try:
        for name in ("root", "upper", "work"):
            (folder / name).mkdir()
        folder.chmod(0o755)
        with mariadb_server.running(*mariadb_server.NOT_DURABLE) as server:
            server.folder.chmod(0o755)
            server.execute(
                "CREATE DATABASE wordpress CHARACTER SET utf8mb4",
                f"CREATE USER wordpress@localhost IDENTIFIED BY '{SECRETS['mariadb-password']}'",
                "GRANT ALL ON wordpress.* TO wordpress@localhost",
            )
            shop = _started(folder, image_root, chart, server, dict(values))
            try:
                if woocommerce is not None:
                    plugin = shop._inside("usr/src/wordpress/wp-content/plugins/woocommerce")
                    shutil.rmtree(plugin, ignore_errors=True)
                    shutil.copytree(woocommerce, plugin)
                shop.configure()
                yield shop
            finally:
                shop.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _started(
    folder: Path, image_root: Path, chart: Chart, server: mariadb_server.MariadbServer, values: dict[str, Any]
) -> Shop:
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _ENTER, "shop"]
    places = [folder / "root", image_root, folder / "upper", folder / "work", server.folder]
    main = subprocess.Popen([*unshare, *map(str, places)], stdout=subprocess.PIPE, text=True)
    assert main.stdout is not None
    assert main.stdout.readline() == "ready\n", "the shop's namespaces could not be made"
    children = Path(f"/proc/{main.pid}/task/{main.pid}/children").read_text().split()
    return Shop(folder, chart, server, values, main, int(children[0]))


def _enter_network(pid: int) -> None:
    with Path(f"/proc/{pid}/ns/net").open() as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


# --- the other side -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Delivery:
    """One request that the receiver got."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)

    @property
    def topic(self) -> str:
        return self.headers.get("X-WC-Webhook-Topic", "")

    def is_signed(self, secret: str = SECRETS["webhook-secret"]) -> bool:
        wanted = base64.b64encode(hmac.new(secret.encode(), self.body, hashlib.sha256).digest()).decode()
        return hmac.compare_digest(wanted, self.headers.get("X-WC-Webhook-Signature", ""))


class Receiver:
    """A receiver of webhooks that remembers everything and answers what it is told to."""

    def __init__(
        self, shop: Shop, port: int = 9000, *, host: str = RECEIVER_IP, context: ssl.SSLContext | None = None
    ) -> None:
        self.deliveries: list[Delivery] = []
        # The status of each answer: the next of these, and 200 when there is none.
        self.answers: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.deliveries.append(Delivery(dict(self.headers.items()), body))
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer((host, port), Handler, bind_and_activate=False)
        self._server.socket.close()
        listening = shop.listen(host, port)
        self._server.socket = context.wrap_socket(listening, server_side=True) if context else listening
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of(self, topic: str) -> list[Delivery]:
        return [delivery for delivery in self.deliveries if delivery.topic == topic]


def urls(deliveries: Sequence[Delivery]) -> list[str]:
    """Return the topics in order, for messages."""
    return [delivery.topic or delivery.body.decode(errors="replace") for delivery in deliveries]
