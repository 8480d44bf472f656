"""Checkpoint files: the progress of an export, written after the data it refers to is on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, cast

from pydantic_core import from_json, to_json

from asyncposthog.errors import ExportError
from asyncposthog.export.engines.base import ExportStats

from .atomic_files import read, translate_os_errors, write_atomically
from .checkpoint_schema import Validator, is_null, is_object, object_of, optional, stats_state
from .object_store import ObjectPath

__all__ = [
    "Checkpoint",
    "check_same_export",
    "damaged_error",
    "default_path",
    "differences",
    "load",
    "render",
    "save",
    "verify",
]

_VERSION: Final = 3
_MAX_BYTES: Final = 256 * 1024 * 1024
"""Maximum size of a checkpoint. A larger file is not one."""
_FILE_FORMAT: Final = re.compile(
    rb'\{"version":([0-9]{1,9}),"sha256":"([0-9a-f]{64})",\n"checkpoint":(.*)\}\n', re.DOTALL
)
_FIELDS: Final = object_of(
    {
        "fingerprint": is_object,
        "bounds": optional(is_object),
        "phase": lambda value: value in ("running", "finishing", "done"),
        "position": optional(is_object),
        "sink": optional(is_object),
        "stats": stats_state,
        "delivered": optional(is_object),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Progress of an export."""

    fingerprint: Mapping[str, Any]
    """What is exported, and where to: an export with another fingerprint cannot use the
    checkpoint."""
    bounds: Any = None
    """Time range that was resolved when the export started."""
    phase: Literal["running", "finishing", "done"] = "running"
    """`finishing`: all rows are written, and the output is about to get its final name."""
    position: Any = None
    """Position from which the engine continues."""
    sink: Mapping[str, Any] | None = None
    """State from which the sink continues; None: from the beginning."""
    stats: Mapping[str, Any] = field(default_factory=lambda: asdict(ExportStats()))
    """Counters of the export."""
    delivered: Mapping[str, Any] | None = None
    """State of the keys of delivered rows, if the export has an overlap."""

    def updated(self, **changes: Any) -> Checkpoint:
        """Return a copy with other values of some fields."""
        return replace(self, **changes)


def default_path(output: Path, form: str) -> Path:
    """Return the path of the checkpoint of an export if the user named none.

    Args:
        output: The file, or the folder for Parquet.
        form: `jsonl`, `csv` or `parquet`.
    """
    if form == "parquet":
        return output / ".checkpoint"
    return output.with_name(f".{output.name}.checkpoint")


def load(path: Path | ObjectPath) -> Checkpoint | None:
    """Return the checkpoint at a path; None if there is none.

    Raises:
        ExportError: It cannot be read, is damaged, or has another version.
    """
    try:
        limit = _MAX_BYTES + 1
        content = path.read(limit) if isinstance(path, ObjectPath) else read(path, limit)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ExportError(
            f"Cannot read the checkpoint {path}: {error}.",
            suggestion="Use another file, or remove it.",
        ) from error
    match = _FILE_FORMAT.fullmatch(content) if len(content) <= _MAX_BYTES else None
    version = _version(content) if match is None else int(match[1])
    if version is not None and version != _VERSION:
        raise ExportError(
            f"The checkpoint {path} was written by another version of asyncposthog.",
            suggestion="Finish the export with that version. To start again, remove the checkpoint "
            "and the partial output.",
        )
    if match is None:
        if b'"checkpoint":' in content[:200]:
            raise damaged_error(path, "it is cut short or changed")
        raise ExportError(
            f"{path} is not the checkpoint of an export.", suggestion="Use another file."
        )
    # The SHA-256 covers the bytes, not the parsed data: it finds every change, also to another
    # valid checkpoint.
    if sha256(match[3]).hexdigest() != match[2].decode():
        raise damaged_error(path, "its checksum is wrong")
    try:
        data: object = from_json(match[3], allow_inf_nan=False)
    except ValueError:
        raise damaged_error(path, "it is not JSON") from None
    if not _FIELDS(data):
        raise damaged_error(path, "a field is missing, unknown or of the wrong type")
    return Checkpoint(**cast("dict[str, Any]", data))


