"""The channel that a visitor came by: a dictionary of sources, and the rules that use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .escape import string

__all__ = ["LOOKUPS", "channel_type", "lookup"]

# A selection of well-known sources. PostHog's own list is longer; a source that is missing here
# counts as a referral.
_SEARCH: Final = (
    "google", "google.com", "bing", "bing.com", "duckduckgo", "duckduckgo.com", "yahoo",
    "yahoo.com", "search.yahoo.com", "baidu", "baidu.com", "yandex", "yandex.ru", "yandex.com",
    "ecosia", "ecosia.org", "qwant", "qwant.com", "brave", "search.brave.com", "naver",
    "naver.com", "ask", "ask.com", "aol", "aol.com", "startpage", "startpage.com", "kagi.com",
    "msn", "msn.com", "google.co.uk", "google.de", "google.fr", "google.nl", "google.es",
    "google.it", "google.ca", "google.com.au", "google.co.in", "google.co.jp", "google.com.br",
)  # fmt: skip
_SOCIAL: Final = (
    "facebook", "facebook.com", "fb", "fb.com", "m.facebook.com", "l.facebook.com",
    "instagram", "instagram.com", "l.instagram.com", "ig", "twitter", "twitter.com", "t.co", "x",
    "x.com", "linkedin", "linkedin.com", "lnkd.in", "reddit", "reddit.com", "old.reddit.com",
    "pinterest", "pinterest.com", "tiktok", "tiktok.com", "snapchat", "snapchat.com", "threads",
    "threads.net", "mastodon", "mastodon.social", "bluesky", "bsky.app", "quora", "quora.com",
    "news.ycombinator.com", "hackernews", "vk.com", "weibo.com", "tumblr", "tumblr.com",
    "whatsapp", "whatsapp.com", "telegram", "t.me", "web.telegram.org", "discord", "discord.com",
    "meta", "messenger", "producthunt", "producthunt.com",
)  # fmt: skip
_VIDEO: Final = (
    "youtube", "youtube.com", "m.youtube.com", "youtu.be", "vimeo", "vimeo.com", "twitch",
    "twitch.tv", "dailymotion", "dailymotion.com", "netflix", "netflix.com",
)  # fmt: skip
_SHOPPING: Final = (
    "amazon", "amazon.com", "amazon.co.uk", "amazon.de", "ebay", "ebay.com", "etsy", "etsy.com",
    "shopify", "shopify.com", "walmart", "walmart.com", "alibaba", "alibaba.com",
    "shopping.google.com",
)  # fmt: skip
_EMAIL: Final = (
    "email", "e-mail", "mail", "gmail", "mail.google.com", "outlook", "outlook.live.com",
    "mailchimp", "newsletter", "com.google.android.gm",
)  # fmt: skip
_AI: Final = (
    "chatgpt", "chatgpt.com", "chat.openai.com", "openai", "perplexity", "perplexity.ai",
    "claude", "claude.ai", "gemini.google.com", "copilot.microsoft.com",
)  # fmt: skip


def _types(**values: tuple[str, ...]) -> Mapping[str, str]:
    return {value: kind.replace("_", " ") for kind, group in values.items() for value in group}


LOOKUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "lookupDomainType": _types(
        Search=_SEARCH, Social=_SOCIAL, Video=_VIDEO, Shopping=_SHOPPING, Email=_EMAIL, AI=_AI
    ),
    "lookupPaidSourceType": _types(
        Paid_Search=_SEARCH, Paid_Social=_SOCIAL, Paid_Video=_VIDEO, Paid_Shopping=_SHOPPING
    ),
    "lookupOrganicSourceType": _types(
        Organic_Search=_SEARCH, Organic_Social=_SOCIAL, Organic_Video=_VIDEO,
        Organic_Shopping=_SHOPPING, Email=_EMAIL, AI=_AI, SMS=("sms",), Push=("push",),
    ),
    "lookupPaidMediumType": _types(
        Paid_Search=("cpc", "ppc", "paidsearch", "paid_search", "paid-search", "sem"),
        Paid_Social=("paidsocial", "paid_social", "paid-social"),
        Paid_Video=("paidvideo", "paid_video", "paid-video", "cpv"),
        Paid_Shopping=("paidshopping", "paid_shopping", "paid-shopping"),
        Display=("display", "banner", "cpm", "expandable", "interstitial"),
    ),
    "lookupOrganicMediumType": _types(
        Organic_Search=("organic", "search"),
        Organic_Social=("social", "social-network", "social-media", "sm", "social network",
                        "social media"),
        Organic_Video=("video",), Organic_Shopping=("shopping",),
        Email=_EMAIL[:3], Affiliate=("affiliate", "affiliates"), Audio=("audio", "podcast"),
        SMS=("sms",), Push=("push", "mobile", "notification", "webpush"),
        Referral=("referral", "app", "link"),
    ),
}  # fmt: skip
"""What the functions answer, by their names."""

_PAID: Final = "'cpc', 'cpm', 'cpv', 'cpa', 'ppc', 'retargeting'"
_SHOP: Final = string("^(.*(([^a-df-z]|^)shop|shopping).*)$")


def lookup(function: str, sql: str) -> str:
    """Return the SQL of a lookup: the type, or NULL for a value that is not known."""
    kinds: dict[str, list[str]] = {}
    for value, kind in LOOKUPS[function].items():
        kinds.setdefault(kind, []).append(string(value))

    def found(value: str) -> str:
        arms = (f"{value} IN ({', '.join(own)}), {string(kind)}" for kind, own in kinds.items())
        return f"multiIf({', '.join(arms)}, NULL)"

    text = f"toString({sql})"
    if "Medium" in function:
        return found(text)
    shorter = f"cutToFirstSignificantSubdomain(concat('http://', {text}))"
    return f"coalesce({found(text)}, {found(shorter)})"


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
    campaign, medium, source = (f"lower({one})" for one in (utm_campaign, utm_medium, utm_source))

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
        f"(isNull({source}) OR {source} IN ('(direct)', 'direct', '$direct')) AND isNull({fbclid}), "
        f"'Direct', {organic})"
    )
