"""The WordPress image does what the official one promises, as uid 33 on a read-only root."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.containers.image import Done, Image, volume

USER = 33
CODE = "/var/www/html"
WRITABLE = ("/tmp", "/run", CODE)  # noqa: S108
SALTS = [f"{name}_{kind}" for name in ("AUTH", "SECURE_AUTH", "LOGGED_IN", "NONCE") for kind in ("KEY", "SALT")]

# The chart's way to a port that needs no right: both files are mounted over the image's.
PORTS = "/etc/apache2/ports.conf"
SITE = "/etc/apache2/sites-available/000-default.conf"
MOUNTED = {
    PORTS: "Listen 8080\n",
    SITE: """
<VirtualHost *:8080>
    DocumentRoot /var/www/html
    ErrorLog ${APACHE_LOG_DIR}/error.log
    CustomLog ${APACHE_LOG_DIR}/access.log combined
</VirtualHost>
""",
}

ASK = r"""
cat > /tmp/ask.php <<'PHP'
<?php
[, $path, $header] = $argv + [2 => 'Host: shop.test'];
$context = stream_context_create(['http' => ['ignore_errors' => true, 'follow_location' => 0, 'header' => $header]]);
$body = @file_get_contents("http://127.0.0.1:8080$path", false, $context);
if ($body === false) exit(1);
preg_match('/ (\d+)/', $http_response_header[0], $status);
echo $status[1], ' ', trim(substr($body, 0, 200)), "\n";
PHP
ask() { php /tmp/ask.php "$@"; }
docker-entrypoint.sh apache2-foreground > /tmp/out 2> /tmp/err &
server=$!
until ask /readme.html > /dev/null; do
    kill -0 $server 2> /dev/null || { cat /tmp/err; exit 1; }
    sleep 0.1
