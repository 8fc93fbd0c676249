"""The code of a pod is whole or copied anew: the container that fills it, killed in the middle, with the real image."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.containers.database import DatabaseServer
from tests.containers.image import Image
from tests.containers.pod import WEB_USER, Pod, Shop

from .rendering import VALUES, Chart

FILL = "bash /etc/store/install/files.sh"
# The image's script packs and unpacks by tar. The one that unpacks gets the archive up to the middle of one file; then
# everything in the container is killed, as by the end of its runtime.
KILLED = """
mkdir /tmp/bin
cat > /tmp/bin/tar <<'TAR'
#!/bin/bash
case " $* " in
  *' --extract '* | *' -x'*)
    cat > /tmp/archive
    block=$(/usr/bin/tar --list --verbose --block-number --file /tmp/archive | grep '{last}$')
    block=${{block#block }}
    head --bytes $(((${{block%%:*}} + 1) * 512 + 100)) /tmp/archive | /usr/bin/tar "$@"
    kill -9 -1
    ;;
  *) exec /usr/bin/tar "$@" ;;
esac
TAR
chmod +x /tmp/bin/tar
PATH=/tmp/bin:$PATH {fill}
"""


@pytest.fixture
def new_pod(wordpress: Image, database: DatabaseServer, tmp_path: Path, chart: Chart) -> Callable[..., Pod]:
    """Return a maker of pods of shops with nothing in them."""

    def make(mode: str = "immutable") -> Pod:
        rendered = chart.render({"wpContent": {"mode": mode}}, files=[VALUES / "values-local.yaml"])
        return Shop.new(wordpress, database, tmp_path / mode, rendered).pod()

    return make


def files(folder: Path) -> Mapping[str, int]:
    """Return the size of every file of the code, by its place; wp-config.php has keys that are drawn."""
    found = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    return {
        place: file.stat().st_size for place, file in found.items() if not place.startswith((".store-", "wp-config."))
    }


def killed(pod: Pod, last: str) -> None:
    """Fill the code, and be killed in the middle of that file."""
    done = pod.run("wordpress-files", KILLED.format(last=last, fill=FILL))
    assert done.code == 137, done


@pytest.fixture(scope="module")
def whole(wordpress: Image) -> Mapping[str, int]:
    """Return the code as the image has it."""
    return files(wordpress.root / "usr/src/wordpress")


# In what the image's script looks for; and behind everything that it or WordPress' own start looks for.
@pytest.mark.parametrize("last", ["wp-includes/version.php", "wp-login.php"])
def test_a_copy_that_was_killed_is_made_anew_in_the_same_pod(
    new_pod: Callable[..., Pod], whole: Mapping[str, int], last: str
) -> None:
    pod = new_pod()
    killed(pod, last)
    code = pod.folder / "code"
    assert 0 < len(files(code)) < len(whole)
    assert (code / "index.php").exists()
    if last == "wp-login.php":
        assert (code / "wp-load.php").exists()
        # What the install makes of it, were it started now.
        refused = pod.run("install")
        assert refused.code == 1, refused
        assert (
            "/var/www/html holds no whole WordPress; see the log of the init container wordpress-files" in refused.out
        )
    done = pod.run("wordpress-files")
    assert done.code == 0, done
    assert "files: what an earlier start has left is removed" in done.out
    assert files(code) == whole
    assert (code / "wp-config.php").stat().st_size > 0
    done = pod.run("install")
    assert done.code == 0, done


def test_a_pod_of_a_chart_that_left_no_mark_can_start_again(new_pod: Callable[..., Pod]) -> None:
    """It gets these scripts as well, until its successor is ready; the image's own script alone fills its code."""
    pod = new_pod()
    assert pod.run("wordpress-files", "docker-ensure-installed.sh").code == 0
    assert not (pod.folder / "code/.store-complete").exists()
    done = pod.run("install", STORE_CODE_MARK="")
    assert done.code == 0, done
    assert pod.run("install").code == 1


def test_a_whole_copy_is_not_made_again_in_the_same_pod(new_pod: Callable[..., Pod], whole: Mapping[str, int]) -> None:
    pod = new_pod()
    assert pod.run("wordpress-files").code == 0
    config = (pod.folder / "code/wp-config.php").read_text()
    done = pod.run("wordpress-files")
    assert (done.code, done.out) == (0, "")
    assert files(pod.folder / "code") == whole
    assert (pod.folder / "code/wp-config.php").read_text() == config


def test_a_copy_from_before_the_nodes_last_boot_is_made_anew(new_pod: Callable[..., Pod]) -> None:
    pod = new_pod()
    assert pod.run("wordpress-files").code == 0
    code = pod.folder / "code"
    # A node that lost its power has the file, and nothing of what was written into it.
    (code / "wp-load.php").write_text("")
    (code / ".store-complete").write_text("another boot\n")
    done = pod.run("wordpress-files")
    assert done.code == 0, done
    assert (code / "wp-load.php").stat().st_size > 0


# What is asked of the disk, and which of the list and the first of the copied files there were then.
SYNCED = """
mkdir /tmp/bin
cat > /tmp/bin/sync <<'SYNC'
#!/bin/bash
copied=$(find wp-content -mindepth 3 -type f | wc -l)
[ "$copied" -eq 0 ] || copied=some
echo "sync $*: list $([ -e wp-content/.store-making ] && echo there || echo missing), $copied copied" >&2
exec /usr/bin/sync "$@"
SYNC
chmod +x /tmp/bin/sync
PATH=/tmp/bin:$PATH {fill}
"""


def test_the_list_of_what_is_copied_is_on_the_disk_before_the_first_file_and_goes_after_the_last(
    new_pod: Callable[..., Pod],
) -> None:
    """A node that loses its power keeps a name without its content: an empty list, and half a folder for whole."""
    pod = new_pod("persistent")
    done = pod.run("wordpress-files", SYNCED.format(fill=FILL))
    assert done.code == 0, done
    assert [line for line in done.out.splitlines() if line.startswith("sync ")] == [
        "sync wp-content/.store-making.new: list missing, 0 copied",
        "sync -f wp-content/.store-making: list there, 0 copied",
        "sync -f wp-content/.store-making: list there, some copied",
    ]


def test_a_kept_wp_content_loses_only_what_was_half_copied(
    new_pod: Callable[..., Pod], whole: Mapping[str, int]
) -> None:
    pod = new_pod("persistent")
    # The merchant's own, and a plugin of the image that the merchant has replaced by another version.
    content = pod.place("/var/www/html/wp-content", "wordpress-files")
    own = {"plugins/own/own.php": "<?php // mine", "themes/storefront/style.css": "/* mine */"}
    for place, text in own.items():
        (content / place).parent.mkdir(parents=True)
        (content / place).write_text(text)
    for file in content.rglob("*"):
        os.chown(file, WEB_USER, WEB_USER)
    parts = [place for place in whole if place.startswith("wp-content/plugins/woocommerce/")]
    killed(pod, "wp-content/plugins/woocommerce/woocommerce.php")
    assert 0 < len([place for place in parts if (content / place.removeprefix("wp-content/")).exists()]) < len(parts)
    # Its successor has another folder for the code, and the list lies with the files.
    successor = pod.shop.pod()
    done = successor.run("wordpress-files")
    assert done.code == 0, done
    for place, text in own.items():
        assert (content / place).read_text() == text
    now = files(content)
    assert {place: now.get(place.removeprefix("wp-content/")) for place in parts} == {
        place: whole[place] for place in parts
    }
    assert not (content / ".store-making").exists()


@pytest.mark.parametrize("missing", [None, "wp-includes/version.php", "wp-content/plugins/woocommerce/woocommerce.php"])
def test_a_kept_wp_content_whose_folder_is_the_nodes_is_filled_whole_at_the_first_start(
    new_pod: Callable[..., Pod], whole: Mapping[str, int], missing: str | None
) -> None:
    """As a kubelet makes it. The image's tar may not set its mode, and fails after it has copied everything, or not."""
    pod = new_pod("persistent")
    content = pod.place("/var/www/html/wp-content", "wordpress-files")
    os.chown(content, 0, WEB_USER)
    content.chmod(0o2777)
    lost = f"rm {missing}" if missing else "true"
    shim = (
        "mkdir /tmp/bin; cat > /tmp/bin/tar <<'TAR'\n#!/bin/bash\n"
        f'/usr/bin/tar "$@"; code=$?; case " $* " in *" --extract "*) {lost};; esac; exit $code\n'
        f"TAR\nchmod +x /tmp/bin/tar; PATH=/tmp/bin:$PATH {FILL}"
    )
    done = pod.run("wordpress-files", shim)
    assert "Cannot change mode" in done.out
    if missing:
        assert done.code != 0, done
        assert not (pod.folder / "code/.store-complete").exists()
        done = pod.run("wordpress-files")
    assert done.code == 0, done
    now = {**files(pod.folder / "code"), **{f"wp-content/{place}": size for place, size in files(content).items()}}
    assert now == whole
    assert (pod.folder / "code/wp-config.php").stat().st_size > 0
