from __future__ import annotations

import base64
from typing import Any

import pytest

from components import backup_server as server
from components.objects import Destination, Surroundings, door_to


def logins(secret: dict[str, Any]) -> list[str]:
    return base64.b64decode(secret["data"]["users"]).decode().splitlines()


def test_logins_are_digests_and_never_the_passwords() -> None:
    (line,) = logins(server.users({"tea-x7k2m": "secret"}))
    # printf secret | openssl sha1 -binary | base64
    assert line == "tea-x7k2m:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="


def test_stores_of_another_environment_keep_their_logins_and_ours_win() -> None:
    theirs = server.users({"other-aaaaa": "1", "tea-x7k2m": "old"})["data"]
    both = server.with_others(server.users({"tea-x7k2m": "new"}), theirs)
    assert [line.partition(":")[0] for line in logins(both)] == ["other-aaaaa", "tea-x7k2m"]
    assert logins(server.users({"tea-x7k2m": "new"}))[0] in logins(both)


def test_only_backup_pods_of_stores_and_our_own_clients_reach_the_server_on_its_one_port() -> None:
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in server.policies(Surroundings())}
    (rule,) = policies["backup-server"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8000}]
    stores, clients = rule["from"]
    assert stores["namespaceSelector"]["matchLabels"] == {"app.kubernetes.io/part-of": "multi-store-platform"}
    assert stores["podSelector"]["matchLabels"] == {"app.kubernetes.io/component": "backup"}
    assert clients["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "stores-platform"}
    assert "egress" not in policies["backup-server"]
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_each_store_has_a_path_of_its_own_behind_a_login() -> None:
    deployment = next(item for item in server.server("image", "1Gi", None) if item["kind"] == "Deployment")
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--private-repos" in arguments
    assert not any("no-auth" in argument for argument in arguments)


@pytest.mark.parametrize(
    "repository",
    [Destination(443), Destination(9000, "storage", {"app": "minio"}), Destination(443, cidrs=("10.9.0.0/28",))],
    ids=["public", "pods", "private addresses"],
)
def test_our_own_clients_reach_a_repository_elsewhere_and_the_server_calls_nobody(
    repository: Destination,
) -> None:
    plain, found = (
        {policy["metadata"]["name"]: policy["spec"] for policy in server.policies(Surroundings(), where)}
        for where in (None, repository)
    )
    assert {name for name in found if found[name] != plain[name]} == {"backup-client"}
    doors = found["backup-client"]["egress"]
    assert doors[:-1] == plain["backup-client"]["egress"]
    assert doors[-1] == door_to(repository, Surroundings())
