"""Visitors of one shop: a steady load of page views, each looked at whole, until told to stop.

Run inside an instance's network namespace, so nothing but the standard library:
`python visitors.py ADDRESS PORT HOST TEXT STOP_FILE SECONDS`. Half of them keep their connection, half make one per
page. Prints one JSON document at the end. It ends by itself after SECONDS or MOST requests, whatever happens.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path

MOST = 50_000
_TIMEOUT_S = 30.0
_PAUSE_S = 0.05
_VISITORS = 4
_WORST_KEPT = 20


class Visit:
    """What all visitors have seen so far."""

    def __init__(self, address: str, port: int, host: str, text: str) -> None:
        self.address, self.port, self.host, self.text = address, port, host, text
        self.lock = threading.Lock()
        self.answers: Counter[str] = Counter()
        self.by_kind: Counter[str] = Counter()
        self.milliseconds: list[float] = []
        self.lost: list[dict[str, object]] = []
        self.away: tuple[float, float] | None = None
        self.back = 0
        """How many whole pages came after the last lost one."""

    def record(self, kind: str, answer: str, milliseconds: float, at_s: float) -> None:
        """Note one request; anything but `200` is a lost one."""
        with self.lock:
            self.answers[answer] += 1
            self.by_kind[kind] += 1
            self.milliseconds.append(milliseconds)
            self.back = self.back + 1 if answer == "200" else 0
            if answer != "200":
                began, ended = self.away or (at_s, at_s)
                self.away = (min(began, at_s), max(ended, at_s + milliseconds / 1000))
                if len(self.lost) < _WORST_KEPT:
                    self.lost.append({"at_s": round(at_s, 2), "kind": kind, "answer": answer})

    @property
    def away_s(self) -> float:
        """Seconds from the first lost request's begin to the last one's end; 0 where none was lost."""
        return 0.0 if self.away is None else round(self.away[1] - self.away[0], 1)

    @property
    def count(self) -> int:
        """How many requests were made."""
        with self.lock:
            return sum(self.answers.values())


def view(connection: http.client.HTTPConnection, visit: Visit, *, keep: bool) -> str:
    """Return `200` for the shop's whole page, else what came instead."""
    header = {"Host": visit.host, "Connection": "keep-alive" if keep else "close"}
    try:
        connection.request("GET", "/", headers=header)
        response = connection.getresponse()
        body = response.read().decode("utf-8", errors="replace")
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return f"{type(error).__name__}: {error}"
    if response.status != 200:
        return str(response.status)
    return "200" if visit.text in body and "</html>" in body else "200, but not the shop's page"


def visitor(visit: Visit, stop: Path, deadline: float, began: float, *, keep: bool) -> None:
    """View page after page until told to stop."""
    kind = "kept" if keep else "fresh"
    connection = http.client.HTTPConnection(visit.address, visit.port, timeout=_TIMEOUT_S)
    while not stop.exists() and time.monotonic() < deadline and visit.count < MOST:
        if not keep:
            connection = http.client.HTTPConnection(visit.address, visit.port, timeout=_TIMEOUT_S)
        started = time.monotonic()
        answer = view(connection, visit, keep=keep)
        visit.record(kind, answer, (time.monotonic() - started) * 1000, started - began)
        if not keep:
            connection.close()
        time.sleep(_PAUSE_S)
    connection.close()


def main() -> None:
    """Visit, and print what was seen."""
    address, port, host, text, stop, seconds = sys.argv[1:7]
    visit = Visit(address, int(port), host, text)
    began = time.monotonic()
    deadline = began + float(seconds)
    threads = [
        threading.Thread(target=visitor, args=(visit, Path(stop), deadline, began), kwargs={"keep": number % 2 == 0})
        for number in range(_VISITORS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = sorted(visit.milliseconds)
    print(
        json.dumps(
            {
                "requests": visit.count,
                "lost": visit.count - visit.answers["200"],
                "answers": visit.answers,
                "by_kind": visit.by_kind,
                "first_lost": visit.lost,
                "away_s": visit.away_s,
                "back": visit.back,
                "seconds": round(time.monotonic() - began, 1),
                "p50_ms": round(times[len(times) // 2], 1) if times else None,
                "p99_ms": round(times[int(len(times) * 0.99)], 1) if times else None,
                "max_ms": round(times[-1], 1) if times else None,
            }
        )
    )


if __name__ == "__main__":
    main()
