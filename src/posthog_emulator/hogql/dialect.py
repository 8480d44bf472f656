"""Parse HogQL with sqlglot: ClickHouse's dialect plus HogQL's additions.

HogQL's additions are rewritten on the tokens before parsing: `{placeholder}` becomes a quoted name
that a query cannot contain otherwise, `IN COHORT 12` becomes a call in the parentheses of IN, and
an operator's name used as a function (`in(a, b)`), or any word after a dot, becomes an identifier.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from sqlglot import parser
from sqlglot.dialects import clickhouse
from sqlglot.errors import SqlglotError

from .problems import HogQLError, untranslated
from .tree import exp

__all__ = ["COHORT", "PLACEHOLDER", "parse"]

PLACEHOLDER: Final = "\0placeholder:"
"""Prefix of the names that replace placeholders. A query cannot contain NUL, see `parse`."""
COHORT: Final = "\0cohort"
"""Name of the function that replaces `COHORT` after `IN`."""
_DEPTH: Final = 150
"""Maximum depth of nested parentheses."""

_tokens: Any = import_module("sqlglot.tokens")
Token = _tokens.Token
TokenType = _tokens.TokenType
_ClickHouse: Any = clickhouse.ClickHouse
_Base: Any = _ClickHouse.Parser
_Tokenizer: Any = _ClickHouse.Tokenizer
_Parser: Any = parser.Parser
_ENDS = {
    TokenType.VAR, TokenType.IDENTIFIER, TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.NUMBER,
    TokenType.STRING, TokenType.NULL, TokenType.TRUE, TokenType.FALSE, TokenType.NOT, TokenType.END,
}  # fmt: skip
_OPERATORS = {
    TokenType.IN, TokenType.LIKE, TokenType.ILIKE, TokenType.AND, TokenType.OR, TokenType.XOR,
    TokenType.MOD, TokenType.DIV,
}  # fmt: skip


# ClickHouse has `LIMIT n BY column` beside `LIMIT n`; sqlglot would let the second overwrite the
# first, so the two get separate arguments of the node.
def _limit(self: Any) -> tuple[str, Any]:
    limit = self._parse_limit()
    grouped = isinstance(limit, exp.Limit) and bool(limit.expressions)
    return ("limit_by" if grouped else "limit"), limit


class _HogQL(_ClickHouse):
    INDEX_OFFSET = 0

    class Tokenizer(_Tokenizer):
        VAR_SINGLE_TOKENS = {"$"}  # noqa: RUF012
        HEREDOC_STRINGS: list[Any] = []  # noqa: RUF012
        SINGLE_TOKENS = {  # noqa: RUF012
            mark: kind for mark, kind in _Tokenizer.SINGLE_TOKENS.items() if mark != "$"
        }

    class Parser(_Base):
        # Calls stay as they are written: for functions it knows, sqlglot would change names and
        # the order of arguments to those of its own nodes.
        FUNCTIONS: dict[str, Any] = {}  # noqa: RUF012
        FUNCTION_PARSERS: dict[str, Any] = {}  # noqa: RUF012
        NO_PAREN_FUNCTIONS: dict[Any, Any] = {}  # noqa: RUF012
        ARRAY_CONSTRUCTORS: dict[str, Any] = {}  # noqa: RUF012
        NO_PAREN_FUNCTION_PARSERS = {  # noqa: RUF012
            "CASE": _Base.NO_PAREN_FUNCTION_PARSERS["CASE"]
        }
        QUERY_MODIFIER_PARSERS = {  # noqa: RUF012
            **_Parser.QUERY_MODIFIER_PARSERS,
            **_Base.QUERY_MODIFIER_PARSERS,
            TokenType.LIMIT: _limit,
        }


def parse(sql: str) -> Any:
    """Read a query.

    Raises:
        HogQLError: The text is not exactly one query.
    """
    if "\0" in sql:
        raise HogQLError("A query cannot contain the character NUL.")
    dialect: Any = _HogQL()
    try:
        tokens = _plain(dialect.tokenize(sql))
        parsed = [tree for tree in dialect.parser().parse(tokens, sql) if tree is not None]
    except SqlglotError as error:
        raise HogQLError(f"Syntax error: {_first(error)}") from None
    except RecursionError:
        raise HogQLError("The query is nested too deeply.") from None
    if len(parsed) != 1:
        raise HogQLError("Syntax error: expected exactly one query.")
    tree = parsed[0]
    if not isinstance(tree, exp.Query) or isinstance(tree, exp.Table):
        raise HogQLError("Syntax error: expected a SELECT.")
    return tree


def _first(error: SqlglotError) -> str:
    told: list[dict[str, Any]] = getattr(error, "errors", [])
    if told:
        one = told[0]
        return f"{one['description']} Line {one['line']}, column {one['col']}."
    return str(error).partition("\n")[0]


def _plain(tokens: list[Any]) -> list[Any]:
    """Return the tokens with HogQL's additions rewritten."""
    made: list[Any] = []
    at, depth = 0, 0
    while at < len(tokens):
        token = tokens[at]
        kind = token.token_type
        depth += kind in {TokenType.L_PAREN, TokenType.L_BRACKET}
        depth -= kind in {TokenType.R_PAREN, TokenType.R_BRACKET}
        # Checked on the tokens: the recursion limit of Python would be reached inside sqlglot.
        if depth > _DEPTH:
            raise HogQLError("The query is nested too deeply.")
        if kind is TokenType.L_BRACE:
            at = _placeholder(tokens, at, made)
        elif kind is TokenType.IN and _is_cohort(tokens, at + 1):
            at = _cohort(tokens, at, made)
        else:
            after_dot = bool(made) and made[-1].token_type is TokenType.DOT
            word = kind is not TokenType.IDENTIFIER and token.text.isidentifier()
            if (after_dot and word) or (kind in _OPERATORS and _is_call(tokens, at, made)):
                token = _token(TokenType.VAR, token.text, token)
            made.append(token)
            at += 1
    return made


