"""Backups in an object store: the chart's own pods, as prod's values make them, and the gate's, at a real server."""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from audit import backup_server, backups, retired
from audit.backup_server import BackupServer
from audit.jobs import JobResult
from stacks import settings as settings_module
from stacks.cluster import Cluster
from stacks.desired import environment_values, merge
from stacks.errors import StoreFailedError
from stacks.platform_key import PlatformKey
from tests.containers.image import Image, Mount, unpack
from tests.containers.job_pod import Ended, Pod
from tests.containers.object_store import URL, ObjectStore, object_store

from .rendering import RELEASE, ROOT, Chart, Rendered

ACCESS: Final = "backup-access"
KEPT: Final = {
    "uploads/2026/photo.jpg": "a photo",
    "packages/abc.zip": "an archive",
    "wp-content/plugins/own/own.php": "<?php // own",
    "wp-content/themes/leaves/style.css": "leaves",
    "wp-content/languages/de_DE.mo": "texts",
    "wp-content/advanced-cache.php": "<?php // drop-in",
}
NOT_KEPT: Final = {
    "packages/def.zip.part": "half",
    "wp-content/cache/page.html": "old page",
    "wp-content/upgrade/half/half.php": "half",
    "wp-content/uploads/of-another-mount": "",
    "wp-content/plugins/.store-plugin-own/own.php": "half",
    "uploads/cache/CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55",
    "uploads/cache/thumbnail": "again and again",
}


