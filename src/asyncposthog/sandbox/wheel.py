"""Pack the installed package as a wheel, so that a sandbox gets the very same code."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from asyncposthog._version import __version__

from .errors import SandboxUnavailableError
from .python_paths import package_folder

__all__ = ["pack_wheel"]

_NAME = "asyncposthog"


def pack_wheel() -> tuple[str, bytes]:
    """Return the name and the content of a wheel of this package.

    Raises:
        SandboxUnavailableError: The package was not installed, so that its requirements are not
            known.
    """
    try:
        metadata = distribution(_NAME).read_text("METADATA")
    except PackageNotFoundError:
        metadata = None
    if metadata is None:
        raise SandboxUnavailableError(
            "asyncposthog has no metadata here, which its installation in a sandbox needs.",
            suggestion="Install it with pip, or pass package= to the backend.",
        )
    # An editable installation may have the metadata of an earlier version.
    lines = metadata.split("\n")
    lines = [f"Version: {__version__}" if line.startswith("Version:") else line for line in lines]
    info = f"{_NAME}-{__version__}.dist-info"
    files = [
        *_files(package_folder()),
        (f"{info}/METADATA", "\n".join(lines).encode()),
        (
            f"{info}/WHEEL",
            b"Wheel-Version: 1.0\nGenerator: asyncposthog\nRoot-Is-Purelib: true\n"
            b"Tag: py3-none-any\n",
        ),
    ]
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in files)
    files.append((f"{info}/RECORD", f"{record}{info}/RECORD,,\n".encode()))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return f"{_NAME}-{__version__}-py3-none-any.whl", buffer.getvalue()


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"{_NAME}/{path.relative_to(folder).as_posix()}", path.read_bytes()


def _digest(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return digest.decode().rstrip("=")
