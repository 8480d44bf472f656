"""Sentences composed from the name of a method, its endpoint and the noun of its resource."""

from __future__ import annotations

import re
from dataclasses import dataclass

from codegen.surface.tree import Method

__all__ = ["Noun", "Summary", "default_noun", "summarize"]

_SPELLED = (
    "AI", "API", "CDC", "CI", "CIMD", "CSV", "DAG", "DORA", "HTTP", "IP", "JSON", "LLM", "LLMs",
    "MCP", "ML", "OAuth", "OpenAPI", "PR", "PRs", "SCIM", "SDK", "SLA", "SQL", "SSO", "URL",
    "URLs", "UTM", "UUID", "UUIDs", "GitHub", "GitLab", "Slack", "Jira", "Linear", "LinkedIn",
    "Google", "Twilio", "ClickUp", "Anthropic", "Python", "Go", "TypeScript", "Hog", "HogQL",
    "Streamlit", "PostHog", "Stamphog",
)  # fmt: skip
_SPELLING = {word.lower(): word for word in _SPELLED}
_UNCOUNTABLE = frozenset({
    "activity", "access", "analytics", "billing", "status", "code", "content", "context", "dag",
    "data", "feedback", "health", "info", "knowledge", "layout", "lineage",
    "metadata", "news", "quarantine", "quota", "search", "series", "signals", "spend",
    "state", "text", "tracking", "tree", "usage", "vision", "wiki",
})  # fmt: skip
_CRUD = {
    "list": "List {items}",
    "get": "Get {item}",
    "create": "Create {item}",
    "update": "Change the given fields of {item}",
    "replace": "Replace all fields of {item}",
    "delete": "Delete {item}",
    "restore": "Undo the deletion of {item}",
}
_CRUD_OF_SINGLETON = {
    "list": "List {item}",
    "get": "Get {item}",
    "create": "Set {item}",
    "update": "Change the given fields of {item}",
    "replace": "Replace {item}",
    "delete": "Delete {item}",
}
_VERBS = frozenset({
    "accept", "acknowledge", "activate", "add", "aggregate", "analyze", "append", "apply",
    "approve", "archive", "assign", "attach", "authorize", "backfill", "build", "calculate",
    "call", "cancel", "capture", "certify", "change", "characterize", "check", "claim", "clear",
    "complete", "compose", "compute", "connect", "convert", "copy", "count", "create",
    "deactivate", "delegate", "delete", "deprecate", "deprovision", "detach", "diagnose",
    "disable", "discard", "dismiss", "dispatch", "download", "duplicate", "edit", "emit",
    "enable", "end", "enrich", "estimate", "evaluate", "execute", "expire", "explain", "export",
    "finalize", "finish", "fork", "forget", "forward", "freeze", "generate", "get", "handoff",
    "import", "ingest", "install", "interrupt", "invalidate", "invite", "invoke", "join",
    "launch", "leave", "link", "list", "lookup", "mark", "materialize", "merge", "migrate",
    "move", "observe", "onboard", "open", "pause", "pin", "ping", "play", "poll", "post",
    "preflight", "prepare", "presign", "preview", "prewarm", "process", "promote", "propose",
    "provision", "proxy", "prune", "publish", "pull", "purchase", "push", "put", "query", "react",
    "read", "rearrange", "recalculate", "recompute", "reconcile", "record", "redeliver",
    "refresh", "refund", "regenerate", "register", "reject", "relay", "release", "reload",
    "remove", "rename", "render", "reopen", "reorder", "repair", "replace", "replay", "reply",
    "report", "request", "rerun", "resend", "reset", "resolve", "restart", "restore",
    "resubscribe", "resume", "resync", "retrieve", "retry", "revert", "review", "revoke", "roll",
    "rollback", "rotate", "run", "save", "scan", "schedule", "score", "search", "send", "set",
    "setup", "share", "ship", "simulate", "skip", "snooze", "split", "stage", "star", "start",
    "stop", "store", "stream", "submit", "subscribe", "suggest", "summarize", "switch", "sync",
    "tag", "test", "toggle", "track", "transfer", "translate", "trigger", "unarchive", "undo",
    "unfreeze", "unlink", "unpause", "unpin", "unregister", "unschedule", "unshare", "unsnooze",
    "unstar", "unsubscribe", "update", "upgrade", "upload", "validate", "verify", "view", "vote",
    "warm",
})  # fmt: skip
"""First words of method names that are verbs."""
_READING_VERBS = frozenset({
    "check", "count", "diagnose", "download", "export", "get", "list", "preview", "resolve",
    "retrieve", "search", "stream",
})  # fmt: skip
"""Verbs that GET requests are named with. In other names, such as `run_history`, it is a noun."""
_NO_OBJECT = frozenset({
    "all", "and", "as", "between", "by", "for", "from", "in", "is", "new", "now", "of", "to",
})  # fmt: skip
"""Words after a verb that do not begin an object."""
_ACTIVITY = "the activity log"
_AN = re.compile(r"^(?:MCP|LLM|SDK|SLA|ML|SSO|SQL|HTTP|[aeioAEIO])")
_U_LIKE_YOU = re.compile(r"^(?:UUID|URL|UTM|U?use|uni)")


