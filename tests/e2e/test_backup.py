"""A live store, backed up and brought back: after a loss of data, after a loss of its namespace, and as another store.

Tests go on where the one before ended.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from components import naming
from stacks.cluster import Cluster
from tests.e2e.project import Project, store
from tests.e2e.shop import Shop, until

pytestmark = [pytest.mark.cluster, pytest.mark.chain, pytest.mark.timeout(900)]

TEA = naming.new_store_id("backed")
# The admin page of this one may install.
OPEN = naming.new_store_id("open")
BLOCK = store(TEA, title="Tea & more", currency="EUR", timezone="Europe/Berlin", uploads={"storage": "2Gi"})
PLUGIN = "<?php /* Plugin Name: Handmade */ function handmade() { return %r; }"


@pytest.fixture(scope="module")
def project(make_project: Callable[[], Project]) -> Project:
    made = make_project()
    made.write(BLOCK)
    done = made.stores("up")
    assert done.code == 0, str(done)
    return made


@pytest.fixture(scope="module")
def cluster(project: Project) -> Cluster:
    return Cluster(kubeconfig=project.variables["KUBECONFIG"])


@pytest.fixture(scope="module")
def shop(cluster: Cluster) -> Shop:
    return Shop(cluster, TEA)


def test_a_backup_is_a_snapshot_in_the_list_and_two_entries_in_the_log(project: Project, shop: Shop) -> None:
    shop.sql("CREATE TABLE wp_kept (id INT PRIMARY KEY, words TEXT); INSERT INTO wp_kept VALUES (1, 'before')")
    shop.shell("mkdir -p wp-content/uploads/2026 && echo first > wp-content/uploads/2026/photo.txt")
    done = project.stores("backup", TEA, "--reason", "before the sale", "--json")
    assert done.code == 0, str(done)
    (backup,) = done.data
    listed = project.stores("backups", TEA, "--json")
    assert listed.code == 0, str(listed)
    (snapshot,) = listed.data
    assert (snapshot["id"], snapshot["reason"]) == (backup["snapshot"], "manual")
    assert any(version.startswith("wordpress:") for version in snapshot["versions"])
    entries = project.stores("audit", "list", "--json").data
    found = [(entry["outcome"], entry["reason"]) for entry in entries if entry["action"] == "store.backup"]
    assert sorted(found) == [("success", "before the sale"), ("unknown", "before the sale")]


def test_destroyed_data_comes_back_and_what_was_there_before_is_kept(project: Project, shop: Shop) -> None:
    shop.sql("DROP TABLE wp_kept; DELETE FROM wp_posts; CREATE TABLE wp_new (id INT)")
    shop.shell("rm -r wp-content/uploads/2026 && echo new > wp-content/uploads/new.txt")
    done = project.stores("restore", TEA, "--yes", "--reason", "drill", "--json")
    assert done.code == 0, str(done)
    assert done.data["status"] == "Ready"
    assert shop.sql("SELECT words FROM wp_kept") == "before"
    assert int(shop.sql("SELECT COUNT(*) FROM wp_posts")) > 0
    # What was made since is gone, also what the snapshot knows nothing of.
    assert shop.sql("SHOW TABLES LIKE 'wp_new'") == ""
    assert shop.shell("cat wp-content/uploads/2026/photo.txt; ls wp-content/uploads").split() == ["first", "2026"]
    undo = done.data["undo"]
    listed = {item["id"]: item["reason"] for item in project.stores("backups", TEA, "--json").data}
    assert listed[undo] == "pre-restore"
    found = [
        (entry["action"], entry["outcome"], entry["metadata"].get("snapshot"))
        for entry in project.stores("audit", "list", "--json").data
        if entry["action"] == "store.restore"
    ]
    assert found == [
        ("store.restore", "success", done.data["snapshot"]),
        ("store.restore", "unknown", done.data["snapshot"]),
    ]
    assert "nothing to do" in project.stores("up").out


@pytest.mark.long
def test_another_store_gets_the_data_with_its_own_address_and_credentials(
    project: Project, shop: Shop, cluster: Cluster
) -> None:
    url = project.stores("status", TEA, "--json").data[0]["url"]
    nested = shop.php(f"echo serialize(['a' => serialize(['deep' => '{url}/x']), 'u' => '{url}']);")
    shop.sql(f"REPLACE INTO wp_options (option_name, option_value) VALUES ('nested', '{nested}')")  # noqa: S608
    assert project.stores("backup", TEA).code == 0
    done = project.stores("restore", TEA, "--as", "twin", "--json")
    assert done.code == 0, str(done)
    twin = done.data["store_id"]
    assert twin.startswith("twin-")
    assert (done.data["status"], done.data["source_id"]) == ("Ready", TEA)
    other = Shop(cluster, twin)
    here = done.data["url"]
    assert other.sql("SELECT words FROM wp_kept") == "before"
    assert other.shell("cat wp-content/uploads/2026/photo.txt") == "first"
    assert other.sql(f"SELECT COUNT(*) FROM wp_options WHERE option_value LIKE '%{TEA}%'") == "0"  # noqa: S608
    value = other.sql("SELECT TO_BASE64(option_value) FROM wp_options WHERE option_name = 'nested'")
    text = value.replace("\\n", "").replace("\n", "")
    code = f"$v = unserialize(base64_decode('{text}')); echo $v['u'], ' ', unserialize($v['a'])['deep'];"
    assert other.php(code) == f"{here} {here}/x"
    # It is the same shop: what its block says is what the data was made with.
    (block,) = [each for each in project.blocks() if each["id"] == twin]
    assert {key: block[key] for key in ("currency", "timezone", "uploads", "title", "owner")} == {
        key: BLOCK[key] for key in ("currency", "timezone", "uploads", "title", "owner")
    }
    currency = "SELECT option_value FROM wp_options WHERE option_name = 'woocommerce_currency'"
    assert (other.sql(currency), shop.sql(currency)) == ("EUR", "EUR")
    # The store of before has its own address still.
    assert shop.sql("SELECT option_value FROM wp_options WHERE option_name = 'home'") == url
    password = project.stores("credentials", twin, "--json").data["password"]
    logged_in = other.php(
        "chdir('/var/www/html'); $_SERVER['HTTP_HOST'] = 'x'; require 'wp-load.php';"
        f"echo is_wp_error(wp_authenticate('admin', '{password}')) ? 'refused' : 'in';"
    )
    assert logged_in == "in"
    assert project.stores("rm", twin).code == 0
    assert project.stores("up").code == 0


@pytest.mark.long
def test_a_store_whose_namespace_was_deleted_comes_back_whole(project: Project, shop: Shop, cluster: Cluster) -> None:
    cluster.core.delete_namespace(shop.namespace)
    until(lambda: cluster.namespace(shop.namespace) is None, "the namespace is gone")
    done = project.stores("restore", TEA, "--yes", "--json")
    assert done.code == 0, str(done)
    assert done.data["status"] == "Ready"
    assert shop.sql("SELECT words FROM wp_kept") == "before"
    assert shop.shell("cat wp-content/uploads/2026/photo.txt") == "first"
    assert "nothing to do" in project.stores("up").out


@pytest.mark.long
def test_what_the_merchant_installed_comes_back_as_it_was_with_the_database(project: Project, cluster: Cluster) -> None:
    project.write(BLOCK, store(OPEN, wpContent="persistent"))
    done = project.stores("up")
    assert done.code == 0, str(done)
    shop = Shop(cluster, OPEN)
    content = "/var/www/html/wp-content"
    wordpress = f"chdir('/var/www/html'); $_SERVER['HTTP_HOST'] = 'x'; require 'wp-load.php';"  # noqa: F541
    for place, text in (
        ("plugins/handmade/handmade.php", PLUGIN % "first"),
        ("themes/leaves/style.css", "/* Theme Name: Leaves */"),
        ("languages/de_DE.po", "texts"),
        ("uploads/photo.txt", "photo"),
        ("cache/page.html", "old"),
    ):
        shop.shell(f"mkdir -p $(dirname {content}/{place}) && cat > {content}/{place} <<'END'\n{text}\nEND")
    activate = (
        "require_once ABSPATH . 'wp-admin/includes/plugin.php'; activate_plugin('handmade/handmade.php'); echo 'done';"
    )
    assert shop.php(wordpress + activate) == "done"
    assert project.stores("backup", OPEN).code == 0
    # An update, another plugin, a theme and a language less.
    shop.shell(f"cat > {content}/plugins/handmade/handmade.php <<'END'\n{PLUGIN % 'second'}\nEND")
    shop.shell(f"mkdir {content}/plugins/later && touch {content}/plugins/later/later.php")
    shop.shell(f"rm -r {content}/themes/leaves {content}/languages/de_DE.po {content}/uploads/photo.txt")
    shop.sql("UPDATE wp_options SET option_value = 'a:0:{}' WHERE option_name = 'active_plugins'")
    done = project.stores("restore", OPEN, "--yes", "--json")
    assert done.code == 0, str(done)
    assert done.data["status"] == "Ready"
    assert shop.php(wordpress + "echo handmade();") == "first"
    left = shop.shell(f"cd {content}; ls plugins; cat themes/leaves/style.css languages/de_DE.po uploads/photo.txt")
    assert "later" not in left
    assert "handmade" in left
    assert left.splitlines()[-3:] == ["/* Theme Name: Leaves */", "texts", "photo"]
    assert shop.shell(f"[ -e {content}/cache ] && echo there || echo gone") == "gone"
    assert "nothing to do" in project.stores("up").out
    project.write(BLOCK, store(OPEN, wpContent="persistent", state="deleted"))
    assert project.stores("up").code == 0


def test_a_last_backup_is_taken_before_a_removal_and_outlives_the_store(project: Project) -> None:
    project.configure(finalBackup=True)
    assert project.stores("rm", TEA).code == 0
    done = project.stores("up")
    assert done.code == 0, str(done)
    assert project.stores("backups", TEA, "--json").data[0]["reason"] == "final"


@pytest.mark.long
def test_a_deleted_store_comes_back_as_another_from_what_its_backup_tells(project: Project, cluster: Cluster) -> None:
    project.write()
    done = project.stores("restore", TEA, "--as", "phoenix", "--json")
    assert done.code == 0, str(done)
    (block,) = project.blocks()
    assert block["id"] == done.data["store_id"]
    for key in ("currency", "timezone", "uploads", "title"):
        assert block[key] == BLOCK[key], key
    assert Shop(cluster, block["id"]).sql("SELECT words FROM wp_kept") == "before"
    project.configure(finalBackup=False)
    assert project.stores("rm", block["id"]).code == 0
    assert project.stores("up").code == 0


def test_backups_of_a_deleted_store_wait_for_their_time_and_then_go_for_good(project: Project) -> None:
    (left,) = [each for each in project.stores("backups", "--deleted", "--json").data if each["store_id"] == TEA]
    assert not left["expired"]
    assert project.stores("prune-backups", "--yes", "--json").data == []
    refused = project.stores("prune-backups", "--yes", "--deleted-before", "2100-01-01")
    assert refused.code == 11, str(refused)
    assert f"backups of '{TEA}': they are kept until" in refused.err
    project.configure(deletedBackupsDays=0)
    planned = [each["store_id"] for each in project.stores("prune-backups", "--dry-run", "--json").data]
    assert TEA in planned
    assert project.stores("backups", TEA, "--json").data != []
    done = project.stores("prune-backups", "--yes", "--reason", "its time is over", "--json")
    assert done.code == 0, str(done)
    assert next(each["snapshots"] for each in done.data if each["store_id"] == TEA) > 0
    assert project.stores("backups", TEA, "--json").data == []
    assert project.stores("backups", "--deleted", "--json").data == []
    entries = project.stores("audit", "list", "--action", "store.backups.prune", "--json").data
    found = [(each["outcome"], each["reason"]) for each in entries if each["store_id"] == TEA]
    assert sorted(found) == [("success", "its time is over"), ("unknown", "its time is over")]
