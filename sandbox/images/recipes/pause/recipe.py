"""The container that holds a pod's namespaces open. One static program and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sandbox.images import tools
from sandbox.images.recipe import Recipe, Settings, Workshop
from stacks.errors import UsageError

_HERE: Final = Path(__file__).parent


def _finish(workshop: Workshop) -> None:
    program = workshop.root / "pause"
    result = tools.attempt("cc", "-Os", "-static", "-s", "-o", str(program), str(_HERE / "pause.c"))
    if result.returncode != 0:
        said = tools.last_lines(result)
        raise UsageError("sandbox images", f"cc cannot build a static program: {said}", "install libc6-dev")
    program.chmod(0o755)


RECIPE: Final = Recipe(
    name="pause",
    folder=_HERE,
    finish=_finish,
    version=lambda _workshop: "1",
    settings=Settings(entrypoint=("/pause",), user="65535:65535"),
)
