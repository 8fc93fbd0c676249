"""Runs one Pulumi program, in the program's own interpreter: `program.py SETTINGS PROGRAM [ARGUMENT...]`.

It is run by path and imports nothing of this project, which the program's virtual environment need not have.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import runpy
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

_ALREADY_SHOWN = 32
_NO_SDK = """
It looks like the Pulumi SDK has not been installed. Have you run pip install?
If you are running in a virtualenv, you must run pip install -r requirements.txt from inside the virtualenv."""


def main(settings_text: str, program: str, arguments: list[str]) -> int:
    """Run the program against the engine that the settings name; return the exit code for the host."""
    try:
        import pulumi  # noqa: PLC0415 - its absence gets a message
        from pulumi import runtime  # noqa: PLC0415
    except ImportError:
        traceback.print_exc()
        print(_NO_SDK, file=sys.stderr)
        return 1
    runtime.set_all_config(runtime.get_config_env(), runtime.get_config_secret_keys_env())
    settings = runtime.Settings(**json.loads(settings_text))
    runtime.configure(settings)
    # As if the program had been started directly; this script's own folder must not be where its imports are found.
    sys.argv = [program, *arguments]
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).parent)]
    # A failed deployment leaves futures that nobody will look at, which asyncio would report one by one.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    with ThreadPoolExecutor(max(settings.parallel or 1, 1) * 4) as executor:
        loop.set_default_executor(executor)
        try:
            loop.run_until_complete(runtime.run_in_stack(lambda: _run(program)))
        except pulumi.RunError as error:
            pulumi.log.error(str(error))
            return 1
        except _ProgramNotFoundError:
            pulumi.log.error(f"unable to find main python program `__main__.py` in `{Path(program).resolve()}`")
            return _ALREADY_SHOWN
        except Exception as error:  # noqa: BLE001 - whatever the program raised is shown as the program's
            pulumi.log.error(f"Program failed with an unhandled exception:\n{_user_trace(error, program)}")
            return _ALREADY_SHOWN
        except KeyboardInterrupt:
            _leave()
    return 0


class _ProgramNotFoundError(Exception):
    """The project's folder holds no `__main__.py`."""


def _run(program: str) -> None:
    path = Path(program)
    if path.is_dir() and not (path / "__main__.py").exists():
        raise _ProgramNotFoundError
    try:
        runpy.run_path(program, run_name="__main__")
    except KeyboardInterrupt:
        # Already here: above, the SDK would wait for answers that an engine which is being cancelled does not give.
        _leave()


def _user_trace(error: BaseException, program: str) -> str:
    """Return the trace from the program's first frame on."""
    path = Path(program)
    start = (path / "__main__.py" if path.is_dir() else path).resolve()
    frames = traceback.extract_tb(error.__traceback__)
    for index, frame in enumerate(frames):
        if Path(frame.filename).resolve() == start:
            return "".join(traceback.format_exception(error, limit=index - len(frames)))
    return "".join(traceback.format_exception(error))


def _leave() -> NoReturn:
    """End after an interrupt. The program's own clean-up has run; threads that wait for the engine must not hold it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1], sys.argv[2], sys.argv[3:])
    except KeyboardInterrupt:
        _leave()
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)
