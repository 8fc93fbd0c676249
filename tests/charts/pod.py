"""Pods of the rendered chart without a cluster: their containers run in namespaces here, with the real images.

Volumes, secrets and config maps are folders, made as the chart's objects say: what the chart mounts is what runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pymysql

from tests.sandbox.images.container import Done, Image, Mount

from .rendering import RELEASE, Rendered

WEB_USER: Final = 33
DATABASE_USER: Final = 999
_TIMEOUT_S: Final = 240

_ASK: Final = """
import http.client, json, sys
method, path, headers, body = json.load(sys.stdin)
connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
connection.request(method, path, body=body, headers=headers)
response = connection.getresponse()
json.dump([response.status, dict(response.getheaders()), response.read().decode(errors="replace")], sys.stdout)
"""


@dataclass(frozen=True)
class Answer:
    """What the web server said."""

    code: int
    headers: Mapping[str, str]
    body: str

    def json(self) -> Any:
        """The body as data."""
        return json.loads(self.body)


@contextlib.contextmanager
def network() -> Iterator[int]:
    """Give the process id of a network that has nothing but a loopback."""
    holder = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        yield holder.pid
    finally:
        holder.kill()
        holder.wait()
        if holder.stdout:
            holder.stdout.close()


@dataclass(frozen=True)
class DatabaseServer:
    """MariaDB's image, serving on 127.0.0.1 of a network. Each shop gets a database of its own."""

    network: int
    socket: Path
    root_password: str

    def query(self, statement: str, *arguments: object, database: str | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of one statement."""
        connection = pymysql.connect(
            unix_socket=str(self.socket), user="root", password=self.root_password, database=database, autocommit=True,
            defer_connect=True,
        )  # fmt: skip
        try:
            connection.connect()
            with connection.cursor() as cursor:
                cursor.execute(statement, arguments or None)
                return list(cursor.fetchall())
        finally:
            if connection.open:
                connection.close()


@contextlib.contextmanager
def database_server(image: Image, folder: Path) -> Iterator[DatabaseServer]:
    """Serve MariaDB until the context ends."""
    password = secrets.token_hex(8)
    mounts = []
    for place in ("/var/lib/mysql", "/run/mysqld", "/tmp"):  # noqa: S108
        source = folder / place.strip("/").replace("/", "-")
        source.mkdir(parents=True)
        os.chown(source, DATABASE_USER, DATABASE_USER)
        mounts.append(Mount(source, place))
    fast = ["--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--skip-innodb-doublewrite"]
    command = ["docker-entrypoint.sh", "mariadbd", *fast, "--innodb-buffer-pool-size=64M", "--skip-name-resolve"]
    settings = {"MARIADB_ROOT_PASSWORD": password, "MARIADB_INITDB_SKIP_TZINFO": "1"}
    with network() as net, (folder / "log").open("wb") as log:
        process = image.start(command, user=DATABASE_USER, mounts=mounts, environment=settings, network=net, output=log)
        server = DatabaseServer(net, folder / "run-mysqld" / "mysqld.sock", password)
        try:
            _await(process, lambda: _answers(server), folder / "log")
            yield server
        finally:
            process.kill()
            process.wait()


@dataclass
class Shop:
    """One shop's volumes and secrets, whose pods come and go."""

    image: Image
    server: DatabaseServer
    folder: Path
    rendered: Rendered
    database: str

    @classmethod
    def new(cls, image: Image, server: DatabaseServer, folder: Path, rendered: Rendered) -> Shop:
        """Return a shop with nothing in its volumes and database."""
        shop = cls(image, server, folder, rendered, f"shop_{secrets.token_hex(4)}")
        server.query(f"CREATE DATABASE {shop.database} CHARACTER SET utf8mb4")
        user = f"'{shop.database}'@'%%'"
        server.query(f"CREATE USER {user} IDENTIFIED BY %s", shop.secret("mariadb-password"))
        server.query(f"GRANT ALL ON {shop.database}.* TO {user.replace('%%', '%')}")
        return shop

    def secret(self, key: str) -> str:
        """Return one key of the credentials, made when it is first asked for."""
        file = self.folder / "credentials" / key
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(secrets.token_hex(12))
        return file.read_text()

    def query(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Return the rows of one statement in the shop's database."""
        return self.server.query(statement, *arguments, database=self.database)

    def option(self, name: str) -> str | None:
        """Return an option of WordPress as it is stored."""
        rows = self.query("SELECT option_value FROM wp_options WHERE option_name = %s", name)
        return str(rows[0][0]) if rows else None

    def volume(self, claim: str) -> Path:
        """Return the folder of a volume that outlives pods, by the end of its claim's name."""
        return self.folder / "claims" / f"{RELEASE}-{claim}"

    def pod(self, rendered: Rendered | None = None) -> Pod:
        """Return a new web pod, with empty folders, of the chart as it is or as given."""
        if rendered is not None:
            self.rendered = rendered
        return Pod(self, self.rendered, self.folder / "pods" / secrets.token_hex(4))


@dataclass
class Pod:
    """One pod of the chart's Deployment."""

    shop: Shop
    rendered: Rendered
    folder: Path

    def set_up(self) -> Done:
        """Run the init containers one after another, and return how the last one ended that ran."""
        self.fill()
        done = Done(0, "")
        for container in self.spec["initContainers"][1:]:
            done = self.run(container["name"])
            if done.code != 0:
                break
        return done

    def fill(self) -> None:
        """Run the first init container, which copies the code; its first result is linked by later pods.

        Linked, not copied, because that takes a tenth of the time: nothing writes into a file of the code, only beside.
        """
        first = self.spec["initContainers"][0]["name"]
        code = self.folder / "code"
        filled = self.shop.image.root.parent / "filled"
        persistent = any(mount["mountPath"].endswith("/wp-content") for mount in self._container(first)["volumeMounts"])
        if persistent or not filled.exists():
            done = self.run(first)
            assert done.code == 0, done
        if not persistent and not filled.exists():
            subprocess.run(["cp", "-a", code, filled], check=True)
        elif not persistent:
            self.folder.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-al", filled, code], check=True)

    @property
    def spec(self) -> Mapping[str, Any]:
        """The pod's specification."""
        spec: Mapping[str, Any] = self.rendered.pods()["wordpress"]["spec"]
        return spec

    def run(self, name: str, script: str | None = None, *, timeout_s: float = _TIMEOUT_S) -> Done:
        """Run a container to its end; `script` instead of its own command."""
        process = self.start(name, script)
        try:
            out, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        return Done(process.returncode, out.decode(errors="replace"))

    def php(self, code: str) -> Done:
        """Run PHP code inside WordPress, as its web container would."""
        settings = "$_SERVER['HTTP_HOST'] = parse_url(getenv('WP_URL') ?: 'http://localhost', PHP_URL_HOST);"
        return self.run("wordpress", f"exec php <<'PHP'\n<?php {settings} require 'wp-load.php';\n{code}\nPHP\n")

    def start(self, name: str, script: str | None = None, *, output: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """Start a container; what it says can be read from the process."""
        container = self._container(name)
        if script is not None:
            command = ["/bin/bash", "-c", script]
        else:
            own = self.shop.image.config
            command = container.get("command") or [*own["Entrypoint"], *own["Cmd"]]  # type: ignore[misc]
        folder = container.get("workingDir") or self.shop.image.config["WorkingDir"]
        environment = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
        environment |= {"WORDPRESS_DB_HOST": "127.0.0.1", "WORDPRESS_DB_NAME": self.shop.database}
        environment["WORDPRESS_DB_USER"] = self.shop.database
        return self.shop.image.start(
            ["/bin/bash", "-c", f'cd {folder} && exec "$@"', "container", *command], user=WEB_USER,
            mounts=self._mounts(container), environment=environment, network=self.shop.server.network, output=output,
        )  # fmt: skip

    @contextlib.contextmanager
    def serving(self) -> Iterator[Pod]:
        """Serve HTTP until the context ends."""
        log = self.folder / "web.log"
        with log.open("wb") as output:
            os.fchown(output.fileno(), WEB_USER, WEB_USER)  # Apache opens what its streams are by their names
            process = self.start("wordpress", output=output.fileno())
        try:
            _await(process, lambda: self.ask("/.store/alive") is not None, log)
            yield self
        finally:
            process.kill()
            process.wait()

    def ask(
        self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: Any = None
    ) -> Answer | None:
        """Return what the web server answers, as the ingress controller would ask; None if nobody listens."""
        own = {header["name"]: header["value"] for header in self._probe_headers()}
        if body is not None:
            own["Content-Type"] = "application/json"
        asked = [method, path, {**own, **(headers or {})}, None if body is None else json.dumps(body)]
        result = subprocess.run(
            ["nsenter", f"--net=/proc/{self.shop.server.network}/ns/net", sys.executable, "-c", _ASK],
            input=json.dumps(asked), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if result.returncode != 0:
            assert "ConnectionRefused" in result.stderr, result.stderr
            return None
        code, got, text = json.loads(result.stdout)
        return Answer(code, got, text)

    def get(self, path: str, **more: Any) -> Answer:
        """Return what the web server answers, which must be there."""
        answer = self.ask(path, **more)
        assert answer is not None, "nobody listens"
        return answer

    def _probe_headers(self) -> Sequence[Mapping[str, str]]:
        probe: Sequence[Mapping[str, str]] = self._container("wordpress")["readinessProbe"]["httpGet"]["httpHeaders"]
        return probe

    def _container(self, name: str) -> Mapping[str, Any]:
        containers = [*self.spec["initContainers"], *self.spec["containers"]]
        return next(container for container in containers if container["name"] == name)

    def _mounts(self, container: Mapping[str, Any]) -> list[Mount]:
        volumes = {volume["name"]: volume for volume in self.spec["volumes"]}
        mounts = []
        # A folder before what is mounted into it.
        for mount in sorted(container["volumeMounts"], key=lambda mount: mount["mountPath"]):
            source = self._volume(volumes[mount["name"]])
            if "subPath" in mount:
                source /= mount["subPath"]
                if not source.exists():
                    source.mkdir(parents=True)
                    os.chown(source, WEB_USER, WEB_USER)
            mounts.append(Mount(source, mount["mountPath"], read_only=mount.get("readOnly", False)))
        return mounts

    def _volume(self, volume: Mapping[str, Any]) -> Path:
        if "persistentVolumeClaim" in volume:
            folder = self.shop.folder / "claims" / volume["persistentVolumeClaim"]["claimName"]
        else:
            folder = self.folder / volume["name"]
        if not folder.exists():
            folder.mkdir(parents=True)
            for name, content in self._files(volume).items():
                (folder / name).write_text(content)
            os.chown(folder, WEB_USER, WEB_USER)
        return folder

    def _files(self, volume: Mapping[str, Any]) -> Mapping[str, str]:
        if "configMap" in volume:
            name = volume["configMap"]["name"].removeprefix(f"{RELEASE}-")
            data: Mapping[str, str] = self.rendered.one("ConfigMap", name)["data"]
            items = volume["configMap"].get("items")
            return data if items is None else {item["path"]: data[item["key"]] for item in items}
        if "secret" in volume:
            return {item["path"]: self.shop.secret(item["key"]) for item in volume["secret"]["items"]}
        return {}

    def remove(self) -> None:
        """Remove what only this pod had."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _answers(server: DatabaseServer) -> bool:
    if not server.socket.exists():
        return False
    try:
        # The server that the entrypoint starts to make the root account does not listen on the network.
        return server.query("SELECT @@skip_networking")[0][0] == 0
    except pymysql.Error:
        return False


def _await(process: subprocess.Popen[bytes], ready: Any, log: Path) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, f"it ended:\n{log.read_text(errors='replace')}"
        assert time.monotonic() < deadline, f"not ready:\n{log.read_text(errors='replace')}"
        time.sleep(0.1)