done
"""
STOP = """
kill -WINCH $server
wait $server; echo "stopped $?"
"""


def run(image: Image, script: str, environment: Mapping[str, str] | None = None, volumes: Path | None = None) -> Done:
    """Run a script in the folder of the code."""
    return image.run(f"cd {CODE}\n{script}", user=USER, writable=WRITABLE, environment=environment, volumes=volumes)


def serve(image: Image, script: str, folder: Path, environment: Mapping[str, str] | None = None) -> Done:
    """Run a script beside a web server on port 8080; `folder` is for what is mounted."""
    for path, content in MOUNTED.items():
        (volume(folder, str(Path(path).parent), USER) / Path(path).name).write_text(content)
    settings = {"WORDPRESS_DB_HOST": "127.0.0.1", **(environment or {})}
    whole = f"cd {CODE}\n{ASK}{script}{STOP}"
    return image.run(whole, user=USER, writable=(*WRITABLE, *MOUNTED), environment=settings, volumes=folder)


def test_the_init_container_fills_an_empty_folder(wordpress: Image) -> None:
    script = """
    docker-ensure-installed.sh 2> /dev/null || exit 1
    for path in .htaccess index.php wp-admin/admin.php wp-content/themes/twentytwentyfive/style.css; do
        [ -s "$path" ] || echo "no $path"
    done
    find . -type l
    find . ! -user www-data ! -path .
    [ -e wp-config.php ] && echo 'a wp-config.php without any setting'
    php -r 'require "wp-includes/version.php"; echo $wp_version, "\n";'
    """
    done = run(wordpress, script)
    assert done.out == "7.1.4\n", done


def test_every_php_file_of_the_image_can_be_read_by_php(wordpress: Image) -> None:
    script = r"""
    docker-ensure-installed.sh 2> /dev/null
    find . -name '*.php' -print0 | xargs -0 -n 500 php -r '
        foreach (array_slice($argv, 1) as $file) {
            try { token_get_all(file_get_contents($file), TOKEN_PARSE); }
            catch (ParseError $error) { echo "$file: {$error->getMessage()}\n"; }
        }'
    """
    done = run(wordpress, script)
    assert (done.code, done.out) == (0, ""), done


def test_what_is_in_the_folder_already_is_kept(wordpress: Image) -> None:
    script = """
    mkdir -p wp-content/plugins/mine wp-content/themes/twentytwentyfive wp-content/uploads
    echo mine | tee .htaccess wp-content/themes/twentytwentyfive/style.css > wp-content/plugins/mine/mine.php
    docker-ensure-installed.sh 2> /dev/null; echo $?
    cat .htaccess wp-content/themes/twentytwentyfive/style.css wp-content/plugins/mine/mine.php
    ls wp-content/themes/twentytwentyfive
    [ -s index.php ] && echo filled
    """
    done = run(wordpress, script)
    assert done.out.split() == ["0", "mine", "mine", "mine", "style.css", "filled"], done


def test_a_folder_with_a_wordpress_in_it_is_left_alone(wordpress: Image) -> None:
    done = run(wordpress, "echo older > index.php; docker-ensure-installed.sh; ls")
    assert done.out == "index.php\n", done


def test_settings_come_from_the_environment_at_each_request(wordpress: Image) -> None:
    script = """
    export WORDPRESS_DB_NAME=first WORDPRESS_DEBUG=
    docker-ensure-installed.sh 2> /dev/null
    printf 'secret\n' > /tmp/password
    export WORDPRESS_DB_NAME=second WORDPRESS_DB_PASSWORD_FILE=/tmp/password WORDPRESS_TABLE_PREFIX=x_
    export WORDPRESS_DEBUG=1 WORDPRESS_CONFIG_EXTRA='define("EXTRA", "ex" . "tra");' WORDPRESS_DB_USER=
    sed -i 's/^require_once.*//' wp-config.php
    php -r 'require "wp-config.php"; echo implode(" ", [DB_NAME, DB_USER, DB_PASSWORD, DB_HOST, DB_CHARSET,
        $table_prefix, var_export(WP_DEBUG, true), EXTRA, ABSPATH]), "\n";'
    """
    done = run(wordpress, script)
    assert done.out == "second  secret mysql utf8mb4 x_ true extra /var/www/html/\n", done


def test_https_of_a_proxy_reaches_wordpress(wordpress: Image) -> None:
    script = """
    docker-ensure-installed.sh 2> /dev/null
    sed -i 's/^require_once.*//' wp-config.php
    for proto in http https 'https,http'; do
        php -r '$_SERVER["HTTP_X_FORWARDED_PROTO"] = $argv[1];
            require "wp-config.php";
            echo $_SERVER["HTTPS"] ?? "off", "\n";' "$proto"
    done
    """
    done = run(wordpress, script, {"WORDPRESS_DB_NAME": "x"})
    assert done.out.split() == ["off", "on", "on"], done


def test_salts_are_random_unless_given_and_never_the_phrase_of_the_template(wordpress: Image) -> None:
    names = ",".join(f'"{name}"' for name in SALTS)
    script = f"""
    docker-ensure-installed.sh 2> /dev/null
    sed -i 's/^require_once.*//' wp-config.php
    php -r 'require "wp-config.php"; foreach ([{names}] as $name) echo constant($name), "\\n";'
    """
    first, second = (run(wordpress, script, {"WORDPRESS_AUTH_KEY": "given"}).out.split() for _ in range(2))
    assert first[0] == second[0] == "given"
    assert len({*first[1:], *second[1:]}) == 14
    assert all(len(salt) == 40 for salt in first[1:])


def test_apache_serves_php_static_files_and_pretty_addresses(wordpress: Image, tmp_path: Path) -> None:
    script = r"""
    echo '<?php echo PHP_SAPI, " ", $_SERVER["REQUEST_URI"];' > index.php
    mkdir -p sub && echo static > sub/file.txt
    ask /
    ask /a/pretty/address/?x=1
    ask /sub/file.txt
    ask /sub/ | head -c 3; echo
    ask /.htaccess | head -c 3; echo
    """
    done = serve(wordpress, script, tmp_path)
    assert done.out.splitlines() == [
        "200 apache2handler /", "200 apache2handler /a/pretty/address/?x=1", "200 static", "403", "403", "stopped 0",
    ], done  # fmt: skip


def test_visitors_addresses_come_from_the_proxy_and_logs_go_to_the_containers_streams(
    wordpress: Image, tmp_path: Path
) -> None:
    script = r"""
    echo '<?php echo $_SERVER["REMOTE_ADDR"]; error_log("a line of the shop");' > index.php
    ask / $'Host: shop.test\r\nX-Forwarded-For: 203.0.113.9'
    grep -c '^203.0.113.9 .*"GET / HTTP' /tmp/out
    grep -c 'a line of the shop' /tmp/err
    """
    done = serve(wordpress, script, tmp_path)
    assert done.out.splitlines() == ["200 203.0.113.9", "1", "1", "stopped 0"], done


def test_a_shop_without_its_database_says_so_and_shows_no_details(wordpress: Image, tmp_path: Path) -> None:
    script = """
    ask /wp-login.php | head -c 3; echo
    ask /wp-login.php | grep -c -e 'Warning' -e '127.0.0.1' -e 'Stack trace'
    """
    done = serve(wordpress, script, tmp_path, {"WORDPRESS_DB_PASSWORD": "x"})
    assert done.out.splitlines() == ["500", "0", "stopped 0"], done


def test_php_has_what_wordpress_and_woocommerce_need(wordpress: Image) -> None:
    wanted = (
        "bcmath", "ctype", "curl", "dom", "exif", "fileinfo", "gd", "iconv", "intl", "json", "mbstring", "mysqli",
        "openssl", "SimpleXML", "sodium", "xml", "xmlreader", "Zend OPcache", "zip", "zlib",
    )  # fmt: skip
    names = ",".join(f'"{name}"' for name in wanted)
    script = f"""
    php -r 'foreach ([{names}] as $name) if (!extension_loaded($name)) echo "no $name\\n";
        foreach (["JPEG", "PNG", "WebP", "FreeType"] as $kind) if (!gd_info()["$kind Support"]) echo "no $kind\\n";
        new DateTimeZone("Europe/Berlin");
        echo PHP_VERSION, " ", ini_get("memory_limit"), " ", ini_get("display_errors") ?: "hidden", "\\n";'
    php -r '$file = openssl_get_cert_locations()["default_cert_file"];
        echo substr_count(file_get_contents($file), "BEGIN CERTIFICATE") > 100 ? "authorities" : "none", "\\n";'
    """
    done = run(wordpress, script)
    version, limit, errors = done.out.splitlines()[0].split()
    assert version.startswith("8.4.")
    assert (limit, errors) == ("128M", "hidden")
    assert done.out.splitlines()[1:] == ["authorities"], done


def test_php_settings_of_the_official_folder_are_read(wordpress: Image, tmp_path: Path) -> None:
    folder = volume(tmp_path, "/usr/local/etc/php/conf.d", USER)
    (folder / "zz-store.ini").write_text("memory_limit = 333M\n")
    done = wordpress.run(
        "php -r 'echo ini_get(\"memory_limit\"), extension_loaded(\"mysqli\") ? \" mysqli\" : \"\";'", user=USER,
        writable=("/usr/local/etc/php/conf.d",), volumes=tmp_path,
    )  # fmt: skip
    assert done.out == "333M mysqli", done


def test_other_commands_run_as_they_are_and_install_nothing(wordpress: Image) -> None:
    done = run(wordpress, "docker-entrypoint.sh php -r 'echo 1;'; ls -A", {"WORDPRESS_DB_NAME": "x"})
    assert done.out == "1", done


def test_the_image_starts_as_the_official_one(wordpress: Image) -> None:
    assert wordpress.config["Entrypoint"] == ["docker-entrypoint.sh"]
    assert wordpress.config["Cmd"] == ["apache2-foreground"]
    assert wordpress.config["WorkingDir"] == CODE
    assert wordpress.config["StopSignal"] == "SIGWINCH"
    assert wordpress.config["ExposedPorts"] == {"80/tcp": {}}
