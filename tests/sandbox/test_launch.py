from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox import launch, node, process, supervisor
from stacks.errors import ClusterUnreachableError, UsageError


def test_a_taken_port_is_named_with_the_setting_to_change() -> None:
    with launch.listen(0, purpose="the stores") as taken:
        port = taken.getsockname()[1]

        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1.*stores:urlPort in Pulumi.local.yaml"):
            launch.listen(port, purpose="the stores")


def test_a_port_is_taken_on_this_machines_own_address_only() -> None:
    with launch.listen(0, purpose="the stores") as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_two_checkouts_and_two_names_never_share_a_control_group() -> None:
    names = {
        launch.cgroup_name(root, name) for root in (Path("/a/shop"), Path("/b/shop")) for name in ("local", "test")
    }

    assert len(names) == 4


def test_a_component_that_was_given_up_is_named_with_its_log(tmp_path: Path) -> None:
    layout = node.Layout(tmp_path)
    layout.node.mkdir()
    own = process.identify(os.getpid())
    assert own is not None
    states = '{"kubelet": {"running": false, "gave_up": true, "restarts": 5, "last_end": "exit code 1"}}'
    supervisor._replace(layout.state, states)

    with pytest.raises(ClusterUnreachableError, match=r"kubelet was started 6 times .* code 1; see .*kubelet\.log"):
        launch.check(layout, own)


def test_a_node_that_died_tells_its_last_words(tmp_path: Path) -> None:
    layout = node.Layout(tmp_path)
    layout.logs.mkdir()
    (layout.logs / "supervisor.log").write_text("mount: permission denied\n")
    gone = process.Identity(process.boot_id(), os.getpid(), 0)

    with pytest.raises(ClusterUnreachableError, match="mount: permission denied"):
        launch.check(layout, gone)
