"""The set-up of a shop with the real PHP, WordPress and MariaDB of the images: containers of the chart, no cluster."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.containers.database import DatabaseServer
from tests.containers.image import Image
from tests.containers.network import Network
from tests.containers.pod import Pod, Shop

from .rendering import VALUES, Chart, Rendered, merged

# As charts/store/files/install/lib.php ends where no further try makes it better.
NEVER = 78
GERMAN = {
    "store": {"locale": "de_DE", "timezone": "Europe/Berlin", "country": "DE:DE-BE", "currency": "EUR", "title": "Tee"}
}
PLUGIN = (
    "<?php\n/*\nPlugin Name: Own\nVersion: {version}\n*/\nadd_action('wp_head', fn () => print('own {version}'));\n"
)
THEME = "/*\nTheme Name: Bare\nVersion: {version}\n*/\n"


@pytest.fixture(scope="module")
def render(chart: Chart) -> Callable[..., Rendered]:
    """Return a renderer of the environment `local` with these values."""
    return lambda values=None: chart.render(values or {}, files=[VALUES / "values-local.yaml"])


@pytest.fixture
def new_shop(
    wordpress: Image, database: DatabaseServer, tmp_path: Path, render: Callable[..., Rendered]
) -> Callable[..., Shop]:
    """Return a maker of shops with nothing in them."""
    return lambda values=None: Shop.new(wordpress, database, tmp_path, render(values))


@pytest.fixture(scope="module")
def shop(
    wordpress: Image,
    database: DatabaseServer,
    tmp_path_factory: pytest.TempPathFactory,
    render: Callable[..., Rendered],
) -> Shop:
    """Return a German shop, installed once."""
    made = Shop.new(wordpress, database, tmp_path_factory.mktemp("shop"), render(GERMAN))
    done = made.pod().set_up()
    assert done.code == 0, done
    return made


@pytest.fixture(scope="module")
def second_pod(shop: Shop) -> Pod:
    """Return a second pod of that shop."""
    pod = shop.pod()
    done = pod.set_up()
    assert done.code == 0, done
    return pod


@pytest.fixture
def web(second_pod: Pod) -> Iterator[Pod]:
    """Return that pod while it serves; only one pod at a time can have the network's port 8080."""
    with second_pod.serving():
        yield second_pod


def counts(shop: Shop) -> Mapping[str, int]:
    """Return how much of everything there is."""
    tables = ("posts", "options", "users", "terms", "postmeta", "usermeta")
    return {table: len(shop.query(f"SELECT 1 FROM wp_{table}")) for table in tables}  # noqa: S608 - names of ours


def options(shop: Shop) -> Mapping[str, str]:
    """Return every option that no clock changes."""
    rows = shop.query("SELECT option_name, option_value FROM wp_options WHERE option_name NOT LIKE '\\_%'")
    return {name: value for name, value in rows if name not in {"cron", "recently_activated"}}