@pytest.fixture(scope="module")
def restic(archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Image:
    return unpack(archives["restic"], tmp_path_factory.mktemp("restic"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("object-store")) as running:
        yield running


@pytest.fixture(scope="module")
def prod() -> dict[str, Any]:
    """Return prod's values as they are, but for the address."""
    values = environment_values(ROOT, "prod")
    assert values["backup"]["repository"]["kind"] == "s3"
    assert values["backup"]["repository"]["accessSecret"] == ACCESS
    return merge(values, {"backup": {"repository": {"url": URL}}, "wpContent": {"mode": "persistent"}})


@dataclass
class Shop:
    """One store with backups, whose id is its release's and whose folder in the bucket is its own."""

    rendered: Rendered
    image: Image
    server: ObjectStore
    folder: Path
    store_id: str
    key: PlatformKey
    access: dict[str, str]
    _turn: list[int] = field(default_factory=list)

    def pod(self, kind: str, *, claims: str = "claims", key: PlatformKey | None = None) -> Pod:
        """Return a new pod of the chart's template for a backup or a restore."""
        spec = self.rendered.one("CronJob", kind)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        (credentials,) = {
            volume["secret"]["secretName"]
            for volume in spec["volumes"]
            if volume["name"] in ("credentials", "repository")
        }
        self._turn.append(0)
        data = (key or self.key).backup_secrets(self.store_id)
        data |= {"mariadb-password": "m", "wordpress-password": "w"}
        scripts = self.rendered.one("ConfigMap", "backup")["data"]
        return Pod(
            spec, self.image, self.server.network, self.folder / f"pod-{len(self._turn)}", self.folder / claims,
            {credentials: data, ACCESS: self.access}, {f"{RELEASE}-backup": scripts},
        )  # fmt: skip

    def write(self, files: Mapping[str, str], claims: str = "claims") -> None:
        volume = self.pod("backup", claims=claims).volume("volume")
        for name, content in files.items():
            (volume / name).parent.mkdir(parents=True, exist_ok=True)
            (volume / name).write_text(content)
        user = self.pod("backup").user
        for path in [volume, *volume.rglob("*")]:
            os.chown(path, user, user)

    def files(self, claims: str) -> dict[str, str]:
        volume = self.pod("backup", claims=claims).volume("volume")
        return {path.relative_to(volume).as_posix(): path.read_text() for path in volume.rglob("*") if path.is_file()}

    def backup(
        self, *, dump: str = "-- Dump completed", begun: float = 0, pod: Pod | None = None, **more: Any
    ) -> Ended:
        """Run the container that saves, after what the one that dumps leaves it."""
        pod = pod or self.pod("backup")
        data, credentials = pod.volume("scratch", "data"), pod.volume("private", "credentials")
        about = self.rendered.one("ConfigMap", "backup")["data"]["store.json"]
        for path, text in (
            (data / "database.sql", f"{dump}\n"),
            (data / "store.json", about),
            (data / "begun", ""),
            (credentials / "wordpress-password", "w"),
        ):
            path.write_text(text)
            os.chown(path, pod.user, pod.user)
        os.utime(data / "begun", (begun or time.time() + 1,) * 2)
        variables = {"REPOSITORY_ID": self.store_id, "STORE_ID": self.store_id, **more.pop("variables", {})}
        return pod.run("restic", variables=variables, **more)

    def restore(self, snapshot: str, claims: str) -> Pod:
        pod = self.pod("restore", claims=claims)
        pod.volume("private", "credentials")
        for container in ("fetch", "files"):
            done = pod.run(
                container,
                variables={"SNAPSHOT": snapshot, "REPOSITORY_ID": self.store_id, "STORE_ID": self.store_id},
            )
            assert done.code == 0, done
        return pod


@pytest.fixture(scope="module")
def rendered(chart: Chart, prod: dict[str, Any]) -> Rendered:
    return chart.render(prod)


@pytest.fixture
def shop(rendered: Rendered, restic: Image, server: ObjectStore, tmp_path: Path) -> Shop:
    access = {"access-key-id": server.access_key_id, "secret-access-key": server.secret_access_key}
    return Shop(
        rendered, restic, server, tmp_path, f"tea-house-{secrets.token_hex(3)[:5]}", PlatformKey({1: os.urandom(32)}),
        access,
    )  # fmt: skip


@pytest.fixture
def gate(
    shop: Shop, prod: dict[str, Any], restic: Image, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> BackupServer:
    """Return the gate's side, whose Jobs run here instead of in a cluster."""
    made: dict[str, Any] = {}
    monkeypatch.setattr(backup_server.live, "create", lambda _cluster, secret: made.update(secret))

    def run(_cluster: Cluster, job: Any, timeout_s: int, *, on_created: Callable[[Any], None], **_: Any) -> JobResult:
        on_created({"metadata": {"name": "job", "uid": "0"}})
        spec = job["spec"]["template"]["spec"]
        given = {made["metadata"]["name"]: made["stringData"], ACCESS: shop.access}
        folder = tmp_path / job["metadata"]["name"]
        done = Pod(spec, restic, shop.server.network, folder, tmp_path / "none", given).run("restic")
        reason = None if done.code == 0 else " / ".join(done.out.strip().splitlines()[-3:])
        return JobResult(done.code == 0, output=done.out, reason=reason)

    monkeypatch.setattr(backup_server.jobs, "run", run)
    monkeypatch.setattr(Cluster, "namespace", lambda _cluster, name: {"metadata": {"name": name}})
    return BackupServer(ROOT, settings_module.load(ROOT, "prod"), Cluster(), shop.key, prod)


def listed(gate: BackupServer, shop: Shop) -> list[backups.Snapshot]:
    return backups.listed(gate, shop.store_id, tell=lambda _text: None)


def test_a_backup_goes_into_the_object_store_is_listed_and_comes_back_as_it_was(
    shop: Shop, gate: BackupServer, server: ObjectStore
) -> None:
    assert listed(gate, shop) == []
    shop.write({**KEPT, **NOT_KEPT})
    done = shop.backup(dump="CREATE TABLE t (id INT);\n-- Dump completed", variables={"BACKUP_REASON": "manual"})
    assert done.code == 0, done
    (snapshot,) = listed(gate, shop)
    assert snapshot.id == json.loads(done.message)["snapshot_id"]
    assert snapshot.reason == "manual"
    # A folder of its own below the prefix, and nothing readable in it.
    names = [name for name in server.names() if shop.store_id in name]
    assert names
    assert all(name.startswith(f"prod/{shop.store_id}/") for name in names)
    assert backups.about(gate, shop.store_id, snapshot)["storeId"] == RELEASE
    # What was made since goes; what no backup has, and lies where the pod mounts something else, does not matter.
    shop.write({"uploads/new.txt": "new", "wp-content/plugins/new/new.php": "", "later/x": ""}, "elsewhere")
    restored = shop.restore(snapshot.id, "elsewhere")
    assert shop.files("elsewhere") == {**KEPT, "uploads/cache/CACHEDIR.TAG": NOT_KEPT["uploads/cache/CACHEDIR.TAG"]}
    assert (restored.volume("scratch") / "data/database.sql").read_text().startswith("CREATE TABLE")
    assert (restored.volume("private", "credentials") / "wordpress-password").read_text() == "w"


def test_wp_content_that_was_not_kept_then_is_empty_after_a_restore(shop: Shop) -> None:
    shop.write({"uploads/photo": "x"})
    snapshot = json.loads(shop.backup().message)["snapshot_id"]
    shop.write({"wp-content/plugins/later/later.php": "", "uploads/later": ""})
    shop.restore(snapshot, "claims")
    assert shop.files("claims") == {"uploads/photo": "x"}


def test_keys_that_the_object_store_does_not_take_are_told_and_not_shown(shop: Shop, server: ObjectStore) -> None:
    shop.write(KEPT)
    shop.access["secret-access-key"] = wrong = server.secret_access_key[::-1]
    done = shop.backup()
    assert done.code == 1
    assert f"the object store at {URL} refuses the keys: " in done.out
    assert "signature" in done.out
    assert "in the Secret of backup.repository.accessSecret" in done.out
    assert wrong not in done.out


def test_another_platform_key_opens_nothing_and_is_told(shop: Shop) -> None:
    shop.write(KEPT)
    assert shop.backup().code == 0
    done = shop.backup(pod=shop.pod("backup", key=PlatformKey({1: os.urandom(32)})))
    assert done.code == 1
    assert f"the repository of {shop.store_id} does not open with its backup-password; the platform key" in done.out


def test_code_that_changes_while_a_backup_runs_makes_it_fail_and_leaves_no_snapshot(
    shop: Shop, gate: BackupServer, tmp_path: Path
) -> None:
    shop.write(KEPT)
    said = "plugins or themes were installed, updated or removed while the backup ran; run it again"
    early = shop.backup(begun=time.time() - 3600)
    assert early.code == 1
    assert said in early.out
    # This restic waits, once it has saved, until a plugin was installed.
    wrapper = tmp_path / "restic"
    waits = '[ "$1" != backup ] || { touch /tmp/saved; until [ -e /tmp/installed ]; do sleep 0.1; done; }'
    wrapper.write_text(f'#!/bin/sh\n/usr/bin/restic "$@" || exit\n{waits}\n')
    wrapper.chmod(0o755)
    pod = shop.pod("backup")
    plugins, tmp = pod.volume("volume") / "wp-content/plugins", pod.volume("tmp")

    def install() -> None:
        while not (tmp / "saved").exists():
            time.sleep(0.05)
        (plugins / "new").mkdir()
        os.utime(plugins, (time.time() + 60,) * 2)
        (tmp / "installed").touch()

    merchant = threading.Thread(target=install, daemon=True)
    merchant.start()
    late = shop.backup(pod=pod, more=[Mount(wrapper, "/usr/local/sbin/restic", read_only=True)])
    merchant.join()
    assert late.code == 1
    assert said in late.out
    assert late.message == ""
    assert listed(gate, shop) == []


@pytest.mark.long
def test_what_is_kept_is_what_the_values_say_and_no_replaced_state_takes_its_place(
    shop: Shop, gate: BackupServer
) -> None:
    shop.write({"uploads/photo": "x"})
    days = range(18, 0, -1)
    # At noon what was meant, in the evening what a restore has replaced.
    save = f"restic backup --quiet --host {shop.store_id} /backup --tag"
    commands = [
        f"{save} {reason} --time \"$(date -d '{day} days ago' +%F) {hour}:00:00\""
        for day in days
        for reason, hour in (("scheduled", 12), ("pre-restore", 20))
        if reason == "scheduled" or day in (2, 8, 10)
    ]
    commands.append(f"{save} final --time '2020-01-01 00:00:00'")
    made = shop.pod("backup")
    for folder in ("data", "credentials"):
        made.volume("scratch" if folder == "data" else "private", folder)
    done = made.run(
        "restic",
        script=". /etc/store/backup/repository.sh; open_repository init; export RESTIC_COMPRESSION=off\n"
        + "\n".join(commands),
        variables={"REPOSITORY_ID": shop.store_id, "STORE_ID": shop.store_id},
        timeout_s=300,
    )
    assert done.code == 0, done
    keep = {"KEEP_WITHIN_DAYS": "7", "KEEP_DAILY": "10", "KEEP_WEEKLY": "0", "KEEP_MONTHLY": "0", "CHECK_WEEKDAY": "9"}
    assert shop.backup(variables=keep).code == 0
    found = listed(gate, shop)
    now = found[0].taken_at
    ages = [(snapshot.reason, (now.date() - snapshot.taken_at.date()).days) for snapshot in found]
    assert [age for reason, age in ages if reason == "scheduled"] == list(range(10))
    assert [age for reason, age in ages if reason == "pre-restore"] == [2, 8]
    assert [reason for reason, _ in ages].count("final") == 1


def test_the_repository_of_a_deleted_store_is_emptied_whole_and_again_without_harm(
    shop: Shop, gate: BackupServer, server: ObjectStore
) -> None:
    assert retired._remove(gate, shop.store_id, lambda _text: None) == 0
    shop.write(KEPT)
    for reason in ("manual", "final"):
        assert shop.backup(variables={"BACKUP_REASON": reason}).code == 0
    folders = {name.split("/")[2] for name in server.names() if shop.store_id in name}
    assert {"data", "snapshots", "index"} <= folders
    assert retired._remove(gate, shop.store_id, lambda _text: None) == 2
    assert {name.split("/")[2] for name in server.names() if shop.store_id in name} <= {"config", "keys"}
    assert listed(gate, shop) == []
    assert retired._remove(gate, shop.store_id, lambda _text: None) == 0


@pytest.mark.long
def test_a_repository_that_does_not_open_is_not_removed(shop: Shop, gate: BackupServer, server: ObjectStore) -> None:
    shop.write(KEPT)
    assert shop.backup().code == 0
    before = [name for name in server.names() if shop.store_id in name]
    other = BackupServer(gate.root, gate.settings, gate.cluster, PlatformKey({1: os.urandom(32)}), gate.values)
    with pytest.raises(StoreFailedError, match="does not open with its backup-password"):
        retired._remove(other, shop.store_id, lambda _text: None)
    assert [name for name in server.names() if shop.store_id in name] == before
