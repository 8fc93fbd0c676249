"""What every instance's cluster holds before the first store: images, name server, storage class, ingress."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from sandbox import certificates, images, launch, node, process, static_image
from sandbox.cluster import Cluster, images_of, wait_for
from sandbox.images.recipes.shop.recipe import Given, shop
from sandbox.packages import Packages
from sandbox.progress import Progress, Report
from stacks.errors import ClusterUnreachableError, ManifestError

_HERE: Final = Path(__file__).parent
_STORAGE: Final = _HERE / "manifests/storage.yaml"
_POLICIES: Final = _HERE / "manifests/policies.yaml"
_DNS: Final = _HERE / "manifests/dns.yaml"
_INGRESS: Final = _HERE / "ingress/manifests.yaml"
_INGRESS_NAMESPACE: Final = "ingress-nginx"
_AUTHORITY: Final = "ingress-ca"
_TIMEOUT_S: Final = 180.0
_CURE: Final = "see the logs below `stores sandbox logs`, then `stores sandbox down` and start again"


def references(root: Path) -> Mapping[str, str]:
    """Return the reference of every image to build, by recipe: what the chart and our own manifests ask for."""
    values_file = root / "charts/store/values.yaml"
    values: Mapping[str, Any] = YAML(typ="safe").load(values_file)
    try:
        return {
            "pause": node.PAUSE_IMAGE,
            "ingress": next(iter(images_of(_INGRESS).values())),
            "wordpress": reference(values["image"]),
            "mariadb": reference(values["database"]["image"]),
            "restic": reference(values["backup"]["image"]),
        }
    except KeyError as error:
        raise ManifestError(
            str(values_file), f"{error.args[0]} is missing", "restore the chart's own values file"
        ) from error


def reference(image: Mapping[str, str]) -> str:
    """Return an image's full reference, as the chart writes it, from the chart's values."""
    return f"{image['registry']}/{image['repository']}:{image['tag']}"


def archives(
    root: Path, cache_root: Path, programs: Mapping[str, Path], report: Report, given: Given | None = None
) -> Sequence[Path]:
    """Make the archive of every image exist in the cache, and return them. `given` goes into the shops' image."""
    recipe = None if given is None else shop(given)
    replaced = {} if recipe is None else {recipe.name: recipe}
    built = images.build(cache_root, references(root), report, replaced=replaced)
    static = (("coredns", static_image.COREDNS), ("rest-server", static_image.REPOSITORY))
    return [*(static_image.build(cache_root, programs[name], image) for name, image in static), *built]


class Contents:
    """Fills the cluster of one instance. Every step can be repeated, and costs little when nothing is left to do."""

    def __init__(
        self, layout: node.Layout, identity: process.Identity, packages: Packages, http_port: int, report: Report
    ) -> None:
        self._layout = layout
        self._identity = identity
        self._packages = packages
        self._http_port = http_port
        self._report = report

    def fill(self, image_archives: Sequence[Path], snapshotter: str) -> None:
        """Make the cluster hold everything that a store needs, ready to be used."""
        self._wait("the Kubernetes API server", self._cluster().answers)
        cluster = self._cluster()
        for file in (_POLICIES, _STORAGE, _DNS, _INGRESS):
            cluster.apply(file)
        cluster.apply_object(self._authority())
        self._import(image_archives, snapshotter)
        self._wait("the node", cluster.node_is_ready)
        self._wait("the name server", lambda: cluster.deployment_is_ready(node.SYSTEM_NAMESPACE, "coredns"))
        self._wait("the ingress", lambda: answers_http(self._http_port))

    def _cluster(self) -> Cluster:
        return Cluster(self._layout.folder / "kubeconfig")

    def _authority(self) -> Mapping[str, Any]:
        """Return the Secret with the authority that signs the stores' certificates; it ends with the instance."""
        keys = self._layout.keys
        certificates.authority(
            keys,
            _AUTHORITY,
            subject="/CN=Stores sandbox ingress",
            openssl=self._packages.program("openssl"),
            environment=self._packages.environment(),
        )
        certificate = (keys / f"{_AUTHORITY}.crt").read_text()
        (self._layout.folder / "ca.crt").write_text(certificate)
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": _AUTHORITY, "namespace": _INGRESS_NAMESPACE},
            "stringData": {"tls.crt": certificate, "tls.key": (keys / f"{_AUTHORITY}.key").read_text()},
        }

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        asked = False

        def checked() -> bool:
            nonlocal asked
            launch.check(self._layout, self._identity)
            if asked:
                self._report(Progress("start", f"waiting for {what}"))
            asked = True  # what is there at once is not worth a word
            return condition()

        wait_for(what, checked, timeout_s=_TIMEOUT_S, cure=_CURE)

    def _import(self, image_archives: Sequence[Path], snapshotter: str) -> None:
        self._wait("containerd", self._containerd_answers)
        done = self._layout.node / "images"
        done.mkdir(exist_ok=True)
        for count, archive in enumerate(image_archives):
            # An archive's folder in the cache is named by everything that it was made from. The mark tells which was
            # the last: two archives have the same reference where people change what goes into the shops' image.
            mark = done / archive.name
            if not mark.exists() or mark.read_text() != archive.parent.name:
                detail = f"importing {archive.stem}"
                self._report(Progress("start", detail, done=count, total=len(image_archives)))
                self._ctr("images", "import", "--snapshotter", snapshotter, str(archive))
                mark.write_text(archive.parent.name)

    def _containerd_answers(self) -> bool:
        try:
            self._ctr("version")
        except ClusterUnreachableError:
            return False
        return True

    def _ctr(self, *arguments: str) -> str:
        command = [str(self._packages.program("ctr")), "--address", node.CONTAINERD_SOCKET, "--namespace", "k8s.io"]
        return launch.enter(self._identity, [*command, *arguments], self._packages.environment())


def answers_http(port: int) -> bool:
    """Return whether a web server answers on the port, whatever it says."""
    connection = http.client.HTTPConnection(launch.HOST, port, timeout=5)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
