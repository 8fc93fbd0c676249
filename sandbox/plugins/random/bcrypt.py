"""bcrypt from the system's libcrypt, which every Debian has. Python's own `crypt` module is gone since 3.13."""

from __future__ import annotations

import base64
import ctypes
import secrets
import threading
from functools import cache
from typing import Final

_COST: Final = 10
# bcrypt reads no more of a password than this; the official plugin cuts it as well.
_MOST_BYTES: Final = 72
_STANDARD: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BCRYPT: Final = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# libxcrypt's `struct crypt_data` is 32 KiB; glibc's own is 131,232 bytes.
_WORK_AREA_BYTES: Final = 256 * 1024
_work = threading.local()


def digest(password: str) -> str | None:
    """Return a bcrypt hash with a fresh salt, or None where the system's libcrypt has no bcrypt."""
    library = _library()
    if library is None:
        return None
    salt = base64.b64encode(secrets.token_bytes(16)).rstrip(b"=").translate(bytes.maketrans(_STANDARD, _BCRYPT))
    setting = b"$2a$%02d$" % _COST + salt
    if not hasattr(_work, "area"):
        _work.area = ctypes.create_string_buffer(_WORK_AREA_BYTES)
    result: bytes | None = library.crypt_r(password.encode()[:_MOST_BYTES], setting, _work.area)
    # libxcrypt answers a failure with a text that starts with "*".
    return result.decode() if result and result.startswith(b"$2a$") else None


@cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libcrypt.so.1")
    except OSError:
        return None
    library.crypt_r.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p]
    library.crypt_r.restype = ctypes.c_char_p
    return library
