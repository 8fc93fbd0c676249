from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from sandbox import contents, node, static_image
from sandbox.api import path_of
from sandbox.cluster import images_of
from stacks.errors import ManifestError

MANIFESTS = [contents._STORAGE, contents._DNS, contents._INGRESS]


def test_the_images_that_are_built_are_those_that_the_chart_asks_for(root: Path) -> None:
    values = YAML(typ="safe").load(root / "charts/store/values.yaml")

    found = contents.references(root)

    assert found["wordpress"] == f"docker.io/library/wordpress:{values['image']['tag']}"
    assert found["mariadb"] == f"docker.io/library/mariadb:{values['database']['image']['tag']}"
    assert found["pause"] == node.PAUSE_IMAGE
    assert {found["ingress"]} == set(images_of(contents._INGRESS).values())


def test_a_chart_without_an_image_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "charts/store/values.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("image: {registry: docker.io, repository: library/wordpress}\n")

    with pytest.raises(ManifestError, match=r"charts/store/values\.yaml: tag is missing"):
        contents.references(tmp_path)


def test_the_name_server_runs_the_image_that_is_built_for_it() -> None:
    assert images_of(contents._DNS) == {"coredns": static_image.COREDNS}


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.stem)
def test_no_manifest_asks_a_registry(file: Path) -> None:
    for body in YAML(typ="safe").load_all(file):
        for container in body.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ()):
            assert container["imagePullPolicy"] == "Never"


@pytest.mark.parametrize(
    ("version", "kind", "namespace", "path"),
    [
        ("v1", "Namespace", None, "/api/v1/namespaces/x"),
        ("v1", "ConfigMap", "kube-system", "/api/v1/namespaces/kube-system/configmaps/x"),
        ("apps/v1", "Deployment", "a", "/apis/apps/v1/namespaces/a/deployments/x"),
        ("storage.k8s.io/v1", "StorageClass", None, "/apis/storage.k8s.io/v1/storageclasses/x"),
        ("networking.k8s.io/v1", "IngressClass", None, "/apis/networking.k8s.io/v1/ingressclasses/x"),
    ],
)
def test_objects_are_found_where_the_api_server_has_them(
    version: str, kind: str, namespace: str | None, path: str
) -> None:
    metadata = {"name": "x"} if namespace is None else {"name": "x", "namespace": namespace}

    assert path_of({"apiVersion": version, "kind": kind, "metadata": metadata}) == path


def test_the_archive_of_the_name_server_is_made_once_for_each_program(tmp_path: Path) -> None:
    def program(key: str) -> Path:
        binary = tmp_path / "programs" / key / "bin" / "coredns"
        binary.parent.mkdir(parents=True, exist_ok=True)
        binary.write_bytes(b"program")
        return binary

    first = static_image.build(tmp_path / "cache", program("coredns-1"), static_image.COREDNS)
    made_at = first.stat().st_mtime_ns

    assert (
        static_image.build(tmp_path / "cache", program("coredns-1"), static_image.COREDNS).stat().st_mtime_ns == made_at
    )
    assert static_image.build(tmp_path / "cache", program("coredns-2"), static_image.COREDNS) != first
