"""The table `sessions`, computed from events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .channel_type import channel_type
from .tables import Column

__all__ = ["SESSIONS", "SESSION_COLUMNS"]

# A session whose id is no UUID has no session at PostHog either.
SESSIONS: Final = (
    "(SELECT {columns} FROM events AS {t} WHERE {t}.team_id = {team} "
    "AND isNotNull(accurateCastOrNull({t}.`$session_id`, 'UUID')) GROUP BY {t}.`$session_id`)"
)
_ENTRIES: Final[Mapping[str, str]] = {
    "$entry_utm_source": "utm_source",
    "$entry_utm_campaign": "utm_campaign",
    "$entry_utm_medium": "utm_medium",
    "$entry_utm_term": "utm_term",
    "$entry_utm_content": "utm_content",
    "$entry_referring_domain": "$referring_domain",
    "$entry_referrer": "$referrer",
    **{
        f"$entry_{name}": name
        for name in (
            "gclid", "gad_source", "gclsrc", "dclid", "gbraid", "wbraid", "fbclid", "msclkid",
            "twclid", "li_fat_id", "mc_cid", "igshid", "ttclid",
        )
    },
}  # fmt: skip


def _property(name: str) -> str:
    return f"JSONExtractString({{t}}.properties, '{name}')"


def _url(order: str) -> Column:
    url = _property("$current_url")
    return Column(f"nullIf(arg{order}If({url}, {{t}}.timestamp, {url} != ''), '')", nullable=True)


def _of(function: str, name: str, *, hidden: bool = False) -> Column:
    return Column(f"{function}(`{name}`)", nullable=True, needs=(name,), hidden=hidden)


def _count(event: str) -> Column:
    return Column(f"uniqIf({{t}}.uuid, {{t}}.event = '{event}')", "int")


def _duration(*, hidden: bool = False) -> Column:
    return Column(
        "dateDiff('second', min({t}.timestamp), max({t}.timestamp))", "int", hidden=hidden
    )


_URLS: Final = f"groupUniqArrayIf({_property('$current_url')}, {_property('$current_url')} != '')"
_KINDS: Final = "{t}.event IN ('$pageview', '$screen', '$autocapture')"

SESSION_COLUMNS: Final[Mapping[str, Column]] = {
    "session_id": Column("{t}.`$session_id`"),
    "id": Column("{t}.`$session_id`", hidden=True),
    "session_id_v7": Column(
        "reinterpretAsUInt128(toUUID({t}.`$session_id`))", "int", hidden=True
    ),
    "team_id": Column("any({t}.team_id)", "int", hidden=True),
    "distinct_id": Column("argMax({t}.distinct_id, {t}.timestamp)"),
    "$start_timestamp": Column("min({t}.timestamp)", "datetime"),
    "$end_timestamp": Column("max({t}.timestamp)", "datetime"),
    "$urls": Column(_URLS, "array"),
    "$num_uniq_urls": Column(f"length({_URLS})", "int"),
    "$entry_current_url": _url("Min"),
    "$entry_pathname": _of("path", "$entry_current_url"),
    "$entry_hostname": _of("domain", "$entry_current_url"),
    "$end_current_url": _url("Max"),
    "$end_pathname": _of("path", "$end_current_url"),
    "$end_hostname": _of("domain", "$end_current_url"),
    "$exit_current_url": Column("`$end_current_url`", nullable=True, hidden=True,
                                needs=("$end_current_url",)),
    "$exit_pathname": _of("path", "$end_current_url", hidden=True),
    "$exit_hostname": _of("domain", "$end_current_url", hidden=True),
    **{
        column: Column(
            f"nullIf(nullIf(argMin({_property(name)}, {{t}}.timestamp), 'null'), '')",
            nullable=True,
        )
        for column, name in _ENTRIES.items()
    },
    "$pageview_count": _count("$pageview"),
    "$autocapture_count": _count("$autocapture"),
    "$screen_count": _count("$screen"),
    "$page_screen_autocapture_count_up_to": Column(
        f"least(uniqExactIf({{t}}.uuid, {_KINDS}), 2)", "int"
    ),
    "$channel_type": Column(
        channel_type(
            campaign="`$entry_utm_campaign`",
            medium="`$entry_utm_medium`",
            source="`$entry_utm_source`",
            referring_domain="`$entry_referring_domain`",
            gclid="isNotNull(`$entry_gclid`)",
            fbclid="isNotNull(`$entry_fbclid`)",
            gad_source="`$entry_gad_source`",
        ),
        needs=(
            "$entry_utm_campaign", "$entry_utm_medium", "$entry_utm_source",
            "$entry_referring_domain", "$entry_gclid", "$entry_fbclid", "$entry_gad_source",
        ),
    ),
    "$session_duration": _duration(),
    "duration": _duration(hidden=True),
    "$is_bounce": Column(
        "if(`$pageview_count` = 0, NULL, not(`$pageview_count` > 1 OR `$autocapture_count` > 0 "
        "OR `$session_duration` >= {bounce}))",
        "bool",
        nullable=True,
        needs=("$pageview_count", "$autocapture_count", "$session_duration"),
    ),
    "$last_external_click_url": Column(
        f"nullIf(argMaxIf({_property('$external_click_url')}, {{t}}.timestamp, "
        f"{_property('$external_click_url')} != ''), '')",
        nullable=True,
    ),
    "$vitals_lcp": Column(
        "argMinIf(JSONExtract({t}.properties, '$web_vitals_LCP_value', 'Nullable(Float64)'), "
        "{t}.timestamp, {t}.event = '$web_vitals')",
        "float",
        nullable=True,
    ),
}  # fmt: skip
