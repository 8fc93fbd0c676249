"""Projects of the tests' own, each with its own state and ledger, on the tests' own sandbox."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.instance import Instance
from tests.e2e.project import Project

ROOT = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".stores", "tests", "__pycache__", ".*_cache", "*.egg-info")


@pytest.fixture(scope="session")
def make_project(sandbox_instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Project]:
    """Return a maker of projects that share nothing but the sandbox's cluster."""

    def make() -> Project:
        folder = tmp_path_factory.mktemp("project")
        root = folder / "checkout"
        shutil.copytree(ROOT, root, ignore=NOT_COPIED)
        (root / ".venv").symlink_to(Path(sys.executable).parent.parent)
        (folder / "state").mkdir()
        (folder / "passphrase").write_text("a passphrase of the tests\n")
        outer = {name: value for name, value in os.environ.items() if not name.startswith(("PULUMI_", "STORES_"))}
        (folder / "platform-key").write_text(f"1:{secrets.token_hex(32)}\n")
        variables = {
            **outer,
            **sandbox_instance.environment(),
            "PULUMI_BACKEND_URL": (folder / "state").as_uri(),
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(folder / "passphrase"),
            "STORES_LEDGER_URL": f"sqlite:///{folder / 'ledger.sqlite'}",
            "STORES_CLUSTER": "kubeconfig",
            "STORES_PLATFORM_KEY_FILE": str(folder / "platform-key"),
            "NO_COLOR": "1",
        }
        project = Project(root, variables)
        project.configure(
            urlPort=sandbox_instance.http_port,
            httpsPort=sandbox_instance.https_port,
            caFile=str(sandbox_instance.ca_file),
            releaseTimeoutSeconds=240,
            readyTimeoutSeconds=90,
        )
        return project

    return make
