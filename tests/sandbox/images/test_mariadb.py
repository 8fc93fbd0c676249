"""The MariaDB image does what the official one promises, as uid 999 on a read-only root."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.containers.image import Done, Image, volume

USER = 999
WRITABLE = ("/tmp", "/run/mysqld", "/var/lib/mysql")  # noqa: S108
SECRETS = {"MARIADB_ROOT_PASSWORD": 'root\'s \\ "password"', "MARIADB_ROOT_HOST": "localhost"}
ACCOUNT = {"MARIADB_DATABASE": "my_shop", "MARIADB_USER": "shop", "MARIADB_PASSWORD": "it's\\a`$(secret)\"%_"}

# Starts the server as the container does, waits as its probe does, runs $SCRIPT, and stops it as the kubelet does.
SERVE = """
docker-entrypoint.sh mariadbd $ARGUMENTS > /tmp/log 2>&1 &
server=$!
for try in {1..400}; do
    healthcheck.sh --connect --innodb_initialized 2>/dev/null && break
    kill -0 $server 2>/dev/null || { cat /tmp/log; wait $server; exit $?; }
    sleep 0.1
done
set +e
root() { MYSQL_PWD="$MARIADB_ROOT_PASSWORD" mariadb -uroot -N "$@"; }
shop() { MYSQL_PWD="$MARIADB_PASSWORD" mariadb -ushop -h127.0.0.1 --skip-ssl-verify-server-cert -N "$@"; }
eval "$SCRIPT"
code=$?
kill -TERM $server
wait $server || { echo "the server did not stop cleanly"; cat /tmp/log; exit 99; }
exit $code
"""


def serve(
    image: Image,
    script: str,
    *,
    environment: Mapping[str, str],
    volumes: Path | None = None,
    extra: tuple[str, ...] = (),
    arguments: str = "",
) -> Done:
    """Return what the script says beside a running server."""
    variables = {"ARGUMENTS": arguments, **environment, "SCRIPT": script}
    return image.run(SERVE, user=USER, writable=(*WRITABLE, *extra), environment=variables, volumes=volumes)


def start(image: Image, environment: Mapping[str, str], *, volumes: Path | None = None) -> Done:
    """Return how a start ends that must not succeed."""
    script = "docker-entrypoint.sh mariadbd"
    return image.run(script, user=USER, writable=WRITABLE, environment=environment, volumes=volumes, timeout_s=60)


def test_the_account_reaches_its_database_over_the_network_and_no_other(mariadb: Image) -> None:
    script = """
    shop my_shop -e 'CREATE TABLE t (x INT); INSERT INTO t VALUES (7); SELECT x, CURRENT_USER() FROM t' || exit 1
    shop -e 'CREATE DATABASE other' 2>&1 | grep -c 'Access denied'
    shop -e 'CREATE TABLE myXshop.t (x INT)' 2>&1 | grep -c denied
    """
    done = serve(mariadb, script, environment={**SECRETS, **ACCOUNT})
    assert done.out.split() == ["7", "shop@%", "1", "1"], done


def test_root_is_reached_from_inside_only_and_only_with_its_password(mariadb: Image) -> None:
    script = """
    root -e "SELECT User, Host FROM mysql.user WHERE User IN ('root', '') ORDER BY 1, 2"
    MYSQL_PWD=wrong mariadb -uroot -e 'SELECT 1' 2>&1 | grep -c denied
    MYSQL_PWD="$MARIADB_ROOT_PASSWORD" mariadb -uroot -h127.0.0.1 2>&1 < /dev/null | grep -c -e denied -e 'not allowed'
    """
    done = serve(mariadb, script, environment=SECRETS)
    assert done.out.split() == ["root", "localhost", "1", "1"], done


def test_root_is_reached_from_everywhere_unless_a_host_is_given(mariadb: Image) -> None:
    script = "root -e \"SELECT Host FROM mysql.user WHERE User = 'root' ORDER BY 1\""
    done = serve(mariadb, script, environment={"MARIADB_ROOT_PASSWORD": "secret"})
    assert done.out.split() == ["%", "localhost"], done


def test_passwords_come_from_files_too_without_their_last_line_break(mariadb: Image, tmp_path: Path) -> None:
    secrets = volume(tmp_path, "/docker-entrypoint-initdb.d", USER)
    (secrets / "root").write_text("from a file\n")
    (secrets / "shop").write_text("from another\n")
    environment = {
        "MARIADB_ROOT_PASSWORD_FILE": "/docker-entrypoint-initdb.d/root", "MARIADB_ROOT_HOST": "localhost",
        "MARIADB_DATABASE": "my_shop", "MARIADB_USER": "shop",
        "MARIADB_PASSWORD_FILE": "/docker-entrypoint-initdb.d/shop",
    }  # fmt: skip
    script = """
    MYSQL_PWD='from a file' mariadb -uroot -N -e "SELECT 'root'"
    MYSQL_PWD='from another' mariadb -ushop -h127.0.0.1 --skip-ssl-verify-server-cert -N -e "SELECT 'shop'"
    tr '\\0' '\\n' < /proc/$server/environ | grep -c '^MARIADB_.*PASSWORD'
    """
    extra = ("/docker-entrypoint-initdb.d",)
    done = serve(mariadb, script, environment=environment, volumes=tmp_path, extra=extra)
    assert done.out.split() == ["root", "shop", "0"], done


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({}, "no password is given"),
        ({"MARIADB_ROOT_PASSWORD": "a", "MARIADB_ROOT_PASSWORD_FILE": "/etc/hostname"}, "exclude each other"),
        ({"MARIADB_ROOT_PASSWORD_FILE": "/nowhere"}, "/nowhere, which cannot be read"),
        ({"MARIADB_ROOT_PASSWORD": "a", "MARIADB_ROOT_PASSWORD_HASH": "*0"}, "excludes every other way"),
        ({"MARIADB_ROOT_PASSWORD": "a", "MARIADB_USER": "shop"}, "without MARIADB_PASSWORD"),
        ({"MARIADB_ROOT_PASSWORD": "a", "MARIADB_USER": "root", "MARIADB_PASSWORD": "a"}, "cannot be root"),
    ],
)
def test_settings_that_cannot_be_meant_stop_the_first_start(
    mariadb: Image, environment: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    data = volume(tmp_path, "/var/lib/mysql", USER)
    done = start(mariadb, environment, volumes=tmp_path)
    assert done.code == 1, done
    assert complaint in done.out
    assert not list(data.iterdir()), "nothing may be written, or the next start would take it for a database"


def test_a_setting_that_the_server_does_not_know_stops_it_with_the_servers_words(mariadb: Image) -> None:
    done = mariadb.run(
        "docker-entrypoint.sh mariadbd --no-such-setting=1", user=USER, writable=WRITABLE, environment=SECRETS
    )
    assert done.code == 1
    assert "no-such-setting" in done.out


def test_the_second_start_keeps_everything_and_reads_no_password(mariadb: Image, tmp_path: Path) -> None:
    volume(tmp_path, "/var/lib/mysql", USER)
    first = serve(
        mariadb,
        "shop my_shop -e 'CREATE TABLE t AS SELECT 7 AS x'",
        environment={**SECRETS, **ACCOUNT},
        volumes=tmp_path,
    )
    assert first.code == 0, first
    script = """
    export MARIADB_PASSWORD="$OLD_PASSWORD"
    shop my_shop -e 'SELECT x FROM t'
    grep -c 'creating the system tables' /tmp/log
    """
    environment = {"MARIADB_ROOT_PASSWORD": "another", "OLD_PASSWORD": ACCOUNT["MARIADB_PASSWORD"]}
    second = serve(mariadb, script, environment=environment, volumes=tmp_path)
    assert second.out.split() == ["7", "0"], second


def test_the_probe_fails_until_the_real_server_answers(mariadb: Image) -> None:
    script = """
    healthcheck.sh --connect; echo "before: $?"
    docker-entrypoint.sh mariadbd > /tmp/log 2>&1 &
    until grep -q 'waiting for the temporary server' /tmp/log 2>/dev/null; do sleep 0.05; done
    until [ -S /run/mysqld/mysqld.sock ]; do sleep 0.05; done
    while [ -S /run/mysqld/mysqld.sock ] && ! grep -q 'the database is ready' /tmp/log; do
        healthcheck.sh --connect --innodb_initialized 2>/dev/null && ! grep -q 'the database is ready' /tmp/log \
            && echo 'ready too early'
    done
    until healthcheck.sh --connect --innodb_initialized 2>/dev/null; do sleep 0.1; done
    echo after
    healthcheck.sh --mariadbupgrade && echo 'fits'
    healthcheck.sh; echo "none: $?"
    healthcheck.sh --no-such-test 2>/dev/null; echo "unknown: $?"
    kill -TERM %1; wait %1
    """
    done = mariadb.run(script, user=USER, writable=WRITABLE, environment=SECRETS)
    wanted = ["before: 1", "after", "fits", "none: 2", "unknown: 2"]
    assert [line for line in done.out.splitlines() if not line.startswith("healthcheck: ")] == wanted, done


def test_files_of_the_first_start_are_run_in_order_on_the_database(mariadb: Image, tmp_path: Path) -> None:
    folder = volume(tmp_path, "/docker-entrypoint-initdb.d", USER)
    (folder / "1.sql").write_text("CREATE TABLE t (x INT); INSERT INTO t VALUES (1);")
    (folder / "2.sh").write_text('echo "INSERT INTO t VALUES (2)" | ask --database="$MARIADB_DATABASE"\n')
    (folder / "3.txt").write_text("nothing")
    script = "shop my_shop -e 'SELECT GROUP_CONCAT(x) FROM t'; grep -c 'ignoring .*3.txt' /tmp/log"
    extra = ("/docker-entrypoint-initdb.d",)
    done = serve(mariadb, script, environment={**SECRETS, **ACCOUNT}, volumes=tmp_path, extra=extra)
    assert done.out.split() == ["1,2", "1"], done


def test_a_root_password_can_be_given_as_its_hash(mariadb: Image, tmp_path: Path) -> None:
    folder = volume(tmp_path, "/docker-entrypoint-initdb.d", USER)
    (folder / "1.sql").write_text("SELECT 1;")
    # Of the password `secret`.
    environment = {"MARIADB_ROOT_PASSWORD_HASH": "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7"}
    done = serve(
        mariadb, "MYSQL_PWD=secret mariadb -uroot -N -e 'SELECT 5'", environment=environment, volumes=tmp_path,
        extra=("/docker-entrypoint-initdb.d",),
    )  # fmt: skip
    assert done.out.split() == ["5"], done


def test_a_random_root_password_is_told_in_the_log(mariadb: Image) -> None:
    script = """
    password=$(sed -n 's/.*GENERATED ROOT PASSWORD: //p' /tmp/log)
    MYSQL_PWD="$password" mariadb -uroot -N -e 'SELECT 5'
    """
    done = serve(mariadb, script, environment={"MARIADB_RANDOM_ROOT_PASSWORD": "yes"})
    assert done.out.split() == ["5"], done


def test_data_of_an_older_series_is_upgraded_when_asked_and_saved_before(mariadb: Image, tmp_path: Path) -> None:
    data = volume(tmp_path, "/var/lib/mysql", USER)
    environment = {**SECRETS, "MARIADB_AUTO_UPGRADE": "1"}
    assert serve(mariadb, "true", environment=environment, volumes=tmp_path).code == 0
    (data / "mariadb_upgrade_info").write_text("10.11.6-MariaDB")
    done = serve(
        mariadb,
        "grep -c 'upgraded' /tmp/log; healthcheck.sh --mariadbupgrade",
        environment=environment,
        volumes=tmp_path,
    )
    assert (done.code, done.out.split()) == (0, ["1"]), done
    assert (data / "system_mysql_backup_10.11.6-MariaDB.sql.zst").stat().st_size > 1000
    again = serve(mariadb, "grep -c 'upgraded' /tmp/log", environment=environment, volumes=tmp_path)
    assert again.out.split() == ["0"], again


def test_settings_of_conf_d_win_over_the_images_own(mariadb: Image, tmp_path: Path) -> None:
    folder = volume(tmp_path, "/etc/mysql/conf.d", USER)
    (folder / "store.cnf").write_text("[mariadbd]\nmax_connections = 33\nskip-name-resolve = OFF\n")
    script = "root -e 'SELECT @@max_connections, @@skip_name_resolve'"
    done = serve(mariadb, script, environment=SECRETS, volumes=tmp_path, extra=("/etc/mysql/conf.d",))
    assert done.out.split() == ["33", "0"], done


def test_another_folder_for_the_data_is_found_in_the_servers_own_settings(mariadb: Image, tmp_path: Path) -> None:
    done = serve(
        mariadb, "true", environment={**SECRETS, "MYSQL_DATADIR": "/var/lib/mysql/here"}, volumes=tmp_path,
        arguments="--datadir=/var/lib/mysql/here",
    )  # fmt: skip
    assert done.code == 0, done


def test_a_dump_holds_the_data_and_can_be_loaded_again(mariadb: Image) -> None:
    script = """
    shop my_shop -e "CREATE TABLE t (x TEXT CHARACTER SET utf8mb4); INSERT INTO t VALUES ('tea 🍵')" || exit 1
    MYSQL_PWD="$MARIADB_PASSWORD" mariadb-dump -ushop -h127.0.0.1 --skip-ssl-verify-server-cert \
        --single-transaction my_shop > /tmp/dump.sql || exit 2
    shop my_shop -e 'DROP TABLE t' && shop my_shop < /tmp/dump.sql && shop my_shop -e 'SELECT x FROM t'
    mariadb-backup --version 2>&1 | grep -c 11.8
    """
    done = serve(mariadb, script, environment={**SECRETS, **ACCOUNT, "LANG": "C.UTF-8"})
    assert done.out.splitlines() == ["tea 🍵", "1"], done


def test_other_commands_run_as_they_are(mariadb: Image) -> None:
    done = mariadb.run("docker-entrypoint.sh echo hello", user=USER, writable=WRITABLE)
    assert (done.code, done.out) == (0, "hello\n")


def test_started_as_root_the_server_runs_as_its_own_user(mariadb: Image) -> None:
    script = "ps() { :; }; stat -c %u /var/lib/mysql/mysql; awk '/^Uid/ {print $2}' /proc/$server/status"
    variables = {"ARGUMENTS": "", **SECRETS, "SCRIPT": script}
    done = mariadb.run(SERVE, user=0, writable=WRITABLE, environment=variables)
    assert done.out.split()[-2:] == ["999", "999"], done
