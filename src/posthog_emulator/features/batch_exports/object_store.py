"""Emulated object store of another origin: signed URLs that expire, and range requests."""

from __future__ import annotations

import hashlib
import hmac
import re
import shutil
import tempfile
import weakref
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from posthog_emulator.http.messages import Request, Response, text_response
from posthog_emulator.retention import MIB
from posthog_emulator.state import EmulatorState

__all__ = ["PREFIX_ROUTES", "ObjectStore", "get_object_store", "store_origin"]

_MAX_BYTES: Final = 1024 * MIB
_PREFIX: Final = "/batch-export-downloads/"
_DATE_FORMAT: Final = "%Y%m%dT%H%M%SZ"
_SIGNATURE: Final = "X-Amz-Signature"
_RANGE: Final = re.compile(r"bytes=([0-9]*)-([0-9]*)")
_LOOPBACK_ALIASES: Final = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}
_DEFAULT_HOST: Final = "object-store.localhost"


def store_origin(request: Request) -> str:
    """Return scheme and host of the object store, for a client that sent `request`.

    On a loopback address it is the same socket under its other name (`localhost` for `127.0.0.1`),
    which is another origin for HTTP clients without a second server.
    """
    host, colon, port = request.host.rpartition(":")
    if not colon or not port.isdigit():
        host, port = request.host, ""
    name = _LOOPBACK_ALIASES.get(host, _DEFAULT_HOST)
    return f"{request.scheme}://{name}{f':{port}' if port else ''}"


@dataclass(slots=True, weakref_slot=True)
class ObjectStore:
    """Files in a temporary directory that is deleted with this object, and the signing key."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="asyncposthog-")))
    secret: bytes = b"emulated"
    _finalizer: object = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Register the removal of the directory."""
        # Unlike `__del__`, a finalizer also runs when the interpreter exits.
        self._finalizer = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, key: str) -> Path:
        """Return the path of an object, creating its directory if it is missing."""
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def prune(self, keep: Collection[Path]) -> None:
        """Delete the oldest objects if all of them together exceed 1 GiB.

        Args:
            keep: Objects that are not deleted.
        """
        objects = [(path.stat(), path) for path in self.folder.rglob("*") if path.is_file()]
        excess = sum(stat.st_size for stat, _ in objects) - _MAX_BYTES
        for stat, path in sorted(objects, key=lambda entry: entry[0].st_mtime_ns):
            if excess <= 0:
                return
            if path not in keep:
                path.unlink(missing_ok=True)
                excess -= stat.st_size

    def signed_url(self, key: str, origin: str, now: datetime, seconds: float) -> str:
        """Return the signed URL of an object.

        Args:
            key: The object's key.
            origin: Scheme and host of the store.
            now: The time of the signature.
            seconds: How long the URL is valid.
        """
        path = _PREFIX + key
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Date": now.astimezone(UTC).strftime(_DATE_FORMAT),
            "X-Amz-Expires": str(int(seconds)),
            "X-Amz-SignedHeaders": "host",
            "response-content-disposition": f'attachment; filename="{Path(key).name}"',
        }
        query[_SIGNATURE] = self.sign(path, origin.partition("://")[2], query)
        return f"{origin}{quote(path)}?{urlencode(query)}"

    def sign(self, path: str, host: str, query: Mapping[str, str]) -> str:
        """Return the signature of a URL."""
        signed = {name: text for name, text in query.items() if name != _SIGNATURE}
        message = "\n".join([path, host, *(f"{name}={signed[name]}" for name in sorted(signed))])
        return hmac.new(self.secret, message.encode(), hashlib.sha256).hexdigest()


def get_object_store(state: EmulatorState) -> ObjectStore:
    """Return the object store of an emulator, created on first use."""
    store = state.extensions.get("objects")
    if store is None:
        store = state.extensions["objects"] = ObjectStore()
    return store


def _serve_object(state: EmulatorState, request: Request) -> Response:
    """Respond to a request for an object."""
    if request.method not in {"GET", "HEAD"}:
        return _error_response(405, "MethodNotAllowed", "The specified method is not allowed.")
    # Like S3: a client that forwards its API key to the redirect's target must find out here.
    if "authorization" in request.headers:
        return _error_response(
            400,
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, "
            "Signature query string parameter or the Authorization header should be specified",
        )
    objects, query = get_object_store(state), dict(request.query)
    if _SIGNATURE not in query:
        return _error_response(403, "AccessDenied", "Access Denied")
    expected = objects.sign(request.path, request.host, query)
    # The date and duration below are trusted only once the signature is valid.
    if not hmac.compare_digest(expected, query[_SIGNATURE]):
        detail = "The request signature we calculated does not match the signature you provided."
        return _error_response(403, "SignatureDoesNotMatch", detail)
    signed_at = datetime.strptime(query["X-Amz-Date"], _DATE_FORMAT).replace(tzinfo=UTC)
    expires_at = signed_at + timedelta(seconds=int(query["X-Amz-Expires"]))
    if state.settings.clock() >= expires_at:
        return _error_response(403, "AccessDenied", "Request has expired")
    path = objects.folder / request.path.removeprefix(_PREFIX)
    if not path.is_file():
        return _error_response(404, "NoSuchKey", "The specified key does not exist.")
    return _object_response(request, path, query.get("response-content-disposition", ""))


def _object_response(request: Request, path: Path, disposition: str) -> Response:
    stat = path.stat()
    version = f"{path.name}/{stat.st_mtime_ns}/{stat.st_size}".encode()
    tag = f'"{hashlib.sha256(version).hexdigest()[:32]}"'
    headers = [
        ("ETag", tag),
        ("Accept-Ranges", "bytes"),
        ("Last-Modified", format_datetime(datetime.fromtimestamp(stat.st_mtime, UTC), usegmt=True)),
        ("Content-Disposition", disposition),
    ]
    if_match = request.headers.get("if-match")
    if if_match is not None and if_match not in {tag, "*"}:
        detail = "At least one of the pre-conditions you specified did not hold"
        return _error_response(412, "PreconditionFailed", detail)
    size, media = stat.st_size, "binary/octet-stream"
    range_header = request.headers.get("range")
    match = None if range_header is None else _RANGE.fullmatch(range_header.strip())
    # A range that cannot be parsed is ignored, as RFC 9110 allows.
    if match is None or not (match[1] or match[2]):
        return Response(200, path.read_bytes(), media, headers)
    if match[1]:
        first, last = int(match[1]), min(int(match[2] or size), size - 1)
    else:
        first, last = max(0, size - int(match[2])), size - 1
    if first >= size or first > last:
        error = _error_response(416, "InvalidRange", "The requested range is not satisfiable")
        error.headers.append(("Content-Range", f"bytes */{size}"))
        return error
    with path.open("rb") as file:
        file.seek(first)
        piece = file.read(last - first + 1)
    return Response(
        206, piece, media, [*headers, ("Content-Range", f"bytes {first}-{last}/{size}")]
    )


def _error_response(status: int, code: str, message: str) -> Response:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    )
    return text_response(status, body, "application/xml")


PREFIX_ROUTES = {_PREFIX: _serve_object}
"""Handlers by path prefix, for `extra_routes`."""
