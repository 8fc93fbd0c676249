"""An address in all that a shop's database holds, rewritten by PHP of the image and in a real MariaDB."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.audit import mariadb_server
from tests.containers.image import Image, Mount

from .rendering import CHART

PHP = "<?php require '/test/address.php'; $a = new Address('http://tea.example.com:8080', 'https://new.example.org');\n"
OLD = "http://tea.example.com:8080"
DECLARED, LONGER = "https://b.example.org", "https://much-longer.example.org"


def run(image: Image, folder: Path, code: str, *, mysqld: Path | None = None, memory: str = "256M") -> str:
    (folder / "test.php").write_text(PHP + code)
    # As their ConfigMap has them, in one folder.
    mounts = [
        Mount(CHART / "files/backup/address.php", "/test/address.php", read_only=True),
        Mount(CHART / "files/address/rewriting.php", "/test/rewriting.php", read_only=True),
        Mount(CHART / "files/install/server.php", "/test/server.php", read_only=True),
        Mount(folder / "test.php", "/test/test.php", read_only=True),
        *([Mount(mysqld, "/run/mysqld")] if mysqld is not None else []),
    ]
    done = image.run(f"php -d memory_limit={memory} /test/test.php", user=33, writable=["/tmp"], mounts=mounts)  # noqa: S108 - in the container
    assert done.code == 0, str(done)
    return done.out


def test_whatever_is_nested_in_serialized_text_is_rewritten_and_can_be_read_again(
    wordpress: Image, tmp_path: Path
) -> None:
    code = r"""
    mt_srand(20261123);
    function any(int $depth) {
        switch (mt_rand(0, $depth > 4 ? 5 : 9)) {
            case 0: return mt_rand(-9, 9);
            case 1: return mt_rand(0, 1) === 1;
            case 2: return null;
            case 3: return mt_rand() / 7;
            case 4: return ['ü', "quote\" ; } {", "a\0b", 's:3:"x', ''][mt_rand(0, 4)];
            case 5: return 'é http://tea.example.com:8080/' . mt_rand() . ' ";s:4:"';
            case 6: return serialize(any($depth + 1));
            case 7: $o = new stdClass; $o->{'k' . mt_rand(0, 3)} = any($depth + 1); $o->self = 1; return $o;
            default:
                $list = [];
                for ($n = mt_rand(0, 4); $n > 0; $n--) { $list['k' . $n] = any($depth + 1); }
                return $list;
        }
    }
    function expected($value, Address $a) {
        if (is_string($value)) {
            $inner = @unserialize($value);
            return $inner === false && $value !== 'b:0;' ? $a->replaced($value) : serialize(expected($inner, $a));
        }
        if (is_array($value)) { return array_map(fn ($item) => expected($item, $a), $value); }
        if (is_object($value)) {
            $new = new stdClass;
            foreach (get_object_vars($value) as $key => $item) { $new->$key = expected($item, $a); }
            return $new;
        }
        return $value;
    }
    $changed = 0;
    for ($turn = 0; $turn < 2000; $turn++) {
        $value = any(0);
        $text = serialize($value);
        $new = rewritten($text, $a);
        $changed += $new !== $text;
        if ($new !== serialize(expected($value, $a))) { echo "differs: $text\nbecame: $new\n"; exit(1); }
    }
    echo $changed > 300 ? 'enough' : "only $changed";
    """
    assert run(wordpress, tmp_path, code) == "enough"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("http://tea.example.com:8080", "https://new.example.org"),
        ("https://TEA.example.com:8080/a?b#c", "https://new.example.org/a?b#c"),
        ("//tea.example.com:8080/x", "//new.example.org/x"),
        (r"http:\/\/tea.example.com:8080\/x", r"https:\/\/new.example.org\/x"),
        (r"http:\\\/\\\/tea.example.com:8080", r"https:\\\/\\\/new.example.org"),
        ("?to=http%3A%2F%2Ftea.example.com%3A8080%2Fx", "?to=https%3A%2F%2Fnew.example.org%2Fx"),
        ("See http://tea.example.com:8080. Then", "See https://new.example.org. Then"),
        ('{"u":"http:\\/\\/tea.example.com:8080\\/x"}', '{"u":"https:\\/\\/new.example.org\\/x"}'),
        # Other hosts and other ports.
        ("http://tea.example.com:80801", "http://tea.example.com:80801"),
        ("http://tea.example.com:8080.au", "http://tea.example.com:8080.au"),
        ("http://tea.example.com", "http://tea.example.com"),
        ("http://green-tea.example.com:8080", "http://green-tea.example.com:8080"),
        ("alice@tea.example.com:8080", "alice@tea.example.com:8080"),
        ("ftp://tea.example.com:8080/", "ftp://tea.example.com:8080/"),
        ("http://tea.example.com:8080x", "http://tea.example.com:8080x"),
        ("http://tea.example.com:8080-a/", "http://tea.example.com:8080-a/"),
        # A class with a format of its own, whose lengths nobody else knows.
        (
            'a:1:{i:0;C:7:"Foreign":27:{http://tea.example.com:8080}}',
            'a:1:{i:0;C:7:"Foreign":27:{http://tea.example.com:8080}}',
        ),
        # Lengths that lie: no serialized text, so nothing to keep right, and no end without an answer.
        ('a:1:{i:0;s:9:"http://tea.example.com:8080";}', 'a:1:{i:0;s:9:"https://new.example.org";}'),
        ('s:999999999999:"http://tea.example.com:8080";', 's:999999999999:"https://new.example.org";'),
    ],
)
def test_exactly_the_stores_own_address_is_rewritten(wordpress: Image, tmp_path: Path, before: str, after: str) -> None:
    quoted = before.replace("\\", "\\\\").replace("'", "\\'")
    assert run(wordpress, tmp_path, f"echo rewritten('{quoted}', $a);") == after


def test_an_address_that_begins_as_the_old_one_is_not_rewritten_twice(wordpress: Image, tmp_path: Path) -> None:
    code = """
    $port = new Address('https://tea.example.org', 'https://tea.example.org:8443');
    $once = $port->replaced('https://tea.example.org/a https://tea.example.org.evil.example/');
    echo $once, ' ', $port->replaced($once) === $once ? 'same' : 'again';
    """
    assert run(wordpress, tmp_path, code) == (
        "https://tea.example.org:8443/a https://tea.example.org.evil.example/ same"
    )


def test_no_object_of_the_database_is_ever_made(wordpress: Image, tmp_path: Path) -> None:
    code = r"""
    class Trap {
        public $u;
        public function __wakeup() { echo 'sprung'; }
        public function __destruct() { echo 'sprung'; }
    }
    $text = 'O:4:"Trap":1:{s:1:"u";s:27:"http://tea.example.com:8080";}';
    echo rewritten($text, $a);
    """
    assert run(wordpress, tmp_path, code) == 'O:4:"Trap":1:{s:1:"u";s:23:"https://new.example.org";}'


@pytest.fixture(scope="module")
def server() -> Iterator[mariadb_server.MariadbServer]:
    with mariadb_server.running(*mariadb_server.NOT_DURABLE) as running:
        # Its folder is open to its own user only, and PHP runs as another.
        running.folder.chmod(0o755)
        yield running


@pytest.fixture
def in_database(wordpress: Image, tmp_path: Path, server: mariadb_server.MariadbServer) -> Callable[..., list[str]]:
    """Return a runner of PHP that has a new database of a real MariaDB as `$db`, and the old address as `$old`."""
    socket = f"/run/mysqld/{server.socket_path.name}"
    begin = f"""
    mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
    $db = new mysqli('localhost', 'root', '', '{server.new_database()}', 0, '{socket}');
    $db->set_charset('utf8mb4');
    $old = 'http://tea.example.com:8080';
    """

    def php(code: str, *, memory: str = "256M") -> list[str]:
        return run(wordpress, tmp_path, begin + code, mysqld=server.folder, memory=memory).splitlines()

    return php


def test_every_row_of_every_kind_of_table_is_rewritten(in_database: Callable[..., list[str]]) -> None:
    first, second = in_database(r"""
    $db->query('CREATE TABLE keyed (id INT PRIMARY KEY, t LONGTEXT, n INT, v VARCHAR(255) NULL)');
    $db->query('CREATE TABLE pairs (a INT, b VARCHAR(20), t TEXT, PRIMARY KEY (a, b))');
    $db->query('CREATE TABLE keyless (t TEXT, m VARCHAR(200))');
    $db->query('CREATE TABLE latin (id INT PRIMARY KEY, t TEXT) CHARACTER SET latin1');
    $db->query('CREATE TABLE `odd ``name` (`odd col` TEXT, id INT PRIMARY KEY)');
    $db->query('CREATE VIEW seen AS SELECT t FROM keyed');
    for ($i = 0; $i < 450; $i++) {
        $db->execute_query('INSERT INTO keyed VALUES (?, ?, 1, NULL)', [$i, serialize([$i, "$old/$i"])]);
        $db->execute_query('INSERT INTO pairs VALUES (?, ?, ?)', [intdiv($i, 3), "k$i", "$old/$i"]);
        // Alike for longer than what MariaDB sorts by.
        $db->execute_query('INSERT INTO keyless VALUES (?, NULL)', [str_repeat('x', 2000) . "$old/$i"]);
    }
    foreach (["$old/x", "$old/x", 'other', null] as $t) {
        $db->execute_query('INSERT INTO keyless VALUES (?, ?)', [$t, $old]);
    }
    $db->execute_query('INSERT INTO latin VALUES (1, ?)', ["caf\u{e9} $old"]);
    $db->execute_query('INSERT INTO `odd ``name` VALUES (?, 1)', [$old]);
    $written = rewrite_database($db, $a);
    ksort($written);
    echo json_encode($written), "\n";
    foreach (['keyed', 'pairs', 'keyless'] as $table) {
        echo $db->query("SELECT COUNT(*) FROM $table WHERE t LIKE '%tea.example%'")->fetch_row()[0], ' ';
    }
    $row = $db->query('SELECT t FROM keyed WHERE id = 449')->fetch_row()[0];
    echo unserialize($row)[1], ' ', json_encode(rewrite_database($db, $a));
    """)
    assert first == '{"keyed":450,"keyless":456,"latin":1,"odd `name":1,"pairs":450}'
    assert second == "0 0 0 https://new.example.org/449 []"


def test_tables_of_more_than_php_may_have_in_its_memory_are_rewritten(in_database: Callable[..., list[str]]) -> None:
    """30 MiB by 24 MiB: many small texts, and few large ones."""
    told = in_database(
        r"""
    $db->query('CREATE TABLE small (id INT PRIMARY KEY, t TEXT)');
    $db->query('CREATE TABLE large (id INT PRIMARY KEY, t LONGTEXT)');
    $db->query('CREATE TABLE keyless (t LONGTEXT)');
    $db->query("INSERT INTO small SELECT seq, CONCAT('$old/', seq, REPEAT('x', 8000)) FROM seq_1_to_4000");
    $db->query("INSERT INTO large SELECT seq, CONCAT('$old/', seq, REPEAT('x', 1048576)) FROM seq_1_to_30");
    $db->query("INSERT INTO keyless SELECT CONCAT('$old/', seq, REPEAT('x', 4000000)) FROM seq_1_to_8");
    $written = rewrite_database($db, $a);
    ksort($written);
    echo json_encode($written), "
