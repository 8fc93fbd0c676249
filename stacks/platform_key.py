"""The platform key, from which each store's own secrets are derived.

Derived and not stored, so that a receiver of webhooks or a restore of a lost store needs nothing but this key. It never
leaves this process: what is derived reaches the engine as secrets.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from components import desired
from stacks.errors import UsageError
from stacks.settings import Settings

VARIABLE: Final = "STORES_PLATFORM_KEY_FILE"
FIRST_VERSION: Final = 1
_KEY_BYTES: Final = 32

# `<version>:<64 hexadecimal digits>`, one version per line.
_LINE: Final = re.compile(r"(?P<version>[1-9][0-9]{0,3}):(?P<key>[0-9a-f]{64})")
_CURE: Final = f"set {VARIABLE} to the file of this environment; see docs/platform-key.md"


@dataclass(frozen=True)
class PlatformKey:
    """Every version of an environment's key, by its number."""

    versions: Mapping[int, bytes] = field(repr=False)

    @classmethod
    def read(cls, file: Path) -> PlatformKey:
        """Return the key in a file. Raises UsageError when it cannot be read, or is none."""
        where = f"platform key {file}"
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(where, f"it cannot be read: {type(error).__name__}", _CURE) from None
        versions: dict[int, bytes] = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line.strip())
            # The line itself is never told: it may be a key with a slip in it.
            if match is None:
                what = f"line {number} is not <version>:<{2 * _KEY_BYTES} hexadecimal digits>"
                raise UsageError(where, what, _CURE)
            if int(match["version"]) in versions:
                raise UsageError(where, f"line {number} gives version {match['version']} again", "keep one of them")
            versions[int(match["version"])] = bytes.fromhex(match["key"])
        if FIRST_VERSION not in versions:
            what = f"it has no version {FIRST_VERSION}, which opens the backups"
            raise UsageError(where, what, "put that version's line back; it is never removed")
        return cls(versions)

    def derive(self, purpose: str, store_id: str, version: int) -> str:
        """Return one store's secret for one purpose: 64 lowercase hexadecimal digits, HMAC-SHA256."""
        return self._digest(f"{purpose}:{store_id}", version)

    def store_secrets(self, store_id: str, webhook_version: int) -> dict[str, str]:
        """Return the derived keys of a store's credentials Secret.

        A new version of the key changes the webhooks' secret. The backups' password stays that of the first version:
        the repositories that exist were made with it.
        """
        return {
            desired.WEBHOOK_SECRET: self.derive(desired.WEBHOOK_SECRET, store_id, webhook_version),
            **self.backup_secrets(store_id),
        }

    def backup_secrets(self, store_id: str) -> dict[str, str]:
        """Return what opens a store's backups: the repository's password, and its login at the repository's server.

        Two, so that the server, which knows the login, can never read what it keeps.
        """
        return {
            key: self.derive(key, store_id, FIRST_VERSION) for key in (desired.BACKUP_PASSWORD, desired.BACKUP_ACCESS)
        }

    def sign(self, purpose: str, text: str) -> str:
        """Return the signature of a text of ours, 64 hexadecimal digits, by the first version."""
        return self._digest(f"{purpose}:{text}", FIRST_VERSION)

    def fingerprints(self) -> dict[str, str]:
        """Return what tells versions apart without telling anything about them: 16 hexadecimal digits each."""
        return {str(version): self._digest("fingerprint:", version)[:16] for version in sorted(self.versions)}

    def _digest(self, text: str, version: int) -> str:
        key = self.versions.get(version)
        if key is None:
            known = ", ".join(str(number) for number in sorted(self.versions))
            raise UsageError(
                "platform key",
                f"it has no version {version}, only {known}",
                "add that version's line to the file, or set stores:platformKeyVersion to one that is there",
            )
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def load(root: Path, settings: Settings) -> PlatformKey:
    """Return the environment's key: the one that the process's environment names, or the checkout's own.

    The checkout's own is made at the first use. A protected environment has none, since it would hang on one disk:
    there UsageError is raised where none is named.
    """
    file = os.environ.get(VARIABLE)
    if file:
        return PlatformKey.read(Path(file))
    if settings.protected:
        raise UsageError(f"environment {settings.environment}", f"it is protected, and {VARIABLE} is not set", _CURE)
    return PlatformKey.read(_made(root / ".stores" / settings.environment / "platform-key"))


def _made(file: Path) -> Path:
    """Make a key exist in a file that only its owner reads, and return the file. One that exists stays."""
    if file.exists():
        return file
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made under another name first: a file that is there is whole.
        fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(f"{FIRST_VERSION}:{secrets.token_hex(_KEY_BYTES)}\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(fresh, file)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    except OSError as error:
        raise UsageError(f"platform key {file}", f"it cannot be made: {type(error).__name__}", _CURE) from None
    return file
