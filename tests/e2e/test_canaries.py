"""No secret is anywhere where it may not be: not in output, log, state, release, audit log or a process's arguments.

The secrets are of every kind that there is: given by variable, by file and by the ledger's address, generated, derived.
"""

from __future__ import annotations

import base64
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from audit.migrations import migrate
from components import naming
from stacks.cluster import Cluster
from stacks.platform_key import PlatformKey
from tests.audit import mariadb_server
from tests.e2e.project import Done, Project, store
from tests.figures import Figures

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


class Arguments:
    """Every argument of every process of the machine, the sandbox's pods included, as seen while it looked."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()

    def look(self) -> None:
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    self.seen.add((folder / "cmdline").read_bytes())
                except OSError:
                    continue  # it ended meanwhile

    @contextmanager
    def watched(self) -> Iterator[None]:
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.02):
                self.look()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def forms(secret: str) -> set[bytes]:
    """Return the ways in which a secret would be written down, also inside of a longer text in Base64."""
    padded = {base64.b64encode(b"\0" * shift + secret.encode())[4 if shift else 0 : -4] for shift in range(3)}
    return {secret.encode(), quote(secret).encode(), secret.encode().hex().encode(), *padded}


def in_secret(project: Project, store_id: str) -> dict[str, str]:
    cluster = Cluster(kubeconfig=project.variables["KUBECONFIG"])
    found = cluster.secret(naming.namespace(store_id), naming.credentials_secret(store_id))
    assert found is not None
    return dict(found)


@pytest.mark.long
def test_no_secret_is_where_it_may_not_be(make_project: Callable[[], Project], figures: Figures) -> None:
    made = make_project()
    canaries = {name: f"canary{secrets.token_hex(12)}" for name in ("passphrase", "database", "cloud")}
    shop = naming.new_store_id("canary")
    arguments, said = Arguments(), list[Done]()
    with mariadb_server.running(*mariadb_server.NOT_DURABLE) as server:
        database = server.new_database()
        migrate(server.url(database))
        server.execute(
            f"CREATE USER 'ledger'@'localhost' IDENTIFIED BY '{canaries['database']}'",
            f"GRANT ALL ON {database}.* TO 'ledger'@'localhost'",
        )
        project = Project(
            made.root,
            {
                **{name: value for name, value in made.variables.items() if name != "PULUMI_CONFIG_PASSPHRASE_FILE"},
                "PULUMI_CONFIG_PASSPHRASE": canaries["passphrase"],
                "AWS_SECRET_ACCESS_KEY": canaries["cloud"],
                "STORES_LEDGER_URL": server.url(database, "ledger", canaries["database"]),
            },
        )
        with arguments.watched():
            project.write(store(shop))
            said.append(project.stores("plan", "--verbose"))
            said.append(project.stores("up", "--verbose"))
            assert said[-1].code == 0, str(said[-1])
            said.append(project.stores("doctor", "--verbose"))
            # Failures tell most: a broken image, a wrong passphrase, a database that refuses.
            project.configure(releaseTimeoutSeconds=20)
            project.write(store(shop, image={"tag": "0.0.0-none"}))
            said.append(project.stores("up", "--verbose", "--json"))
            assert said[-1].code == 6, str(said[-1])
            said.append(project.stores("up", "--verbose", PULUMI_CONFIG_PASSPHRASE="wrong"))
            refused = server.url(database, "nobody", canaries["database"])
            said.append(project.stores("up", "--verbose", STORES_LEDGER_URL=refused))
            assert said[-1].code == 5, str(said[-1])
            project.configure(releaseTimeoutSeconds=240)
            project.write(store(shop))
            said.append(project.stores("up", "--verbose"))
            assert said[-1].code == 0, str(said[-1])
            said.append(project.stores("audit", "export"))
            said.append(project.stores("status", "--deep", "--json"))
            said.append(project.helm("get", "all", shop, "--namespace", f"store-{shop}"))
            said.append(project.helm("get", "values", "--all", shop, "--namespace", f"store-{shop}"))

        key_file = Path(project.variables["STORES_PLATFORM_KEY_FILE"])
        canaries["platform key"] = key_file.read_text().strip().partition(":")[2]
        canaries |= PlatformKey.read(key_file).store_secrets(shop, 1)
        generated = in_secret(project, shop)
        assert {"mariadb-password", "wordpress-password", "backup-password"} <= set(generated)
        canaries |= generated
        assert len(canaries) >= 12
        places = {f"output of command {number}": str(done).encode() for number, done in enumerate(said)}
        places |= {f"arguments {number}": text for number, text in enumerate(arguments.seen)}
        places |= {str(file): file.read_bytes() for file in files_of(project, server.socket_path.parent, key_file)}
        found = {
            (name, place)
            for name, secret in canaries.items()
            for form in forms(secret)
            for place, text in places.items()
            if form in text
        }
        assert found == set()

        # The same search does find what is there.
        shown = project.stores("credentials", shop, "--json")
        assert any(form in shown.out.encode() for form in forms(canaries["wordpress-password"]))
        assert any(b"kube-apiserver" in text for text in arguments.seen)
        assert project.stores("rm", shop).code == 0
        assert project.stores("up").code == 0
    figures.reached(
        "7",
        "canary secrets",
        wanted="0 found in log, output, state in clear, Helm release, process lists",
        seen=f"{len(canaries)} secrets, plain and encoded: 0 found in {len(places)} places",
    )


def files_of(project: Project, database: Path, key_file: Path) -> list[Path]:
    """Return every file that a run leaves: state and its backups, settings, the ledger's database, logs."""
    folders = (project.root / ".stores", project.root / "stacks", project.root.parent / "state", database)
    files = [file for folder in folders if folder.exists() for file in folder.rglob("*")]
    files += list(project.root.glob("*.yaml"))
    state = [file for file in files if "state" in file.parts]
    assert state, "the state's files were not looked at"
    return [file for file in files if file.is_file() and file != key_file and not file.is_socket()]
