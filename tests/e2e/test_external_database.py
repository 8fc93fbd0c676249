"""Shops of the cluster on a database server that is not their own: by TLS, through the door in their policies."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import CoreV1Api
from kubernetes.config import new_client_from_config
from kubernetes.stream import stream

from components import naming
from sandbox import contents
from sandbox.instance import Instance
from stacks.cluster import Cluster
from tests.containers.authority import Authority
from tests.containers.database import USER
from tests.e2e.live import Live, eventually
from tests.e2e.project import ROOT, Project, store
from tests.e2e.shop import Shop

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(1200)]

NAMESPACE = "databases"
HOST = f"primary.{NAMESPACE}.svc"
TEA, BAR = naming.new_store_id("tea"), naming.new_store_id("bar")
POSTS = "SELECT COUNT(*) > 0 FROM wp_posts"
_TLS = "/etc/mysql/tls"
# The image's own programs, which make its accounts, would not believe the authority: so first without it.
_FIRST = (
    "docker-entrypoint.sh mariadbd & until (: < /dev/tcp/127.0.0.1/3306) 2> /dev/null; do sleep 1; done; kill $!; wait"
)


@dataclass(frozen=True)
class Server:
    """A MariaDB in a namespace of its own, which takes nothing in the clear, and its administrator."""

    live: Live
    authority: Authority

    def admit(self, store_id: str, folder: Path) -> None:
        """Give a store the authority, and its database and user, by the words of docs/database.md."""
        (folder / "ca.crt").write_text(self.authority.certificate)
        (script,) = re.findall(r"```sh\n(store=.*?)```", (ROOT / "docs/database.md").read_text(), re.DOTALL)
        kubectl = f'PYTHONPATH={ROOT} exec {sys.executable} -m tests.charts.kubectl "$@"'
        for name, words in (("kubectl", kubectl), ("mariadb", "cat > asked")):
            program = folder / name
            program.write_text(f"#!/bin/sh\n{words}\n")
            program.chmod(0o755)
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script.replace("tea-house-x7k2m", store_id)],
            cwd=folder,
            env={
                **os.environ,
                "PATH": f"{folder}:{os.environ['PATH']}",
                "KUBECONFIG": str(self.live.instance.kubeconfig),
            },
            check=True,
        )
        client = new_client_from_config(str(self.live.instance.kubeconfig))
        command = (
            'MYSQL_PWD="$MARIADB_ROOT_PASSWORD" mariadb --skip-ssl-verify-server-cert -uroot -e "$ASKED" && echo made'
        )
        said = stream(
            CoreV1Api(client).connect_get_namespaced_pod_exec, "primary", NAMESPACE,
            command=["env", f"ASKED={(folder / 'asked').read_text()}", "sh", "-c", command],
            stderr=True, stdin=False, stdout=True, tty=False,
        )  # fmt: skip
        assert str(said).strip() == "made", said


@pytest.fixture(scope="module")
def live(sandbox_instance: Instance) -> Live:
    return Live(sandbox_instance)


@pytest.fixture(scope="module")
def server(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    authority = Authority.new(tmp_path_factory.mktemp("tls") / "authority", HOST)
    files = {name: (authority.folder / name).read_text() for name in ("server.crt", "server.key")}
    core = live.core
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    try:
        data = {**files, "root": os.urandom(16).hex()}
        core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": "primary"}, "stringData": data})
        core.create_namespaced_pod(NAMESPACE, _pod(contents.references(ROOT)["mariadb"]))
        service = {"selector": {"app": "primary"}, "ports": [{"port": 3306}]}
        core.create_namespaced_service(NAMESPACE, {"metadata": {"name": "primary"}, "spec": service})
        eventually(lambda: _is_ready(core.read_namespaced_pod("primary", NAMESPACE)), "the server answers")
        yield Server(live, authority)
    finally:
        core.delete_namespace(NAMESPACE)


def _pod(image: str) -> dict[str, Any]:
    folders = {"data": "/var/lib/mysql", "run": "/run/mysqld", "tmp": "/tmp"}  # noqa: S108 - in the container
    password = {"secretKeyRef": {"name": "primary", "key": "root"}}
    common = {
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": [
            {"name": "MARIADB_ROOT_PASSWORD", "valueFrom": password},
            {"name": "MARIADB_ROOT_HOST", "value": "localhost"},
        ],
        "volumeMounts": [
            *({"name": name, "mountPath": place} for name, place in folders.items()),
            {"name": "tls", "mountPath": _TLS, "readOnly": True},
        ],
    }
    tls = ["--require-secure-transport=ON", f"--ssl-cert={_TLS}/server.crt", f"--ssl-key={_TLS}/server.key"]
    ready = {"tcpSocket": {"port": 3306}, "periodSeconds": 1}
    return {
        "metadata": {"name": "primary", "labels": {"app": "primary"}},
        "spec": {
            "securityContext": {"runAsUser": USER, "runAsGroup": USER, "fsGroup": USER},
            "initContainers": [{**common, "name": "accounts", "command": ["bash", "-c", _FIRST]}],
            "containers": [{**common, "name": "mariadb", "args": ["mariadbd", *tls], "readinessProbe": ready}],
            "volumes": [
                *({"name": name, "emptyDir": {}} for name in folders),
                {"name": "tls", "secret": {"secretName": "primary", "defaultMode": 0o440}},
            ],
        },
    }


def _is_ready(pod: Any) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or ())


@pytest.fixture(scope="module")
def project(make_project: Callable[[], Project]) -> Project:
    made = make_project()
    made.configure(databaseServer={"namespace": NAMESPACE, "labels": {"app": "primary"}, "port": 3306})
    made.set_values(database={"external": {"host": HOST, "ca": {"configMap": "mariadb-ca"}}})
    made.write(store(TEA), store(BAR, owner="bob"))
    return made


def test_shops_sell_on_a_shared_server_are_kept_apart_and_come_back_from_a_backup(
    project: Project, server: Server, live: Live, tmp_path: Path
) -> None:
    command = [str(Path(sys.executable).with_name("stores")), "--root", str(project.root), "up"]
    with subprocess.Popen(
        command, env=dict(project.variables), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        try:
            for store_id in (TEA, BAR):
                eventually(lambda: _has_credentials(live, store_id), f"{store_id} has credentials")  # noqa: B023
                server.admit(store_id, tmp_path)
            said = running.communicate(timeout=600)[0]
        finally:
            running.send_signal(signal.SIGINT)
    assert running.returncode == 0, said
    found = {each["store_id"]: each for each in project.stores("status", "--deep", "--json").data}
    assert {each["status"] for each in found.values()} == {"Ready"}, found

    # No database of its own, and none of another's.
    assert live.pods(TEA, "mariadb") == []
    claims = live.core.list_namespaced_persistent_volume_claim(f"store-{TEA}").items
    assert not any("mariadb" in claim.metadata.name for claim in claims)
    shop = Shop(Cluster(kubeconfig=project.variables["KUBECONFIG"]), TEA)
    own, other = (name.replace("-", "_") for name in (TEA, BAR))
    assert shop.php(_query(own, POSTS)) == "1"
    assert "denied" in shop.php(_query(other, POSTS))

    assert project.stores("backup", TEA).code == 0
    assert shop.php(_query(own, "DELETE FROM wp_posts")) == "1"
    done = project.stores("restore", TEA, "--yes", "--json")
    assert done.code == 0, str(done)
    assert done.data["status"] == "Ready"
    assert shop.php(_query(own, POSTS)) == "1"

    # What leads to the server is the door in the policies, and nothing else.
    live.networking.delete_namespaced_network_policy("wordpress", f"store-{BAR}")
    reach = f"echo @fsockopen('{HOST}', 3306, $code, $said, 3) ? 'open' : 'closed';"
    bar = Shop(shop.cluster, BAR)
    eventually(lambda: bar.php(reach) == "closed", "without its policy nothing leads there")
    assert shop.php(reach) == "open"

    for store_id in (TEA, BAR):
        assert project.stores("rm", store_id).code == 0
    done = project.stores("up", "--json")
    assert done.code == 0, str(done)


def _has_credentials(live: Live, store_id: str) -> bool:
    namespaces = {each.metadata.name for each in live.core.list_namespace().items}
    if f"store-{store_id}" not in namespaces:
        return False
    secrets = live.core.list_namespaced_secret(f"store-{store_id}").items
    return any("mariadb-password" in (secret.data or {}) for secret in secrets)


def _query(database: str, statement: str) -> str:
    """Return PHP that prints the first value of an answer, or the refusal, as the shop's own user."""
    text = base64.b64encode(statement.encode()).decode()
    return f"""
        mysqli_report(MYSQLI_REPORT_OFF);
        $c = mysqli_init();
        $c->ssl_set(null, null, getenv('DATABASE_CA'), null, null);
        [$host, $port] = explode(':', getenv('WORDPRESS_DB_HOST'));
        $user = getenv('WORDPRESS_DB_USER');
        $password = trim(file_get_contents(getenv('WORDPRESS_DB_PASSWORD_FILE')));
        $flags = MYSQLI_CLIENT_SSL | MYSQLI_CLIENT_SSL_VERIFY_SERVER_CERT;
        if (!$c->real_connect($host, $user, $password, '{database}', (int) $port, null, $flags)) {{
            exit($c->connect_error);
        }}
        $r = $c->query(base64_decode('{text}'));
        echo $r === false ? $c->error : ($r === true ? '1' : $r->fetch_row()[0]);
    """
