"""Images for the sandbox from Debian packages: the interface of the official ones, without a registry of images."""

from __future__ import annotations

from sandbox.images.builder import build, describe
from sandbox.images.facts import ImageFacts

__all__ = ["ImageFacts", "build", "describe"]
