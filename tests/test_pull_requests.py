"""The pieces of docs/pull-requests, run as a CI system would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.repository import BOOKS, TEA, Repository, block

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/pull-requests"
STORES = Path(sys.executable).with_name("stores")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def ci(repository: Repository, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "HOME": str(repository.root.parent), "STORES": str(STORES)}
    return subprocess.run(
        [str(FOLDER / "stores-ci.sh"), *arguments],
        env={**variables, "STORES_ROOT": str(repository.root)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_script_leaves_a_plan_for_the_pull_request(repository: Repository, tmp_path: Path) -> None:
    repository.write(block(TEA, title="More tea"), block(BOOKS, state="deleted"))
    repository.commit("a change")
    repository.git("push", "-q", "origin", "change")
    done = ci(repository, "plan", "local", "origin/main", str(tmp_path / "plan.md"))
    assert done.returncode == 0, done.stderr
    comment = (tmp_path / "plan.md").read_text()
    assert comment.index("#### Removed") < comment.index("#### Changed")
    assert "More tea" in comment


def test_the_scripts_job_fails_with_the_commands_own_code(repository: Repository, tmp_path: Path) -> None:
    repository.write(block(TEA))
    done = ci(repository, "plan", "local", "origin/main", str(tmp_path / "plan.md"))
    assert done.returncode == 3
    assert "its block is gone" in done.stderr
    assert not (tmp_path / "plan.md").exists()


def test_data_in_danger_fails_the_job_and_leaves_the_comment_that_says_so(
    repository: Repository, tmp_path: Path
) -> None:
    repository.write(block(TEA, uploads={"storage": "512Mi"}), block(BOOKS))
    done = ci(repository, "plan", "local", "origin/main", str(tmp_path / "plan.md"))
    assert done.returncode == 11
    assert "#### Data in danger" in (tmp_path / "plan.md").read_text()


def test_the_workflow_shows_a_plan_that_was_refused() -> None:
    steps = YAML(typ="safe").load((FOLDER / "github-workflow.yaml").read_text())["jobs"]["plan"]["steps"]
    [plan] = [step for step in steps if step.get("name") == "Plan"]
    assert plan["run"].index("GITHUB_STEP_SUMMARY") < plan["run"].index("exit $code")
    for name in ("Keep the plan", "Comment"):
        [step] = [step for step in steps if step.get("name") == name]
        assert "--edit-last" not in step.get("run", "")
        assert "!cancelled() && hashFiles('plan.md') != ''" in step["if"]


BOT, MARKER = "github-actions[bot]", "<!-- stores plan prod -->"


@pytest.mark.parametrize(
    ("there", "edited"),
    [
        ([], None),
        ([("1", BOT, "Deployed to staging."), ("2", "mallory", MARKER)], None),
        ([("1", BOT, "<!-- stores plan local -->"), ("2", BOT, f"{MARKER} and more")], None),
        ([("1", BOT, f"{MARKER}\r"), ("2", BOT, "Another job's, and the last one.")], "1"),
        ([("1", "mallory", MARKER), ("2", BOT, MARKER), ("3", "alice", "Looks good to me.")], "2"),
    ],
    ids=["none", "a stranger's", "another plan's", "not the last", "among others"],
)
def test_the_script_edits_its_own_comment_and_no_other(
    repository: Repository, tmp_path: Path, there: list[tuple[str, str, str]], edited: str | None
) -> None:
    """`gh` is a stub, which answers as its `--jq` would."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "there").write_text("".join("\t".join(comment) + "\n" for comment in there))
    (folder / "gh").write_text(
        f'#!/bin/sh\nif [ "$2" = --paginate ]; then cat "{tmp_path}/there"; fi\n'
        f'printf "%s\\n" "$*" >> "{tmp_path}/asked"\n'
    )
    (folder / "gh").chmod(0o755)
    plan = tmp_path / "plan.md"
    plan.write_text(f"{MARKER}\n### Plan for prod\n")
    done = subprocess.run(
        [str(FOLDER / "stores-ci.sh"), "comment", "7", str(plan)],
        env={"PATH": f"{folder}:{os.environ['PATH']}", "GITHUB_REPOSITORY": "o/r"},
        cwd=repository.root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    looked, wrote = (tmp_path / "asked").read_text().splitlines()
    assert looked.startswith("api --paginate repos/o/r/issues/7/comments --jq ")
    to = "--method POST repos/o/r/issues/7/comments" if edited is None else f"PATCH repos/o/r/issues/comments/{edited}"
    assert f"{to} --field body=@{plan}" in wrote


@pytest.mark.parametrize("what", ["up", "nightly"])
@pytest.mark.parametrize("code", [0, 4, 6])
def test_the_script_runs_up_once_with_the_commit_and_ends_as_it_does(
    repository: Repository, tmp_path: Path, what: str, code: int
) -> None:
    seen, stub = tmp_path / "seen", tmp_path / "stores"
    stub.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> "{seen}"\nexit {code}\n')
    stub.chmod(0o755)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository.root, check=True, capture_output=True, text=True
    ).stdout.strip()
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "STORES": str(stub)}
    done = subprocess.run(
        [str(FOLDER / "stores-ci.sh"), what, "prod"],
        env={**variables, "STORES_ROOT": str(repository.root)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    asked = ["--root", str(repository.root), "up", "--env", "prod", "--reason"]
    # Under a key a repeated job would be shown the first one's result, and not do what became due since.
    merged = [*asked, f"commit {commit}"]
    assert seen.read_text().splitlines() == (merged if what == "up" else [*asked, f"nightly run at {commit}"])


@pytest.mark.parametrize("arguments", [(), ("plan",), ("up",), ("nightly",), ("down", "local")])
def test_the_script_says_how_it_is_called(repository: Repository, arguments: tuple[str, ...]) -> None:
    done = ci(repository, *arguments)
    assert done.returncode == 2
    assert "stores-ci.sh plan ENV REF FILE" in done.stderr


def test_the_workflow_gives_a_secret_to_no_job_that_a_pull_request_starts() -> None:
    workflow = YAML(typ="safe").load((FOLDER / "github-workflow.yaml").read_text())
    assert set(workflow["on"]) == {"pull_request", "push", "schedule"}
    jobs = workflow["jobs"]
    assert set(jobs) == {"plan", "up"}
    assert jobs["plan"]["if"] == "github.event_name == 'pull_request'"
    assert "secrets." not in str(jobs["plan"])
    assert jobs["up"]["if"] == "github.event_name != 'pull_request'"
    assert jobs["up"]["environment"] == "prod"


def test_the_workflow_keeps_what_the_runner_would_forget() -> None:
    steps = YAML(typ="safe").load((FOLDER / "github-workflow.yaml").read_text())["jobs"]["up"]["steps"]
    [up] = [step for step in steps if step.get("name") == "Up"]
    assert up["env"]["STORES_ANCHORS"] == "stdout"
    assert up["env"]["WHAT"] == "${{ github.event_name == 'schedule' && 'nightly' || 'up' }}"
    [spool] = [step for step in steps if step.get("name") == "Keep the spool"]
    assert (spool["if"], spool["with"]["path"]) == ("failure()", ".stores/spool/")


def test_the_workflow_runs_the_default_branchs_program_over_the_requests_files() -> None:
    jobs = YAML(typ="safe").load((FOLDER / "github-workflow.yaml").read_text())["jobs"]
    folders = {
        step["with"]["path"]: step["with"].get("ref")
        for step in jobs["plan"]["steps"]
        if "path" in step.get("with", {}) and "ref" in str(step)
    }
    assert folders["trusted"] == "${{ github.event.pull_request.base.sha }}"
    runs = [step["run"] for step in jobs["plan"]["steps"] if "run" in step]
    assert not any("request/" in run for run in runs)
    for job in jobs.values():
        for step in job["steps"]:
            # An expression in a script is text that somebody else may have written.
            assert "${{" not in step.get("run", "")


def test_what_no_line_names_belongs_to_the_platforms_owners() -> None:
    lines = [line for line in (FOLDER / "CODEOWNERS").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0].split() == ["*", "@your-org/platform-owners"]


def test_every_path_that_has_an_owner_exists() -> None:
    for line in (FOLDER / "CODEOWNERS").read_text().splitlines():
        if line and not line.startswith("#"):
            path = line.split()[0].lstrip("/")
            assert list(ROOT.glob(path.rstrip("/"))) or path == ".github/", path
