"""Capture endpoints: the legacy ones and version 1."""
