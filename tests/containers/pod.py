"""Pods of the rendered chart: their containers run in namespaces here, with the real images.

Volumes, secrets and config maps are folders, made as the chart's objects say: what the chart mounts is what runs.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.charts.rendering import Rendered

from .database import DatabaseServer, await_ready
from .image import Contained, Done, Image, Mount
from .volumes import Volumes

WEB_USER: Final = 33
WEB_PORT: Final = 8080
CODE: Final = "/var/www/html"
_TIMEOUT_S: Final = 240


@dataclass(frozen=True)
class Answer:
    """What the web server said."""

    code: int
    headers: Mapping[str, str]
    body: str

    def json(self) -> Any:
        """The body as data."""
        return json.loads(self.body)


@dataclass
class Shop:
    """One shop's volumes and secrets, whose pods come and go."""

    image: Image
    server: DatabaseServer
    folder: Path
    rendered: Rendered
    database: str
    own_mounts: tuple[Mount, ...] = ()
    """What a test puts into every container beside what the chart does."""
    config_maps: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """ConfigMaps that are not the chart's own, by name."""
    elsewhere: bool = False
    """Whether the database is where the chart says, with the names of the chart."""

    @classmethod
    def new(
        cls,
        image: Image,
        server: DatabaseServer,
        folder: Path,
        rendered: Rendered,
        *,
        own_mounts: tuple[Mount, ...] = (),
    ) -> Shop:
        """Return a shop with nothing in its volumes and database."""
        shop = cls(image, server, folder, rendered, f"shop_{secrets.token_hex(4)}", own_mounts)
        server.query(f"CREATE DATABASE {shop.database} CHARACTER SET utf8mb4")
        server.query(f"CREATE USER {shop.database} IDENTIFIED BY %s", shop.secret("mariadb-password"))
        server.query(f"GRANT ALL ON {shop.database}.* TO {shop.database}")
        return shop

    def secret(self, key: str) -> str:
        """Return one key of the credentials, made when it is first asked for."""
        file = self.folder / "credentials" / key
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(secrets.token_hex(12))
        return file.read_text()

    @property
    def secrets(self) -> Mapping[str, str]:
        """Return every key of the credentials that a pod of the shop has had."""
        return {file.name: file.read_text() for file in (self.folder / "credentials").iterdir()}

    def query(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Return the rows of one statement in the shop's database."""
        return self.server.query(statement, *arguments, database=self.database)

    def rows(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        """Return the rows of one statement in the shop's database, by the names of their columns."""
        return self.server.rows(statement, *arguments, database=self.database)

    def option(self, name: str) -> str | None:
        """Return an option of WordPress as it is stored."""
        rows = self.query("SELECT option_value FROM wp_options WHERE option_name = %s", name)
        return str(rows[0][0]) if rows else None

    def volume(self, claim: str) -> Path:
        """Return the folder of a volume that outlives pods, by the end of its claim's name."""
        return self.folder / "claims" / f"{self.rendered.release}-{claim}"

    def pod(self, rendered: Rendered | None = None) -> Pod:
        """Return a new web pod, with empty folders, of the chart as it is or as given."""
        if rendered is not None:
            self.rendered = rendered
        return Pod(self, self.rendered, self.folder / "pods" / secrets.token_hex(4))


class _Credentials(Mapping[str, str]):
    """A shop's credentials Secret, whose keys are made when they are first asked for."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def __getitem__(self, key: str) -> str:
        return self._shop.secret(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shop.secrets)

    def __len__(self) -> int:
        return len(self._shop.secrets)


@dataclass
class Pod:
    """One pod of the chart's Deployment."""

    shop: Shop
    rendered: Rendered
    folder: Path
    _web: Contained | None = None

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
        special = persistent or bool(self.shop.own_mounts)
        if special or not filled.exists():
            done = self.run(first)
            assert done.code == 0, done
        if not special and not filled.exists():
            subprocess.run(["cp", "-a", code, filled], check=True)
        elif not special:
            self.folder.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-al", filled, code], check=True)

    @property
    def spec(self) -> Mapping[str, Any]:
        """The pod's specification."""
        spec: Mapping[str, Any] = self.rendered.pods()["wordpress"]["spec"]
        return spec

    def run(self, name: str, script: str | None = None, *, timeout_s: float = _TIMEOUT_S, **variables: str) -> Done:
        """Run a container to its end; `script` instead of its own command, `variables` beside its own."""
        return self.start(name, script, **variables).ended(timeout_s)

    def php(self, code: str) -> Done:
        """Run PHP code inside WordPress, as its web container would."""
        settings = "$_SERVER['HTTP_HOST'] = parse_url(getenv('WP_URL') ?: 'http://localhost', PHP_URL_HOST);"
        return self.run("wordpress", f"exec php <<'PHP'\n<?php {settings} require 'wp-load.php';\n{code}\nPHP\n")

    def start(
        self, name: str, script: str | None = None, *, output: int = subprocess.PIPE, **variables: str
    ) -> Contained:
        """Start a container; what it says can be read from the process."""
        container, own = self._container(name), self.shop.image.config
        command = container.get("command") or [*own["Entrypoint"], *own["Cmd"]]
        if script is not None:
            command = ["/bin/bash", "-c", script]
        folder = container.get("workingDir") or own["WorkingDir"]
        environment = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
        if not self.shop.elsewhere:
            environment |= {"WORDPRESS_DB_HOST": "127.0.0.1", "WORDPRESS_DB_NAME": self.shop.database}
            environment |= {"WORDPRESS_DB_USER": self.shop.database}
        environment |= variables
        return self.shop.image.start(
            ["/bin/bash", "-c", f'cd {folder} && exec "$@"', "container", *command], user=WEB_USER,
            mounts=[*self._volumes.mounts(container), *self.shop.own_mounts], environment=environment,
            network=self.shop.server.network, output=output,
        )  # fmt: skip

    @contextlib.contextmanager
    def serving(self) -> Iterator[Pod]:
        """Serve HTTP until the context ends."""
        self.serve()
        try:
            yield self
        finally:
            self.end()

    def serve(self) -> None:
        """Start the web server, and wait until it answers."""
        with self.web_log.open("ab") as output:
            os.fchown(output.fileno(), WEB_USER, WEB_USER)  # Apache opens what its streams are by their names
            self._web = self.start("wordpress", output=output.fileno())
        await_ready(self._web, lambda: self.ask("/.store/alive") is not None, self.web_log)

    def end(self) -> None:
        """Serve no more."""
        if self._web is not None:
            self._web.kill()
            self._web.wait()
        self._web = None

    def follow(self, rendered: Rendered) -> None:
        """Be the pod of a changed chart, as the one that takes this one's place is; its folders stay filled."""
        if rendered.pod_digests()["wordpress"] == self.rendered.pod_digests()["wordpress"]:
            return
        serves = self._web is not None
        self.end()
        for volume in self.spec["volumes"]:
            if "configMap" in volume or "secret" in volume:
                shutil.rmtree(self.folder / volume["name"], ignore_errors=True)
        self.rendered = self.shop.rendered = rendered
        if serves:
            self.serve()

    @property
    def web_log(self) -> Path:
        """What Apache and PHP have logged."""
        return self.folder / "web.log"

    def place(self, path: str, container: str) -> Path:
        """Return what lies at a path in a container, of what is mounted there."""
        mounts = [
            mount
            for mount in self._volumes.mounts(self._container(container))
            if f"{path}/".startswith(f"{mount.place}/")
        ]
        nearest = max(mounts, key=lambda mount: len(mount.place))
        return nearest.source / path.removeprefix(nearest.place).removeprefix("/")

    def ask(
        self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: Any = None
    ) -> Answer | None:
        """Return what the web server answers, as the ingress controller would ask; None if nobody listens."""
        asked = {header["name"]: header["value"] for header in self._probe_headers()}
        if body is not None:
            asked["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", WEB_PORT)
        try:
            connection.sock = self.shop.server.network.connect("127.0.0.1", WEB_PORT)
        except ConnectionRefusedError:
            return None
        with contextlib.closing(connection):
            text = None if body is None else json.dumps(body)
            connection.request(method, path, body=text, headers={**asked, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read().decode(errors="replace"))

    def get(self, path: str, **more: Any) -> Answer:
        """Return what the web server answers, which must be there."""
        answer = self.ask(path, **more)
        assert answer is not None, "nobody listens"
        return answer

    def _probe_headers(self) -> Sequence[Mapping[str, str]]:
        probe: Sequence[Mapping[str, str]] = self._container("wordpress")["readinessProbe"]["httpGet"]["httpHeaders"]
        return probe

    def _container(self, name: str) -> Mapping[str, Any]:
        return self._volumes.container(name)

    @property
    def _volumes(self) -> Volumes:
        credentials = _Credentials(self.shop)
        return Volumes(self.spec, self.folder, self.shop.folder / "claims", lambda _name: credentials, self._config_map)

    def _config_map(self, name: str) -> Mapping[str, str]:
        if name in self.shop.config_maps:
            return self.shop.config_maps[name]
        data: Mapping[str, str] = self.rendered.one("ConfigMap", name.removeprefix(f"{self.rendered.release}-"))["data"]
        return data

    def remove(self) -> None:
        """Remove what only this pod had."""
        shutil.rmtree(self.folder, ignore_errors=True)
