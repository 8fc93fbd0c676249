"""The Python language host under the real engine's command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from pulumi.runtime.proto import language_pb2

from sandbox.plugins.failures import NotSupportedError, PluginError
from sandbox.plugins.language_python.host import PythonHost, interpreter_of
from sandbox.plugins.wire import encode


class Project:
    """A folder with a program, and the engine's command line in it."""

    def __init__(self, folder: Path, engine: Path, home: Path) -> None:
        self.folder = folder
        self._engine = str(engine)
        (folder / "state").mkdir()
        self._environment = {
            **os.environ,
            "PULUMI_HOME": str(home),
            "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "x",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        self.write("Pulumi.yaml", f"name: demo\nruntime: {{name: python, options: {{virtualenv: {sys.prefix}}}}}\n")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def run(self, *arguments: str) -> tuple[int, str]:
        """Return the exit code, and all that was printed."""
        done = subprocess.run(
            [self._engine, *arguments, "--non-interactive"],
            cwd=self.folder,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return done.returncode, done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self._engine, *arguments, "--non-interactive"],
            cwd=self.folder,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture(scope="module")
def project(programs: Mapping[str, Path], pulumi_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("project"), programs["pulumi"], pulumi_home)
    assert made.run("stack", "init", "dev")[0] == 0
    return made


def test_a_program_runs_with_its_configuration_its_modules_and_its_folder(project: Project) -> None:
    project.write("beside.py", "NAME = 'beside'\n")
    project.write(
        "__main__.py",
        "import os, sys, pulumi, beside\n"
        "config = pulumi.Config()\n"
        "print('printed by the program')\n"
        "pulumi.export('plain', config.require('plain'))\n"
        "pulumi.export('hidden', config.require_secret('hidden'))\n"
        "pulumi.export('facts', [beside.NAME, pulumi.get_project(), pulumi.get_stack(), os.getcwd(), sys.prefix,"
        " os.environ.get('PYTHONPATH', '')])\n",
    )
    project.run("config", "set", "plain", "open")
    project.run("config", "set", "--secret", "hidden", "hunter22")
    code, said = project.run("up", "--yes", "--skip-preview")
    assert code == 0, said
    assert "printed by the program" in said
    assert "hunter22" not in said
    code, outputs = project.run("stack", "output", "--json")
    assert f'"beside",\n    "demo",\n    "dev",\n    "{project.folder}",\n    "{sys.prefix}",\n    ""' in outputs
    assert '"plain": "open"' in outputs
    assert project.run("refresh", "--yes", "--skip-preview")[0] == 0
    assert project.run("destroy", "--yes", "--skip-preview")[0] == 0


@pytest.mark.parametrize(
    ("program", "expected", "absent"),
    [
        (
            "def f():\n    raise ValueError('broken here')\nf()\n",
            ["error: Program failed with an unhandled exception:", "__main__.py", "line 2, in f", "broken here"],
            ["runpy", "non-zero exit code"],
        ),
        (
            "import pulumi\nraise pulumi.RunError('refused')\n",
            ["error: refused", "program exited with non-zero exit code: 1"],
            ["Traceback"],
        ),
        ("import sys\nsys.exit(3)\n", ["program exited with non-zero exit code: 3"], ["Traceback"]),
        ("import nothing_of_this_name\n", ["No module named 'nothing_of_this_name'"], ["unable to find main"]),
    ],
)
def test_a_program_that_fails_is_shown_as_by_the_official_host(
    project: Project, program: str, expected: list[str], absent: list[str]
) -> None:
    project.write("__main__.py", program)
    code, said = project.run("preview")
    assert code != 0
    for text in expected:
        assert text in said
    for text in absent:
        assert text not in said


def test_a_missing_program_is_named(project: Project) -> None:
    (project.folder / "__main__.py").unlink()
    code, said = project.run("preview")
    assert code != 0
    assert f"unable to find main python program `__main__.py` in `{project.folder}`" in said


def test_an_interrupt_ends_the_program_after_its_own_clean_up(project: Project) -> None:
    project.write(
        "__main__.py",
        "import time\nprint('it runs', flush=True)\ntry:\n    time.sleep(600)\nfinally:\n    print('cleaned up')\n",
    )
    running = project.start("preview")
    assert running.stdout is not None
    said = ""
    while "it runs" not in said:
        line = running.stdout.readline()
        assert line, said
        said += line
    running.send_signal(signal.SIGINT)
    rest, _ = running.communicate(timeout=30)
    assert running.returncode != 0
    assert "cleaned up" in said + rest
    assert "Traceback" not in said + rest


def test_a_virtual_environment_that_is_none_is_named(tmp_path: Path) -> None:
    info = _info(tmp_path, virtualenv=".venv")
    with pytest.raises(PluginError, match=r"Pulumi.yaml: the virtualenv option says '.venv', but .* is no virtual"):
        interpreter_of(info)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    assert interpreter_of(info) == str(tmp_path / ".venv" / "bin" / "python")
    assert interpreter_of(_info(tmp_path)) == "python3"


@pytest.mark.parametrize("options", [{"toolchain": "uv"}, {"something": "new"}])
def test_options_that_cannot_be_honoured_are_refused(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(NotSupportedError, match=r"official plugin"):
        interpreter_of(_info(tmp_path, **options))


def test_about_names_the_interpreter_and_the_stand_in(tmp_path: Path) -> None:
    about = PythonHost("127.0.0.1:1").about(language_pb2.AboutRequest(info=_info(tmp_path, virtualenv=sys.prefix)))
    assert about.version == ".".join(map(str, sys.version_info[:3]))
    assert "stand-in" in about.metadata["host"]


def _info(root: Path, **options: str) -> language_pb2.ProgramInfo:
    return language_pb2.ProgramInfo(root_directory=str(root), options=encode(options))