", $db->query("SELECT COUNT(*) FROM large WHERE t LIKE 'https://new.%'")->fetch_row()[0];
    """,
        memory="24M",
    )
    assert told == ['{"keyless":8,"large":30,"small":4000}', "30"]


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ("k ENUM('b', 'a'), n INT, t TEXT, PRIMARY KEY (k, n)", "IF(seq % 2, 'a', 'b'), seq, {text}"),
        ("k SET('b', 'a'), n INT, t TEXT, PRIMARY KEY (k, n)", "IF(seq % 2, 'a', 'b'), seq, {text}"),
        ("k FLOAT PRIMARY KEY, t TEXT", "seq / 3, {text}"),
        ("k DOUBLE PRIMARY KEY, t TEXT", "seq / 3, {text}"),
        ("k BIT(10) PRIMARY KEY, t TEXT", "seq, {text}"),
        ("n INT, k BIT(10), t TEXT, PRIMARY KEY (n, k)", "1, seq, {text}"),
        ("k DECIMAL(30, 10) PRIMARY KEY, t TEXT", "seq / 3, {text}"),
        ("k DATETIME(6) PRIMARY KEY, t TEXT", "TIMESTAMPADD(MICROSECOND, seq, '2026-11-23'), {text}"),
        ("k BINARY(16) PRIMARY KEY, t TEXT", "UNHEX(MD5(seq)), {text}"),
        ("k VARCHAR(50) PRIMARY KEY, t TEXT", "CONCAT(IF(seq % 2, 'A', 'a'), seq, IF(seq % 3, 'é', 'E')), {text}"),
        ("k INT PRIMARY KEY, t TEXT COMPRESSED", "seq, {text}"),
        ("k INT PRIMARY KEY, t VARCHAR(99) COMPRESSED", "seq, {text}"),
        ("k INT PRIMARY KEY, t TEXT COLLATE utf8mb4_bin", "seq, UPPER({text})"),
        ("t TEXT COLLATE utf8mb4_bin", "UPPER({text})"),
    ],
)
def test_no_row_is_left_out_whatever_orders_the_table(
    in_database: Callable[..., list[str]], columns: str, values: str
) -> None:
    """More rows than two pages, and their number is what is said to be written."""
    code = r"""
    $db->query("CREATE TABLE rows_ (COLUMNS) CHARACTER SET utf8mb4");
    $db->query("INSERT INTO rows_ SELECT VALUES FROM seq_1_to_450");
    echo json_encode(rewrite_database($db, $a, $kept)), ' ', json_encode($kept), ' ';
    echo $db->query("SELECT COUNT(*) FROM rows_ WHERE t LIKE 'https://new.example.org/%'")->fetch_row()[0];
    """
    told = in_database(code.replace("COLUMNS", columns).replace("VALUES", values.format(text="CONCAT('$old/é', seq)")))
    assert told == ['{"rows_":450} [] 450']


def test_what_is_history_and_what_only_looks_like_an_address_stays(in_database: Callable[..., list[str]]) -> None:
    told = in_database(r"""
    $db->query('CREATE TABLE wp_store_outbox (id INT PRIMARY KEY, payload LONGTEXT)');
    $db->query('CREATE TABLE wp_posts (ID INT PRIMARY KEY, post_content LONGTEXT, guid VARCHAR(255))');
    $db->query('CREATE TABLE other (id INT PRIMARY KEY, guid VARCHAR(255))');
    $db->query('CREATE TABLE wp_options (option_id INT AUTO_INCREMENT PRIMARY KEY, option_name VARCHAR(191) UNIQUE,'
        . ' option_value LONGTEXT, autoload VARCHAR(20))');
    $db->query("INSERT INTO wp_store_outbox VALUES (1, '$old')");
    $db->query("INSERT INTO wp_posts VALUES (1, '$old', '$old/?p=1')");
    $db->query("INSERT INTO other VALUES (1, '$old')");
    set_option($db, ADDRESS_OPTION, $old);
    set_option($db, 'some', $old);
    // Before the end nobody may believe that all of it was done.
    echo json_encode(rewrite_database($db, $a)), "\n";
    echo $db->query("SELECT option_value FROM wp_options WHERE option_name = 'store_address'")->fetch_row()[0], "
