"""Shops whose databases are on a server that is not their own: two on one MariaDB, by TLS, with the real programs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pymysql
import pytest
import yaml

from charts import quota
from tests.containers import job_pod
from tests.containers.authority import Authority
from tests.containers.database import DatabaseServer
from tests.containers.image import Image, Mount
from tests.containers.network import network
from tests.containers.pod import Pod, Shop

from .rendering import RELEASE, ROOT, Chart, Rendered, merged
from .test_chart_quota import SOLVER

HOST: Final = "db.example.com"
ADDRESS: Final = "10.77.0.20"
PORT: Final = 3307
STORES: Final = ("tea-house-x7k2m", "coffee-bar-p4n9d")
EXTERNAL: Final[dict[str, Any]] = {
    "database": {"external": {"host": HOST, "port": PORT, "ca": {"configMap": "mariadb-ca"}}},
    "install": {"waitSeconds": 10},
    "backup": {"enabled": True},
}
DOCUMENT: Final = (ROOT / "docs/database.md").read_text()
_PLACE: Final = "/etc/mysql/tls"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.new(tmp_path_factory.mktemp("authority") / "right", HOST)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.new(tmp_path_factory.mktemp("authority") / "other", HOST)


@pytest.fixture(scope="module")
def server(mariadb: Image, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """Return a server of many stores, which speaks to nobody in the clear."""
    arguments = [f"--port={PORT}", "--require-secure-transport=ON"]
    arguments += [f"--ssl-cert={_PLACE}/server.crt", f"--ssl-key={_PLACE}/server.key"]
    with network(ADDRESS) as net:
        mounts = [Mount(authority.folder, _PLACE, read_only=True)]
        running = DatabaseServer(mariadb, tmp_path_factory.mktemp("server"), net, own_mounts=mounts)
        try:
            running.start()
            running.stop()
            # Only now: the image's own programs, which make its accounts, would not believe this authority.
            running.arguments = arguments
            running.start()
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize("ca", [{"configMap": "db-ca"}, {"secret": "db-ca", "key": "tls-ca"}, {}])
def test_a_store_without_a_server_of_its_own_has_nothing_of_one(chart: Chart, ca: dict[str, str]) -> None:
    external = {"database": {"external": {"host": HOST, "port": PORT, "ca": ca}}, "backup": {"enabled": True}}
    found = chart.render(external)
    own = chart.render({"backup": {"enabled": True}}).names()
    assert {name for _, name in own - found.names()} == {f"{RELEASE}-mariadb", f"{RELEASE}-mariadb-pods"}
    assert found.names() < own
    assert "mariadb-root-password" not in found.text
    assert f"{RELEASE}-mariadb" not in found.text
    name = RELEASE.replace("-", "_")
    for container in containers_of(found):
        told = {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}
        seen = {told.get(f"{prefix}_{suffix}") for prefix, suffix in ADDRESSES}
        assert seen in ({f"{HOST}:{PORT}", None}, {None})
        assert {told.get("WORDPRESS_DB_NAME"), told.get("DATABASE_NAME")} <= {name, None}
        assert {told.get("WORDPRESS_DB_USER"), told.get("DATABASE_USER")} <= {name, None}
        assert ("DATABASE_CA" in told) == bool(ca and seen != {None})
    volumes = {volume["name"]: volume for volume in found.pods()["wordpress"]["spec"]["volumes"]}
    if not ca:
        assert "database-ca" not in volumes
        assert "MYSQL_CLIENT_FLAGS" not in found.text
    elif "secret" in ca:
        assert volumes["database-ca"]["secret"] == {
            "secretName": "db-ca", "defaultMode": 0o440, "items": [{"key": "tls-ca", "path": "ca.crt"}],
        }  # fmt: skip
    else:
        assert volumes["database-ca"]["configMap"] == {"name": "db-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}


ADDRESSES: Final = (("WORDPRESS", "DB_HOST"), ("DATABASE", "ADDRESS"))


def containers_of(rendered: Rendered) -> list[Any]:
    """Return every container of the web pods and of the backup's and the restore's."""
    jobs = [o["spec"]["jobTemplate"]["spec"]["template"] for o in rendered.objects if o["kind"] == "CronJob"]
    pods = [rendered.pods()["wordpress"], *jobs]
    return [container for pod in pods for key in ("initContainers", "containers") for container in pod["spec"][key]]


def test_only_the_install_writes_the_authorities_that_wordpress_believes(chart: Chart) -> None:
    rendered = chart.render(EXTERNAL)
    writers = {
        container["name"]
        for container in containers_of(rendered)
        for mount in container["volumeMounts"]
        if mount["name"] == "authorities" and not mount.get("readOnly")
    }
    assert writers == {"install"}


def test_the_quota_of_such_a_store_has_no_mariadb_in_it(chart: Chart) -> None:
    found = quota.rows(chart.render(EXTERNAL).objects, SOLVER, RELEASE)
    assert [row.name for row in found] == ["wordpress", "backup", "restore", "certificate solver"]


def hosts_file(folder: Path, *names: str) -> Mount:
    """Return what makes these names lead to the server."""
    file = folder / "hosts"
    file.write_text(f"127.0.0.1 localhost\n{ADDRESS} {' '.join(names)}\n")
    return Mount(file, "/etc/hosts", read_only=True)


# No cluster: what would be applied is in `applied`.
KUBECTL: Final = """#!/bin/sh
printf '%s\\n' "$*" >> asked
case $* in
  *' get secret '*) cat password ;;
  *' apply '*) cat > applied ;;
  *) PYTHONPATH={root} exec {python} -m tests.charts.kubectl "$@" ;;
