"""The results of one evaluation of feature flags, which never change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from pydantic_core import from_json

from asyncposthog.errors import FlagUnavailableError, PostHogError
from asyncposthog.types import JSON, OMIT, Omit

__all__ = ["FlagReason", "FlagResult", "FlagSnapshot", "FlagValue", "ReadHook", "Unavailable"]

FlagValue: TypeAlias = bool | str
"""False: off. True: on, without a variant. A str: the key of the variant."""

T = TypeVar("T")

_EXPLANATIONS: Final[Mapping[str, str]] = {
    "quota_limited": "the project's quota of flag requests is exhausted",
    "errors_while_computing_flags": "the server returned a partial result without it",
    "evaluation_failed": "the server could not evaluate it",
    "local_evaluation_inconclusive": "its definition needs the server, which was not asked",
    "definitions_not_loaded": "the definitions of flags are not loaded, and the server was not "
    "asked",
    "request_failed": "the request for it failed",
    "no_distinct_id": "there is no distinct id to evaluate it for",
}


@dataclass(frozen=True, slots=True)
class FlagReason:
    """Why a flag has its value, or why its value is not known."""

    code: str
    """A code: `condition_match`, `no_condition_match`, `out_of_rollout_bound`, `no_group_type`,
    `flag_disabled` and others of the server; `local_evaluation` for a value of this process;
    `flag_missing` if a complete result does not have the flag. For an unknown value:
    `quota_limited`, `errors_while_computing_flags`, `evaluation_failed`, `request_failed`,
    `local_evaluation_inconclusive`, `definitions_not_loaded`, `no_distinct_id`."""
    description: str | None = None
    condition_index: int | None = None
    """The position of the release condition that decided, from 0."""


class FlagResult(NamedTuple):
    """The value of one flag, with what the server says about it.

    A named tuple, because it is made for each flag of each evaluation: a frozen dataclass takes
    four times as long.
    """

    key: str
    value: FlagValue
    reason: FlagReason | None = None
    payload_json: str | None = None
    """The payload as JSON text."""
    id: int | None = None
    version: int | None = None
    has_experiment: bool | None = None
    local: bool = False
    """Whether it was evaluated in this process."""
    config_version: int | None = None
    rule_type: str | None = None
    rule_id: str | None = None
    variant_key: str | None = None

    @property
    def enabled(self) -> bool:
        """Whether the flag is on."""
        return self.value is not False

    @property
    def variant(self) -> str | None:
        """The key of the variant; None if the flag is off or has no variants."""
        return self.value if isinstance(self.value, str) else None

    @property
    def payload(self) -> JSON:
        """The parsed payload; the text itself if it is not JSON, and None if there is none."""
        if self.payload_json is None:
            return None
        try:
            return from_json(self.payload_json)
        except ValueError:
            return self.payload_json


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why the value of a flag is not known."""

    code: str
    error: PostHogError | None = None


ReadHook: TypeAlias = Callable[["FlagSnapshot", str], None]
"""Called with the snapshot and the key when a flag is read."""

