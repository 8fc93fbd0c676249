"""The process around a plugin: it serves until the engine ends it or is gone.

The engine starts a plugin with its own address as the last argument and reads the plugin's port from the first line
of standard output. It ends a plugin by an interrupt, and kills it five seconds later.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
from pulumi.runtime.proto import status_pb2

from sandbox.plugins.engine import CHANNEL_OPTIONS, Engine
from sandbox.plugins.failures import NotSupportedError, PartialFailureError, PluginError

# A request waits in its thread for as long as the cluster takes, and Cancel must still find a thread. Threads are
# made on demand, so a generous ceiling costs nothing.
_MOST_THREADS: Final = 512
_PARENT_CHECK_S: Final = 1.0

Register = Callable[[grpc.Server, Engine], Callable[[], None]]


def serve(arguments: Sequence[str], register: Register) -> None:
    """Serve until the engine says so or is gone. `register` adds the service and returns what ends its work at once."""
    stop = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: stop.set())
    if not arguments:
        sys.exit("a plugin is started by the Pulumi engine, which passes its own address as the last argument")
    threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="call")
    server = grpc.server(threads, options=CHANNEL_OPTIONS)  # type: ignore[no-untyped-call]
    close = register(server, Engine(arguments[-1]))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    parent = os.getppid()
    # A killed engine sends no signal; then the plugin has another parent.
    while not stop.wait(_PARENT_CHECK_S) and os.getppid() == parent:
        pass
    close()
    server.stop(grace=0)
    sys.stdout.flush()
    # Threads that still wait for a cluster must not hold the process: what they did is told to the engine, or lost
    # with it.
    os._exit(0)


def handlers(target: object, names: Mapping[str, str]) -> Mapping[str, Callable[[Any, grpc.ServicerContext], Any]]:
    """Return a handler per RPC of `names` (RPC -> method of `target`) that turns errors into what the engine shows."""
    return {rpc: _handler(getattr(target, method)) for rpc, method in names.items()}


def _handler(method: Callable[[Any], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(request)
        except PartialFailureError as error:
            _abort_with_state(context, error)
        except NotSupportedError as error:
            _abort(context, grpc.StatusCode.UNIMPLEMENTED, str(error))
        except PluginError as error:
            _abort(context, grpc.StatusCode.UNKNOWN, str(error))
        except Exception:  # noqa: BLE001 - a defect of ours ends one call, with its trace, and not the plugin
            _abort(context, grpc.StatusCode.INTERNAL, f"a defect of the sandbox's plugin:\n{traceback.format_exc()}")

    return handle


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, text: str) -> None:
    context.abort(code, text)  # type: ignore[no-untyped-call]


def _abort_with_state(context: grpc.ServicerContext, error: PartialFailureError) -> None:
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error))
    status.details.add().Pack(error.detail())
    metadata = (("grpc-status-details-bin", status.SerializeToString()),)
    context.set_trailing_metadata(metadata)  # type: ignore[no-untyped-call]
    _abort(context, grpc.StatusCode.UNKNOWN, str(error))
