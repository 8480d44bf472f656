"""Describe exceptions in the form of error tracking: `$exception_list`."""

from __future__ import annotations

import inspect
import linecache
import os
import re
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal, TypeAlias, cast

from asyncposthog.redact import mask

__all__ = ["describe_exception", "is_captured", "marked_captured"]

Relation: TypeAlias = Literal["cause", "context", "member"]

_MAX_EXCEPTIONS: Final = 50
_MAX_FRAMES: Final = 100
_CONTEXT_LINES: Final = 5
_MAX_LINE_CHARS: Final = 512
_MAX_MESSAGE_CHARS: Final = 10_000
_INSTALLED: Final = re.compile(r"[\\/](?:dist|site)-packages[\\/]")
_PACKAGE: Final = "asyncposthog"
_CAPTURED: Final = "__asyncposthog_captured__"
"""The attribute of exceptions that were captured: numbers that stand for projects."""


@dataclass(frozen=True, slots=True)
class _Application:
    """Which modules are the application's own."""

    include: Sequence[str]
    root: str


@dataclass(slots=True)
class _Walk:
    """The exceptions that are being collected, each once."""

    application: _Application
    handled: bool
    exceptions: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    seen: set[int] = field(default_factory=set[int])


def describe_exception(
    error: BaseException | None,
    *,
    handled: bool = True,
    in_app_include: Sequence[str] = (),
    project_root: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Return the properties of an `$exception` event.

    The list begins with the exception itself. Its causes follow, and the members of groups, at most
    50 in all. Stacks have their outermost call first, and source lines, but no variables: those may
    be secret. API keys in messages are masked.

    Args:
        error: The exception; None: the one that is being handled.
        handled: Whether the program has handled it.
        in_app_include: Modules whose frames are the application's own.
        project_root: The folder of the application; None: the current one.

    Raises:
        ValueError: No exception was passed, and none is being handled.
        TypeError: It is not an exception.
    """
    if error is None:
        error = sys.exception()
        if error is None:
            raise ValueError("No exception is being handled: pass one.")
    elif not isinstance(cast("object", error), BaseException):
        raise TypeError(f"error must be an exception, not {type(error).__name__}")
    root = os.fspath(Path.cwd() if project_root is None else project_root)
    walk = _Walk(_Application(in_app_include, os.path.join(os.path.abspath(root), "")), handled)
    _collect(error, walk, None, None)
    return {"$exception_list": walk.exceptions}


def _collect(
    error: BaseException, walk: _Walk, parent: int | None, relation: Relation | None
) -> None:
    """Add an exception, and then what has led to it, depth first."""
    if id(error) in walk.seen or len(walk.exceptions) >= _MAX_EXCEPTIONS:
        return
    walk.seen.add(id(error))
    number = len(walk.exceptions)
    walk.exceptions.append(_describe(error, walk, number, parent, relation))
    if error.__suppress_context__:
        following, kind = error.__cause__, "cause"
    else:
        following, kind = error.__context__, "context"
    if following is not None:
        _collect(following, walk, number, cast("Relation", kind))
    if _is_group(error):
        group = cast("BaseExceptionGroup[BaseException]", error)
        for member in group.exceptions:
            _collect(member, walk, number, "member")


def _describe(
    error: BaseException, walk: _Walk, number: int, parent: int | None, relation: Relation | None
) -> dict[str, Any]:
    raised = error.__traceback__ is not None
    mechanism: dict[str, Any] = {"exception_id": number, "synthetic": not raised and parent is None}
    if parent is None:
        mechanism |= {"type": "generic", "handled": walk.handled}
    else:
        mechanism |= {"type": "chained", "parent_id": parent, "source": relation}
    if _is_group(error):
        mechanism["is_exception_group"] = True
    number_of_os = getattr(error, "errno", None)
    if isinstance(number_of_os, int):
        mechanism["meta"] = {"errno": {"number": number_of_os}}
    described: dict[str, Any] = {
        "mechanism": mechanism,
        "module": None if type(error).__module__ == "builtins" else type(error).__module__,
        "type": type(error).__name__,
        "value": _message(error),
    }
    if raised:
        traceback, stack = error.__traceback__, list[tuple[FrameType, int]]()
        while traceback is not None:
            stack.append((traceback.tb_frame, traceback.tb_lineno))
            traceback = traceback.tb_next
    else:
        # It was made, and not raised: the calls that lead here are the next best.
        stack = [] if parent is not None else [*reversed([*_callers()])]
    if stack:
        entries = stack
        if len(stack) > _MAX_FRAMES:
            entries = [*stack[: _MAX_FRAMES // 2], *stack[-_MAX_FRAMES // 2 :]]
        frames = [_describe_frame(frame, line, walk.application) for frame, line in entries]
        described["stacktrace"] = {"frames": frames, "type": "raw"}
    return described


def _is_group(error: BaseException) -> bool:
    return isinstance(error, BaseExceptionGroup)


def _message(error: BaseException) -> str:
    try:
        text = str(getattr(error, "message", None) or getattr(error, "detail", None) or error)
    except Exception:  # the error's own __str__
        text = f"<{type(error).__name__} without a message>"
    return mask(text[:_MAX_MESSAGE_CHARS])


def _callers() -> Iterator[tuple[FrameType, int]]:
    """Yield the frames that have called this package, the innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name != _PACKAGE and not name.startswith(f"{_PACKAGE}."):
            yield frame, frame.f_lineno
        frame = frame.f_back


def _describe_frame(frame: FrameType, line: int, application: _Application) -> dict[str, Any]:
    path = frame.f_code.co_filename
    module = frame.f_globals.get("__name__")
    module = module if isinstance(module, str) else None
    absolute = os.path.abspath(path)
    before, at, after = _source(path, frame.f_globals, line)
    described: dict[str, Any] = {
        "platform": "python",
        "filename": _relative_name(module, absolute),
        "abs_path": absolute,
        "function": frame.f_code.co_name or "<unknown>",
        "module": module,
        "lineno": line,
        "pre_context": before,
        "context_line": at,
        "post_context": after,
        "in_app": _in_app(module, absolute, application),
    }
    return described


def _relative_name(module: str | None, path: str) -> str:
    """Return the path of a module's file from the folder that its package is in."""
    if module is None:
        return path
    package = sys.modules.get(module.partition(".")[0])
    home = getattr(package, "__file__", None)
    if "." not in module or not isinstance(home, str):
        return os.path.basename(path)
    folder = os.path.dirname(os.path.dirname(os.path.abspath(home)))
    return path[len(folder) :].lstrip("\\/") if path.startswith(folder) else path


def _in_app(module: str | None, path: str, application: _Application) -> bool:
    if module is not None and any(
        module == name or module.startswith(f"{name}.") for name in application.include
    ):
        return True
    if _INSTALLED.search(path):
        return False
    return path.startswith(application.root)


def _source(
    path: str, module_globals: dict[str, Any], line: int
) -> tuple[list[str], str | None, list[str]]:
    """Return the lines before a line, the line itself, and those after it."""
    lines = linecache.getlines(path, module_globals)
    at = line - 1
    if not 0 <= at < len(lines):
        return [], None, []
    short = [
        text.rstrip("\r\n")[:_MAX_LINE_CHARS]
        for text in lines[max(0, at - _CONTEXT_LINES) : at + _CONTEXT_LINES + 1]
    ]
    middle = min(at, _CONTEXT_LINES)
    return short[:middle], short[middle], short[middle + 1 :]


def is_captured(error: BaseException, project: int) -> bool:
    """Return whether an exception was captured for a project."""
    return project in _projects(error)


@contextmanager
def marked_captured(error: BaseException, project: int) -> Generator[None]:
    """Mark an exception as captured for a project. The mark lives in the exception itself.

    It is removed if the block raises an error, and not if it is cancelled: then the event may have
    been queued all the same.
    """
    # Not setattr: classes of exceptions may be frozen.
    error.__dict__[_CAPTURED] = (*_projects(error), project)
    try:
        yield
    except Exception:
        others = tuple(other for other in _projects(error) if other != project)
        error.__dict__[_CAPTURED] = others
        raise


def _projects(error: BaseException) -> tuple[int, ...]:
    return error.__dict__.get(_CAPTURED, ())
