"""Tests of the images that are built from Debian packages."""
