"""Inputs of objects: their normal form, names, drift and ownership. No cluster."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.plugins.difference import differences
from sandbox.plugins.failures import NotSupportedError
from sandbox.plugins.kubernetes import inputs as forms
from sandbox.plugins.kubernetes.kinds import Kind, Resource, kind_of
from sandbox.plugins.kubernetes.ownership import owns
from sandbox.plugins.kubernetes.redaction import Redactor
from sandbox.plugins.kubernetes.replacement import replaces, replacing_fields
from sandbox.plugins.wire import UNKNOWN, Secret

SECRET = Kind("", "v1", "Secret")
CONFIG_MAP = Kind("", "v1", "ConfigMap")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("token", "path"),
    [
        ("kubernetes:core/v1:Namespace", "/api/v1"),
        ("kubernetes:networking.k8s.io/v1:NetworkPolicy", "/apis/networking.k8s.io/v1"),
        ("kubernetes:stable.example.com/v1:Shop", "/apis/stable.example.com/v1"),
    ],
)
def test_a_type_token_names_a_kind(token: str, path: str) -> None:
    assert kind_of(token).path == path


@pytest.mark.parametrize(
    "token",
    [
        "kubernetes:helm.sh/v4:Chart",
        "kubernetes:helm.sh/v3:Chart",
        "kubernetes:yaml:ConfigGroup",
        "kubernetes:yaml/v2:ConfigFile",
        "kubernetes:kustomize/v2:Directory",
        "kubernetes:core/v1:NamespacePatch",
        "kubernetes:core/v1:PodList",
        "aws:s3/bucket:Bucket",
    ],
)
def test_what_is_no_object_is_refused_by_name(token: str) -> None:
    with pytest.raises(NotSupportedError, match=token.replace("/", ".")):
        kind_of(token)


def test_objects_lie_below_their_namespace_if_they_have_one() -> None:
    kind = kind_of("kubernetes:apps/v1:Deployment")
    assert Resource(kind, "deployments", namespaced=True).path("a", "b") == "/apis/apps/v1/namespaces/a/deployments/b"
    kind = kind_of("kubernetes:core/v1:Namespace")
    assert Resource(kind, "namespaces", namespaced=False).path("", "b") == "/api/v1/namespaces/b"


def test_a_secrets_texts_become_data_and_win_over_it() -> None:
    given_inputs = {"metadata": {}, "data": {"a": encoded("1"), "b": encoded("2")}, "stringData": {"b": Secret("3")}}
    normalized = forms.normalized(SECRET, given_inputs)
    assert normalized["data"] == Secret({"a": encoded("1"), "b": encoded("3")})
    assert "stringData" not in normalized


def test_a_secrets_unknown_texts_stay_unknown() -> None:
    assert forms.normalized(SECRET, {"stringData": {"a": Secret(UNKNOWN)}})["data"] == Secret({"a": UNKNOWN})
    assert forms.normalized(SECRET, {"stringData": UNKNOWN})["data"] == Secret(UNKNOWN)


def test_data_that_is_no_base64_is_left_for_the_api_server_to_refuse() -> None:
    assert forms.normalized(SECRET, {"data": {"a": "?? no"}})["data"] == Secret({"a": "?? no"})


def test_fields_of_the_server_are_no_inputs() -> None:
    live = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "a",
            "uid": "x",
            "resourceVersion": "1",
            "managedFields": [],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
        },
        "data": {"a": "1"},
        "status": {},
    }
    assert forms.from_live(CONFIG_MAP, live) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a"},
        "data": {"a": "1"},
    }


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({"kind": "Secret"}, "kind"),
        ({"apiVersion": "v2"}, "apiVersion"),
        ({"metadata": {"generateName": "a-"}}, "metadata.generateName"),
        ({"metadata": {"annotations": {"pulumi.com/waitFor": "condition=Ready"}}}, "metadata.annotations"),
        ({"metadata": {"annotations": {"pulumi.com/replaceUnready": "true"}}}, "metadata.annotations"),
    ],
)
def test_what_cannot_be_honoured_is_refused(inputs: dict[str, Any], named: str) -> None:
    assert [name for name, _ in forms.problems(CONFIG_MAP, inputs)] == [named]


def test_an_automatic_name_follows_from_the_seed() -> None:
    name = forms.fresh_name("web", b"seed")
    assert name == forms.fresh_name("web", b"seed")
    assert name != forms.fresh_name("web", b"other")
    assert name.startswith("web-")
    assert len(name) == len("web-") + 8


def test_the_field_manager_is_stable_and_can_be_chosen() -> None:
    stable = forms.field_manager("urn:a", {}, {})
    assert stable == forms.field_manager("urn:a", {}, {})
    assert stable != forms.field_manager("urn:b", {}, {})
    assert forms.field_manager("urn:a", {}, {"__fieldManager": "old"}) == "old"
    annotated = {"metadata": {"annotations": {"pulumi.com/patchFieldManager": "stores"}}}
    assert forms.field_manager("urn:a", annotated, {"__fieldManager": "old"}) == "stores"


documents = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(documents, documents)
def test_without_a_change_on_the_server_there_is_no_drift(inputs: object, live: object) -> None:
    assert forms.drifted(inputs, live, live) == inputs


@given(documents, documents)
def test_after_drift_the_inputs_are_what_is_live_where_they_spoke(inputs: object, after: object) -> None:
    if not isinstance(inputs, (dict, list)):
        assert forms.drifted(inputs, inputs, after) == after


def test_what_the_server_only_writes_differently_is_no_drift() -> None:
    assert forms.drifted({"cpu": "1000m"}, {"cpu": "1"}, {"cpu": "1"}) == {"cpu": "1000m"}
    assert forms.drifted({"cpu": "1000m"}, {"cpu": "1"}, {"cpu": "2"}) == {"cpu": "2"}


def test_what_others_added_beside_the_inputs_is_no_drift_and_what_they_took_is() -> None:
    before = {"labels": {"a": "1", "b": "2"}}
    after = {"labels": {"a": "1", "c": "3"}, "more": 1}
    assert forms.drifted({"labels": {"a": "1", "b": "2"}}, before, after) == {"labels": {"a": "1"}}


def test_an_item_that_others_added_to_a_list_is_drift() -> None:
    before = {"ports": [{"port": 80, "protocol": "TCP"}]}
    after = {"ports": [{"port": 80, "protocol": "TCP"}, {"port": 22, "protocol": "TCP"}]}
    assert forms.drifted({"ports": [{"port": 80}]}, before, after) == {
        "ports": [{"port": 80}, {"port": 22, "protocol": "TCP"}]
    }


MANAGED = [
    {
        "manager": "me",
        "operation": "Apply",
        "fieldsV1": {"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:egress": {}}},
    },
    {"manager": "me", "operation": "Update", "fieldsV1": {"f:status": {}}},
    {"manager": "me", "operation": "Apply", "subresource": "scale", "fieldsV1": {"f:data": {}}},
]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.labels.a", True),
        ("metadata.labels.b", False),
        ("metadata", True),
        ("spec.egress.anything", True),
        ("status", False),
        ("data", False),
    ],
)
def test_the_managed_fields_say_what_is_ours(path: str, expected: bool) -> None:  # noqa: FBT001
    assert owns(MANAGED, "me", path.split(".")) is expected
    assert owns(MANAGED, "you", path.split(".")) is False


@pytest.mark.parametrize(
    ("token", "old", "new", "replaced"),
    [
        ("core/v1:ConfigMap", {"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}, True),
        ("core/v1:ConfigMap", {"data": {"a": "1"}}, {"data": {"a": "2"}}, True),
        ("core/v1:ConfigMap", {"metadata": {"labels": {}}}, {"metadata": {"labels": {"a": "1"}}}, False),
        ("core/v1:Secret", {"type": "a"}, {"type": "b"}, True),
        ("core/v1:Secret", {"data": {"a": "1"}}, {}, True),
        ("core/v1:Service", {"spec": {"clusterIP": "1"}}, {"spec": {}}, True),
        ("core/v1:Service", {"spec": {"ports": []}}, {"spec": {"ports": [{"port": 1}]}}, False),
        ("core/v1:Service", {}, {"spec": {"clusterIP": "None"}}, True),
        ("core/v1:Service", {}, {"spec": {"type": "ClusterIP"}}, False),
        ("core/v1:PersistentVolumeClaim", {"spec": {"storageClassName": "a"}}, {"spec": {}}, True),
        ("core/v1:PersistentVolumeClaim", {"spec": {"resources": {"a": 1}}}, {"spec": {"resources": {"a": 2}}}, False),
        ("apps/v1:StatefulSet", {"spec": {"selector": {"a": "1"}}}, {"spec": {"selector": {"a": "2"}}}, True),
        ("apps/v1:StatefulSet", {"spec": {"replicas": 1}}, {"spec": {"replicas": 2}}, False),
        ("batch/v1:Job", {"spec": {"template": {"a": [1]}}}, {"spec": {"template": {"a": [2]}}}, True),
        ("rbac.authorization.k8s.io/v1:RoleBinding", {"roleRef": {"name": "a"}}, {"roleRef": {"name": "b"}}, True),
    ],
)
def test_a_change_of_identity_replaces_and_others_do_not(
    token: str,
    old: dict[str, Any],
    new: dict[str, Any],
    replaced: bool,  # noqa: FBT001
) -> None:
    kind = kind_of(f"kubernetes:{token}")
    fields = replacing_fields(kind, new, mutable_config_maps=False, mutable_secrets=False)
    assert any(replaces(change, fields) for change in differences(old, new)) is replaced


@pytest.mark.parametrize("kind", [SECRET, CONFIG_MAP])
def test_data_can_be_made_changeable_in_place_unless_the_object_forbids_it(kind: Kind) -> None:
    change = next(differences({"data": {"a": "1"}}, {"data": {"a": "2"}}))
    mutable = replacing_fields(kind, {}, mutable_config_maps=True, mutable_secrets=True)
    immutable = replacing_fields(kind, {"immutable": True}, mutable_config_maps=True, mutable_secrets=True)
    assert not replaces(change, mutable)
    assert replaces(change, immutable)


def test_secret_values_are_taken_out_of_texts_in_every_notation() -> None:
    secret = 'pa"ss\nword-2'
    redactor = Redactor([secret, encoded("from-base64")])
    said = f'bad value "word-2", {encoded(secret)}, pa\\"ss and from-base64'
    assert redactor.clean(said) == 'bad value "[secret]", [secret], [secret] and [secret]'


def test_words_that_are_too_short_to_be_secrets_stay() -> None:
    assert Redactor(["abc", ""]).clean("abc def") == "abc def"
