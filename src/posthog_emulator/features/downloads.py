"""Operations that redirect to a file of an object store."""

from __future__ import annotations

from collections.abc import Mapping

from posthog_emulator.http.messages import Response
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.state import ApiCall

from .batch_exports.object_store import get_object_store, store_origin

__all__ = ["OPERATION_HANDLERS"]


def _redirect_to_file(call: ApiCall) -> Response:
    call.resolve_parents()
    call.fidelity = "schema"
    objects, settings = get_object_store(call.state), call.state.settings
    key = f"{call.operation.id}/{call.path_values[-1]}"
    objects.path(key).write_bytes(b"bytes")
    url = objects.signed_url(
        key, store_origin(call.request), settings.clock(), settings.download_url_seconds
    )
    return Response(302, headers=[("Location", url), ("Cache-Control", "no-store")])


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    name: OperationHandler(_redirect_to_file)
    for name in ("organizations.legal_documents.download", "tasks.runs.artifacts.download")
}
