"""`ph.feature_flags`: the generated methods, and edits that overwrite nobody else's change."""

from __future__ import annotations

import copy
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from asyncposthog.call import Call, CallOptions, parse_options
from asyncposthog.core.executor import Executor
from asyncposthog.errors import ConflictError, NotFoundError
from asyncposthog.registry.families import feature_flags as registry
from asyncposthog.resources.feature_flags import FeatureFlags
from asyncposthog.types import OMIT, RequestOptions

from .merge import MISSING, merge, same_json

if TYPE_CHECKING:
    from asyncposthog import models as m

__all__ = ["FeatureFlagsService", "FlagDraft"]

_MAX_MERGES: Final = 3
"""How often a change is merged with those of others before the conflict is raised."""
_FIELDS: Final = (
    "active",
    "archived",
    "bucketing_identifier",
    "ensure_experience_continuity",
    "evaluation_contexts",
    "evaluation_runtime",
    "filters",
    "is_remote_configuration",
    "key",
    "name",
    "tags",
)


class FlagDraft:
    """A feature flag that is being edited. Its attributes are JSON data, written at the end.

    `flag.filters["groups"][0]["rollout_percentage"] = 50`. A misspelled attribute raises
    `AttributeError`.
    """

    __slots__ = (*_FIELDS, "_original", "id", "saved", "version")

    key: str
    """The name that code asks for."""
    name: str | None
    """A description of the flag."""
    active: bool | None
    archived: bool | None
    filters: dict[str, Any]
    """Release conditions (`groups`), variants (`multivariate`) and payloads (`payloads`)."""
    tags: list[str] | None
    evaluation_contexts: list[str] | None
    evaluation_runtime: str | None
    bucketing_identifier: str | None
    ensure_experience_continuity: bool | None
    is_remote_configuration: bool | None

    def __init__(self, stored: dict[str, Any]) -> None:
        """Start from a stored flag, as JSON data."""
        self.id: int = stored["id"]
        self.version: int | None = stored.get("version")
        """The version that the edit started from."""
        self.saved: m.FeatureFlag | None = None
        """The flag after the edit; None before, and if nothing was changed."""
        self._original: dict[str, Any] = {}
        self._start(stored)

    def _start(self, stored: dict[str, Any]) -> None:
        for field in _FIELDS:
            if field in stored:
                self._original[field] = stored[field]
                setattr(self, field, copy.deepcopy(stored[field]))
        self.version = stored.get("version")

    def changes(self) -> dict[str, Any]:
        """Return the fields that differ from the stored flag."""
        values = {field: getattr(self, field, MISSING) for field in _FIELDS}
        changed: dict[str, Any] = {}
        for field, value in values.items():
            if value is MISSING:
                continue
            before = self._original.get(field, MISSING)
            if before is MISSING or not same_json(value, before):
                changed[field] = value
        return changed

    def originals(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the stored values of fields, for the server's check for conflicts."""
        return {field: self._original[field] for field in fields if field in self._original}

    def rebase(self, stored: dict[str, Any]) -> list[str]:
        """Apply the changes to a newer state; return the paths that both have changed."""
        changes = self.changes()
        conflicts: list[str] = []
        merged: dict[str, Any] = {}
        for field, value in changes.items():
            merged[field], new_conflicts = merge(
                self._original.get(field, MISSING), value, stored.get(field, MISSING), field
            )
            conflicts += new_conflicts
        if not conflicts:
            self._original = {}
            self._start(stored)
            for field, value in merged.items():
                setattr(self, field, value)
        return conflicts

    def __repr__(self) -> str:
        """Return the key, the id and the version."""
        return f"<FlagDraft {self.key!r} id={self.id} version={self.version}>"


class FeatureFlagsService(FeatureFlags):
    """Operations on `feature_flags`, and edits that overwrite nobody else's change."""

    def edit(
        self, key: str | int, /, *, options: RequestOptions | None = None
    ) -> AbstractAsyncContextManager[FlagDraft]:
        """Read a flag, let the block change it, and write what has changed.

        `async with ph.feature_flags.edit("beta") as flag: flag.active = True`

        If somebody else has changed the flag meanwhile, both changes are merged. What cannot be
        merged, because both have changed the same value, raises an error, and nothing is written.
        Nothing is written either if the block raises an exception or changes nothing.

        Conflicts are detected by the server, with the version and the original values that are
        sent with the change.

        `GET` and `PATCH /api/projects/{project_id}/feature_flags/{id}/`; scopes
        `feature_flag:read` and `feature_flag:write`; limits `burst` and `sustained`.

        Args:
            key: The key of the flag, or its number.
            options: Options of the calls that differ from those of the client.

        Raises:
            NotFoundError: There is no such flag.
            ConflictError: Somebody else has changed the same; its suggestion lists the fields.
            PostHogError: A call failed otherwise.
        """
        executor = self._executor
        executor.check_allowed(registry.UPDATE)
        call_options = executor.default_options
        if options is not None:
            call_options = parse_options(options, call_options)
        return _Edit(self, executor, key, call_options, options)


class _Edit(AbstractAsyncContextManager[FlagDraft]):
    """One edit of a flag."""

    def __init__(
        self,
        flags: FeatureFlagsService,
        executor: Executor,
        key: str | int,
        call_options: CallOptions,
        options: RequestOptions | None,
    ) -> None:
        self._flags = flags
        self._executor = executor
        self._key = key
        self._call_options = call_options
        self._options = options
        self._draft: FlagDraft | None = None

    async def __aenter__(self) -> FlagDraft:
        key = self._key
        if isinstance(key, str):
            key = await self._find(key)
        self._draft = FlagDraft(await self._read(key))
        return self._draft

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        draft = self._draft
        if exc_type is not None or draft is None or not draft.changes():
            return
        for attempt in range(_MAX_MERGES + 1):
            try:
                draft.saved = await self._write(draft)
                return
            except ConflictError as error:
                if attempt == _MAX_MERGES:
                    raise
                conflict = error
            conflicts = draft.rebase(await self._read(draft.id))
            if conflicts:
                conflict.suggestion = (
                    f"Somebody else has changed {', '.join(conflicts)} meanwhile. Nothing was "
                    "written; edit the flag again."
                )
                raise conflict
            if not draft.changes():
                return  # somebody else has made the same change

    async def _find(self, key: str) -> int:
        async for flag in self._flags.list(search=key, options=self._options):
            if flag.key == key:
                return flag.id
        raise NotFoundError(
            f"There is no feature flag with the key {key!r}.",
            operation=registry.LIST.id,
            suggestion="Keys are case-sensitive. A deleted flag can be edited by its number.",
        )

    async def _read(self, id: int) -> dict[str, Any]:
        # Plain JSON: what the models do not know must survive the edit.
        response = await self._executor.perform(
            Call(registry.GET, (id,), None, None, OMIT, self._call_options)
        )
        from pydantic_core import from_json

        return from_json(response.content)

    async def _write(self, draft: FlagDraft) -> m.FeatureFlag:
        changes = draft.changes()
        body: dict[str, Any] = dict(changes)
        if draft.version is not None:
            # Without the original values, the server detects no conflict, whatever the version.
            body |= {"version": draft.version, "original_flag": draft.originals(changes)}
        return await self._executor.call(
            Call(registry.UPDATE, (draft.id,), None, None, body, self._call_options)
        )
