"""Find operations by what they do: a ranked index over the registry, built on first use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

from asyncposthog import registry
from asyncposthog.operation import Operation

from .words import WRITE_VERBS, expand, words

__all__ = ["Match", "near_matches", "search", "summary"]

_NAME, _RESOURCE, _TEXT, _PATH, _ARGUMENT = 3.0, 3.0, 1.6, 0.6, 0.4
_SATURATION: Final = 1.5
"""How soon repetitions of a word stop counting, as in BM25."""
_COMMON_NAMES: Final = (
    "actions annotations batch_exports cohorts dashboards event_definitions events "
    "experiments feature_flags insights persons projects property_definitions query "
    "session_recordings surveys users"
)
_COMMON: Final = frozenset(_COMMON_NAMES.split())
"""Resources that most requests are about."""


@dataclass(frozen=True, slots=True)
class Match:
    """A found operation."""

    operation: Operation
    score: float


@dataclass(frozen=True, slots=True)
class _Entry:
    operation: Operation
    weights: dict[str, float]
    """Words, and how much each says about the operation."""
    name: frozenset[str]
    """The words of its id."""
    prior: float


@dataclass(frozen=True, slots=True)
class _Index:
    entries: tuple[_Entry, ...]
    postings: dict[str, list[int]]
    rarity: dict[str, float]


def summary(operation: Operation) -> str:
    """Return what an operation does, in one sentence."""
    entry = registry.docs()["operations"].get(operation.id)
    text: str = entry["text"] if entry else operation.path
    return text.partition(". ")[0].rstrip(".") + "."


def search(
    text: str, limit: int = 5, *, where: Callable[[Operation], bool] | None = None
) -> list[Match]:
    """Return the operations that fit a description best, the best first.

    Args:
        text: What is to be done, in words, or a part of an operation's name.
        limit: How many at most.
        where: Only operations for which this returns True.
    """
    index = _index()
    query = expand(text)
    reads = WRITE_VERBS.isdisjoint(words(text))
    total = sum(weight * index.rarity.get(word, 0.0) for word, weight in query.items()) or 1.0
    scores: dict[int, float] = {}
    covered: dict[int, float] = {}
    for word, weight in query.items():
        value = weight * index.rarity.get(word, 0.0)
        for number in index.postings.get(word, ()):
            weight = index.entries[number].weights[word]
            scores[number] = scores.get(number, 0.0) + value * weight / (weight + _SATURATION)
            covered[number] = covered.get(number, 0.0) + value
    exact = text.strip().lower().replace(" ", "_")
    ranked: list[Match] = []
    for number, score in scores.items():
        entry = index.entries[number]
        operation = entry.operation
        if where is not None and not where(operation):
            continue
        in_name = sum(query.get(word, 0.0) for word in entry.name) / len(entry.name)
        score *= entry.prior * (0.5 + covered[number] / total) * (0.6 + 0.4 * in_name)
        if reads and not operation.writes:
            score *= 1.25
        if operation.id == exact:
            score += 1000.0
        ranked.append(Match(operation, score))
    ranked.sort(key=lambda match: (-match.score, match.operation.id))
    return ranked[:limit]


@cache
def _index() -> _Index:
    docs = registry.docs()
    entries = tuple(
        _Entry(
            operation,
            _weights(operation, docs["operations"], docs["resources"]),
            frozenset(words(operation.id, all=True)),
            prior,
        )
        for operation in registry.operations()
        for prior in (_prior(operation),)
        if prior
    )
    postings: dict[str, list[int]] = {}
    for number, entry in enumerate(entries):
        for word in entry.weights:
            postings.setdefault(word, []).append(number)
    count = len(entries)
    rarity = {
        word: math.log(1 + (count - len(numbers) + 0.5) / (len(numbers) + 0.5))
        for word, numbers in postings.items()
    }
    return _Index(entries, postings, rarity)


def _weights(
    operation: Operation, texts: dict[str, dict[str, str]], resources: dict[str, str]
) -> dict[str, float]:
    weights: dict[str, float] = {}

    def add(terms: Iterable[str], weight: float) -> None:
        for word in set(terms):
            weights[word] = weights.get(word, 0.0) + weight

    resource, _, name = operation.id.rpartition(".")
    add(words(name, all=True), _NAME)
    add(words(resource, all=True), _RESOURCE)
    entry = texts.get(operation.id)
    if entry:
        first, _, rest = entry["text"].partition(". ")
        add(words(first), _TEXT)
        add(words(rest), _TEXT / 2)
        add(words(" ".join(entry.get("args", {}))), _ARGUMENT)
    if resource in resources:
        add(words(resources[resource]), _TEXT / 2)
    if operation.body is not None:
        add(words(" ".join(name for _, name in operation.body.fields)), _ARGUMENT)
    path = operation.path.replace("{", " ").replace("}", " ").replace("_", " ")
    add(words(path), _PATH)
    return weights


def _prior(operation: Operation) -> float:
    """Return how likely it is that an operation is meant, all other things being equal."""
    prior = 1.0
    family = operation.id.partition(".")[0]
    if family in _COMMON:
        prior *= 1.35
    # A nested resource is meant only if it is named, and then more words fit it.
    prior *= 0.93 ** (operation.resource.count("."))
    if operation.name == "replace":
        prior *= 0.6  # `update` does the same with fewer fields
    if operation.name in {"list", "get", "create", "update", "delete"}:
        prior *= 1.1
    if operation.deprecated:
        prior *= 0.5
    if not operation.api_key_allowed:
        prior *= 0.6
    return prior


def near_matches(name: str, limit: int = 5) -> list[str]:
    """Return ids of operations that are spelled like a name, or mean it."""
    from difflib import get_close_matches  # only for errors, and it takes time to import

    ids = [entry.operation.id for entry in _index().entries]
    # A short name of a resource comes before another word: flags.update is feature_flags.update.
    longer = [own for own in ids if own.endswith(f"_{name}")]
    close = [*longer, *get_close_matches(name, ids, n=limit, cutoff=0.75)]
    related = [match.operation.id for match in search(name.replace(".", " ").replace("_", " "))]
    return list(dict.fromkeys([*close, *related]))[:limit]
