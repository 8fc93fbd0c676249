"""What the component registers, read from the raw requests: mocks alone do not see options such as `protect`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks, rpc
from pulumi.runtime.proto import resource_pb2

from components import desired as parts
from components import naming
from components.desired import DERIVED_KEYS, PASSWORD_KEYS, SALT_KEYS, DesiredStore, ReleaseSpec, store_objects
from components.objects import Quota, Surroundings
from components.store_tenant import GENERATOR_ARGUMENTS, StoreTenant

STORE = "tea-house-x7k2m"
DERIVED = {
    "webhook-secret": "derived-webhook-secret",
    "backup-password": "derived-backup-password",
    "backup-access": "derived-login",
}
SECRET_SIGNATURE_KEY = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"


def desired_store(store_id: str = STORE, *, protected: bool = False) -> DesiredStore:
    return DesiredStore(
        store_id=store_id,
        name="tea-house",
        owner="alice",
        url=f"http://{store_id}.127.0.0.1.nip.io:8080",
        host=f"{store_id}.127.0.0.1.nip.io",
        protected=protected,
        objects=store_objects(store_id, owner="alice", environment="local", quota=Quota(), surroundings=Surroundings()),
        release=ReleaseSpec(chart="./charts/store", values={"store": {"title": "Tea House"}}, timeout_s=600),
    )


@dataclass
class Engine(mocks.Mocks):
    """Answers like an engine whose every resource succeeds, and keeps the raw requests by logical name."""

    requests: dict[str, resource_pb2.RegisterResourceRequest] = field(default_factory=dict)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        self.inputs[args.name] = args.inputs
        out = dict(args.inputs)
        if args.typ == "random:index/randomPassword:RandomPassword":
            out["result"] = (args.name + "-") * 100
        if args.typ == "kubernetes:helm.sh/v3:Release":
            out["status"] = {"status": "deployed", "name": args.inputs["name"], "namespace": args.inputs["namespace"]}
        return f"{args.name}-id", out

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        raise AssertionError(f"the program asked for {args.token}")


class Monitor(mocks.MockMonitor):
    def RegisterResource(self, request: resource_pb2.RegisterResourceRequest) -> Any:  # noqa: N802 - the SDK's name
        assert request.name not in self.mocks.requests or request.type == "pulumi:pulumi:Stack", (
            f"{request.name} is registered twice"
        )
        self.mocks.requests[request.name] = request
        return super().RegisterResource(request)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - the SDK's name
        self.mocks.outputs[request.urn.rsplit("::", 1)[-1]] = rpc.deserialize_properties(request.outputs)
        return super().RegisterResourceOutputs(request)


@pytest.fixture
def registered() -> Callable[[Callable[[], None]], Engine]:
    """Run a program to its end and return what it registered; an error inside it, applies included, raises."""

    def run(program: Callable[[], None]) -> Engine:
        engine = Engine()
        pulumi.runtime.set_mocks(engine, project=naming.PROJECT, stack="local", monitor=Monitor(engine))
        pulumi.runtime.test(program)()
        return engine

    return run


def test_a_failing_assertion_inside_an_apply_fails_the_test(registered) -> None:
    def program() -> pulumi.Output[None]:
        def refuse(_: object) -> None:
            raise AssertionError("seen")

        return StoreTenant(desired_store(), derived=DERIVED).namespace.apply(refuse)

    with pytest.raises(AssertionError, match="seen"):
        registered(program)


def test_every_resource_is_named_by_the_store_id_and_a_known_part(registered) -> None:
    engine = registered(lambda: StoreTenant(desired_store(), derived=DERIVED) and None)
    names = set(engine.requests) - {STORE}
    assert names == {naming.logical_name(STORE, part) for part in parts.PARTS}


def test_every_resource_of_a_protected_store_is_protected(registered) -> None:
    def program() -> None:
        StoreTenant(desired_store(protected=True), opts=pulumi.ResourceOptions(protect=True), derived=DERIVED)

    engine = registered(program)
    unprotected = {name for name, request in engine.requests.items() if not request.protect}
    assert unprotected == set()


def test_no_argument_of_a_generator_can_change_a_password(registered) -> None:
    engine = registered(lambda: StoreTenant(desired_store(), derived=DERIVED) and None)
    for part in parts.RANDOM_PARTS:
        request = engine.requests[naming.logical_name(STORE, part)]
        assert set(request.ignoreChanges) == set(GENERATOR_ARGUMENTS)


def test_passwords_have_24_characters_and_each_salt_is_its_own(registered) -> None:
    engine = registered(lambda: StoreTenant(desired_store(), derived=DERIVED) and None)
    for key in PASSWORD_KEYS:
        assert engine.inputs[f"{STORE}-{key}"]["length"] == 24
    assert engine.inputs[f"{STORE}-wordpress-salts"]["length"] == 64 * 8
    assert len(set(SALT_KEYS)) == 8


def test_the_secrets_data_is_secret_on_the_wire(registered) -> None:
    engine = registered(lambda: StoreTenant(desired_store(), derived=DERIVED) and None)
    data = engine.requests[f"{STORE}-credentials"].object.fields["data"].struct_value.fields
    if SECRET_SIGNATURE_KEY in data:  # the whole mapping is one secret
        assert data[SECRET_SIGNATURE_KEY].string_value == SECRET_SIGNATURE
    else:
        assert set(data) == {*PASSWORD_KEYS, *SALT_KEYS, *DERIVED_KEYS}
        for key, value in data.items():
            assert value.struct_value.fields[SECRET_SIGNATURE_KEY].string_value == SECRET_SIGNATURE, key


def test_no_secret_reaches_the_releases_values(registered) -> None:
    engine = registered(lambda: StoreTenant(desired_store(), derived=DERIVED) and None)
    values = json.dumps(engine.inputs[f"{STORE}-release"])
    assert "password-" not in values
    assert "derived-" not in values
    assert SECRET_SIGNATURE not in str(engine.requests[f"{STORE}-release"].object)


def test_the_release_comes_after_policies_quota_and_credentials(registered) -> None:
    engine = registered(lambda: StoreTenant(desired_store(), derived=DERIVED) and None)
    before = {urn.rsplit("::", 1)[-1] for urn in engine.requests[f"{STORE}-release"].dependencies}
    assert {f"{STORE}-{part}" for part in (*parts.POLICY_PARTS, parts.QUOTA, parts.LIMITS, parts.CREDENTIALS)} <= before


def test_the_release_has_an_explicit_name_and_keeps_five_revisions(registered) -> None:
    inputs = registered(lambda: StoreTenant(desired_store(), derived=DERIVED) and None).inputs[f"{STORE}-release"]
    assert (inputs["name"], inputs["namespace"], inputs["maxHistory"]) == (STORE, f"store-{STORE}", 5)
    assert inputs["createNamespace"] is False


def test_derived_secrets_are_given_whole_or_nothing_is_registered(registered) -> None:
    with pytest.raises(ValueError, match="derived secrets"):
        StoreTenant(desired_store(), derived={"webhook-secret": "alone"})


def test_what_was_applied_is_put_out_whole(registered) -> None:
    engine = registered(lambda: StoreTenant(desired_store(), derived=DERIVED) and None)
    assert json.loads(engine.outputs[STORE]["applied"]) == desired_store().to_dict()


def test_a_name_that_begins_another_ones_name_registers_apart(registered) -> None:
    def program() -> None:
        StoreTenant(desired_store("tea-x7k2m"), derived=DERIVED)
        StoreTenant(desired_store("tea-x7k2m-quota-b2c4d"), derived=DERIVED)

    engine = registered(program)
    assert len(engine.requests) == 2 * (1 + len(parts.PARTS))


def test_taking_over_reads_every_live_object_by_its_id_and_no_password_is_one(registered) -> None:
    engine = registered(lambda: StoreTenant(desired_store(), derived=DERIVED, taken_over=parts.LIVE_PARTS) and None)
    imported = {name.removeprefix(f"{STORE}-"): request.importId for name, request in engine.requests.items()}
    none = {name for name, live_id in imported.items() if not live_id}
    assert none == {STORE, *parts.RANDOM_PARTS}
    assert imported[parts.NAMESPACE] == f"store-{STORE}"
    assert imported[parts.RELEASE] == f"store-{STORE}/{STORE}"
    assert imported[parts.CREDENTIALS] == f"store-{STORE}/{STORE}-credentials"
    assert "applied" not in engine.outputs[STORE]


def test_of_a_store_of_which_only_a_part_exists_only_that_is_read_and_the_rest_is_made(registered) -> None:
    engine = registered(lambda: StoreTenant(desired_store(), derived=DERIVED, taken_over={parts.NAMESPACE}) and None)
    assert {name for name, request in engine.requests.items() if request.importId} == {f"{STORE}-{parts.NAMESPACE}"}
    # What was read may differ from the wish, so the wish has not happened yet.
    assert "applied" not in engine.outputs[STORE]


def test_making_a_store_takes_nothing_over(registered) -> None:
    engine = registered(lambda: StoreTenant(desired_store(), derived=DERIVED) and None)
    assert {request.importId for request in engine.requests.values()} == {""}