";
    move_shop($db, [$old], 'https://new.example.org');
    foreach (['SELECT payload FROM wp_store_outbox', 'SELECT guid FROM wp_posts',
        "SELECT GROUP_CONCAT(option_value ORDER BY option_name) FROM wp_options"] as $query) {
        echo $db->query($query)->fetch_row()[0], "
";
    }
    """)
    old, new = "http://tea.example.com:8080", "https://new.example.org"
    assert told == ['{"other":1,"wp_options":1,"wp_posts":1}', old, old, f"{old}/?p=1", ",".join([new] * 4)]


def test_a_value_that_the_open_shop_has_changed_meanwhile_is_left_alone(in_database: Callable[..., list[str]]) -> None:
    """Each update of the table changes the next row first, as a merchant would between the reading and the writing."""
    told = in_database(r"""
    $db->query('CREATE TABLE texts (id INT PRIMARY KEY, t TEXT)');
    $db->query("INSERT INTO texts VALUES (1, '$old'), (2, '$old'), (3, '$old')");
    class Merchant extends mysqli {
        public function begin_transaction(int $flags = 0, ?string $name = null): bool {
            $this->query("UPDATE texts SET t = 'MINE' WHERE id = 2");
            return parent::begin_transaction();
        }
    }
    $merchant = new Merchant('localhost', 'root', '', $db->query('SELECT DATABASE()')->fetch_row()[0], 0,
        '/run/mysqld/' . basename($db->query('SELECT @@socket')->fetch_row()[0]));
    $merchant->set_charset('utf8mb4');
    echo json_encode(rewrite_database($merchant, $a)), "
