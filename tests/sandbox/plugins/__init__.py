"""Tests of the stand-ins for Pulumi's plugins."""