esac
"""


def make_account(
    server: DatabaseServer, store_id: str, password: str, folder: Path, authority: Authority | None = None
) -> list[str]:
    """Make a store's database and user by the words of docs/database.md; return what kubectl was asked for."""
    (script,) = re.findall(r"```sh\n(store=.*?)```", DOCUMENT, re.DOTALL)
    (folder / "admin.cnf").write_text(
        f"[client]\nsocket={server.socket}\nuser=root\npassword={server.root_password}\n"
        "loose-skip-ssl-verify-server-cert\n"
    )
    (folder / "password").write_text(f"{password}\n")
    (folder / "asked").unlink(missing_ok=True)
    if authority is not None:
        (folder / "ca.crt").write_text(authority.certificate)
    kubectl = folder / "kubectl"
    kubectl.write_text(KUBECTL.format(python=sys.executable, root=ROOT))
    kubectl.chmod(0o755)
    script = script.replace("tea-house-x7k2m", store_id)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment, check=True)
    return (folder / "asked").read_text().splitlines()


def test_the_words_for_an_account_give_the_store_the_authority_and_only_where_there_is_one(
    server: DatabaseServer, authority: Authority, tmp_path: Path
) -> None:
    secret = "--namespace store-bar-aaaaa get secret bar-aaaaa-credentials"
    (asked,) = make_account(server, "bar-aaaaa", "secret", tmp_path)
    assert asked.startswith(secret)
    assert not (tmp_path / "applied").exists()
    made, applied, asked = sorted(make_account(server, "bar-aaaaa", "other", tmp_path, authority), key=_kind)
    assert made.startswith("--namespace store-bar-aaaaa create configmap mariadb-ca ")
    assert applied == "--namespace store-bar-aaaaa apply --filename=-"
    assert asked.startswith(secret)
    written = json.loads((tmp_path / "applied").read_text())
    assert written["metadata"] == {"name": "mariadb-ca", "namespace": "store-bar-aaaaa"}
    assert written["data"] == {"ca.crt": authority.certificate}


def _kind(words: str) -> int:
    return [kind in words for kind in (" create ", " apply ", " get ")].index(True)


def test_the_objects_of_an_operator_are_named_as_the_chart_names_them(chart: Chart) -> None:
    (text,) = re.findall(r"```yaml\n(apiVersion: k8s.mariadb.com/.*?)```", DOCUMENT, re.DOTALL)
    database, user, grant = yaml.safe_load_all(text)
    assert [each["kind"] for each in (database, user, grant)] == ["Database", "User", "Grant"]
    env = {e["name"]: e.get("value") for e in chart.render(EXTERNAL, release=STORES[0]).container("cron")["env"]}
    names = {database["spec"]["name"], grant["spec"]["database"].replace("\\_", "_"), env["WORDPRESS_DB_NAME"]}
    users = {user["spec"]["name"], grant["spec"]["username"], env["WORDPRESS_DB_USER"]}
    assert names == users == {"tea_house_x7k2m"}
    for each in (database, user, grant):
        assert each["metadata"] == {"name": STORES[0], "namespace": f"store-{STORES[0]}"}
        # A store's namespace goes with the store, and these with it.
        assert each["spec"]["cleanupPolicy"] == "Skip"
    password = {"name": f"{STORES[0]}-credentials", "key": "mariadb-password"}
    assert user["spec"]["passwordSecretKeyRef"] == password


