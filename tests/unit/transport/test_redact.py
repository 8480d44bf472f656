"""Nothing that looks like a key is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncposthog.errors.from_response import parse_error_body
from asyncposthog.redact import Redactor, mask, mask_target


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key phx_abcDEF-12_3.", "key phx_***."),
        ("'phc_x','phs_y','pha_z'", "'phc_***','phs_***','pha_***'"),
        ("key_phx_abc", "key_phx_***"),
        ("PHX_abc", "PHX_***"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ('{"bearer  x"}', '{"bearer  ***"}'),
        ("graphs_total and phx_ alone", "graphs_total and phx_ alone"),
    ],
)
def test_keys_by_their_looks(text: str, shown: str) -> None:
    assert mask(text) == shown
    assert Redactor([]).mask_bytes(text.encode()) == shown.encode()


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/a/?token=abc&x=1", "/a/?token=***&x=1"),
        ("/a/?x=1&personal_api_key=abc", "/a/?x=1&personal_api_key=***"),
        (
            "/a/?secret_api_key=a&sharing_access_token=b",
            "/a/?secret_api_key=***&sharing_access_token=***",
        ),
        ("/a/?X-Amz-Signature=abc", "/a/?X-Amz-Signature=***"),
        ("/a/?password=", "/a/?password=***"),
        ("/a/?q=phx_abc", "/a/?q=phx_***"),
        ("/a/?limit=1", "/a/?limit=1"),
    ],
)
def test_targets(target: str, shown: str) -> None:
    assert mask_target(target) == shown


@given(st.text(min_size=6, max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_known_values_wherever_they_stand(secret: str, before: str, after: str) -> None:
    key = "q!" + secret
    shown = Redactor([key])(f"{before}{key}{after}")
    assert key not in shown


def test_encoded_forms() -> None:
    redact = Redactor(['abc"def/ghi', "shrt"])
    assert redact("abc%22def%2Fghi") == "***"
    assert redact('{"k": "abc\\"def/ghi"}') == '{"k": "***"}'
    assert redact.mask_bytes(b'x abc"def/ghi y') == b"x *** y"
    # Too short to be told from ordinary text.
    assert redact("shrt") == "shrt"


def _masked(target: str) -> str:
    """Mask parameters one after the other, without a pattern."""
    done = ""
    while target:
        name, equals, rest = target.partition("=")
        start = max(name.rfind("?"), name.rfind("&")) + 1
        opened = start > 0 or not done
        done += name + equals
        secret = any(word in name[start:].lower() for word in ("token", "secret", "apikey"))
        if equals and opened and secret:
            end = min((i for i in map(rest.find, "&#") if i >= 0), default=len(rest))
            done, rest = done + "***", rest[end:]
        target = rest
    return done


@given(st.lists(st.sampled_from(["token", "apikey", "a", "?", "&", "=", "#", "/", "SECRET"])))
def test_targets_of_any_shape(parts: list[str]) -> None:
    target = "".join(parts)
    assert mask_target(target) == _masked(target)


@pytest.mark.parametrize(
    "piece",
    ["token", "bearer ", "bearer", "phx_", "?", "&a", "?a=", "=token=", "a&token", "secret_", " "],
)  # fmt: skip
def test_a_long_text_takes_no_longer_than_it_is(piece: str) -> None:
    # Nothing here measures time: with a pattern that is not linear, this takes minutes.
    text = piece * (300_000 // len(piece))
    for target in (text, f"/?{text}", f"{text}=", f"bearer{text}"):
        assert mask_target(target)
        assert Redactor([]).mask_bytes(target.encode())


@pytest.mark.parametrize(
    "piece",
    ["<title>", "<h1>", "<script>", "<style", "<", "</title", "<title></title>", "<h1><b>"],
)  # fmt: skip
def test_a_long_page_takes_no_longer_than_it_is(piece: str) -> None:
    words = parse_error_body((piece * (1_000_000 // len(piece))).encode(), "text/html")
    assert words.html


def test_a_key_in_a_long_text_is_masked_wherever_it_stands() -> None:
    filler = "<h1 " * 1000
    for key in ("phx_abcdefgh", "PHX_abcdefgh", "Bearer abcdefgh", "unprefixedKey"):
        redact = Redactor(["unprefixedKey"])
        for text in (key + filler, filler + " " + key, filler + " " + key + " " + filler):
            assert "abcdefgh" not in redact(text)
            assert b"abcdefgh" not in redact.mask_bytes(text.encode())
            assert "unprefixedKey" not in redact(text)
