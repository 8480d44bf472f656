"""Printing what makes a generated set a package of its own, for `--out`."""

from __future__ import annotations

from .header import BANNER

__all__ = ["package_files"]


def package_files() -> dict[str, str]:
    """Print the package's root: a client of this schema."""
    return {
        "__init__.py": f'''{BANNER}
"""A client generated from another schema, on the runtime of `asyncposthog`."""

from __future__ import annotations

from asyncposthog.client import BaseClient

from .resources import Resources

__all__ = ["AsyncPostHog"]


class AsyncPostHog(Resources, BaseClient):
    """A client with the resources of this schema; see `asyncposthog.AsyncPostHog`."""
'''
    }