def _version(content: bytes) -> int | None:
    """Return the version of a checkpoint in another format than today's; None if it is not one."""
    try:
        data: object = from_json(content)
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    fields = cast("dict[str, object]", data)
    version = fields.get("version")
    return (
        version if type(version) is int and fields.keys() & {"fingerprint", "checkpoint"} else None
    )


def damaged_error(path: Path | ObjectPath, reason: str) -> ExportError:
    """Return the error for a checkpoint that cannot be trusted."""
    return ExportError(
        f"The checkpoint {path} is damaged: {reason}.",
        suggestion="To start again, remove it and the partial output, or use another checkpoint "
        "and another output.",
    )


def verify(
    path: Path | ObjectPath,
    stored: Checkpoint,
    *,
    bounds: Validator,
    position: Validator,
    sink: Validator,
    delivered: Validator,
) -> None:
    """Check that the parts of a checkpoint are what an export writes.

    Args:
        path: The path of the checkpoint.
        stored: The checkpoint, which has the fingerprint of the export.
        bounds: Validates the time range.
        position: Validates a position.
        sink: Validates the state of the sink.
        delivered: Validates the state of the delivered keys.

    Raises:
        ExportError: A part is not valid.
    """
    running, has_output = stored.phase == "running", stored.sink is not None
    validators = {
        "bounds": bounds,
        "sink": sink if has_output or not running else is_null,
        # Only a run that resumes has one: the position after the rows that its sink has.
        "position": position if running and has_output else is_null,
        "delivered": delivered,
    }
    for name, validator in validators.items():
        if not validator(getattr(stored, name)):
            raise damaged_error(path, f"{name} is not what an export writes")
    if stored.delivered is not None and running:
        continues = stored.delivered["delivered_until"] is not None
        if continues != (stored.bounds["start"] is not None) or (
            stored.delivered["previous_records"] and not continues
        ):
            raise damaged_error(path, "memory and settled contradict each other")


def check_same_export(
    path: Path | ObjectPath, old: Mapping[str, Any], new: Mapping[str, Any]
) -> None:
    """Check that a checkpoint is that of the same export.

    Args:
        path: The path of the checkpoint.
        old: The fingerprint in the checkpoint.
        new: The fingerprint of the export.

    Raises:
        ExportError: They differ.
    """
    changed = list(differences(old, new))
    if changed:
        raise ExportError(
            f"The checkpoint {path} is that of another export: {'; '.join(changed)}.",
            suggestion="Run the same export to resume it, or use another checkpoint and output.",
        )


def save(path: Path | ObjectPath, checkpoint: Checkpoint) -> None:
    """Replace a checkpoint."""
    content = render(
        {
            "fingerprint": checkpoint.fingerprint,
            "bounds": checkpoint.bounds,
            "phase": checkpoint.phase,
            "position": checkpoint.position,
            "sink": checkpoint.sink,
            "stats": checkpoint.stats,
            "delivered": checkpoint.delivered,
        }
    )
    if isinstance(path, ObjectPath):
        path.write(content)
        return
    with translate_os_errors(path):
        write_atomically(path, content)


def render(fields: Mapping[str, Any]) -> bytes:
    """Return the content of a checkpoint file: JSON, with the SHA-256 of its fields.

    Args:
        fields: The fields of the checkpoint.
    """
    body = to_json(fields)
    head = f'{{"version":{_VERSION},"sha256":"{sha256(body).hexdigest()}",\n"checkpoint":'
    return head.encode() + body + b"}\n"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Yield a description of each field that differs."""
    for name in sorted({*old, *new}):
        # Through JSON: a tuple and the list that it became in the file are equal.
        old_value, new_value = (from_json(to_json(side.get(name))) for side in (old, new))
        if old_value != new_value:
            yield f"{name} was {old_value!r:.200} and is {new_value!r:.200}"