def archive(slug: str, files: Mapping[str, str], *, links: Mapping[str, str] | None = None) -> bytes:
    """Return a zip archive of one folder; `links` are symbolic ones."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        for name, text in files.items():
            made.writestr(f"{slug}/{name}" if slug else name, text)
        for name, target in (links or {}).items():
            link = zipfile.ZipInfo(f"{slug}/{name}")
            link.create_system = 3
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            made.writestr(link, target)
    return content.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def own_plugin(version: str = "1.0") -> bytes:
    return archive("own", {"own.php": PLUGIN.format(version=version)})


def entry(url: str, content: bytes, slug: str = "own", version: str = "1.0") -> dict[str, str]:
    """Return an entry of `plugins` or `themes`."""
    return {"slug": slug, "version": version, "url": url, "sha256": sha256(content)}


class Publisher:
    """Serves archives inside the shops' network, and counts who asks."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.folder = folder
        self.log = folder / "log"
        script = (
            "import http.server\n"
            "class H(http.server.SimpleHTTPRequestHandler):\n"
            "    def do_GET(self):\n"
            "        with open('log','a') as log: log.write(self.path+'\\n')\n"
            "        if self.path.startswith('/broken'): self.send_error(503); return\n"
            "        if self.path.startswith('/moved'):\n"
            "            self.send_response(302); self.send_header('Location', self.path[6:])\n"
            "            self.end_headers(); return\n"
            "        super().do_GET()\n"
            "    def log_message(self, *a): pass\n"
            "s=http.server.ThreadingHTTPServer(('127.0.0.1',0),H)\n"
            "print(s.server_port,flush=True); s.serve_forever()\n"
        )
        self.process = subprocess.Popen(
            ["nsenter", f"--net={network.path}", "python3", "-c", script], cwd=folder, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def url(self, name: str, content: bytes | None = None) -> str:
        """Return the address of a file, and write it."""
        if content is not None:
            (self.folder / name).write_bytes(content)
        return f"http://127.0.0.1:{self.port}/{name}"

    @property
    def asked(self) -> int:
        """How often anybody asked for anything."""
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def close(self) -> None:
        """Serve no more."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture
def publisher(database: DatabaseServer, tmp_path: Path) -> Iterator[Publisher]:
    folder = tmp_path / "published"
    folder.mkdir()
    made = Publisher(folder, database.network)
    yield made
    made.close()


def test_a_new_shop_is_what_the_values_say(shop: Shop) -> None:
    assert shop.option("blogname") == "Tee"
    assert shop.option("timezone_string") == "Europe/Berlin"
    assert shop.option("woocommerce_default_country") == "DE:DE-BE"
    assert shop.option("woocommerce_currency") == "EUR"
    assert shop.option("template") == shop.option("stylesheet") == "storefront"
    assert shop.option("active_plugins") == 'a:1:{i:0;s:27:"woocommerce/woocommerce.php";}'


def test_a_new_shop_can_sell_and_neither_hides_nor_asks_nor_calls_home(shop: Shop) -> None:
    assert shop.option("woocommerce_coming_soon") == "no"
    assert shop.option("woocommerce_store_pages_only") == "no"
    assert shop.option("woocommerce_allow_tracking") == "no"
    assert shop.option("woocommerce_show_marketplace_suggestions") == "no"
    assert '"completed";b:1' in str(shop.option("woocommerce_onboarding_profile"))
    assert '"enabled";s:3:"yes"' in str(shop.option("woocommerce_cod_settings"))
    assert shop.option("_transient__wc_activation_redirect") is None


def test_orders_of_a_new_shop_have_tables_of_their_own(shop: Shop) -> None:
    assert shop.option("woocommerce_custom_orders_table_enabled") == "yes"
    assert shop.option("woocommerce_newly_installed") != "yes"


def test_the_shops_pages_answer_and_say_that_it_is_a_stand_in(web: Pod) -> None:
    for path in ("/", "/shop/", "/cart/", "/my-account/"):
        page = web.get(path)
        assert page.code == 200, (path, page.body[:300])
        assert '<meta name="generator" content="WooCommerce stand-in 11.0.1-standin">' in page.body, path
        assert "This shop runs a stand-in for WooCommerce" in page.body, path
    assert web.get("/wp-json/wc/store/v1/products").json() == []
    assert web.get("/checkout/").headers["Location"].endswith("/cart/")


def test_a_shop_without_its_language_pack_says_in_its_pages_that_they_are_english(web: Pod) -> None:
    # By this `stores status` knows it.
    for path in ("/", "/shop/"):
        assert '<html lang="en-US">' in web.get(path).body, path


def test_the_installs_notes_are_no_pages(web: Pod) -> None:
    assert (web.folder / "code/.store-complete").exists()
    assert web.get("/.store-complete").code == 403
    assert web.get("/.store/alive").code == 200


def test_a_second_start_changes_nothing(shop: Shop, second_pod: Pod) -> None:
    before, options_before = counts(shop), options(shop)
    done = shop.pod().set_up()
    assert done.code == 0, done
    assert counts(shop) == before
    assert options(shop) == options_before
    said = [line for line in done.out.splitlines() if not line.startswith("run: ")]
    language = "there is no language pack de_DE in wp-content/languages: texts are in English until the image has it"
    assert said == [f"step-20-settings: {language}"], done


def test_what_the_merchant_changed_lasts_until_the_declared_value_changes(
    new_shop: Callable[..., Shop], render: Callable[..., Rendered]
) -> None:
    shop = new_shop(GERMAN)
    assert shop.pod().set_up().code == 0
    shop.query("UPDATE wp_options SET option_value = 'CHF' WHERE option_name = 'woocommerce_currency'")
    shop.query("UPDATE wp_options SET option_value = 'Europe/Zurich' WHERE option_name = 'timezone_string'")
    shop.query("UPDATE wp_options SET option_value = 'yes' WHERE option_name = 'woocommerce_coming_soon'")
    assert shop.pod().set_up().code == 0
    kept = [shop.option(name) for name in ("woocommerce_currency", "timezone_string", "woocommerce_coming_soon")]
    assert kept == ["CHF", "Europe/Zurich", "yes"]
    changed = merged(GERMAN, {"store": {"currency": "USD", "timezone": "Europe/Vienna"}})
    assert shop.pod(render(changed)).set_up().code == 0
    now = [shop.option(name) for name in ("woocommerce_currency", "timezone_string", "woocommerce_coming_soon")]
    assert now == ["USD", "Europe/Vienna", "yes"]


def test_a_language_is_the_shops_as_soon_as_its_pack_is_there(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(GERMAN)
    pod = shop.pod()
    pod.fill()
    pack = "mkdir -p wp-content/languages && : > wp-content/languages/de_DE.mo && exec bash /etc/store/install/run.sh"
    done = pod.run("install", pack)
    assert done.code == 0, done
    assert shop.option("WPLANG") == "de_DE"
    assert "no language pack" not in done.out


def test_two_pods_that_install_at_once_make_one_shop(new_shop: Callable[..., Shop], shop: Shop) -> None:
    other = new_shop(GERMAN)
    pods = [other.pod(), other.pod()]
    for pod in pods:
        pod.fill()
    running = [pod.start("install") for pod in pods]
    said = [process.communicate(timeout=200)[0].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert counts(other)["users"] == 1
    pages = "SELECT COUNT(*) FROM wp_posts WHERE post_type = 'page' AND post_name IN ('shop', 'cart', 'checkout')"
    assert other.query(pages)[0][0] == 3
    assert other.option("woocommerce_custom_orders_table_enabled") == "yes"
    assert sum("WordPress is installed" in text for text in said) == 1


def test_a_pod_waits_for_one_of_any_earlier_chart_and_tells_why_it_gets_no_lock(new_shop: Callable[..., Shop]) -> None:
    """The lock's name is that of every chart before. Some versions of Galera refuse it at once."""
    shop = new_shop()
    pod = shop.pod()
    pod.fill()
    with contextlib.closing(shop.server.connect(shop.database)) as older, older.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK('store-install', 0)")
        process = pod.start("install")
        waiting = "SELECT ID FROM information_schema.PROCESSLIST WHERE STATE = 'User lock' AND DB = %s"
        while not (found := shop.server.query(waiting, shop.database)):
            assert process.poll() is None, "it does not wait"
        shop.server.query(f"KILL QUERY {found[0][0]}")
        done = process.ended(60)
    assert done.code == 1, done
    assert "gives no lock: the wait for it was ended there; the pod tries again by itself" in done.out
    assert "delete it" not in done.out


@pytest.mark.parametrize("step", ["step-10-core", "step-32-active", "step-34-new-shop", "step-40-shop"])
def test_a_pod_that_is_killed_in_the_middle_heals(new_shop: Callable[..., Shop], shop: Shop, step: str) -> None:
    killed = new_shop(GERMAN)
    pod = killed.pod()
    pod.fill()
    # It dies when that step has written something, and before its end.
    done = pod.run("install", kill_during(step))
    assert done.code == 137, done
    done = killed.pod().set_up()
    assert done.code == 0, done
    for name in (
        "woocommerce_currency",
        "template",
        "woocommerce_custom_orders_table_enabled",
        "woocommerce_coming_soon",
    ):
        assert killed.option(name) == shop.option(name), name
    assert counts(killed)["users"] == 1
    published = "SELECT post_name FROM wp_posts WHERE post_type = 'page' AND post_status = 'publish' ORDER BY 1"
    assert killed.query(published) == shop.query(published)


def kill_during(step: str) -> str:
    """Return a script that installs, and is killed at the first write of that step, as by a broken node."""
    return f"""
    mkdir /tmp/install && cp /etc/store/install/* /tmp/install/
    sed -i "s#^const INSTALL_DIR = .*#const INSTALL_DIR = '/tmp/install';#" /tmp/install/lib.php
    cat > /tmp/install/killer.php <<'PHP'
    <?php
    $GLOBALS['wp_filter']['query'][10][] = ['accepted_args' => 1, 'function' => static function ($sql) {{
        static $writes = 0;
        if (preg_match('/^\\s*(INSERT|UPDATE)/i', $sql) && ++$writes === 4) {{
            exec('kill -9 -1');
        }}
        return $sql;
    }}];
PHP
    sed -i "s#^require '/var/www/html/wp-load.php';#require '/tmp/install/killer.php'; &#" /tmp/install/{step}.php
    php /tmp/install/run.php
    """


def test_a_plugin_is_fetched_once_and_found_again_when_nobody_publishes_it(
    new_shop: Callable[..., Shop], render: Callable[..., Rendered], publisher: Publisher
) -> None:
    content = own_plugin()
    values = {"plugins": [entry(publisher.url("own.zip", content), content)]}
    shop = new_shop(values)
    done = shop.pod().set_up()
    assert done.code == 0, done
    assert "plugin own 1.0 is there, from the archive" in done.out
    assert "own/own.php" in str(shop.option("active_plugins"))
    assert publisher.asked == 1
    publisher.close()
    pod = shop.pod()
    done = pod.set_up()
    assert done.code == 0, done
    with pod.serving():
        assert "own 1.0" in pod.get("/").body
        # What was fetched is no page of the shop.
        served = pod.get(f"/wp-content/uploads/../packages/{sha256(content)}.zip")
        assert served.code in {400, 404}
    assert [file.name for file in (shop.volume("uploads") / "packages").glob("*.zip")] == [f"{sha256(content)}.zip"]
    assert not list((shop.volume("uploads") / "uploads").rglob("*.zip"))
    # Taken off the list, it is not active, and no trace of it is in the next pod.
    pod = shop.pod(render({}))
    done = pod.set_up()
    assert done.code == 0, done
    assert "plugin own is no longer declared and not active" in done.out
    assert "own/own.php" not in str(shop.option("active_plugins"))
    assert not (pod.folder / "code/wp-content/plugins/own").exists()


def test_of_an_archive_with_two_plugins_the_one_is_taken_that_it_is_named_after(
    new_shop: Callable[..., Shop], publisher: Publisher
) -> None:
    """The helper is the first by its file and by its name, the orders of a folder and of WordPress."""
    helper = "<?php\n/*\nPlugin Name: A helper\nVersion: 9.9\n*/\n"
    content = archive("own", {"a-helper.php": helper, "own.php": PLUGIN.format(version="1.0")})
    shop = new_shop({"plugins": [entry(publisher.url("own.zip", content), content)]})
    done = shop.pod().set_up()
    assert done.code == 0, done
    assert "own/own.php" in str(shop.option("active_plugins"))
    assert "own/a-helper.php" not in str(shop.option("active_plugins"))


def test_an_archive_that_is_declared_is_never_forgotten(
    new_shop: Callable[..., Shop], render: Callable[..., Rendered], publisher: Publisher
) -> None:
    """With a kept wp-content nothing unpacks it again; a restart may need it nevertheless."""
    content, other = own_plugin(), own_plugin("0.9")
    values = {"wpContent": {"mode": "persistent"}, "plugins": [entry(publisher.url("own.zip", content), content)]}
    shop = new_shop(values)
    assert shop.pod().set_up().code == 0
    kept = shop.volume("uploads") / "packages" / f"{sha256(content)}.zip"
    forgotten = kept.with_name(f"{sha256(other)}.zip")
    forgotten.write_bytes(other)
    for file in (kept, forgotten):
        os.utime(file, (1000, 1000))
    done = shop.pod().set_up()
    assert done.code == 0, done
    assert kept.exists()
    assert not forgotten.exists()


def test_an_archive_with_another_checksum_installs_nothing(new_shop: Callable[..., Shop], publisher: Publisher) -> None:
    content = own_plugin()
    url = publisher.url("own.zip", content)
    declared = "0" * 64
    shop = new_shop({"plugins": [{**entry(url, content), "sha256": declared}]})
    pod = shop.pod()
    done = pod.set_up()
    assert done.code == NEVER, done
    assert (
        f"step-05-packages: plugin own 1.0: {url} has the SHA-256 {sha256(content)}, and plugins[0].sha256 says"
        f" {declared}; nothing of it was installed; compare with who publishes it, and correct plugins[0].sha256 or"
        " plugins[0].url\n"
    ) in done.out
    assert not list((shop.volume("uploads") / "packages").glob("*.zip*"))
    assert not (pod.folder / "code/wp-content/plugins/own").exists()


def test_a_corrected_checksum_heals(
    new_shop: Callable[..., Shop], render: Callable[..., Rendered], publisher: Publisher
) -> None:
    content = own_plugin()
    url = publisher.url("own.zip", content)
    shop = new_shop({"plugins": [{**entry(url, content), "sha256": "0" * 64}]})
    assert shop.pod().set_up().code == NEVER
    done = shop.pod(render({"plugins": [entry(url, content)]})).set_up()
    assert done.code == 0, done
    assert "own/own.php" in str(shop.option("active_plugins"))


def test_a_damaged_archive_in_the_cache_is_fetched_anew(new_shop: Callable[..., Shop], publisher: Publisher) -> None:
    content = own_plugin()
    shop = new_shop({"plugins": [entry(publisher.url("own.zip", content), content)]})
    assert shop.pod().set_up().code == 0
    kept = shop.volume("uploads") / "packages" / f"{sha256(content)}.zip"
    kept.write_bytes(content[:-1] + b"x")
    done = shop.pod().set_up()
    assert done.code == 0, done
    assert "is damaged and is fetched anew" in done.out
    assert kept.read_bytes() == content
    assert publisher.asked == 2


EVIL: Mapping[str, tuple[bytes, str]] = {
    "leads out": (
        archive("", {"own/own.php": "<?php", "own/../../../evil.php": "<?php"}),
        'has the entry "own\\/..\\/..\\/..\\/evil.php", which leads out of its folder',
    ),
    "absolute": (archive("", {"/etc/evil": "x"}), 'has the entry "\\/etc\\/evil", which leads out of its folder'),
    "backslash": (
        archive("", {"own/own.php": "<?php", "own\\..\\evil.php": "x"}),
        'has the entry "own\\\\..\\\\evil.php", which leads out of its folder',
    ),
    "elsewhere": (
        archive("", {"own/own.php": "<?php", "woocommerce/evil.php": "x"}),
        "has the entry woocommerce/evil.php, which is not in the folder own",
    ),
    "link": (
        archive("own", {"own.php": PLUGIN.format(version="1.0")}, links={"all": "/"}),
        "has the entry own/all, which is neither file nor folder",
    ),
    "no archive": (b"not a zip", "is no zip archive (code 19)"),
    "other version": (own_plugin("2.0"), "is of version 2.0"),
    "no plugin": (archive("own", {"readme.txt": "x"}), "holds no plugin"),
}


@pytest.mark.parametrize("name", EVIL)
def test_an_archive_that_is_not_one_folder_of_files_is_refused(
    new_shop: Callable[..., Shop], publisher: Publisher, name: str
) -> None:
    content, message = EVIL[name]
    shop = new_shop({"plugins": [entry(publisher.url("own.zip", content), content)]})
    pod = shop.pod()
    pod.fill()
    done = pod.run("install")
    assert done.code == NEVER, done
    assert f"step-05-packages: plugin own 1.0: its archive {message}; " in done.out, done
    plugins = pod.folder / "code/wp-content/plugins"
    assert sorted(file.name for file in plugins.iterdir()) == ["index.php", "woocommerce"]
    assert not list(shop.folder.rglob("evil*"))


def test_a_publisher_who_fails_is_asked_three_times_and_then_told_of(
    new_shop: Callable[..., Shop], publisher: Publisher
) -> None:
    content = own_plugin()
    url = publisher.url("broken")
    done = new_shop({"plugins": [entry(url, content)]}).pod().set_up()
    assert done.code == 1, done
    assert publisher.asked == 3
    assert (
        f"plugin own 1.0: {url}: The requested URL returned error: 503; correct plugins[0].url, let the store reach it,"
        " or use an image that has the package\n"
    ) in done.out


def test_an_archive_that_is_not_there_is_asked_for_once(new_shop: Callable[..., Shop], publisher: Publisher) -> None:
    done = new_shop({"plugins": [entry(publisher.url("gone.zip"), b"")]}).pod().set_up()
    assert done.code == NEVER, done
    assert "The requested URL returned error: 404" in done.out
    assert publisher.asked == 1


def test_an_archive_that_is_too_large_is_not_kept(new_shop: Callable[..., Shop], publisher: Publisher) -> None:
    content = bytes(1024 * 1024 + 1)
    url = publisher.url("large.zip", content)
    shop = new_shop({"plugins": [entry(url, content)], "install": {"download": {"maxMib": 1}}})
    done = shop.pod().set_up()
    assert done.code == NEVER, done
    assert f"{url}: is larger than 1 MiB, which install.download.maxMib allows; " in done.out
    assert not list((shop.volume("uploads") / "packages").glob("*.zip*"))


def test_a_publisher_who_moved_it_is_followed(new_shop: Callable[..., Shop], publisher: Publisher) -> None:
    content = own_plugin()
    publisher.url("own.zip", content)
    done = new_shop({"plugins": [entry(publisher.url("moved/own.zip"), content)]}).pod().set_up()
    assert done.code == 0, done


def test_a_version_that_the_image_lacks_is_refused_with_the_cure(new_shop: Callable[..., Shop]) -> None:
    done = new_shop({"woocommerce": {"version": "99.0"}}).pod().set_up()
    assert done.code == NEVER, done
    assert (
        "plugin woocommerce 99.0: the image docker.io/library/wordpress:7.1.4-php8.4-apache has 11.0.1-standin, and"
        " woocommerce names no url; use an image that has it, or set woocommerce to a version, an url and its sha256\n"
    ) in done.out


def test_a_version_that_the_image_has_is_not_fetched(new_shop: Callable[..., Shop]) -> None:
    url = "https://nowhere.invalid/woocommerce.zip"
    values = {"woocommerce": {"version": "11.0.1-standin", "url": url, "sha256": "0" * 64}}
    done = new_shop(values).pod().set_up()
    assert done.code == 0, done


def test_another_woocommerce_than_the_images_takes_its_place(
    new_shop: Callable[..., Shop], publisher: Publisher
) -> None:
    plugin = (
        "<?php\n/* Plugin Name: Other\nVersion: 12.0 */\nclass WooCommerce {} function WC() { return new WooCommerce; }"
    )
    pages = "class WC_Install { static function create_pages() {} }"
    content = archive("woocommerce", {"woocommerce.php": f"{plugin}\n{pages}"})
    url = publisher.url("woocommerce.zip", content)
    shop = new_shop({"woocommerce": {"version": "12.0", "url": url, "sha256": sha256(content)}})
    pod = shop.pod()
    done = pod.set_up()
    assert done.code == 0, done
    folder = pod.folder / "code/wp-content/plugins"
    assert sorted(file.name for file in folder.iterdir()) == ["index.php", "woocommerce"]
    assert [file.name for file in (folder / "woocommerce").iterdir()] == ["woocommerce.php"]
    assert not list((pod.folder / "code/wp-content").glob(".store-*"))


def test_the_first_theme_of_the_list_is_the_shops(
    new_shop: Callable[..., Shop], render: Callable[..., Rendered], publisher: Publisher
) -> None:
    files = {"style.css": THEME.format(version="1.0"), "index.php": "<?php echo 'bare theme'; wp_head();"}
    content = archive("bare", files)
    url = publisher.url("bare.zip", content)
    shop = new_shop({"themes": [entry(url, content, slug="bare")]})
    pod = shop.pod()
    done = pod.set_up()
    assert done.code == 0, done
    assert shop.option("stylesheet") == "bare"
    # Taken off the list, the shop is Storefront's again.
    assert shop.pod(render({})).set_up().code == 0
    assert shop.option("stylesheet") == "storefront"


def test_a_plugin_that_breaks_is_told_of_and_not_active(new_shop: Callable[..., Shop], publisher: Publisher) -> None:
    content = archive("own", {"own.php": PLUGIN.format(version="1.0") + "throw new Exception('broken inside');"})
    shop = new_shop({"plugins": [entry(publisher.url("own.zip", content), content)]})
    done = shop.pod().set_up()
    assert done.code == 1, done
    assert "broken inside" in done.out
    assert "step-32-active.php failed with code" in done.out
    assert "own/own.php" not in str(shop.option("active_plugins"))


def test_a_shop_without_woocommerce_can_be_asked_for(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop({"woocommerce": {"enabled": False}, "storefront": {"enabled": False}})
    done = shop.pod().set_up()
    assert done.code == 0, done
    assert shop.option("active_plugins") == "a:0:{}"


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ({"timezone": "Europe/Atlantis"}, "store.timezone: PHP knows no time zone Europe/Atlantis; write one like"),
    ],
)
def test_a_setting_that_the_shop_does_not_know_is_refused(
    new_shop: Callable[..., Shop], store: Mapping[str, str], message: str
) -> None:
    done = new_shop({"store": store}).pod().set_up()
    assert done.code == NEVER, done
    assert message in done.out


