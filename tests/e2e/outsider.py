"""Who is near a sandbox's pods without being one: listeners on the node, and a host beside it on the node's network.

Run inside an instance's network namespace, as `python outsider.py node`. It says `ready`, and then answers each line
`ADDRESS PORT` of its input with what came of a connection from the host beside the node.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

NODE = "10.99.0.1"
METADATA = "169.254.169.254"
METADATA_PORT = 80
DATABASE_PORT = 13306
HOST = "10.99.0.77"
# An address that is public as far as the policies know.
PUBLIC = "203.0.113.9"
PUBLIC_PORTS = (80, 443, 3306)
_LINK = "outside"
_TIMEOUT_S = 4.0


def connect(address: str, port: int) -> str:
    """Return `connected`, `refused`, `timeout` or `unreachable`."""
    with socket.socket() as client:
        client.settimeout(_TIMEOUT_S)
        try:
            client.connect((address, port))
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "timeout"
        except OSError:
            return "unreachable"
    return "connected"


def listen(address: str, port: int) -> None:
    """Accept connections until the process ends."""
    server = socket.create_server((address, port))

    def accept() -> None:
        while True:
            server.accept()[0].close()

    threading.Thread(target=accept, daemon=True).start()


def ip(*arguments: str, check: bool = True) -> None:
    environment = {**os.environ, "LD_LIBRARY_PATH": os.environ["IP_LIBRARIES"]}
    subprocess.run(["ip", *arguments], check=check, env=environment, capture_output=not check)


def node() -> None:
    """Be the node's side, and pass questions on to the host beside it."""
    # What a run that was killed has left.
    ip("link", "delete", _LINK, check=False)
    ip("address", "delete", f"{METADATA}/32", "dev", "node0", check=False)
    ip("address", "add", f"{METADATA}/32", "dev", "node0")
    listen(METADATA, METADATA_PORT)
    listen(NODE, DATABASE_PORT)
    ip("link", "add", _LINK, "type", "veth", "peer", "name", f"{_LINK}-in")
    command = ["unshare", "--net", "--kill-child", "--fork", sys.executable, __file__, "beside"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as beside:
        assert beside.stdin is not None
        assert beside.stdout is not None
        pid = beside.stdout.readline().strip()
        ip("link", "set", f"{_LINK}-in", "netns", pid)
        ip("link", "set", _LINK, "master", "node0")
        ip("link", "set", _LINK, "up")
        ip("route", "replace", "203.0.113.0/24", "via", HOST)
        beside.stdin.write("\n")
        for line in beside.stdout:
            print(line, end="", flush=True)
            question = sys.stdin.readline()
            if not question:
                break
            beside.stdin.write(question)
        beside.kill()
    ip("link", "delete", _LINK)
    ip("address", "delete", f"{METADATA}/32", "dev", "node0")


def beside() -> None:
    """Be the host beside the node."""
    with open("/proc/self/stat") as stat:  # noqa: PTH123
        print(stat.read().split()[0], flush=True)
    sys.stdin.readline()
    ip("link", "set", "lo", "up")
    ip("link", "set", f"{_LINK}-in", "up")
    ip("address", "add", f"{HOST}/24", "dev", f"{_LINK}-in")
    ip("address", "add", f"{PUBLIC}/32", "dev", "lo")
    ip("route", "add", "default", "via", NODE)
    for port in PUBLIC_PORTS:
        listen(PUBLIC, port)
    print("ready", flush=True)
    for line in sys.stdin:
        address, port = line.split()
        print(connect(address, int(port)), flush=True)


if __name__ == "__main__":
    {"node": node, "beside": beside}[sys.argv[1]]()
