"""Evaluate flags in this process, with the matching functions of PostHog's own package.

What the functions do not decide is decided here: inactive flags, experience continuity, and the
properties of groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Final, NamedTuple, cast

from pydantic_core import to_json

from .snapshot import FlagReason, FlagResult, FlagValue
from .wire import Subject

__all__ = [
    "MATCHER_MODULE",
    "Definitions",
    "Matcher",
    "load_matcher",
    "parse_definitions",
    "with_identity",
]

MATCHER_MODULE: Final = "posthog.feature_flags"
_LOCAL: Final = FlagReason("local_evaluation", "Evaluated by this process")
_DISABLED: Final = FlagReason("flag_disabled", "Feature flag is disabled")
_NO_GROUP: Final = FlagReason("no_group_type", "No group type")
_INSTALL: Final = (
    "local evaluation of flags needs PostHog's own package: pip install 'asyncposthog[local-flags]'"
)


class FlagDefinition(NamedTuple):
    """What an evaluation needs of a definition, read once."""

    flag: Mapping[str, Any]
    """The definition itself."""
    active: bool
    continuous: bool
    """Whether persons keep the value they had before they were identified."""
    group_type_index: Any
    """The index of the group type, for a flag of groups."""
    bucketed: bool
    """Whether the definition says what decides about the variant."""
    payloads: Mapping[str, Any]
    id: int | None
    version: int | None
    has_experiment: bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Definitions:
    """The flag definitions of a project."""

    flags: Mapping[str, Mapping[str, Any]]
    """The definitions by key, as the server sent them."""
    prepared: Mapping[str, FlagDefinition]
    group_types: Mapping[str, str]
    """The names of group types by index, as text."""
    cohorts: Mapping[str, Any]
    """The filters of dynamic cohorts by id."""
    matching_version: int
    """How values are compared, which the functions of the package have to know."""
    minimal_events: bool
    etag: str | None = None


def parse_definitions(body: object, etag: str | None = None) -> Definitions | None:
    """Return the definitions of a response body, or None if it has none."""
    data = as_object(body)
    flags = data.get("flags")
    if not isinstance(flags, list):
        return None
    parsed = [as_object(flag) for flag in cast("list[object]", flags)]
    by_key = {
        flag["key"]: flag
        for flag in parsed
        if isinstance(flag.get("key"), str) and flag.get("deleted") is not True
    }
    version = data.get("property_matching_version")
    return Definitions(
        by_key,
        {key: _prepare(flag) for key, flag in by_key.items()},
        as_object(data.get("group_type_mapping")),
        as_object(data.get("cohorts")),
        version if isinstance(version, int) and not isinstance(version, bool) else 1,
        data.get("minimal_flag_called_events") is True,
        etag,
    )


def _prepare(flag: Mapping[str, Any]) -> FlagDefinition:
    filters = as_object(flag.get("filters"))
    has_experiment = flag.get("has_experiment")
    return FlagDefinition(
        flag,
        bool(flag.get("active", True)),
        bool(flag.get("ensure_experience_continuity")),
        filters.get("aggregation_group_type_index"),
        bool(flag.get("bucketing_identifier") or filters.get("bucketing_identifier")),
        as_object(filters.get("payloads")),
        flag.get("id"),
        flag.get("version"),
        has_experiment if isinstance(has_experiment, bool) else None,
    )


def as_object(value: object) -> dict[str, Any]:
    """Return a JSON object, or an empty one for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


class _UndecidedError(Exception):
    """A flag cannot be evaluated in this process."""


class Matcher:
    """Evaluates flags with the functions of the package `posthog`."""

    def __init__(
        self,
        match: Callable[..., FlagValue],
        bucketing_value: Callable[[Any, str, str | None], str],
        undecided: tuple[type[Exception], ...],
    ) -> None:
        """Keep the functions, and the exceptions that mean that the server has to decide."""
        self._match = match
        self._bucketing_value = bucketing_value
        self._undecided = (*undecided, _UndecidedError)

    def evaluate(self, definitions: Definitions, key: str, subject: Subject) -> FlagResult | None:
        """Return the result of a flag; None if only the server can evaluate it.

        Args:
            definitions: The definitions.
            key: The key of a flag.
            subject: The person and groups, prepared by `with_identity`.
        """
        definition = definitions.prepared.get(key)
        if definition is None:
            return None
        if not definition.active:
            return _result(definition, key, False, _DISABLED)
        try:
            value = self._evaluate(definitions, definition, subject)
        except self._undecided:
            return None
        except Exception:
            # A definition that the functions do not expect. The server can still evaluate it.
            return None
        if value is None:
            return _result(definition, key, False, _NO_GROUP)
        return _result(definition, key, value, _LOCAL)

    def _evaluate(
        self, definitions: Definitions, definition: FlagDefinition, subject: Subject
    ) -> FlagValue | None:
        """Return the value of an active flag; None if it is for a group that was not given."""
        if definition.continuous:
            raise _UndecidedError  # only the server knows which value the person had before
        index = definition.group_type_index
        identity, properties = subject.distinct_id, subject.person_properties
        if index is None:
            bucketing = identity
            if definition.bucketed:
                bucketing = self._bucketing_value(definition.flag, identity, subject.device_id)
        else:
            name = definitions.group_types.get(str(index))
            if name is None:
                raise _UndecidedError  # a group type that is newer than the definitions
            if name not in subject.groups:
                return None
            identity = bucketing = subject.groups[name]
            properties = subject.group_properties[name]
        return self._match(
            definition.flag,
            identity,
            properties,
            cohort_properties=definitions.cohorts,
            flags_by_key=definitions.flags,
            evaluation_cache={},
            device_id=subject.device_id,
            bucketing_value=bucketing,
            group_type_mapping=definitions.group_types,
            groups=subject.groups,
            group_properties=subject.group_properties,
            property_matching_version=definitions.matching_version,
        )


def _result(
    definition: FlagDefinition, key: str, value: FlagValue, reason: FlagReason
) -> FlagResult:
    payload = None
    if definition.payloads and value is not False:
        payload = definition.payloads.get("true" if value is True else value)
        if payload is not None and not isinstance(payload, str):
            payload = to_json(payload).decode()
    return FlagResult(
        key,
        value,
        reason,
        payload,
        definition.id,
        definition.version,
        definition.has_experiment,
        True,
    )


def with_identity(subject: Subject) -> Subject:
    """Return a subject whose properties include the distinct id and the keys of the groups.

    Release conditions can refer to them like to properties, as on the server.
    """
    groups = subject.groups
    return Subject(
        subject.distinct_id,
        groups,
        {"distinct_id": subject.distinct_id, **subject.person_properties},
        {
            name: {"$group_key": key, **subject.group_properties.get(name, {})}
            for name, key in groups.items()
        }
        if groups
        else {},
        subject.device_id,
        subject.disable_geoip,
    )


@lru_cache(maxsize=1)
def load_matcher() -> Matcher:
    """Import the package `posthog` and return a matcher. Takes about half a second.

    Raises:
        ImportError: The extra `local-flags` is not installed, or its version is not supported.
    """
    try:
        official: Any = import_module(MATCHER_MODULE)
        return Matcher(
            official.match_feature_flag_properties,
            official.resolve_bucketing_value,
            (official.InconclusiveMatchError, official.RequiresServerEvaluation),
        )
    except (ImportError, AttributeError) as error:
        raise ImportError(f"{_INSTALL} ({error})") from error