@dataclass(frozen=True, slots=True)
class Noun:
    """What a resource consists of, in the singular and the plural."""

    singular: str
    plural: str
    single: bool = False
    """Whether there is only one, such as a configuration; then both forms have an article."""

    @property
    def with_article(self) -> str:
        """The singular with an article."""
        return self.singular if self.single else f"{_article(self.singular)} {self.singular}"

    @classmethod
    def parse(cls, text: str) -> Noun:
        """Return the noun for `"entry"`, `"entry/entries"` or `"the configuration"`."""
        if text.startswith("the "):
            return cls(text, text, single=True)
        singular, _, rest = text.partition("/")
        return cls(singular, rest or plural(singular))


@dataclass(frozen=True, slots=True)
class Summary:
    """The first sentence of a docstring."""

    text: str
    composed: bool
    """Whether it says what is done; if not, it only repeats the name of the method."""


def default_noun(path: tuple[str, ...]) -> Noun:
    """Return the noun for the name of a resource: `("tasks", "runs")` is a task run."""
    text = " ".join(_words(segment, noun=True) for segment in path)
    return Noun.parse(text)


def summarize(method: Method, noun: Noun, *, is_documented: bool) -> Summary:
    """Return a sentence that says what a method does.

    Args:
        method: The method.
        noun: What its resource consists of.
        is_documented: Whether the noun was written by us; if not, it is derived from the name.
    """
    name = method.name.rstrip("_")
    crud = (_CRUD_OF_SINGLETON if noun.single else _CRUD).get(name)
    if crud is not None:
        text = crud.format(item=noun.with_article, items=noun.plural)
        return Summary(f"{text}.", composed=is_documented)
    owner = _owner(method, noun)
    if name == "activity":
        return Summary(f"List {_ACTIVITY} of {owner}.", composed=is_documented)
    if name == "all_activity":
        return Summary(f"List {_ACTIVITY} of all {noun.plural}.", composed=is_documented)
    verb, _, rest = name.partition("_")
    if verb == "bulk" and rest:
        verb, _, rest = rest.partition("_")
        owner = f"several {noun.plural}"
    if verb in (_READING_VERBS if method.operation.method == "GET" else _VERBS) and (
        rest.partition("_")[0] not in _NO_OBJECT
    ):
        action = verb.capitalize()
        if verb == "setup":
            action = "Set up"
        if not rest:
            return Summary(f"{action} {owner}.", composed=is_documented)
        return Summary(f"{action} {_object(rest, owner)}.", composed=is_documented)
    words = _words(name)
    if method.operation.method == "GET" and not _NO_OBJECT & set(name.split("_")):
        action = "List" if method.cursor else "Get"
        return Summary(f"{action} the {words} of {owner}.", composed=is_documented)
    return Summary(f"Run the action `{name}` on {owner}.", composed=False)


def plural(noun: str) -> str:
    """Return the plural of a noun whose last word decides it."""
    start, _, last = noun.rpartition(" ")
    if last.lower() in _UNCOUNTABLE or last.endswith("s"):
        word = last if last.lower() in _UNCOUNTABLE or not last.endswith("ss") else f"{last}es"
    elif re.search(r"[^aeiou]y$", last):
        word = f"{last[:-1]}ies"
    elif re.search(r"(?:x|z|ch|sh)$", last):
        word = f"{last}es"
    else:
        word = f"{last}s"
    return f"{start} {word}".strip()


def _singular(word: str) -> str:
    if word in _UNCOUNTABLE or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if re.search(r"(?:x|ch|sh|ss)es$", word):
        return word[:-2]
    return word[:-1] if word.endswith("s") else word


def _words(name: str, *, noun: bool = False) -> str:
    parts = [part for part in name.split("_") if part]
    if noun and parts:
        parts[-1] = _singular(parts[-1])
    return " ".join(_SPELLING.get(part, part) for part in parts)


def _article(noun: str) -> str:
    is_an = _AN.match(noun) or (noun[:1] in "uU" and not _U_LIKE_YOU.match(noun))
    return "an" if is_an else "a"


def _owner(method: Method, noun: Noun) -> str:
    """Return what an action acts on: one item if its path names one, otherwise all."""
    if noun.single:
        return noun.singular
    segments = [part for part in method.operation.path.split("/") if part]
    # The first placeholder is the project or the organization, unless that is the item itself.
    first = 3 if method.operation.owner else 0
    has_id = any(part.startswith("{") for part in segments[first:])
    return noun.with_article if has_id else noun.plural


def _object(rest: str, owner: str) -> str:
    return f"the {_words(rest)} of {owner}"
