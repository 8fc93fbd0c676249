"""Bad manifests: every problem at once, each with its line and its cure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stacks.errors import ManifestError
from stacks.manifest import Caps, Manifest, environments, load

GI = 2**30
CAPS = Caps(cpu_millis=2000, memory_bytes=4 * GI, storage_bytes=20 * GI)
ROOT = Path(__file__).parents[2]

FROM = "url: 'https://example.com/own.zip', sha256: " + "a" * 64  # of a plugin or theme
GOOD = """\
version: 1
stores:
  - id: tea-house-x7k2m
    name: tea-house
    owner: alice
    cell: "01"
"""


def block(number: int, more: str = "") -> str:
    return f"""\
  - id: shop-{number:05d}
    name: shop
    owner: alice
    cell: "01"
{more}"""


def stores(*blocks: str) -> str:
    return "version: 1\nstores:\n" + "".join(blocks)


def problems(root: Path, caps: Caps = CAPS) -> list[str]:
    with pytest.raises(ManifestError) as refused:
        load(root, "local", caps)
    return [str(problem) for problem in refused.value.problems]


def problem_of(root: Path) -> str:
    found = problems(root)
    assert len(found) == 1, found
    return found[0]


def good(root: Path) -> Manifest:
    return load(root, "local", CAPS)


def test_a_good_manifest_is_typed_and_complete(write) -> None:
    [store] = good(write(GOOD)).stores
    assert (store.id, store.name, store.owner, store.cell, store.state) == (
        "tea-house-x7k2m", "tea-house", "alice", "01", "active")  # fmt: skip
    assert (store.title, store.admin_email) == ("Tea House", "alice@example.com")
    assert store.web is None


def test_amounts_have_one_notation_however_they_are_written(write) -> None:
    text = GOOD + "    web: {cpu: 0.5, memory: 1024Mi}\n    database: {cpu: 1, storage: 2048Mi}\n"
    [store] = good(write(text)).stores
    assert store.spec()["web"] == {"cpu": "500m", "memory": "1Gi"}
    assert store.spec()["database"] == {"cpu": "1", "storage": "2Gi"}
    assert store.sizes() == {"web.cpu": 500, "web.memory": GI, "database.cpu": 1000, "database.storage": 2 * GI}


def test_the_digest_changes_with_the_wish_and_not_with_its_notation(write) -> None:
    first = good(write(stores(block(1, "    web: {memory: 1Gi}\n"), block(2)))).digest
    same = good(
        write("# a comment\n" + stores(block(2), block(1, "    web: {memory: 1024Mi}\n    state: active\n")))
    ).digest
    other = good(write(stores(block(1, "    web: {memory: 2Gi}\n"), block(2)))).digest
    assert first == same
    assert first != other


def test_a_location_leads_to_the_line_of_a_key_and_else_to_the_block(write) -> None:
    manifest = good(write(stores(block(1), block(2, "    web:\n      memory: 1Gi\n"))))
    assert manifest.location("shop-00002", "web.memory") == "stacks/local/stores.yaml:12"
    assert manifest.location("shop-00002", "title") == "stacks/local/stores.yaml:7"
    assert manifest.location("gone-00001") == "stacks/local/stores.yaml"


def test_an_empty_list_of_stores_is_a_manifest(write) -> None:
    assert good(write("version: 1\nstores: []\n")).stores == ()


def test_all_problems_of_both_files_come_at_once_in_the_order_of_their_lines(write) -> None:
    text = stores(
        block(1, "    titel: x\n    web: {memory: 9Gi}\n"),
        block(1),
        "  - name: Tea House\n    owner: alicia\n    state: gone\n",
    )
    owners = "version: 1\nowners:\n  - {name: alice, contact: nowhere, limits: {stores: -1}}\n"
    found = problems(write(text, owners))
    assert [problem.split(": ")[0].removeprefix("stacks/local/") for problem in found] == [
        "stores.yaml:7", "stores.yaml:8", "stores.yaml:9", "stores.yaml:13", "stores.yaml:13", "stores.yaml:13",
        "stores.yaml:14", "stores.yaml:15", "owners.yaml:3", "owners.yaml:3"]  # fmt: skip
    assert found[1] == (
        "stacks/local/stores.yaml:8: store 'shop-00001': web.memory 9Gi is over the 4Gi cap; "
        "lower it, or raise stores:quotaMemory in Pulumi.local.yaml"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "stacks/local/stores.yaml: the file is empty; start it with `version: 1`"),
        (None, "stacks/local/stores.yaml: the file is missing; create it, or restore it from git"),
        ("- a\n", "stacks/local/stores.yaml:1: the file is not a mapping; start it with `version: 1`"),
        ("just text\n", "stacks/local/stores.yaml:1: the file is not a mapping; start it with `version: 1`"),
        ("stores: []\n", "stacks/local/stores.yaml:1: version is missing; add `version:`"),
        ("version: 1\n", "stacks/local/stores.yaml:1: stores is missing; add `stores:`"),
        (
            "version: 1\nstores:\n",
            "stacks/local/stores.yaml:2: stores has no value; write `stores: []` when there is none",
        ),
        (
            "version: 1\nstores: {}\n",
            "stacks/local/stores.yaml:2: stores is a mapping, not a list; write its entries as",
        ),
        ("version: 2\nstores: []\n", "version 2 is unknown, this program reads version 1; update this program"),
        ("version: 0\nstores: []\n", "version 0 is unknown, this program reads version 1; write `version: 1`"),
        ("version: one\nstores: 5\n", "version one is unknown, this program reads version 1; write `version: 1`"),
        ("version: true\nstores: []\n", "version true is unknown, this program reads version 1; write `version: 1`"),
        ("version: [1]\nstores: []\n", "version is no number and is unknown"),
        ("version: 1\nstores: []\nstore: []\n", "stores.yaml:3: the key store is unknown; write stores"),
        ("version: 1\nstores: []\nzzz: []\n", "the key zzz is unknown; remove it; known keys are version, stores"),
    ],
)
def test_a_file_that_is_no_manifest_is_one_problem(write, text: str | None, expected: str) -> None:
    assert expected in problem_of(write(text))


@pytest.mark.parametrize(
    ("name", "what", "cure"),
    [
        ("a" * 34, f"name '{'a' * 34}' has 34 characters, at most 30", f"write {'a' * 30}"),
        ("a" * 31, "has 31 characters, at most 30", "write"),
        ("Tea House", "has ' ', 'H', 'T'", "write tea-house"),
        ("t\u00e9a", "has '\u00e9'", "write tea"),
        ("tea--house", "has two hyphens in a row", "write tea-house"),
        ("tea-", "ends with a hyphen", "write tea"),
        ("-tea", "does not begin with a letter", "write tea"),
        ("9lives", "does not begin with a letter", "write lives"),
        ("www", "'www' is a reserved name", "use another one, e.g. www-shop"),
        ('""', "name '' is empty", "use a-z, 0-9 and single hyphens, beginning with a letter, at most 30 characters"),
        ("\u8336", "has '\u8336'", "use a-z"),
    ],
)
def test_a_bad_name_says_why_and_what_to_write(write, name: str, what: str, cure: str) -> None:
    quoted = f'"{name}"' if name.startswith("-") else name
    found = problem_of(write(GOOD.replace("name: tea-house", f"name: {quoted}")))
    assert found.startswith("stacks/local/stores.yaml:4: store 'tea-house-x7k2m': ")
    assert what in found
    assert found.split("; ")[1].startswith(cure)


@pytest.mark.parametrize("name", ["a", "a" * 30, "a-b", "tea2", "store-x"])
def test_names_at_the_edge_are_taken(write, name: str) -> None:
    assert good(write(GOOD.replace("name: tea-house", f"name: {name}"))).stores[0].name == name


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("title: ''", "title is empty; write the name that customers see"),
        (f"title: {'x' * 101}", "title has 101 characters, at most 100; shorten it"),
        ('title: "a\\tb"', "title has the invisible character U+0009; remove it"),
        ('title: "a\\u202eb"', "title has the invisible character U+202E; remove it"),
        ("title: ' x'", "title ' x' begins or ends with a space; remove the space"),
        ("title: 2024", 'title 2024 is not text; write it in quotes: title: "2024"'),
        ("title: [a]", "title is a list, not text; write one value"),
        ("title:", "title has no value; give it one, or remove the line"),
        ("adminEmail: alice", "adminEmail 'alice' is not an e-mail address; write it like alice@example.com"),
        ("adminEmail: a@b", "adminEmail 'a@b' is not an e-mail address"),
        ("adminEmail: a..b@example.com", "is not an e-mail address"),
        (f"adminEmail: {'a' * 100}@example.com", "adminEmail has 112 characters, at most 100"),
        ("admin_email: a@example.com", "has the unknown key admin_email; write adminEmail"),
        ("flavour: mint", "has the unknown key flavour; remove it; known keys are id, name, owner, cell, title"),
        ("state: Active", "state Active is unknown; write 'active' or 'deleted'"),
        ("web: 500m", "web is 500m, not a mapping; write `key: value` lines below it"),
        ("web: {memroy: 1Gi}", "web has the unknown key memroy; write memory"),
        ("web: {memory: 9GB}", "web.memory 9GB has the unknown unit GB; write 9Gi"),
        ("web: {memory: 500m}", "web.memory 500m has the unknown unit m; write 500Mi"),
        ("web: {memory: true}", "web.memory true is not an amount; write one, e.g. 256Mi"),
        ("web: {memory: [1Gi]}", "web.memory a list is not an amount; write one, e.g. 256Mi"),
        (
            "web: {memory: 255Mi}",
            "web.memory 255Mi is below 256Mi, with which PHP serves no shop; raise it to 256Mi or more",
        ),
        ("web: {cpu: 49m}", "web.cpu 49m is below 50m"),
        ("web: {cpu: 2Gi}", "web.cpu 2Gi has the unit Gi, which CPU has not"),
        ("database: {storage: 511Mi}", "database.storage 511Mi is below 512Mi"),
        ("uploads: {storage: 127Mi}", "uploads.storage 127Mi is below 128Mi"),
        ("image: {}", "image.tag is missing; add `tag:`"),
        ("image: {tag: latest}", "image.tag 'latest' names another image every week; write a version"),
        ("image: {tag: 7.1}", 'image.tag 7.1 is not text; write it in quotes: tag: "7.1"'),
        ("image: {tag: 'a b'}", "image.tag 'a b' is not an image tag"),
        ("country: Germany", "country 'Germany' is not a country's code; write it like DE or US:CA"),
        ("country: de", "country 'de' is not a country's code; write DE"),
        ("country: QQ:X", "country 'QQ' is no country; write two letters of ISO 3166"),
        ("currency: eur", "currency 'eur' is not a currency; write EUR"),
        ("currency: EUX", "currency 'EUX' is not a currency; write three letters, such as EUR"),
        ("locale: de-DE", "locale 'de-DE' is not a locale of WordPress; write de_DE"),
        ("locale: german", "locale 'german' is not a locale of WordPress; write it like de_DE"),
        ("timezone: Europe/Atlantis", "timezone 'Europe/Atlantis' is not a time zone; write one like Europe/Berlin"),
        ("wpContent: writable", "wpContent writable is unknown; write 'immutable' or 'persistent'"),
        (f"plugins: [{{slug: Own, version: 1.0.0, {FROM}}}]", "plugins.0.slug 'Own' is not the folder of a plugin"),
        (f"plugins: [{{slug: own, version: latest, {FROM}}}]", "plugins.0.version 'latest' is another one every week"),
        (f"plugins: [{{slug: own, version: 1.5, {FROM}}}]", "version 1.5 is not text; write it in quotes"),
        (
            f"plugins: [{{slug: own, version: 1.0.0, {FROM}}}, {{slug: own, version: 1.0.1, {FROM}}}]",
            "plugins has own twice; remove one of them",
        ),
        (
            f"plugins: [{{slug: woocommerce, version: 1.0.0, {FROM}}}]",
            "plugins has woocommerce, which every store has; remove it",
        ),
        (
            f"themes: [{{slug: storefront, version: 1.0.0, {FROM}}}]",
            "themes has storefront, which every store has; remove it",
        ),
        (
            "themes: [{slug: own, version: 1.0.0, url: 'http://example.com/a.zip', sha256: " + "a" * 64 + "}]",
            "themes.0.url 'http://example.com/a.zip' is not an address that a store can fetch from; write https://",
        ),
        (
            "themes: [{slug: own, version: 1.0.0, url: 'https://me:pw@example.com/a.zip', sha256: " + "a" * 64 + "}]",
            "is not an address that a store can fetch from; write https://, a host and a path, without a password",
        ),
        (
            "plugins: [{slug: own, version: 1.0.0, url: 'https://example.com/a.zip', sha256: abc}]",
            "plugins.0.sha256 'abc' is not 64 hexadecimal digits; compute it: sha256sum <the archive>",
        ),
    ],
)
def test_a_bad_value_says_what_is_wrong_with_it_and_what_to_write(write, line: str, expected: str) -> None:
    found = problem_of(write(f"{GOOD}    {line}\n"))
    assert found.startswith("stacks/local/stores.yaml:7: store 'tea-house-x7k2m'")
    assert expected in found


@pytest.mark.parametrize(
    "line",
    [
        f"title: {'x' * 100}",
        "title: Th\u00e9 & Caf\u00e9 \u8336 \U0001f375",
        "adminEmail: o'neil+shop@sub.example.com",
        "web: {memory: 256Mi, cpu: 50m}",
        "database: {storage: 512Mi, memory: 192Mi}",
        "uploads: {storage: 128Mi}",
        "state: deleted",
        "country: NO",
        "country: DE:DE-BE",
        "currency: EUR",
        "locale: de_DE",
        "locale: de_DE_formal",
        "timezone: America/Argentina/Buenos_Aires",
        f"plugins: [{{slug: own, version: '1.5', {FROM}}}]",
        "wpContent: persistent",
    ],
)
def test_values_at_the_edge_are_taken(write, line: str) -> None:
    good(write(f"{GOOD}    {line}\n"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("    owner: alice\n", "", "owner is missing; add `owner:`"),
        (
            "  - id: tea-house-x7k2m\n    name",
            "  - name",
            "id is missing; run `stores fmt --env local`, which writes it",
        ),
        ('    cell: "01"\n', "", "cell is missing; run `stores fmt --env local`, which writes it"),
        ('"01"', "01", 'cell 01 is not text; write it in quotes: cell: "01"'),
        ('"01"', '"1"', "cell '1' is not two digits from 01 to 99"),
        ('"01"', '"00"', "cell '00' is not two digits from 01 to 99"),
        ("id: tea-house-x7k2m", "id: teahouse", "id 'teahouse' is not of the form <name>-<5 characters>"),
        ("id: tea-house-x7k2m", "id: tea-house-X7K2M", "is not of the form"),
        ("id: tea-house-x7k2m", f"id: {'a' * 31}-x7k2m", "has 37 characters, at most 36; restore it from git"),
        (
            "owner: alice",
            "owner: alcie",
            "owner 'alcie' is not in owners.yaml; write alice, or add them to owners.yaml",
        ),
        ("owner: alice", "owner: zzz", "owner 'zzz' is not in owners.yaml; add them to owners.yaml"),
    ],
)
def test_a_wrong_identity_says_what_to_do(write, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    assert expected in problem_of(write(GOOD.replace(old, new)))


def test_an_id_may_stand_once_only(write) -> None:
    assert problem_of(write(stores(block(1), block(1)))) == (
        "stacks/local/stores.yaml:7: store 'shop-00001': the id is that of line 3 too, and so are namespace and host; "
        "remove this id and run `stores fmt` for a new one"
    )


def test_names_may_repeat(write) -> None:
    assert len(good(write(stores(block(1), block(2)))).stores) == 2


def test_a_repeated_key_is_a_problem_even_with_the_same_value(write) -> None:
    assert "stores.yaml:7: the key owner stands twice, first in line 5" in problem_of(
        write(f"{GOOD}    owner: alice\n")
    )


def test_a_cell_holds_ten_stores_and_no_eleventh(write) -> None:
    assert len(good(write(stores(*(block(number) for number in range(10))))).stores) == 10
    found = problem_of(write(stores(*(block(number) for number in range(11)))))
    assert "store 'shop-00010': it is store 11 of cell 01, at most 10;" in found


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ("database: {memory: 4Gi}", None),
        ("database: {memory: 4097Mi}", "database.memory 4097Mi is over the 4Gi cap"),
        ("web: {memory: 2Gi}", None),
        ("web: {memory: 2049Mi}", "memory 4098Mi (2 x web.memory 2049Mi, as an update runs two web pods for a while)"),
        ("web: {cpu: 750m}\n    database: {cpu: 500m}", None),
        ("web: {cpu: 750m}\n    database: {cpu: 501m}", "(2 x web.cpu 750m + database.cpu 501m"),
        ("uploads: {storage: 10Gi}\n    database: {storage: 10Gi}", None),
        (
            "uploads: {storage: 10Gi}\n    database: {storage: 10241Mi}",
            (
                "storage 20481Mi (database.storage 10241Mi + uploads.storage 10Gi) is over the 20Gi cap; "
                "lower it, or raise stores:quotaStorage"
            ),
        ),
    ],
)
def test_sizes_stop_at_the_cap_alone_and_together(write, sizes: str, expected: str | None) -> None:
    root = write(f"{GOOD}    {sizes}\n")
    if expected is None:
        good(root)
    else:
        assert expected in problem_of(root)


def test_a_block_cannot_size_a_database_that_all_stores_share(write) -> None:
    root = write(f"{GOOD}    database: {{cpu: 300m, storage: 2Gi}}\n")
    good(root)
    caps = Caps(CAPS.cpu_millis, CAPS.memory_bytes, CAPS.storage_bytes, database_server="db.example.com")
    told = "would do nothing: the stores' databases are on db.example.com; remove it"
    found = problems(root, caps)
    assert [f"database.{key} {told}" in problem for key, problem in zip(("cpu", "storage"), found, strict=True)] == [
        True, True,
    ]  # fmt: skip


def test_what_a_block_leaves_out_counts_with_the_values_default(write) -> None:
    root = write(f"{GOOD}    web: {{memory: 1536Mi}}\n")
    good(root)
    caps = Caps(CAPS.cpu_millis, CAPS.memory_bytes, CAPS.storage_bytes, defaults={"database.memory": 2 * GI})
    assert "memory 5Gi (2 x web.memory 1536Mi + database.memory 2Gi" in problems(root, caps)[0]


@pytest.mark.parametrize(
    ("owners", "expected"),
    [
        ("", "owners.yaml: the file is empty"),
        (None, "owners.yaml: the file is missing"),
        ("version: 1\nowners:\n  - {name: alice}\n", "owner 'alice': contact is missing; add `contact:`"),
        (
            "version: 1\nowners:\n  - {name: alice, contact: a@b.cd, limits: {stores: 2.5}}\n",
            "limits.stores 2.5 is not a whole number",
        ),
        (
            "version: 1\nowners:\n  - {name: alice, contact: a@b.cd, limits: {createPerHour: 2}}\n",
            "limits has the unknown key createPerHour; write createsPerHour",
        ),
        (
            "version: 1\nowners:\n  - {name: alice, contact: a@b.cd}\n  - {name: alice, contact: a@b.cd}\n",
            "owners.yaml:4: owner 'alice': the name 'alice' stands in line 3 too",
        ),
        (
            (
                "version: 1\nowners:\n  - {name: alice, contact: a@b.cd, signIn: [x]}\n"
                "  - {name: bob, contact: a@b.cd, signIn: [X]}\n"
            ),
            "owner 'bob': the sign-in name 'X' stands in line 3 too",
        ),
        ("version: 1\nowners:\n  - {name: alice, contact: a@b.cd, signIn: [a b]}\n", "'a b' is not a sign-in name"),
    ],
)
def test_a_bad_owners_file_is_one_problem_however_many_stores_there_are(
    write, owners: str | None, expected: str
) -> None:
    assert expected in problem_of(write(stores(block(1), block(2)), owners))


def test_a_block_that_is_no_mapping_is_told_by_its_number(write) -> None:
    found = problems(write(stores(block(1), "  - text\n", "  -\n")))
    assert "store number 2 is text, not a mapping" in found[0]
    assert "store number 3 has no value; remove the line" in found[1]


@pytest.mark.parametrize("name", ["prod", "../local", "", "LOCAL"])
def test_an_environment_without_a_folder_is_refused(write, name: str) -> None:
    with pytest.raises(ManifestError) as refused:
        load(write(GOOD), name, CAPS)
    assert f"there is no environment '{name}'; use " in str(refused.value)
    assert "local" in str(refused.value)


@pytest.mark.parametrize("environment", ["local", "prod"])
def test_the_manifests_of_this_project_are_good(environment: str) -> None:
    manifest = load(ROOT, environment, Caps(2000, 4 * GI, 60 * GI))
    assert len({store.owner for store in manifest.stores}) == len(manifest.stores) == 2


def test_every_environment_has_its_settings_and_its_values() -> None:
    for environment in environments(ROOT):
        assert (ROOT / f"Pulumi.{environment}.yaml").is_file()
        assert (ROOT / f"values/values-{environment}.yaml").is_file()


def test_a_store_that_could_not_be_updated_beside_its_scheduled_tasks_is_refused(write) -> None:
    """800m fit twice beside 400m, but not beside what else runs in the store's quota then."""
    beside = Caps(
        cpu_millis=2000, memory_bytes=4 * GI, storage_bytes=20 * GI, beside={"cpu": 250, "memory": 576 * 2**20}
    )
    text = GOOD + "    web: {{cpu: {cpu}}}\n    database: {{cpu: 400m}}\n"
    load(write(text.format(cpu="675m")), "local", beside)
    [told] = problems(write(text.format(cpu="676m")), beside)
    assert told.startswith(
        "stacks/local/stores.yaml:8: store 'tea-house-x7k2m': cpu 2002m (2 x web.cpu 676m + database.cpu 400m + 250m "
        "for scheduled tasks, backups and certificates, as an update runs two web pods for a while) is over the 2 "
        "CPU cap"
    )


