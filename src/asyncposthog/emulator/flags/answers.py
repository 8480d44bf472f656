"""Evaluated flags in each of the forms that clients ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncposthog.emulator.flags.evaluation import Evaluation
from asyncposthog.emulator.guards import as_object

__all__ = ["Evaluated", "body", "payload_of"]

Evaluated = Mapping[str, tuple[Mapping[str, Any], Evaluation]]
"""Flags and what they came to, by key."""

_CONFIG: Mapping[str, Any] = {
    "supportedCompression": ["gzip", "gzip-js"],
    "sessionRecording": False,
    "capturePerformance": False,
    "autocapture_opt_out": False,
    "surveys": False,
    "toolbarParams": {},
    "isAuthenticated": False,
    "siteApps": [],
    "defaultIdentifiedOnly": True,
}
"""What `config=true` adds: the settings of a project that has turned nothing on."""


def body(evaluated: Evaluated, version: int, *, decide: bool, config: bool) -> dict[str, Any]:
    """What is answered, but for the id and the time.

    Args:
        evaluated: The flags.
        version: The form asked for by `v`.
        decide: Whether it was asked at `/decide`, whose numbers mean other forms.
        config: Whether to add the project's settings.
    """
    failed = any(evaluation.failed for _, evaluation in evaluated.values())
    form = version if not decide else {4: 2}.get(version, min(version, 3) - 4)
    shown: dict[str, Any]
    if form >= 3:
        shown = {"flags": {key: _typed(*one) for key, one in evaluated.items()}}
    elif form == 2:
        shown = {"flags": {key: _detailed(*one) for key, one in evaluated.items()}}
    else:
        shown = _plain(evaluated, form)
    return {**(_CONFIG if config else {}), "errorsWhileComputingFlags": failed, **shown}


def _plain(evaluated: Evaluated, form: int) -> dict[str, Any]:
    """The forms of old: -3 a list of keys, -2 a map of what is on, else a map of all."""
    values = {key: evaluation.value for key, (_, evaluation) in evaluated.items()}
    on = {key: value for key, value in values.items() if value is not False}
    if form == -3:
        return {"featureFlags": list(on)}
    if form == -2:
        return {"featureFlags": on}
    payloads = {key: payload_of(*one) for key, one in evaluated.items()}
    return {
        "featureFlags": values,
        "featureFlagPayloads": {k: text for k, text in payloads.items() if text is not None},
    }


def payload_of(flag: Mapping[str, Any], evaluation: Evaluation) -> Any:
    """The payload that goes with a value: JSON text as it was stored."""
    if not evaluation.enabled:
        return None
    payloads = as_object(as_object(flag.get("filters")).get("payloads"))
    return payloads.get(evaluation.variant or "true")


def _record(flag: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    record: dict[str, Any] = {
        "key": flag["key"],
        "reason": {
            "code": evaluation.reason,
            "condition_index": evaluation.condition,
            "description": evaluation.description,
        },
        "metadata": {
            "id": flag.get("id"),
            "version": flag.get("version") or 0,
            "description": None,
            "payload": payload_of(flag, evaluation),
            "has_experiment": bool(flag.get("experiment_set")),
        },
    }
    if evaluation.failed:
        record["failed"] = True
    return record


def _detailed(flag: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    about = {"enabled": evaluation.enabled, "variant": evaluation.variant}
    return {**_record(flag, evaluation), **about}


def _typed(flag: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    record = _record(flag, evaluation)
    record["value"] = None if evaluation.failed else evaluation.value
    record["metadata"] |= {
        "config_version": 1,
        "rule_type": None,
        "rule_id": None,
        "variant_key": evaluation.variant,
    }
    return record
