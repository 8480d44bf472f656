"""Objects in stores such as S3, through fsspec: each appears whole or not at all.

Calls block, and run in worker threads. Each is idempotent and is repeated after a passing failure.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast

from asyncposthog.errors import ExportError, PostHogError
from asyncposthog.export.temporary_folders import private_folder

from .atomic_files import translate_os_errors

__all__ = [
    "FileSystem",
    "ObjectPath",
    "is_url",
    "open_target",
    "prepare_work_folder",
    "remove_work_folder",
    "work_folder",
]

T = TypeVar("T")

_PACKAGES: Final[Mapping[str, str]] = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "sftp": "paramiko",
    "oss": "ossfs",
}
"""Packages that fsspec needs for a protocol."""
_WHOLE_OBJECTS: Final = frozenset({*_PACKAGES, "memory"} - {"sftp"})
"""Protocols whose objects appear when they are complete. On others, files are renamed."""
_CHUNK_BYTES: Final = 16 * 1024 * 1024
_RETRY_SECONDS: Final = (0.05, 0.25, 1.0, 2.0)
"""Waits between attempts, in addition to those of the filesystem package itself."""
_FINAL_ERRORS: Final = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    NotImplementedError,
    TypeError,
    ImportError,
)
"""Errors that another attempt would raise again."""


class FileSystem(Protocol):
    """The part of `fsspec.AbstractFileSystem` that exports use."""

    protocol: Any

    def find(self, path: str, *, detail: bool) -> Any:
        """Return the files below a path, with their sizes."""
        ...

    def info(self, path: str) -> Any:
        """Return the size and type of a file."""
        ...

    def put_file(self, lpath: str, rpath: str, **options: Any) -> Any:
        """Upload a local file."""
        ...

    def get_file(self, rpath: str, lpath: str) -> Any:
        """Download a file."""
        ...

    def cp_file(self, path1: str, path2: str) -> Any:
        """Copy a file."""
        ...

    def rm_file(self, path: str) -> Any:
        """Remove a file."""
        ...

    def mv(self, path1: str, path2: str) -> Any:
        """Rename a file."""
        ...

    def makedirs(self, path: str, exist_ok: bool = False) -> Any:
        """Create a folder, if the filesystem has folders."""
        ...

    def invalidate_cache(self, path: str | None = None) -> Any:
        """Forget listings."""
        ...

    def unstrip_protocol(self, name: str) -> str:
        """Return the URL of a path."""
        ...


@dataclass(frozen=True, slots=True)
class ObjectPath:
    """Path of an object in a store, or of the common prefix of several."""

    filesystem: FileSystem = field(repr=False)
    path: str

    def __str__(self) -> str:
        """Return the URL, without credentials: they are not part of the path."""
        return self.filesystem.unstrip_protocol(self.path)

    @property
    def name(self) -> str:
        """The part of the path after the last slash."""
        return self.path.rpartition("/")[2]

    def with_name(self, name: str) -> ObjectPath:
        """Return the path beside this one."""
        return ObjectPath(self.filesystem, f"{self.path.rpartition('/')[0]}/{name}")

    def child(self, name: str) -> ObjectPath:
        """Return a path below this one."""
        return ObjectPath(self.filesystem, f"{self.path}/{name}")

    @property
    def work_folder(self) -> Path:
        """The local folder for this path: files until they are uploaded, and the lock."""
        return work_folder(str(self))

    def size(self) -> int:
        """Return the size of the object in bytes; -1 if there is none.

        Raises:
            ExportError: The store cannot be read.
        """

        def find() -> int:
            self.filesystem.invalidate_cache()  # others write to the store as well
            try:
                info = self.filesystem.info(self.path)
            except FileNotFoundError:
                return -1
            return -1 if info["type"] == "directory" else int(info["size"])

        return self._call("read", find)

    def sizes(self) -> dict[str, int]:
        """Return the sizes of all objects below this path, by their names relative to it.

        Raises:
            ExportError: The store cannot be read.
        """

        def find() -> dict[str, int]:
            self.filesystem.invalidate_cache()
            try:
                found = self.filesystem.find(self.path, detail=True)
            except FileNotFoundError:
                return {}
            prefix = f"{self.path.rstrip('/')}/"
            return {
                name.removeprefix(prefix): int(info["size"])
                for name, info in found.items()
                if name.startswith(prefix)
            }

        return self._call("read", find)

    def put(self, source: Path) -> None:
        """Upload a file. The object appears when it is complete, and replaces another one.

        Raises:
            ExportError: The store cannot be written.
        """
        size = source.stat().st_size

        def upload() -> None:
            filesystem, options = self.filesystem, cast("dict[str, Any]", {})
            protocols = _protocols(filesystem)
            if protocols & {"s3", "s3a"}:
                # s3fs reads up to ten parts of 50 MB at a time.
                options = {"chunksize": _CHUNK_BYTES, "max_concurrency": 4}
            whole = bool(protocols & _WHOLE_OBJECTS)
            place = self if whole else self.with_name(f".{self.name}.uploading")
            if not whole:
                filesystem.makedirs(self.path.rpartition("/")[0], exist_ok=True)
            try:
                filesystem.put_file(str(source), place.path, **options)
            except FileExistsError:  # adlfs does not replace objects
                filesystem.rm_file(place.path)
                filesystem.put_file(str(source), place.path, **options)
            filesystem.invalidate_cache()
            stored = int(filesystem.info(place.path)["size"])
            if stored != size:
                raise OSError(f"{stored:,} bytes of {size:,} arrived")
            if not whole:
                filesystem.mv(place.path, self.path)

        self._call("write", upload)

    def get(self, target: Path) -> None:
        """Download the object to a local file.

        Raises:
            ExportError: It cannot be read.
        """
        self._call("read", lambda: self.filesystem.get_file(self.path, str(target)))

    def read(self, limit: int) -> bytes:
        """Return the content of the object.

        Args:
            limit: The number of bytes to return, at most.

        Raises:
            FileNotFoundError: There is no object.
            ExportError: It cannot be read.
        """
        if self.size() < 0:
            raise FileNotFoundError(str(self))
        with tempfile.TemporaryDirectory(dir=_work_root()) as folder:
            path = Path(folder) / "object"
            self.get(path)
            with path.open("rb") as file:
                return file.read(limit)

    def write(self, content: bytes) -> None:
        """Replace the object.

        Raises:
            ExportError: It cannot be written.
        """
        with tempfile.TemporaryDirectory(dir=_work_root()) as folder:
            path = Path(folder) / "object"
            path.write_bytes(content)
            self.put(path)

    def copy_to(self, target: ObjectPath) -> None:
        """Copy the object to another path of the same store, where it replaces another one.

        Raises:
            ExportError: It cannot be copied.
        """
        target._call("write", lambda: self.filesystem.cp_file(self.path, target.path))

    def unlink(self, *, missing_ok: bool = True) -> None:
        """Remove the object.

        Args:
            missing_ok: Whether it may be missing.

        Raises:
            ExportError: It cannot be removed.
        """

        def remove() -> None:
            try:
                self.filesystem.rm_file(self.path)
            except FileNotFoundError:
                if not missing_ok:
                    raise

        self._call("remove", remove)

    def remove_below(self) -> None:
        """Remove all objects below this path.

        Raises:
            ExportError: One cannot be removed.
        """
        for name in self.sizes():
            self.child(name).unlink()

    def probe(self) -> None:
        """Write an object beside this one and remove it: to fail before anything is paid for.

        Raises:
            ExportError: The store cannot be written.
        """
        probe = self.with_name(f".{self.name}.probe")
        probe.write(b"")
        probe.unlink()

    def _call(self, verb: str, function: Callable[[], T]) -> T:
        """Call a function of the store, again after a passing failure."""
        with self._translate_errors(verb):
            for wait in _RETRY_SECONDS:
                try:
                    return function()
                except _FINAL_ERRORS:
                    raise
                except Exception as error:
                    if _is_credentials_error(error):
                        raise
                time.sleep(wait)
            return function()

    @contextmanager
    def _translate_errors(self, verb: str) -> Generator[None]:
        try:
            yield
        except PostHogError:
            raise
        except Exception as error:
            suggestion = "Run the export again; with a checkpoint it resumes."
            if isinstance(error, PermissionError) or _is_credentials_error(error):
                suggestion = "Check the credentials of the store, and what they permit."
            elif isinstance(error, FileNotFoundError):
                suggestion = "Check that the bucket or container exists."
            raise ExportError(
                f"Cannot {verb} {self}: {type(error).__name__}: {error!s:.300}",
                suggestion=suggestion,
            ) from error


def is_url(value: object) -> bool:
    """Return whether a target is a URL such as `s3://bucket/name`."""
    return isinstance(value, str) and "://" in value


def open_target(
    value: str | os.PathLike[str],
    filesystem: FileSystem | None,
    storage_options: Mapping[str, Any] | None,
) -> ObjectPath | str:
    """Return the object of a URL, or of a path in a filesystem; a str for a local file.

    Args:
        value: The URL, or the path.
        filesystem: The filesystem of a path; None: that of the URL.
        storage_options: Arguments for the filesystem of a URL, such as credentials.

    Raises:
        ImportError: A package for such URLs is not installed.
        TypeError: The filesystem is not one of fsspec.
        ValueError: There is no such kind of URL, it names only a bucket, or arguments are
            contradictory.
    """
    text = os.fspath(value)
    if filesystem is None:
        filesystem, path = _filesystem_of_url(text, storage_options)
    else:
        if storage_options is not None:
            raise ValueError("storage_options are for a URL: leave them out with filesystem=")
        strip: Any = getattr(filesystem, "_strip_protocol", None)
        if strip is None:
            raise TypeError(
                f"filesystem must be an fsspec filesystem, not {type(filesystem).__name__}"
            )
        path = strip(text)
    if getattr(filesystem, "asynchronous", False):
        raise ValueError(
            "the filesystem is asynchronous, and exports call it in threads: make it without "
            "asynchronous=True"
        )
    if _protocols(filesystem) & {"file", "local"}:
        return path + ("/" if text.endswith("/") else "")
    if not path.strip("/"):
        raise ValueError(f"{text!r} has no name of a file or folder")
    return ObjectPath(filesystem, path)


def _filesystem_of_url(url: str, options: Mapping[str, Any] | None) -> tuple[FileSystem, str]:
    protocol = url.partition("://")[0].lower()
    package = _PACKAGES.get(protocol)
    extra = f" {package}" if package else ""
    try:
        fsspec: Any = import_module("fsspec")
    except ImportError:
        raise ImportError(
            f"A target {protocol}://… needs fsspec: pip install 'asyncposthog[fsspec]'{extra}"
        ) from None
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError:
        raise ImportError(
            f"A target {protocol}://… needs a package that is not installed: "
            f"pip install{extra or ' the one that fsspec names for it'}"
        ) from None
    except ValueError:
        raise ValueError(
            f"there is no filesystem for {protocol}://: use s3://, gs://, az:// or another "
            "protocol of fsspec"
        ) from None
    try:
        return fsspec.core.url_to_fs(url, **{"use_listings_cache": False, **(options or {})})
    except ImportError as error:
        raise ImportError(
            f"A target {protocol}://… needs a package that is not installed: {error}"
        ) from None
    except Exception as error:
        raise ExportError(
            f"Cannot open the filesystem of {protocol}://: {type(error).__name__}: {error!s:.300}",
            suggestion="Check storage_options and the credentials in the environment.",
        ) from error


def _work_root() -> Path:
    return private_folder("objects", "files for upload")


def work_folder(name: str) -> Path:
    """Return the local folder for a target that is elsewhere: for its lock and temporary files."""
    return _work_root() / hashlib.sha256(name.encode()).hexdigest()[:32]


def prepare_work_folder(folder: Path) -> None:
    """Create the local folder for a target, or empty the one that a killed run left."""
    with translate_os_errors(folder):
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)


def remove_work_folder(folder: Path) -> None:
    """Remove the local folder for a target."""
    with suppress(OSError):
        shutil.rmtree(folder)


def _protocols(filesystem: FileSystem) -> set[str]:
    protocol: object = filesystem.protocol
    if isinstance(protocol, str):
        return {protocol}
    return set(cast("tuple[str, ...]", protocol))


def _is_credentials_error(error: BaseException) -> bool:
    """Return whether an error or one of its causes is about credentials."""
    return any("Credential" in type(cause).__name__ for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__
