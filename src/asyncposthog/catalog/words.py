"""Split texts into words to search for, and add the words that mean the same. Pure."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

__all__ = ["WRITE_VERBS", "expand", "words"]

_WORD: Final = re.compile(r"[a-z0-9]+")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_STOP_WORDS: Final = (
    "a an and are as at be been by can could did do does every everything for from had has "
    "have how i if in into is it its long me many must my next of off on one or our out per "
    "please several so some someone that the their them then there these this those to up us "
    "use used using want was we were what when where which who whose why will with would you "
    "your all any each show tell give happened"
)
STOP_WORDS: Final = frozenset(_STOP_WORDS.split())
"""Words that say nothing about what is searched for."""

PHRASES: Final[tuple[tuple[str, str], ...]] = (
    (r"a/?b[ -]?(test|experiment)", "experiment"),
    (r"split[ -]test", "experiment"),
    (r"(turn|switch)(ed|ing)? .{0,40}\boff\b|deactivate", "disable"),
    (r"(turn|switch)(ed|ing)? .{0,40}\bon\b|activate|roll ?out", "enable feature flag"),
    (r"dis?tinct[ _]?ids?", "distinct id person"),
    (r"feature (toggle|switch|gate)s?", "feature flag"),
    (r"source ?maps?", "symbol set upload"),
    (r"(session )?(replay|recording)s?", "session recording"),
    (r"(personal )?api[ -]?keys?", "personal api key"),
    (r"who am i\b|my (user|account|profile)", "users me"),
    (r"(which|what|whose|who|how many) .*\bmatch", "matching ids"),
    (r"\bhogql\b|\bsql\b|run .*\bquery", "query create"),
    (r"\b(was|were|had) .*(last|ago|before|on \d|back then)", "at time"),
    (r"slow (request|call|endpoint|operation)|latency|spans?\b", "tracing span trace"),
    (r"where .*\bused|uses of", "used in"),
    (r"\bwho (is|are) in\b", "list persons of"),
    (r"who changed|what changed|change ?log|history of changes", "activity changes"),
    (r"undelete|bring back|recover", "restore"),
    (r"bulk|in bulk|several|at once|mass|multiple", "bulk several"),
    (r"sign ?ups?", "signup"),
    (r"\bset(ting)? up\b|\bdefine\b|\bbuild\b|\bregister\b", "create"),
    (r"natural language|in plain english|from a question", "draft natural language"),
    (r"\b(parquet|jsonl?) files?\b|as a file", "file download batch export"),
    (r"\bto (s3|bigquery|snowflake|redshift|postgres|azure)\b", "batch export destination"),
    (r"\bas (an? )?(png|pdf|csv|image)\b|\bimage of", "exports create exported asset"),
    (r"(every|each) (\w+day|week|month)|weekly report|by e?mail", "subscription"),
    (r"next (week|month|monday)|later|at a time|in the future|schedule", "scheduled change"),
    (r"event names?|names of events", "event definition"),
    (r"property names?", "property definition"),
    (r"web ?hooks?", "webhook hog function destination"),
    (r"gdpr|right to be forgotten|all their data", "delete person"),
    (r"audit (log|trail)", "activity log"),
    (r"logs of|application logs?|log lines?", "logs query"),
    (r"make (someone|somebody|a user|\w+) (an )?admin|permission level|change .* role",
     "update organization member"),
    (r"what can .* do|scopes? of", "current scopes"),
    (r"api endpoint|http endpoint", "endpoint"),
    (r"saved (sql )?(view|quer)\w*|sql view", "warehouse saved query"),
    (r"data sources?\b", "external data source"),
    (r"joins?\b.*\btables?", "warehouse view link join"),
    (r"won|winner|winning", "ship variant"),
    (r"how many (people|users|persons).*(affect|reach|match)", "blast radius"),
    (r"(results?|metrics?) over time", "timeseries results"),
    (r"sample size|running time|how long .*\b(run|last)", "calculate running time"),
    (r"finish|conclude|complete", "end"),
    (r"in plain words|what people (said|answered|think)", "responses"),
)  # fmt: skip
"""Regular expressions, and the words that they add."""

SYNONYMS: Final[dict[str, tuple[str, ...]]] = {
    "alarm": ("alert",),
    "answer": ("response",),
    "bill": ("billing", "invoice"),
    "campaign": ("hog", "flow", "workflow"),
    "card": ("tile",),
    "change": ("update",),
    "chart": ("insight",),
    "colleague": ("member", "user", "collaborator"),
    "company": ("group", "organization"),
    "condition": ("filter",),
    "connect": ("create",),
    "cost": ("spend", "usage"),
    "crash": ("error", "exception"),
    "customer": ("person", "account"),
    "data": (),
    "deploy": ("annotation",),
    "deployment": ("annotation",),
    "download": ("export", "file"),
    "drop": (),
    "edit": ("update",),
    "email": ("subscription",),
    "erase": ("delete",),
    "error": ("error", "tracking", "issue"),
    "exception": ("error", "tracking", "issue"),
    "experience": (),
    "fail": ("logs", "failed"),
    "fetch": ("get", "list"),
    "find": ("list", "search"),
    "flag": ("feature", "flag"),
    "flow": ("hog", "flow", "workflow"),
    "funnel": ("insight",),
    "graph": ("insight",),
    "halt": ("stop", "pause"),
    "hide": ("update", "hidden"),
    "invite": ("invite", "invitation"),
    "join": ("link",),
    "list": ("list",),
    "look": ("get", "list"),
    "make": ("create",),
    "mark": ("update",),
    "modify": ("update",),
    "move": ("move",),
    "new": ("create",),
    "person": ("person",),
    "people": ("person",),
    "plan": ("billing",),
    "popular": ("trending",),
    "post": ("create",),
    "publicly": ("sharing", "shared"),
    "read": ("get",),
    "remove": ("delete", "remove"),
    "rename": ("update", "name"),
    "report": ("insight", "subscription"),
    "resolve": ("update", "resolved"),
    "retrieve": ("get",),
    "role": ("role",),
    "rollout": ("feature", "flag"),
    "run": ("run",),
    "save": ("create",),
    "search": ("list", "search"),
    "see": ("get", "list"),
    "set": ("update",),
    "share": ("sharing", "share"),
    "slack": ("integration",),
    "sql": ("query",),
    "start": ("launch", "start"),
    "stat": ("stats", "statistics"),
    "statistic": ("stats",),
    "stop": ("stop", "end"),
    "table": ("warehouse", "table"),
    "team": ("project", "organization"),
    "teammate": ("member", "assign"),
    "test": ("test",),
    "toggle": ("enable", "disable"),
    "transformation": ("hog", "function"),
    "trend": ("insight",),
    "user": ("person", "user"),
    "view": ("view",),
    "visitor": ("person",),
    "warehouse": ("warehouse",),
    "workflow": ("hog", "flow"),
    "write": ("create",),
}
"""Words of users, and the words that the API has for them."""


@cache
def stem(word: str) -> str:
    """Return a word without the endings of plurals and verbs."""
    for ending, rest, minimum in (
        ("ies", "y", 5),
        ("sses", "ss", 6),
        ("xes", "x", 5),
        ("ing", "", 6),
        ("ed", "", 5),
        ("s", "", 4),
    ):
        if word.endswith(ending) and len(word) >= minimum and not word.endswith("ss"):
            word = word[: -len(ending)] + rest
            break
    if len(word) > 4 and word[-1] == word[-2] and word[-1] in "bdgmnprt":
        word = word[:-1]
    return word[:-1] if len(word) > 4 and word.endswith("e") else word


def words(text: str, *, all: bool = False) -> list[str]:
    """Return the words of a text, in lower case, without endings and stop words.

    Args:
        text: The text, or a name in camel case or with underscores.
        all: Whether to return stop words too: in a name, they mean something.
    """
    spaced = _CAMEL.sub(" ", text).lower()
    return [stem(word) for word in _WORD.findall(spaced) if all or word not in STOP_WORDS]


_WRITE_VERBS: Final = (
    "add archive assign cancel change create delete disable edit email enable end invite "
    "launch make mark materialize merge move new pause post remove rename resolve restore "
    "rotate run save schedule send set share ship split start stop switch turn undelete "
    "update upload define build register resync copy write connect join test backfill"
)
WRITE_VERBS: Final = frozenset(map(stem, _WRITE_VERBS.split()))
"""Words of users that ask for a change."""


_STEMMED: Final = {stem(word): [*map(stem, others)] for word, others in SYNONYMS.items()}
_COMPILED: Final = tuple(
    (re.compile(pattern), words(added, all=True)) for pattern, added in PHRASES
)


def expand(text: str) -> dict[str, float]:
    """Return the words of a query with weights: its own count 1, added ones less."""
    weights: dict[str, float] = {}
    lower = text.lower()
    for word in words(lower):
        weights[word] = 1.0
    for pattern, added in _COMPILED:
        if pattern.search(lower):
            for word in added:
                weights[word] = max(weights.get(word, 0.0), 0.9)
    for word in list(weights):
        for other in _STEMMED.get(word, ()):
            weights[other] = max(weights.get(other, 0.0), 0.6)
    return weights
