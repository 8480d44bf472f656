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
    found = LOOKUPS[function]
    pairs = f"[{', '.join(map(string, found))}], [{', '.join(map(string, found.values()))}]"
    answer = f"transform(toString({sql}), {pairs}, NULL)"
    if "Medium" in function:
        return answer
    shorter = f"cutToFirstSignificantSubdomain(concat('http://', toString({sql})))"
    return f"coalesce({answer}, transform({shorter}, {pairs}, NULL))"


def channel_type(
    *,
    campaign: str,
    medium: str,
    source: str,
    referring_domain: str,
    gclid: str,
    fbclid: str,
    gad_source: str,
) -> str:
    """Return the SQL of the channel type.

    Args:
        campaign: SQL of the first `utm_campaign`, or NULL.
        medium: SQL of the first `utm_medium`, or NULL.
        source: SQL of the first `utm_source`, or NULL.
        referring_domain: SQL of the first referring domain, or NULL.
        gclid: SQL of whether there was a `gclid`.
        fbclid: SQL of whether there was an `fbclid`.
        gad_source: SQL of the first `gad_source`, or NULL.
    """
    campaign, medium, source = (f"lower({one})" for one in (campaign, medium, source))

    def shop(kind: str) -> str:
        return f"if(ifNull(match({campaign}, {_SHOP}), 0), '{kind} Shopping', NULL)"

    def video(kind: str) -> str:
        return f"if(ifNull(match({campaign}, 'video'), 0), '{kind} Video', NULL)"

    paid = (
        f"coalesce({lookup('lookupPaidSourceType', source)}, {shop('Paid')}, "
        f"{lookup('lookupPaidMediumType', medium)}, "
        f"{lookup('lookupPaidSourceType', referring_domain)}, "
        f"if(ifNull({gad_source} = '1', 0), 'Paid Search', NULL), {video('Paid')}, "
        f"if({fbclid}, 'Paid Social', NULL), 'Paid Unknown')"
    )
    organic = (
        f"coalesce({lookup('lookupOrganicSourceType', source)}, {shop('Organic')}, "
        f"{lookup('lookupOrganicMediumType', medium)}, "
        f"{lookup('lookupOrganicSourceType', referring_domain)}, {video('Organic')}, "
        f"if(ifNull(match({medium}, 'push$'), 0), 'Push', NULL), "
        f"if({fbclid}, 'Organic Social', NULL), "
        f"if(ifNull({referring_domain} = '$direct', 0), 'Direct', NULL), "
        f"if(isNotNull({referring_domain}), 'Referral', NULL), 'Unknown')"
    )
    return (
        f"multiIf(ifNull(match({campaign}, 'cross-network'), 0), 'Cross Network', "
        f"ifNull({medium} IN ({_PAID}), 0) OR ifNull(startsWith({medium}, 'paid'), 0) "
        f"OR {gclid} OR isNotNull({gad_source}), {paid}, "
        f"ifNull({referring_domain} = '$direct', 0) AND isNull({medium}) AND (isNull({source}) "
        f"OR ifNull({source} IN ('(direct)', 'direct', '$direct'), 0)) AND NOT {fbclid}, "
        f"'Direct', {organic})"
    )
