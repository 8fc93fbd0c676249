"""Names, flags and texts that mean harm: no trace, nothing reaches a shell, and what reaches the gate is on record.

Everything goes through the command line whole; behind the gate stands a real ledger.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audit import entries
from audit.ledger import Ledger
from audit.limits import Limits
from audit.records import Change, RunRequest, StoreOutcome
from tests.cli.conftest import Done, FakeGate

MARKER = "stores-was-here"
KNOWN_CODES = {0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}

SHELL = [
    f"$(touch {MARKER})", f"`touch {MARKER}`", f"; touch {MARKER}", f"| touch {MARKER}", f"&& touch {MARKER}",
    f"|| touch {MARKER} #", f"\n touch {MARKER}\n", f"'; touch {MARKER}; '", f'"; touch {MARKER}; "',
    f"${{IFS}}touch${{IFS}}{MARKER}", f"> {MARKER}", f"x\x00; touch {MARKER}", "~root", "*", "$HOME", "!!",
]  # fmt: skip
SQL = [
    "'; DROP TABLE audit_logs; --", "' OR '1'='1", "x' UNION SELECT * FROM audit_head --", "%' AND 1=1 --", "\\'; --",
    "1; DELETE FROM stores", "%s%s%n", ":name", "?", "%(x)s",
]  # fmt: skip
FLAGS = [
    "--help", "-h", "--", "-", "--env=prod", "--root=/", "--no-such", "-x", "--json", "--reason", "--version",
    "--override-limits", "-e$(id)", "--url=sqlite:////etc/passwd",
]  # fmt: skip
PATHS = ["../../etc/passwd", "/etc/passwd", "..", ".", "a/b", "a\\b", "file:///etc/passwd", "CON", "C:\\x"]
TEXT = [
    "", " ", "\t", "\x00",
    "\x1b[2J\x1b]0;owned\x07", "\r\nSet-Cookie: x", "\u202egnp.exe", "\u200b", "\ufeff", "\ud800",
    "tea-house\u0430", "\uff54\uff45\uff41", "ß", "İ", "Zażółć", "店", "🏪" * 20, "a" * 64, "a" * 300, "a" * 100_000,
    "-" * 40, "0", "-1", "1e309", "NaN", "null", "true", "{{7*7}}", "${jndi:ldap://x}", "<script>alert(1)</script>",
    "{}", "[]", "&anchor", "*alias", "!!python/object/apply:os.system [id]", "key: value", "- item", "# comment",
    "|", ">", "%YAML",
]  # fmt: skip
HOSTILE = [*SHELL, *SQL, *FLAGS, *PATHS, *TEXT]

# What is typed around a hostile text, as an argument or as an option's value.
COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "add a name": lambda text: ["add", text, "--owner", "alice"],
    "add an owner": lambda text: ["add", "new-shop", "--owner", text],
    "add a title": lambda text: ["add", "new-shop", "--owner", "alice", "--title", text],
    "remove": lambda text: ["rm", text],
    "status": lambda text: ["status", text],
    "limits": lambda text: ["limits", text],
    "filter": lambda text: ["audit", "list", "--store", text, "--owner", text, "--actor", text, "--run", text],
    "entry": lambda text: ["audit", "show", text],
    "since": lambda text: ["audit", "list", "--since", text],
    "environment": lambda text: ["plan", "--env", text],
    "behind --": lambda text: ["rm", "--", text],
    "reason": lambda text: ["up", "--reason", text, "--idempotency-key", text],
}


class AuditedGate(FakeGate):
    """A gate whose runs are admitted and settled by a real ledger."""

    real: Ledger
    number = 0

    def up(self, *, report: Any, **arguments: Any) -> Any:
        del report
        self.number += 1
        request = RunRequest(
            run_id=f"run-{self.number}", environment="local", actor=arguments["actor"],
            limits=Limits(100, 1000, 3600, 100), owner_limits={},
            changes=(Change("tea-house-x7k2m", "tea-house", "alice", "01", "store.create"),),
            reason=arguments["reason"], idempotency_key=arguments["idempotency_key"],
        )  # fmt: skip
        if self.real.admit(request).admitted:
            self.real.settle(request.run_id, [StoreOutcome("tea-house-x7k2m", "success", "Ready")])
        return replace(self.result, run_id=request.run_id)


@pytest.fixture
def audited(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AuditedGate]:
    gate = AuditedGate()
    with Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.sqlite'}") as ledger:
        gate.real = ledger
        gate.ledger = ledger  # type: ignore[assignment]

        def open_gate(_root: Path, environment: str) -> AuditedGate:
            gate.environment = environment
            return gate

        monkeypatch.setattr("cli.session.open_gate", open_gate)
        yield gate
        assert ledger.verify().ok


STARTS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn")


class Started:
    """The processes that were started while it watched."""

    found: list[str] = []  # noqa: RUF012 - a hook of the interpreter stays for ever, so there is one list
    watching = False
    installed = False

    @classmethod
    def hook(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if cls.watching and event in (
            "os.system",
            "subprocess.Popen",
            "os.exec",
            "os.posix_spawn",
            "os.spawn",
            "pty.spawn",
        ):
            cls.found.append(f"{event} {arguments[:2]}")


@pytest.fixture
def started() -> Iterator[list[str]]:
    """Return what was started."""
    if not Started.installed:
        sys.addaudithook(Started.hook)
        Started.installed = True
    Started.found.clear()
    Started.watching = True
    yield Started.found
    Started.watching = False


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) * len(COMMANDS) >= 300
    assert len(set(HOSTILE)) == len(HOSTILE)


@pytest.mark.parametrize("kind", COMMANDS)
def test_hostile_input_ends_in_order_and_starts_nothing(
    audited: AuditedGate, stores, started: list[str], project: Path, kind: str
) -> None:
    manifest, owners = (project / "stacks/local" / name for name in ("stores.yaml", "owners.yaml"))
    before = manifest.read_text(), owners.read_text()
    for text in HOSTILE:
        done: Done = stores(*COMMANDS[kind](text))
        where = f"{kind} {text[:60]!r}: {done.code} {done.err[:300]}"
        assert done.code in KNOWN_CODES, where
        assert "Traceback" not in done.err + done.out, where
        assert "\x1b" not in done.err + done.out, where
        assert done.code == 0 or done.err.startswith(("error: ", "Usage: ")), where
        if done.code:
            assert (manifest.read_text(), owners.read_text()) == before, where
        manifest.write_text(before[0])
    assert started == []
    assert not list(project.rglob(f"*{MARKER}*"))
    assert not Path(MARKER).exists()


def test_every_hostile_reason_that_reached_the_gate_is_on_record_as_it_was(audited: AuditedGate, stores) -> None:
    for text in HOSTILE:
        reached = audited.number
        stores("up", f"--reason={text}")
        if audited.number > reached:
            found = audited.real.entries("local", run_id=f"run-{audited.number}", ascending=True)
            assert [entry.outcome for entry in found] == ["unknown", "success"]
            assert found[0].reason == entries.clean(text, 4000)
    assert audited.number == len(HOSTILE) - 1, "of all, only what is no text at all was not heard"


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "é", "", "x" * 256])
def test_a_key_that_cannot_be_kept_is_told_and_starts_nothing(audited: AuditedGate, stores, text: str) -> None:
    done = stores("up", f"--idempotency-key={text}")
    assert done.code == 2
    assert "cannot be kept" in done.err or "is no UTF-8 text" in done.err
    assert audited.real.entries(None) == []