def _placeholder(tokens: list[Any], at: int, made: list[Any]) -> int:
    brace, names = tokens[at], list[str]()
    while (at := at + 1) < len(tokens) and tokens[at].token_type is not TokenType.R_BRACE:
        names.append(tokens[at].text)
    name = "".join(names)
    if at >= len(tokens) or not all(part.isidentifier() for part in name.split(".")):
        raise untranslated(f"the placeholder {{{name}}}, which is not a plain name,")
    made.append(_token(TokenType.IDENTIFIER, PLACEHOLDER + name, brace))
    return at + 1


def _is_cohort(tokens: list[Any], at: int) -> bool:
    return (
        at + 1 < len(tokens)
        and tokens[at].token_type is TokenType.VAR
        and tokens[at].text.lower() == "cohort"
        and tokens[at + 1].token_type in {TokenType.NUMBER, TokenType.STRING, TokenType.L_BRACE}
    )


def _cohort(tokens: list[Any], at: int, made: list[Any]) -> int:
    def mark(kind: Any, text: str) -> None:
        made.append(_token(kind, text, tokens[at]))

    made.append(tokens[at])
    mark(TokenType.L_PAREN, "(")
    mark(TokenType.VAR, COHORT)
    mark(TokenType.L_PAREN, "(")
    after = at + 2
    if tokens[after].token_type is TokenType.L_BRACE:
        after = _placeholder(tokens, after, made)
    else:
        made.append(tokens[after])
        after += 1
    mark(TokenType.R_PAREN, ")")
    mark(TokenType.R_PAREN, ")")
    return after


def _is_call(tokens: list[Any], at: int, made: list[Any]) -> bool:
    """Return whether an operator's name is used as a function."""
    after = tokens[at + 1].token_type if at + 1 < len(tokens) else None
    return after is TokenType.L_PAREN and (not made or made[-1].token_type not in _ENDS)


def _token(kind: Any, text: str, near: Any) -> Any:
    return Token(kind, text, line=near.line, col=near.col, start=near.start, end=near.end)