@dataclass
class Store:
    """One store of the server."""

    store_id: str
    chart: Chart
    shop: Shop
    mariadb: Image

    @property
    def rendered(self) -> Rendered:
        return self.shop.rendered

    def job(self, kind: str, *, dumped: Path | None = None) -> job_pod.Pod:
        """Return a pod of a backup or a restore; `dumped` is what the latter has fetched."""
        spec = self.rendered.one("CronJob", kind)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        folder = self.shop.folder / f"{kind}-{len(list(self.shop.folder.iterdir()))}"
        scripts = self.rendered.one("ConfigMap", "backup")["data"]
        keys = {"backup-password": "b", "backup-access": "a", "wordpress-password": "w"} | dict(self.shop.secrets)
        pod = job_pod.Pod(
            spec, self.mariadb, self.shop.server.network, folder, self.shop.folder / "claims",
            {f"{self.store_id}-credentials": keys},
            {f"{self.store_id}-backup": scripts, "mariadb-ca": self.shop.config_maps["mariadb-ca"]},
        )  # fmt: skip
        if dumped is not None:
            scratch = pod.volume("scratch")
            scratch.rmdir()
            scratch.symlink_to(dumped)
        return pod


@pytest.fixture(scope="module")
def stores(  # noqa: PLR0917 - fixtures
    wordpress: Image, mariadb: Image, server: DatabaseServer, chart: Chart, authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Sequence[Store]:  # fmt: skip
    """Return two stores that are installed, one after the other."""
    made = []
    for store_id in STORES:
        folder = tmp_path_factory.mktemp(store_id)
        rendered = chart.render(EXTERNAL, release=store_id)
        own = (hosts_file(folder, HOST, "other.example.com"),)
        name = store_id.replace("-", "_")
        shop = Shop(wordpress, server, folder, rendered, name, own, elsewhere=True)
        made.append(Store(store_id, chart, shop, mariadb))
        for _ in range(2):
            make_account(server, store_id, shop.secret("mariadb-password"), folder, authority)
        applied = json.loads((folder / "applied").read_text())
        shop.config_maps[applied["metadata"]["name"]] = applied["data"]
        done = shop.pod().set_up()
        assert done.code == 0, done
    return made


def test_a_store_is_installed_into_its_own_database_of_the_server(stores: Sequence[Store]) -> None:
    for store in stores:
        assert store.shop.option("siteurl") == f"http://{store.store_id}.127.0.0.1.nip.io"


def test_wordpress_serves_by_tls_and_its_background_work_runs(stores: Sequence[Store]) -> None:
    pod = stores[0].shop.pod()
    assert pod.set_up().code == 0
    with pod.serving():
        assert pod.get("/wp-login.php").code == 200
    done = pod.run("cron", "exec php /etc/store/cron/loop.php", CRON_ROUNDS="1", CRON_INTERVAL_SECONDS="3600")
    assert done.code == 0, done
    assert "MariaDB" not in done.out
    beat = pod.run("cron", "php /etc/store/schema/heartbeat.php && php /etc/store/schema/state.php")
    assert beat.code == 0, beat
    assert json.loads(beat.out.strip().splitlines()[-1])["pending"] == []


def test_wordpress_itself_believes_no_other_authority(stores: Sequence[Store], other: Authority) -> None:
    pod = stores[0].shop.pod()
    assert pod.set_up().code == 0
    assert pod.php("echo 'it is ' . get_option('admin_email');").out.endswith("it is admin@example.com")
    authorities = pod.folder / "authorities/all.crt"
    assert authorities.read_text().count("BEGIN CERTIFICATE") > 20, "the public ones, for all else that PHP calls"
    authorities.write_text(other.certificate)
    done = pod.php("echo 'it is ' . get_option('admin_email');")
    assert "it is" not in done.out
    assert "Error establishing a database connection" in done.out


@pytest.mark.parametrize("what", ["another authority", "another name"])
def test_a_server_that_cannot_prove_who_it_is_gets_no_password(
    stores: Sequence[Store], other: Authority, what: str
) -> None:
    shop = stores[0].shop
    asked = dump_now(stores[0].job("backup"), hosts(shop), quick=True)
    assert asked.code == 0, "with the right authority and name it does answer"
    values, trusted = EXTERNAL, shop.config_maps["mariadb-ca"]
    if what == "another name":
        values = merged(EXTERNAL, {"database": {"external": {"host": "other.example.com"}}})
    else:
        shop.config_maps["mariadb-ca"] = {"ca.crt": other.certificate}
    before = shop.rendered
    try:
        pod = shop.pod(stores[0].chart.render(values, release=stores[0].store_id))
        done = pod.set_up()
        assert done.code == 1
        assert "did not answer for 1" in done.out
        logged_in = pod.run(
            "install", "php -r 'require \"/etc/store/install/lib.php\"; exit(connect_once()->connect_errno);'"
        )
        assert logged_in.code != 0
        dump = stores[0].job("backup")
        dump = dump_now(dump, hosts(shop), quick=True)
        assert dump.code != 0
        assert re.search("certificate|Hostname|hostname", dump.out), dump.out
    finally:
        shop.config_maps["mariadb-ca"], shop.rendered = trusted, before


def hosts(shop: Shop) -> Mount:
    return shop.own_mounts[0]


def dump_now(pod: job_pod.Pod, where: Mount, *, quick: bool = False) -> job_pod.Ended:
    """Run the dump; `quick`, only its first question to the server."""
    script = "set -eu; . /etc/store/backup/client.sh; mariadb-admin --defaults-extra-file=<(client) ping"
    return pod.run("dump", script=f"exec bash -c '{script}'" if quick else None, more=[where])


def test_a_store_that_has_no_account_is_told_the_words_that_make_one(
    wordpress: Image, server: DatabaseServer, chart: Chart, authority: Authority, tmp_path: Path
) -> None:
    own = (hosts_file(tmp_path, HOST),)
    shop = Shop(
        wordpress, server, tmp_path, chart.render(EXTERNAL, release="new-shop-aaaaa"), "new_shop_aaaaa", own,
        config_maps={"mariadb-ca": {"ca.crt": authority.certificate}}, elsewhere=True,
    )  # fmt: skip
    done = shop.pod().set_up()
    assert done.code == 1
    assert f"MariaDB on {HOST}:{PORT} refuses: Access denied for user 'new_shop_aaaaa'@" in done.out
    assert (
        "make the database new_shop_aaaaa there, and the user new_shop_aaaaa with the mariadb-password of the "
        "credentials Secret; docs/database.md has the words"
    ) in done.out


def test_an_account_reaches_no_other_stores_data_and_makes_nothing_beside_its_own(
    stores: Sequence[Store], server: DatabaseServer
) -> None:
    ((grants,),) = [
        server.query("SELECT GROUP_CONCAT(Db) FROM mysql.db WHERE User = %s", store.shop.database)
        for store in stores[:1]
    ]
    assert grants == (r"tea\_house\_x7k2m",)
    globally = server.query(
        "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES WHERE GRANTEE LIKE '%%tea%%'"
    )
    assert globally == [("USAGE",)]


def test_the_locks_of_one_store_keep_no_other_waiting(stores: Sequence[Store]) -> None:
    take = (
        "require '/etc/store/install/lib.php'; $db = connect_once();"
        " $taken = array_map(fn ($name) => (int) take_lock($db, $name), [INSTALL_LOCK, 'store-outbox']);"
        ' echo "locks " . implode(" ", $taken) . "\\n"; sleep({hold}); done();'
    )

    def script(hold: int) -> str:
        return f"php -r '{take.format(hold=hold).replace(chr(39), chr(39) + chr(92) + chr(39) + chr(39))}'"

    tea, coffee = (prepared(store) for store in stores)
    holder = tea.start("install", script(60))
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"locks 1 1\n"
        assert tea.run("install", script(0)).out == "locks 0 0\n"
        assert coffee.run("install", script(0)).out == "locks 1 1\n"
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def prepared(store: Store) -> Pod:
    pod = store.shop.pod()
    pod.fill()
    return pod


EXTRAS: Final = (
    "CREATE TABLE `odd``name` (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES `odd``name` (id))",
    "INSERT INTO `odd``name` VALUES (1, NULL), (2, 1)",
    "CREATE TABLE log (id INT AUTO_INCREMENT PRIMARY KEY, text TEXT)",
    "INSERT INTO log (text) VALUES ('CREATE DEFINER=`a`@`b` VIEW\n/*!50013 DEFINER=`a`@`b` */')",
    "CREATE TRIGGER logged AFTER INSERT ON `odd``name` FOR EACH ROW INSERT INTO log (text) VALUES ('new')",
    "CREATE VIEW many AS SELECT COUNT(*) AS n FROM log",
    "CREATE PROCEDURE twice() SELECT 2",
    "CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO DELETE FROM log WHERE id < 0",
)


def as_user(store: Store, server: DatabaseServer, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements with the store's own account, by the server's socket; return the rows of the last."""
    rows: list[tuple[Any, ...]] = []
    with (
        contextlib.closing(
            pymysql.connect(
                unix_socket=str(server.socket),
                user=store.shop.database,
                password=store.shop.secret("mariadb-password"),
                database=store.shop.database,
                autocommit=True,
            )
        ) as connection,
        connection.cursor() as cursor,
    ):
        for statement in statements:
            cursor.execute(statement)
            rows = list(cursor.fetchall())
    return rows


def objects_of(store: Store, server: DatabaseServer) -> Mapping[str, list[str]]:
    """Return the names of everything that a database holds, but for WordPress' tables."""
    questions = {
        "tables": "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s"
        " AND TABLE_NAME NOT LIKE 'wp\\_%%'",
        "routines": "SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = %s",
        "triggers": "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = %s",
        "events": "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = %s",
    }
    return {
        kind: sorted(str(name) for (name,) in server.query(question, store.shop.database))
        for kind, question in questions.items()
    }


def test_a_backup_is_loaded_again_and_into_another_store_with_the_rights_of_a_stores_account_alone(
    stores: Sequence[Store], server: DatabaseServer, wordpress: Image
) -> None:
    tea, coffee = stores
    as_user(tea, server, *EXTRAS)
    whole = objects_of(tea, server)
    assert whole == {"tables": ["log", "many", "odd`name"], "routines": ["twice"], "triggers": ["logged"],
                     "events": ["nightly"]}  # fmt: skip
    text = as_user(tea, server, "SELECT text FROM log")
    backup = tea.job("backup")
    dumped = dump_now(backup, hosts(tea.shop))
    assert dumped.code == 0, dumped
    assert json.loads((backup.volume("scratch", "data") / "store.json").read_text())["database"] == "tea_house_x7k2m"
    # What was made since goes, whatever it is.
    as_user(tea, server, "CREATE SEQUENCE later", "CREATE VIEW later_too AS SELECT 1", "DROP EVENT nightly")
    for store in (tea, coffee):
        pod = store.job("restore", dumped=backup.volume("scratch"))
        loaded = pod.run("load", more=[hosts(store.shop)])
        assert loaded.code == 0, loaded
        assert objects_of(store, server) == whole
        # The trigger works for this store's own user.
        assert as_user(store, server, "INSERT INTO `odd``name` VALUES (3, 2)", "SELECT n FROM many") == [(2,)]
        assert as_user(store, server, "SELECT text FROM log WHERE id = 1") == text
    assert tea.shop.option("siteurl") == coffee.shop.option("siteurl") == f"http://{tea.store_id}.127.0.0.1.nip.io"
    # The same pod's next container gives the copy its own address; it has PHP.
    pod = coffee.job("restore", dumped=backup.volume("scratch"))
    pod.image = wordpress
    credentials = pod.volume("private", "credentials") / "wordpress-password"
    credentials.write_text("then")
    os.chown(credentials, pod.user, pod.user)
    done = pod.run("address", more=[hosts(coffee.shop)])
    assert done.code == 0, done
    assert coffee.shop.option("siteurl") == f"http://{coffee.store_id}.127.0.0.1.nip.io"
