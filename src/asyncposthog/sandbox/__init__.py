"""Run scripts, such as those that a model has written, in a sandbox that reaches only PostHog.

See docs/sandbox.md. Public names are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .backend import Backend, Completed, Job, ScriptLimits
    from .bubblewrap import Bubblewrap
    from .e2b_backend import E2B
    from .errors import InsecureSandboxWarning, SandboxError, SandboxUnavailableError
    from .executor import SandboxExecutor, ScriptResult
    from .subprocess_backend import Subprocess
    from .templates import TEMPLATES, Template, get_template

__all__ = [
    "E2B",
    "TEMPLATES",
    "Backend",
    "Bubblewrap",
    "Completed",
    "InsecureSandboxWarning",
    "Job",
    "SandboxError",
    "SandboxExecutor",
    "SandboxUnavailableError",
    "ScriptLimits",
    "ScriptResult",
    "Subprocess",
    "Template",
    "get_template",
]

_MODULES: Final = {
    "E2B": "e2b_backend",
    "TEMPLATES": "templates",
    "Backend": "backend",
    "Bubblewrap": "bubblewrap",
    "Completed": "backend",
    "InsecureSandboxWarning": "errors",
    "Job": "backend",
    "SandboxError": "errors",
    "SandboxExecutor": "executor",
    "SandboxUnavailableError": "errors",
    "ScriptLimits": "backend",
    "ScriptResult": "executor",
    "Subprocess": "subprocess_backend",
    "Template": "templates",
    "get_template": "templates",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