_MISSING: Final = FlagReason("flag_missing", "The project has no such flag, or it is inactive")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class FlagSnapshot:
    """The values of feature flags for one person, as of one evaluation.

    Reading a flag that is known to be off returns False. Reading a flag whose value is not known,
    for example because the server was not reachable, raises `FlagUnavailableError`, unless a
    default is given.
    """

    distinct_id: str
    results: Mapping[str, FlagResult]
    """The known values by key."""
    unavailable: Mapping[str, Unavailable] = field(default_factory=dict[str, Unavailable])
    """The flags whose value is known to be missing, by key."""
    incomplete: Unavailable | None = None
    """Why flags without a result may have a value that is not known; None: there are none."""
    requested: frozenset[str] | None = None
    """The keys that were evaluated; None: all."""
    groups: Mapping[str, str] = field(default_factory=dict[str, str])
    request_id: str | None = None
    evaluated_at: datetime | None = None
    minimal_events: bool = False
    """Whether the server asks for small `$feature_flag_called` events."""
    on_read: ReadHook | None = field(default=None)

    @property
    def quota_limited(self) -> bool:
        """Whether the server evaluated nothing because the quota is exhausted."""
        return self.incomplete is not None and self.incomplete.code == "quota_limited"

    @property
    def partial(self) -> bool:
        """Whether some values are not known."""
        return self.incomplete is not None or bool(self.unavailable)

    @property
    def error(self) -> PostHogError | None:
        """The error of the request, if it failed and `on_error` is `unavailable`."""
        if self.incomplete is not None and self.incomplete.error is not None:
            return self.incomplete.error
        return next((item.error for item in self.unavailable.values() if item.error), None)

    def is_enabled(self, key: str, default: bool | Omit = OMIT) -> bool:
        """Return whether a flag is on. Any variant counts as on.

        Args:
            key: The key of the flag.
            default: Returned if the value is not known. Without it, an error is raised.

        Raises:
            FlagUnavailableError: The value is not known, and there is no default.
            ValueError: The flag is not among the `keys` that were evaluated.
        """
        result = self._read(key)
        if isinstance(result, Unavailable):
            return self._default(key, result, default)
        return result is not None and result.value is not False

    def value(self, key: str, default: FlagValue | Omit = OMIT) -> FlagValue:
        """Return False for off, True for on, or the key of the variant.

        Raises:
            FlagUnavailableError: The value is not known, and there is no default.
            ValueError: The flag is not among the `keys` that were evaluated.
        """
        result = self._read(key)
        if isinstance(result, Unavailable):
            return self._default(key, result, default)
        return False if result is None else result.value

    def variant(self, key: str, default: str | Omit | None = OMIT) -> str | None:
        """Return the key of the variant; None if the flag is off or has no variants.

        Raises:
            FlagUnavailableError: The value is not known, and there is no default.
            ValueError: The flag is not among the `keys` that were evaluated.
        """
        result = self._read(key)
        if isinstance(result, Unavailable):
            return self._default(key, result, default)
        return None if result is None else result.variant

    def payload(self, key: str, default: JSON | Omit = OMIT) -> JSON:
        """Return the parsed payload of the value; None if it has none. Counts as no read.

        Raises:
            FlagUnavailableError: The value is not known, and there is no default.
            ValueError: The flag is not among the `keys` that were evaluated.
        """
        result = self.find(key)
        if isinstance(result, Unavailable):
            return self._default(key, result, default)
        return None if result is None else result.payload

    def reason(self, key: str) -> FlagReason:
        """Return why the flag has its value, or why its value is not known.

        Raises:
            ValueError: The flag is not among the `keys` that were evaluated.
        """
        result = self.find(key)
        if result is None:
            return _MISSING
        if isinstance(result, Unavailable):
            return FlagReason(result.code, _EXPLANATIONS.get(result.code))
        return result.reason or FlagReason("unknown")

    def keys(self) -> tuple[str, ...]:
        """Return the keys of all flags with a known value."""
        return tuple(self.results)

    def event_properties(self) -> dict[str, Any]:
        """Return `$feature/KEY` of all known flags, and `$active_feature_flags`, for events."""
        properties: dict[str, Any] = {
            f"$feature/{key}": result.value for key, result in self.results.items()
        }
        active = sorted(key for key, result in self.results.items() if result.enabled)
        return {**properties, "$active_feature_flags": active}

    def find(self, key: str) -> FlagResult | Unavailable | None:
        """Return the result of a flag, or why there is none; None: there is no such flag.

        Raises:
            ValueError: The flag is not among the `keys` that were evaluated.
        """
        result = self.results.get(key)
        if result is not None:
            return result
        reason = self.unavailable.get(key)
        if reason is not None:
            return reason
        if self.requested is not None and key not in self.requested:
            names = ", ".join(sorted(self.requested)) or "none"
            raise ValueError(f"flag {key!r} was not evaluated: keys={names}; add it there")
        return self.incomplete

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys of all flags with a known value."""
        return iter(self.results)

    def __len__(self) -> int:
        """Return the number of flags with a known value."""
        return len(self.results)

    def __contains__(self, key: object) -> bool:
        """Return whether the value of a flag is known."""
        return key in self.results

    def __repr__(self) -> str:
        """Return the values. The distinct id is left out: it may be personal data."""
        values = ", ".join(f"{key}={result.value!r}" for key, result in self.results.items())
        state = f", partial: {self.incomplete.code}" if self.incomplete is not None else ""
        return f"<FlagSnapshot {values or 'without values'}{state}>"

    def _read(self, key: str) -> FlagResult | Unavailable | None:
        result = self.find(key)
        if self.on_read is not None:
            self.on_read(self, key)
        return result

    def _default(self, key: str, reason: Unavailable, default: T | Omit) -> T:
        if not isinstance(default, Omit):
            return default
        text = _EXPLANATIONS.get(reason.code, reason.code)
        error = FlagUnavailableError(
            f"The value of flag {key!r} is not known: {text}.",
            suggestion=f"Pass a default to use then: is_enabled({key!r}, False).",
        )
        error.key, error.reason = key, reason.code
        raise error from reason.error
