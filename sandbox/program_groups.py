"""Which programs the sandbox is made of: from which Go modules, in which versions.

Every group is a Go module of its own below `sandbox/programs/`, so that no program's dependencies move another's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

SOURCES: Final = Path(__file__).parent / "programs"


@dataclass(frozen=True, eq=False)
class Group:
    """Programs that are built together from one Go module.

    `packages` maps a program's name to the package it is built from; `stamps` are the variables that hold its version.
    `expected_s` was measured on 2 otherwise idle cores with nothing cached, modules included.
    """

    name: str
    version: str
    packages: Mapping[str, str]
    stamps: Mapping[str, str]
    expected_s: float

    @property
    def folder(self) -> Path:
        """Where the group's go.mod is."""
        return SOURCES / self.name

    @property
    def flags(self) -> Sequence[str]:
        """What `go build` and `go list` are both called with: the compiler's cache depends on it."""
        stamps = "".join(f" -X {variable}={value}" for variable, value in self.stamps.items())
        return ("-trimpath", "-ldflags", f"-s -w{stamps}")


def _one(
    program: str, version: str, package: str, expected_s: float, *, stamp: str | None = None, group: str | None = None
) -> Group:
    """Return the group of one program, which has its name unless `group` says another."""
    return Group(group or program, version, {program: package}, {} if stamp is None else {stamp: version}, expected_s)


_KUBERNETES: Final = "v1.34.3"

GROUPS: Final = (
    _one(
        "pulumi",
        "v3.259.0",
        "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
        270,
        stamp="github.com/pulumi/pulumi/sdk/v3/go/common/version.Version",
        group="engine",
    ),
    Group(
        name="kubernetes",
        version=_KUBERNETES,
        packages={
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet")
        },
        stamps={
            "k8s.io/component-base/version.gitVersion": _KUBERNETES,
            "k8s.io/component-base/version.gitMajor": "1",
            "k8s.io/component-base/version.gitMinor": "34",
        },
        expected_s=320,
    ),
    _one("helm", "v3.20.2", "helm.sh/helm/v3/cmd/helm", 75, stamp="helm.sh/helm/v3/internal/version.version"),
    _one("coredns", "v1.14.7", ".", 60),
    _one("rest-server", "v0.14.0", "github.com/restic/rest-server/cmd/rest-server", 20, group="repository"),
)

TEST_GROUPS: Final = (
    _one("kubeconform", "v0.8.0", "github.com/yannh/kubeconform/cmd/kubeconform", 20, stamp="main.version"),
    # The chart promises to work with both lines of Helm.
    _one("helm4", "v4.3.1", "helm.sh/helm/v4/cmd/helm", 75, stamp="helm.sh/helm/v4/internal/version.version"),
    _one(
        "kube-score",
        "v1.20.0",
        "github.com/zegl/kube-score/cmd/kube-score",
        30,
        stamp="main.version",
        group="kubescore",
    ),
    # A second opinion on what network policies allow.
    _one(
        "cyclonus",
        "v0.5.6",
        "github.com/mattfenwick/cyclonus/cmd/cyclonus",
        60,
        stamp="github.com/mattfenwick/cyclonus/pkg/cli.version",
    ),
)
"""What only tests use; no part of the node."""

VERSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {program: group.version for group in GROUPS for program in group.packages}
)
