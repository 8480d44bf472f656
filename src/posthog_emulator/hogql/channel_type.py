"""The channel that a visitor came by: a dictionary of sources, and the rules that use it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from .data_files import sections
from .escape import string

__all__ = ["LOOKUPS", "channel_type", "lookup"]

LOOKUPS: Final = tuple(
    f"lookup{kind}Type"
    for kind in ("Domain", "PaidSource", "PaidMedium", "OrganicSource", "OrganicMedium")
)
"""Names of the functions."""

_PAID: Final = "'cpc', 'cpm', 'cpv', 'cpa', 'ppc', 'retargeting'"
_SHOP: Final = string("^(.*(([^a-df-z]|^)shop|shopping).*)$")


def lookup(function: str, sql: str) -> str:
    """Return the SQL of a lookup: the type, or NULL for a value that is not known."""
    text = f"toString({sql})"
    template = _lookups()[function]
    if "Medium" in function:
        return template.replace("{}", text)
    shorter = f"cutToFirstSignificantSubdomain(concat('http://', {text}))"
    return f"coalesce({template.replace('{}', text)}, {template.replace('{}', shorter)})"


@cache
def _lookups() -> Mapping[str, str]:
    """Return SQL by function, with `{}` for the value."""
    lookups: dict[str, str] = {}
    for function, lines in sections(Path(__file__).parent / "channels.txt").items():
        arms = ""
        for line in lines:
            kind, _, values = line.partition(": ")
            arms += f"{{}} IN ({', '.join(map(string, values.split(', ')))}), {string(kind)}, "
        lookups[function] = f"multiIf({arms}NULL)"
    return lookups


def channel_type(
    *,
    utm_campaign: str,
    utm_medium: str,
    utm_source: str,
    referring_domain: str,
    gclid: str,
    fbclid: str,
    gad_source: str,
) -> str:
    """Return the SQL of the channel type, from the SQL of what the first event has, or NULL."""
    campaign, medium, source = (
        f"lower({parameter})" for parameter in (utm_campaign, utm_medium, utm_source)
    )

    def when(test: str, kind: str) -> str:
        return f"if(ifNull({test}, 0), '{kind}', NULL)"

    def coalesced(kind: str, domain_type: str, *more: str) -> str:
        parts = (
            lookup(f"lookup{kind}SourceType", source),
            when(f"match({campaign}, {_SHOP})", f"{kind} Shopping"),
            lookup(f"lookup{kind}MediumType", medium),
            lookup(f"lookup{kind}SourceType", referring_domain),
            *more,
        )
        return f"coalesce({', '.join(parts)}, '{domain_type}')"

    paid = coalesced(
        "Paid", "Paid Unknown",
        when(f"{gad_source} = '1'", "Paid Search"),
        when(f"match({campaign}, 'video')", "Paid Video"),
        when(f"isNotNull({fbclid})", "Paid Social"),
    )  # fmt: skip
    organic = coalesced(
        "Organic", "Unknown",
        when(f"match({campaign}, 'video')", "Organic Video"),
        when(f"match({medium}, 'push$')", "Push"),
        when(f"isNotNull({fbclid})", "Organic Social"),
        when(f"{referring_domain} = '$direct'", "Direct"),
        when(f"isNotNull({referring_domain})", "Referral"),
    )  # fmt: skip
    return (
        f"multiIf(ifNull(match({campaign}, 'cross-network'), 0), 'Cross Network', "
        f"ifNull({medium} IN ({_PAID}) OR startsWith({medium}, 'paid'), 0) OR isNotNull({gclid}) "
        f"OR isNotNull({gad_source}), {paid}, "
        f"ifNull({referring_domain} = '$direct', 0) AND isNull({medium}) AND "
        f"(isNull({source}) OR {source} IN ('(direct)', 'direct', '$direct')) "
        f"AND isNull({fbclid}), 'Direct', {organic})"
    )
