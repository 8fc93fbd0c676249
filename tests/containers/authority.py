"""A certificate authority of a test's own, and what a database server has of it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .database import USER


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and the certificate that it gave the server."""

    folder: Path

    @classmethod
    def new(cls, folder: Path, host: str) -> Authority:
        folder.mkdir()
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        commands = [
            ["req", "-x509", *key, "-subj", "/CN=authority", "-out", "ca.crt", "-keyout", "ca.key"],
            ["req", *key[:-2], "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}", "-out", "server.csr",
             "-keyout", "server.key"],
            ["x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
             "-copy_extensions", "copy", "-out", "server.crt"],
        ]  # fmt: skip
        for command in commands:
            subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)
        for file in folder.iterdir():
            os.chown(file, USER, USER)
        return cls(folder)

    @property
    def certificate(self) -> str:
        return (self.folder / "ca.crt").read_text()