";
    echo $db->query('SELECT GROUP_CONCAT(t ORDER BY id) FROM texts')->fetch_row()[0];
    """)
    assert told == ['{"texts":2}', "https://new.example.org,MINE,https://new.example.org"]


@pytest.mark.parametrize("kept_by", ["store_address", "siteurl"])
@pytest.mark.parametrize(
    ("addresses", "moved"),
    [
        ((OLD, DECLARED, LONGER), f"{OLD} and {DECLARED}"),
        ((OLD, DECLARED, DECLARED), OLD),
        ((OLD, DECLARED, OLD), DECLARED),
        ((DECLARED, DECLARED, LONGER), DECLARED),
        ((OLD, OLD, OLD), None),
    ],
)
def test_a_restored_shop_has_its_new_address_also_where_a_change_was_still_waiting(
    in_database: Callable[..., list[str]], kept_by: str, addresses: tuple[str, str, str], moved: str | None
) -> None:
    """Waiting: a change from what the database tells to what the snapshot does, which some texts had, or none."""
    own, declared, new = addresses
    code = r"""
    $db->query('CREATE TABLE wp_options (option_id INT AUTO_INCREMENT PRIMARY KEY, option_name VARCHAR(191) UNIQUE,'
        . ' option_value LONGTEXT, autoload VARCHAR(20))');
    $db->query('CREATE TABLE texts (id INT PRIMARY KEY, t VARCHAR(99))');
    set_option($db, '<kept_by>', '<own>');
    set_option($db, 'home', '<own>');
    $db->query("INSERT INTO texts VALUES (1, '<own>/x'), (2, '<declared>/x')");
    echo json_encode(settle_address($db, '<declared>', '<new>')), "\n";
    foreach (['SELECT t FROM texts ORDER BY id', 'SELECT option_value FROM wp_options'] as $query) {
        echo json_encode(array_column($db->query($query)->fetch_all(), 0)), "\n";
    }
    """
    for name, value in {"kept_by": kept_by, "own": own, "declared": declared, "new": new}.items():
        code = code.replace(f"<{name}>", value)
    said, texts, options = map(json.loads, in_database(code))
    assert [line.partition(" now: ")[0] for line in said] == ([] if moved is None else [f"{moved} is {new}"])
    assert texts == [f"{new}/x"] * 2
    assert set(options) == {new}


def test_a_restore_tells_of_a_value_that_stays(in_database: Callable[..., list[str]]) -> None:
    told = in_database(r"""
    $db->query('CREATE TABLE wp_options (option_id INT AUTO_INCREMENT PRIMARY KEY, option_name VARCHAR(191) UNIQUE,'
        . ' option_value LONGTEXT, autoload VARCHAR(20))');
    $db->query('CREATE TABLE texts (id INT PRIMARY KEY, t VARCHAR(30))');
    $db->query("INSERT INTO texts VALUES (1, '$old'), (2, '$old/1')");
    echo implode("\n", settle_address($db, $old, 'https://much-longer.example.org'));
    """)
    assert told == [
        f"{OLD} is {LONGER} now: nowhere",
        "the old address stays where its column cannot take the new one: texts.t 2",
    ]


@pytest.mark.parametrize("mode", ["@@sql_mode", "''"])
def test_a_value_that_cannot_take_the_new_address_stays_and_is_told_and_nothing_else_stops(
    in_database: Callable[..., list[str]], mode: str
) -> None:
    """Too long by one byte, there already, against a rule, or never written; with a key and without, in any mode."""
    code = r"""
    $columns = "v VARCHAR(40), u VARCHAR(60) UNIQUE, c VARCHAR(60) CHECK (c NOT LIKE 'https:%'), g TEXT AS (v) STORED";
    $new = new Address($old, 'https://much-longer.example.org');
    foreach (['keyed' => 'id INT PRIMARY KEY, ', 'keyless' => 'id INT, '] as $table => $id) {
        $db->query("CREATE TABLE $table ($id $columns)");
        $db->query("INSERT INTO $table (id, v, u, c) VALUES (1, '$old/12345678', '$old/u1', 'c'),"
            . " (2, '$old/123456789', '$old/u2', 'c'), (3, 'v', '$old/u3', '$old/c'),"
            . " (4, '$old/4', 'https://much-longer.example.org/u2', 'c')");
    }
    $db->query("SET SESSION sql_mode = MODE");
    echo json_encode([rewrite_database($db, $new, $kept), $kept]), "\n";
    foreach (['keyed', 'keyless'] as $table) {
        echo json_encode($db->query("SELECT v, u, c FROM $table ORDER BY id")->fetch_all()), "\n";
    }
    """
    told = in_database(code.replace("MODE", mode))
    old, new = "http://tea.example.com:8080", "https://much-longer.example.org"
    assert json.loads(told[0]) == [
        {"keyed": 4, "keyless": 4},
        {f"{table}.{column}": 1 for table in ("keyed", "keyless") for column in ("v", "u", "c")},
    ]
    rows = [
        [f"{new}/12345678", f"{new}/u1", "c"],
        [f"{old}/123456789", f"{old}/u2", "c"],
        ["v", f"{new}/u3", f"{old}/c"],
        [f"{new}/4", f"{new}/u2", "c"],
    ]
    assert [json.loads(line) for line in told[1:]] == [rows, rows]


def test_an_image_with_php_81_can_run_it(in_database: Callable[..., list[str]]) -> None:
    """Its `mysqli` has no execute_query, which came with PHP 8.2."""
    told = in_database(r"""
    class Mysqli81 extends mysqli {
        public function execute_query(string $query, ?array $params = null): mysqli_result|bool {
            throw new Error('Call to undefined method mysqli::execute_query()');
        }
    }
    $db->query('CREATE TABLE keyless (t TEXT)');
    $db->query('CREATE TABLE wp_options (option_id INT AUTO_INCREMENT PRIMARY KEY, option_name VARCHAR(191) UNIQUE,'
        . ' option_value LONGTEXT, autoload VARCHAR(20))');
    $db->query('CREATE TABLE wp_users (ID INT PRIMARY KEY, user_login VARCHAR(60), user_pass VARCHAR(255))');
    $db->query("INSERT INTO keyless VALUES ('$old')");
    $db->query("INSERT INTO wp_users VALUES (1, 'keeper', '')");
    $db81 = new Mysqli81('localhost', 'root', '', $db->query('SELECT DATABASE()')->fetch_row()[0], 0,
        '/run/mysqld/' . basename($db->query('SELECT @@socket')->fetch_row()[0]));
    $db81->set_charset('utf8mb4');
    echo json_encode(option($db81, 'siteurl')), "\n";
    set_option($db81, 'siteurl', $old);
    move_shop($db81, [$old], 'https://new.example.org');
    echo option($db81, 'siteurl'), "\n", $db->query('SELECT t FROM keyless')->fetch_row()[0], "\n";
    echo settle_password($db81, 'keeper', 'then', 'now', true);
    """)
    assert told == ["null", *["https://new.example.org"] * 2, "set to this store's credentials"]


@pytest.mark.parametrize(
    ("stored", "foreign", "told"),
    [
        ("hash_of('now')", "false", "as the credentials say"),
        ("hash_of('then')", "false", "set to this store's credentials"),
        ("md5('then')", "false", "set to this store's credentials"),
        ("password_hash('then', PASSWORD_BCRYPT)", "false", "set to this store's credentials"),
        ("hash_of('the merchant\\'s')", "false", "the merchant's own, kept"),
        ("hash_of('the merchant\\'s')", "true", "set to this store's credentials"),
    ],
)
def test_the_administrators_password_is_what_the_credentials_say_unless_the_merchant_chose_one(
    wordpress: Image, tmp_path: Path, stored: str, foreign: str, told: str
) -> None:
    code = f"""
    $hash = {stored};
    $settled = settled_password($hash, 'then', 'now', {foreign});
    echo $settled[1], ' ', is_password('now', $settled[0] ?? $hash) ? 'now' : 'kept';
    """
    expected = "kept" if "kept" in told else "now"
    assert run(wordpress, tmp_path, code) == f"{told} {expected}"
