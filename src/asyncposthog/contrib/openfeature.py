"""OpenFeature: a provider whose async resolvers do not block, and whose sync ones never wait.

```
async with AsyncPostHog() as ph, ph.flags.local():
    openfeature.api.set_provider(PostHogProvider(ph))
    client = openfeature.api.get_client()
    await client.get_boolean_value_async("beta", False, EvaluationContext("user-1"))
```
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import (
    FlagNotFoundError,
    GeneralError,
    InvalidContextError,
    ProviderNotReadyError,
    TargetingKeyMissingError,
    TypeMismatchError,
)
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata
from openfeature.track import TrackingEventDetails

from asyncposthog.client import AsyncPostHog
from asyncposthog.errors import PostHogError
from asyncposthog.flags.snapshot import FlagResult, FlagSnapshot, Unavailable

__all__ = ["PostHogProvider"]

T = TypeVar("T")

_GROUPS: Final = "groups"
_GROUP_PROPERTIES: Final = "group_properties"
_OFF_REASONS: Final = {"flag_disabled": Reason.DISABLED}


@dataclass(frozen=True, slots=True)
class _Arguments:
    """The arguments of an evaluation, from an evaluation context."""

    distinct_id: str
    options: Mapping[str, Any]


class PostHogProvider(AbstractProvider):
    """Resolves flags with PostHog.

    The targeting key is the distinct id. The attributes `groups` and `group_properties` are those
    of `ph.flags.evaluate`; all others are properties of the person.

    - boolean: whether the flag is on; any variant counts as on.
    - string: the key of the variant, or a payload that is text.
    - integer, float, object: the payload.

    The default is the value of a flag that is off, except for booleans. The sync resolvers answer
    from local evaluation alone (`ph.flags.local`), as they cannot wait for a request.
    """

    def __init__(self, client: AsyncPostHog) -> None:
        """Use a client, which stays the caller's to close."""
        super().__init__()
        self._client = client

    def get_metadata(self) -> Metadata:
        """Return the name of the provider."""
        return Metadata("PostHog")

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Capture an event for the targeting key, if the client can capture events."""
        key = None if evaluation_context is None else evaluation_context.targeting_key
        if not key or self._client.settings.project_api_key is None:
            return
        details = tracking_event_details
        properties = {} if details is None else dict(details.attributes)
        if details is not None and details.value is not None:
            properties["value"] = cast("Any", details.value)
        self._client.capture.nowait(tracking_event_name, key, properties=properties)

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Resolve a flag from local evaluation."""
        return _boolean(self._local(flag_key, evaluation_context), flag_key)

    async def resolve_boolean_details_async(
        self,
        flag_key: str,
        default_value: bool,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Resolve a flag, asking the server if need be."""
        return _boolean(await self._evaluate(flag_key, evaluation_context), flag_key)

    def resolve_string_details(
        self,
        flag_key: str,
        default_value: str,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[str]:
        """Resolve the variant of a flag from local evaluation."""
        return _string(self._local(flag_key, evaluation_context), flag_key, default_value)

    async def resolve_string_details_async(
        self,
        flag_key: str,
        default_value: str,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[str]:
        """Resolve the variant of a flag, asking the server if need be."""
        return _string(await self._evaluate(flag_key, evaluation_context), flag_key, default_value)

    def resolve_integer_details(
        self,
        flag_key: str,
        default_value: int,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[int]:
        """Resolve a payload that is an integer from local evaluation."""
        snapshot = self._local(flag_key, evaluation_context)
        return _payload(snapshot, flag_key, default_value, _integer)

    async def resolve_integer_details_async(
        self,
        flag_key: str,
        default_value: int,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[int]:
        """Resolve a payload that is an integer, asking the server if need be."""
        snapshot = await self._evaluate(flag_key, evaluation_context)
        return _payload(snapshot, flag_key, default_value, _integer)

    def resolve_float_details(
        self,
        flag_key: str,
        default_value: float,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[float]:
        """Resolve a payload that is a number from local evaluation."""
        snapshot = self._local(flag_key, evaluation_context)
        return _payload(snapshot, flag_key, default_value, _float)

    async def resolve_float_details_async(
        self,
        flag_key: str,
        default_value: float,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[float]:
        """Resolve a payload that is a number, asking the server if need be."""
        snapshot = await self._evaluate(flag_key, evaluation_context)
        return _payload(snapshot, flag_key, default_value, _float)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Resolve a payload that is an object or a list from local evaluation."""
        snapshot = self._local(flag_key, evaluation_context)
        return _payload(snapshot, flag_key, default_value, _object)

    async def resolve_object_details_async(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Resolve a payload that is an object or a list, asking the server if need be."""
        snapshot = await self._evaluate(flag_key, evaluation_context)
        return _payload(snapshot, flag_key, default_value, _object)

    def _local(self, key: str, context: EvaluationContext | None) -> FlagSnapshot:
        arguments = _arguments(context)
        flags = self._client.flags
        if flags.definitions is None:
            raise ProviderNotReadyError(
                "no flag definitions are loaded: resolve flags within `async with "
                "ph.flags.local()`, or use the async methods"
            )
        return _checked(
            lambda: flags.evaluate_local(arguments.distinct_id, keys=[key], **arguments.options)
        )

    async def _evaluate(self, key: str, context: EvaluationContext | None) -> FlagSnapshot:
        arguments = _arguments(context)
        try:
            return await self._client.flags.evaluate(
                arguments.distinct_id, keys=[key], on_error="raise", **arguments.options
            )
        except PostHogError as error:
            raise GeneralError(str(error)) from error
        except (TypeError, ValueError) as error:
            raise InvalidContextError(str(error)) from error


def _checked(evaluate: Callable[[], FlagSnapshot]) -> FlagSnapshot:
    try:
        return evaluate()
    except (TypeError, ValueError) as error:
        raise InvalidContextError(str(error)) from error


def _arguments(context: EvaluationContext | None) -> _Arguments:
    if context is None or not context.targeting_key:
        raise TargetingKeyMissingError("the targeting key is the distinct id of the person")
    attributes: dict[str, Any] = dict(context.attributes)
    options = {
        name: attributes.pop(name) for name in (_GROUPS, _GROUP_PROPERTIES) if name in attributes
    }
    for name, value in options.items():
        if not isinstance(value, Mapping):
            raise InvalidContextError(f"the attribute {name} must be a mapping")
    return _Arguments(context.targeting_key, {**options, "person_properties": attributes})


def _result(snapshot: FlagSnapshot, key: str) -> FlagResult:
    """Return the result of a flag, or raise OpenFeature's error for a value that is not known."""
    result = snapshot.find(key)
    if result is None:
        snapshot.is_enabled(key)  # reported like any read
        raise FlagNotFoundError(f"there is no flag {key!r}, or it is inactive")
    if isinstance(result, Unavailable):
        snapshot.is_enabled(key, False)
        raise GeneralError(snapshot.reason(key).description or result.code)
    snapshot.is_enabled(key)
    return result


def _details(result: FlagResult, value: T, *, default: bool = False) -> FlagResolutionDetails[T]:
    code = "" if result.reason is None else result.reason.code
    reason = Reason.SPLIT if result.variant is not None else Reason.TARGETING_MATCH
    if not result.enabled:
        reason = _OFF_REASONS.get(code, Reason.DEFAULT)
    elif default:
        reason = Reason.DEFAULT
    metadata = {"id": result.id, "version": result.version, "reason": code, "local": result.local}
    return FlagResolutionDetails(
        value,
        reason=reason,
        variant=result.variant,
        flag_metadata={name: item for name, item in metadata.items() if item is not None},
    )


def _boolean(snapshot: FlagSnapshot, key: str) -> FlagResolutionDetails[bool]:
    result = _result(snapshot, key)
    return _details(result, result.enabled)


def _string(snapshot: FlagSnapshot, key: str, default: str) -> FlagResolutionDetails[str]:
    result = _result(snapshot, key)
    if not result.enabled:
        return _details(result, default, default=True)
    value = result.payload if result.variant is None else result.variant
    if not isinstance(value, str):
        raise TypeMismatchError(f"flag {key!r} is on, and has neither a variant nor a text")
    return _details(result, value)


def _payload(
    snapshot: FlagSnapshot, key: str, default: T, convert: Callable[[object], object]
) -> FlagResolutionDetails[T]:
    result = _result(snapshot, key)
    if not result.enabled:
        return _details(result, default, default=True)
    value = convert(result.payload)
    if value is None:
        raise TypeMismatchError(f"the payload of flag {key!r} is of another type")
    return _details(result, cast("T", value))


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _float(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(cast("float", value)) if is_number else None


def _object(value: object) -> object:
    return cast("object", value) if isinstance(value, dict | list) else None
