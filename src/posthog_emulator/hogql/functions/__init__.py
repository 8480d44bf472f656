"""Functions of HogQL that the emulator translates; it rejects all others by name."""

from __future__ import annotations

import importlib
from typing import Final

from .windows import WINDOWS

__all__ = ["REFUSED", "WINDOWS", "load"]

_MODULES: Final = (
    "aggregates", "arrays", "conversions", "dates", "intervals", "json", "logic", "maths",
    "strings",
)  # fmt: skip

REFUSED: Final = frozenset({
    "cityHash64", "sipHash64", "MD5", "SHA1", "SHA256", "xxHash64", "murmurHash2_64", "hex",
    "unhex", "farmFingerprint64", "generateUUIDv4", "rand", "rand64", "randCanonical",
    "windowFunnel", "sequenceMatch", "sequenceCount", "retention", "sumMap", "minMap", "maxMap",
    "sparkline", "recordingButton", "explainCSPReport", "matchesAction", "getSurveyResponse",
    "uniqueSurveySubmissionsFilter", "convertCurrency", "hogql_lookupDomainType", "geoDistance",
    "h3ToString", "IPv4NumToString", "isIPAddressInRange", "transform", "dictGet",
    "quantileTiming", "quantileTDigest", "quantileDeterministic", "quantileBFloat16", "entropy",
    "uniqCombined64", "uniqTheta", "topKWeighted", "deltaSum", "histogram", "embedText",
})  # fmt: skip
"""Functions of HogQL whose values the emulator could only make up."""

_loaded: list[bool] = []


def load() -> None:
    """Import the modules that register functions, once."""
    if not _loaded:
        for name in _MODULES:
            importlib.import_module(f"{__name__}.{name}")
        _loaded.append(True)
