"""Encode uploads. Files are read once, in a thread, so that a retry can send them again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

__all__ = ["FilePart", "Multipart", "check_file", "encode_multipart"]


@dataclass(frozen=True, slots=True)
class FilePart:
    """One file of a form. It is not read yet."""

    field: str
    source: bytes | IO[bytes] | os.PathLike[str]
    filename: str
    media: str | None


@dataclass(frozen=True, slots=True)
class Multipart:
    """The parts of a `multipart/form-data` body."""

    fields: tuple[tuple[str, str], ...]
    files: tuple[FilePart, ...]


def check_file(field: str, value: object, label: str) -> FilePart:
    """Return the file of an argument without opening it.

    Raises:
        TypeError: The argument is not a `FileInput`.
        ValueError: A name or media type has control characters.
    """
    name: str | None = None
    media: str | None = None
    source = value
    if isinstance(value, tuple):
        parts = cast("tuple[object, ...]", value)
        if not 2 <= len(parts) <= 3 or not all(isinstance(p, str) for p in (parts[0], *parts[2:])):
            raise TypeError(f"{label} must be (name, content) or (name, content, media type)")
        name, source = cast("str", parts[0]), parts[1]
        media = cast("str", parts[2]) if len(parts) == 3 else None
    if isinstance(source, bytearray | memoryview):
        source = bytes(cast("bytearray", source))
    if isinstance(source, str):
        raise TypeError(f"{label} is a str: give a pathlib.Path for a file, or bytes for content")
    if not isinstance(source, bytes | os.PathLike) and not callable(getattr(source, "read", None)):
        raise TypeError(
            f"{label} must be bytes, an open file, a path or (name, content[, media type]), "
            f"not {type(source).__name__}"
        )
    checked = cast("bytes | IO[bytes] | os.PathLike[str]", source)
    for part, text in (("file name", name), ("media type", media)):
        if text is not None and any(ord(c) < 32 for c in text):
            raise ValueError(f"{label} has a {part} with control characters")
    return FilePart(field, checked, name or _name_of(checked) or field, media)


def _name_of(source: bytes | IO[bytes] | os.PathLike[str]) -> str | None:
    if isinstance(source, bytes):
        return None
    path: object = source if isinstance(source, os.PathLike) else getattr(source, "name", None)
    if isinstance(path, str | os.PathLike):
        return Path(cast("str | os.PathLike[str]", path)).name
    return None


async def encode_multipart(form: Multipart) -> tuple[bytes, str]:
    """Read the files and return the body with its content type.

    Paths are opened and closed. An open file is read from its position, and set back to it if it
    is seekable.
    """
    boundary = os.urandom(16).hex()
    chunks: list[bytes] = []
    for name, text in form.fields:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n'
        chunks += [head.encode(), text.encode(), b"\r\n"]
    for part in form.files:
        content = await _read(part)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(part.field)}"; '
            f'filename="{_quoted(part.filename)}"\r\nContent-Type: {_media(part)}\r\n\r\n'
        )
        chunks += [head.encode(), content, b"\r\n"]
    chunks.append(f"--{boundary}--\r\n".encode())
    return b"".join(chunks), f"multipart/form-data; boundary={boundary}"


async def _read(part: FilePart) -> bytes:
    from asyncposthog.threads import run_in_thread  # not before there is a file to read

    source = part.source
    if isinstance(source, bytes):
        return source
    if isinstance(source, os.PathLike):
        return await run_in_thread(Path(source).read_bytes)
    content = await run_in_thread(_read_open, source)
    if not isinstance(content, bytes):
        raise TypeError(f"{part.filename}: the file is in text mode; open it in binary mode ('rb')")
    return content


def _read_open(file: IO[bytes]) -> object:
    """Read an open file to its end, and restore its position."""
    seekable = getattr(file, "seekable", None)
    position = file.tell() if seekable is not None and seekable() else None
    content = file.read()
    if position is not None:
        file.seek(position)
    return content


def _media(part: FilePart) -> str:
    if part.media:
        return part.media
    import mimetypes  # reads the system's tables on first use

    return mimetypes.guess_type(part.filename)[0] or "application/octet-stream"


def _quoted(text: str) -> str:
    """Return a name for a header, escaped as browsers do (WHATWG HTML, multipart/form-data)."""
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
