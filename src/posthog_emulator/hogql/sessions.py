"""The table `sessions`, computed from events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .channel_type import channel_type

__all__ = ["SESSIONS", "SESSION_COLUMNS", "SESSION_HIDDEN"]

# A session whose id is no UUID has no session at PostHog either.
SESSIONS: Final = (
    "events AS {t} WHERE {t}.team_id = {team} "
    "AND isNotNull(accurateCastOrNull({t}.`$session_id`, 'UUID')) GROUP BY {t}.`$session_id`"
)
_ENTRIES: Final = (
    "utm_source", "utm_campaign", "utm_medium", "utm_term", "utm_content", "$referring_domain",
    "$referrer", "gclid", "gad_source", "gclsrc", "dclid", "gbraid", "wbraid", "fbclid", "msclkid",
    "twclid", "li_fat_id", "mc_cid", "igshid", "ttclid",
)  # fmt: skip
_FIRST: Final = "argMin({t}.properties, {t}.timestamp)"
"""The properties of the earliest event."""


def _property(name: str) -> str:
    return f"JSONExtractString({{t}}.properties, '{name}')"


def _entry(name: str) -> str:
    return f"nullIf(nullIf(JSONExtractString({_FIRST}, '{name}'), 'null'), '')"


def _edge(function: str, name: str) -> str:
    value = _property(name)
    return f"nullIf({function}If({value}, {{t}}.timestamp, {value} != ''), '')"


def _count(event: str) -> str:
    return f"uniqIf({{t}}.uuid, {{t}}.event = '${event}')"


_URLS: Final = f"groupUniqArrayIf({_property('$current_url')}, {_property('$current_url')} != '')"
_ENTRY, _END = _edge("argMin", "$current_url"), _edge("argMax", "$current_url")
_SECONDS: Final = "dateDiff('second', min({t}.timestamp), max({t}.timestamp))"
_KINDS: Final = "{t}.event IN ('$pageview', '$screen', '$autocapture')"

SESSION_COLUMNS: Final[Mapping[str, tuple[str, str, bool]]] = {
    "session_id": ("{t}.`$session_id`", "string", False),
    "id": ("{t}.`$session_id`", "string", False),
    "session_id_v7": ("reinterpretAsUInt128(toUUID({t}.`$session_id`))", "int", False),
    "team_id": ("any({t}.team_id)", "int", False),
    "distinct_id": ("argMax({t}.distinct_id, {t}.timestamp)", "string", False),
    "$start_timestamp": ("min({t}.timestamp)", "datetime", False),
    "$end_timestamp": ("max({t}.timestamp)", "datetime", False),
    "$urls": (_URLS, "array", False),
    "$num_uniq_urls": (f"length({_URLS})", "int", False),
    **{
        f"${side}_{name}": (sql.replace("{}", url), "string", True)
        for side, url in (("entry", _ENTRY), ("end", _END), ("exit", _END))
        for name, sql in
        (("current_url", "{}"), ("pathname", "path({})"), ("hostname", "domain({})"))
    },
    **{f"$entry_{name.lstrip('$')}": (_entry(name), "string", True) for name in _ENTRIES},
    **{
        f"${name}_count": (_count(name), "int", False)
        for name in ("pageview", "autocapture", "screen")
    },
    "$page_screen_autocapture_count_up_to": (
        f"least(uniqExactIf({{t}}.uuid, {_KINDS}), 2)", "int", False,
    ),
    "$channel_type": (
        channel_type(**{
            name: _entry(name if name != "referring_domain" else "$referring_domain")
            for name in ("utm_campaign", "utm_medium", "utm_source", "referring_domain", "gclid",
                         "fbclid", "gad_source")
        }),
        "string", False,
    ),
    "$session_duration": (_SECONDS, "int", False),
    "duration": (_SECONDS, "int", False),
    "$is_bounce": (
        f"if({_count('pageview')} = 0, NULL, not({_count('pageview')} > 1 OR "
        f"{_count('autocapture')} > 0 OR {_SECONDS} >= {{bounce}}))", "bool", True,
    ),
    "$last_external_click_url": (_edge("argMax", "$external_click_url"), "string", True),
    "$vitals_lcp": (
        "argMinIf(JSONExtract({t}.properties, '$web_vitals_LCP_value', 'Nullable(Float64)'), "
        "{t}.timestamp, {t}.event = '$web_vitals')", "float", True,
    ),
}  # fmt: skip
"""SQL, kind and whether there may be NULL, by name."""

SESSION_HIDDEN: Final = frozenset(
    {"id", "session_id_v7", "team_id", "duration", "$exit_current_url", "$exit_pathname",
     "$exit_hostname"}
)  # fmt: skip
"""Columns that `*` leaves out."""
