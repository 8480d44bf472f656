"""Errors of sandboxes. A script that fails is a result, not an error."""

from __future__ import annotations

from asyncposthog.errors import PostHogError

__all__ = ["InsecureSandboxWarning", "SandboxError", "SandboxUnavailableError"]


class SandboxError(PostHogError):
    """A sandbox failed. Whether the script has run is not known, unless the message says so."""


class SandboxUnavailableError(SandboxError):
    """The sandbox cannot be started on this machine. Nothing has run."""


class InsecureSandboxWarning(UserWarning):
    """Scripts run without a boundary."""
