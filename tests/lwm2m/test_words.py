"""Outcomes in words."""

from __future__ import annotations

import pytest

from appliance.lwm2m.words import failure_words, outcome_words


def test_every_code_has_words() -> None:
    for code in range(256):
        assert outcome_words(code)


def test_a_refusal_says_what_to_do_next() -> None:
    assert outcome_words(0x84).startswith("Not Found: ")
    assert ";" in outcome_words(0x84)
    assert "4.31" in outcome_words(0x9F)


def test_several_paths_at_once_have_words_of_their_own() -> None:
    for code in range(256):
        alone, together = outcome_words(code), outcome_words(code, composite=True)
        assert alone.split(":")[0] == together.split(":")[0]
    assert "none of these paths" in outcome_words(0x84, composite=True)
    for code in (0x85, 0xA1):
        assert outcome_words(code, composite=True).endswith("do it path by path")


@pytest.mark.parametrize(
    "reason",
    [
        "timeout",
        "deadline",
        "reset",
        "cancelled",
        "body-too-large",
        "queue full",
        "moved",
        "unreachable",
        "not connected",
        "connection-lost",
    ],
)
def test_the_reasons_for_no_answer_have_words(reason: str) -> None:
    assert reason not in failure_words(reason) or reason == "cancelled"
    assert "(" not in failure_words(reason)


def test_an_unknown_reason_is_shown() -> None:
    assert "moon" in failure_words("moon")