PERSISTENT = {"wpContent": {"mode": "persistent"}}


def test_a_persistent_wp_content_keeps_what_the_admin_page_installed(
    new_shop: Callable[..., Shop], render: Callable[..., Rendered], publisher: Publisher
) -> None:
    content = own_plugin()
    url = publisher.url("own.zip", content)
    shop = new_shop({**PERSISTENT, "plugins": [entry(url, content)]})
    pod = shop.pod()
    done = pod.set_up()
    assert done.code == 0, done
    made = pod.run("wordpress", "mkdir wp-content/plugins/bought && echo '<?php' > wp-content/plugins/bought/a.php")
    assert made.code == 0, made
    # The admin page brought a newer version of a declared one; it stays until another is declared.
    newer = PLUGIN.format(version="1.1")
    written = pod.run("wordpress", f"cat > wp-content/plugins/own/own.php <<'PHP'\n{newer}\nPHP")
    assert written.code == 0, written
    pod.remove()
    pod = shop.pod()
    done = pod.set_up()
    assert done.code == 0, done
    plugins = shop.volume("uploads") / "wp-content/plugins"
    assert (plugins / "bought/a.php").exists()
    assert "1.1" in (plugins / "own/own.php").read_text()
    assert pod.php("echo wp_is_file_mod_allowed('x') ? 'may' : 'may not';").out.endswith("may")
    other = own_plugin("2.0")
    declared = entry(publisher.url("own2.zip", other), other, version="2.0")
    assert shop.pod(render({**PERSISTENT, "plugins": [declared]})).set_up().code == 0
    assert "2.0" in (plugins / "own/own.php").read_text()


def test_an_immutable_shop_cannot_be_changed_from_the_admin_page(shop: Shop, web: Pod) -> None:
    assert web.php("echo wp_is_file_mod_allowed('x') ? 'may' : 'may not';").out.endswith("may not")
    tried = web.run("wordpress", "echo x > wp-content/plugins/woocommerce/woocommerce.php")
    assert "Read-only file system" in tried.out


def test_no_secret_is_on_a_command_line_or_in_what_is_said(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(GERMAN)
    pod = shop.pod()
    pod.fill()
    process = pod.start("install")
    seen: set[str] = set()
    while process.poll() is None:
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.add(command.read_text())
            except OSError:
                continue
        time.sleep(0.01)
    said = process.communicate()[0].decode()
    assert any("step-10-core.php" in line for line in seen)
    values = [file.read_text() for file in (shop.folder / "credentials").iterdir()]
    assert len(values) >= 10
    assert not [value for value in values if value in said or any(value in line for line in seen)]