PROD = Caps(
    cpu_millis=2000,
    memory_bytes=4 * GI,
    storage_bytes=20 * GI,
    defaults={"web.cpu": 600, "web.memory": GI, "database.cpu": 400, "database.memory": GI},
    per_web_pod={"cpu": 100, "memory": GI // 4},
)


def test_a_store_of_two_web_pods_that_could_never_be_updated_is_refused(write) -> None:
    """Two fit: 2 x 700m + 400m. A third, while an update runs, does not."""
    load(write(GOOD), "local", PROD)
    told = problems(write(GOOD), replace(PROD, replicas=2))
    assert told[0].startswith(
        "stacks/local/stores.yaml:3: store 'tea-house-x7k2m': cpu 2500m (3 x web.cpu 600m + database.cpu 400m + 300m "
        "for scheduled tasks, backups and certificates, as an update runs three web pods for a while), by the sizes of "
        "values/values-local.yaml, is over the 2 CPU cap; lower them there or in the block, or raise stores:quotaCpu "
        "in Pulumi.local.yaml"
    )
    assert "memory 4864Mi (3 x web.memory 1Gi" in told[1]
    assert len(told) == 2


def test_a_store_that_is_to_go_is_not_kept_by_the_sizes_of_its_environment(write) -> None:
    load(write(GOOD + "    state: deleted\n"), "local", replace(PROD, replicas=2))


def test_a_store_whose_old_web_pod_ends_first_has_room_for_one_large_one(write) -> None:
    text = GOOD + "    web: {cpu: 1500m}\n    database: {cpu: 400m}\n"
    kept = text + "    wpContent: persistent\n"
    load(write(kept), "local", PROD)
    [told] = problems(write(text), PROD)
    assert "cpu 3600m (2 x web.cpu 1500m + database.cpu 400m + 200m" in told
    [told] = problems(write(kept.replace("1500m", "1501m")), PROD)
    assert told.startswith(
        "stacks/local/stores.yaml:8: store 'tea-house-x7k2m': cpu 2001m (web.cpu 1501m + database.cpu 400m + 100m for"
        " scheduled tasks, backups and certificates) is over the 2 CPU cap"
    )
    # The environment's own, and a block that says otherwise.
    load(write(text), "local", replace(PROD, wp_content="persistent"))
    assert problems(write(text + "    wpContent: immutable\n"), replace(PROD, wp_content="persistent"))
