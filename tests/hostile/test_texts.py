"""Texts unlike any description: the text tower gives a finite unit vector or raises an error message."""

import sys
from collections.abc import Callable
from types import FrameType

import pytest
import torch
from torch import Tensor

from core.backbones.frozen_towers import EmbeddedTowers
from core.common.errors import StudioError

LONG = 100_000
HOSTILE = {
    "empty": "",
    "spaces": " \t\n\u00a0\u3000 ",
    "NUL": "\0dog\0" * 50,
    "control characters": "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    "one endless word": "a" * LONG,
    "an endless sentence": "a dog runs on the beach " * (LONG // 24),
    "endless numbers": "1234567890" * (LONG // 10),
    "endless Chinese": "我的狗在雪地里" * (LONG // 7),
    "emoji": "🐕🏖️👨‍👩‍👧‍👦🇩🇪" * 100,
    "right to left": "\u202ephotos of my dog\u202c \u200f\u200e\u2067كلب\u2069",
    "zero width": "d\u200bo\u200cg\u200d\ufeff" * 1_000,
    "marks on one letter": "a" + "\u0301\u0323\u0489" * (LONG // 3),
    "letters that normalise to many": "\ufdfa\u3350\u2175" * (LONG // 3),
    "the tokenizer's own signs": "\u2581<s></s><unk>[CLS][SEP]##a" * 500,
    "a lone high surrogate": "a dog \ud83d in the snow",
    "surrogates the wrong way round": "\udc15\ud83d" * 100,
    "private and unassigned": "\ue000\U000f0000\U0010ffff\u0378\uffff",
}


@pytest.fixture(scope="module")
def towers() -> EmbeddedTowers:
    return EmbeddedTowers()


def embedded(towers: EmbeddedTowers, texts: list[str]) -> Tensor | None:
    """Checked embeddings [n, s]; None if the tower raises an error message."""
    try:
        found = towers.encode_sentence(texts)
    except StudioError:
        return None
    assert found.shape == (len(texts), towers.sentence_dim)
    assert found.isfinite().all()
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(len(texts)), atol=1e-3, rtol=0)
    return found


def test_a_hostile_text_gives_a_unit_vector_or_an_error_and_leaves_its_neighbours_alone(towers: EmbeddedTowers) -> None:
    fine = [text for text in HOSTILE.values() if embedded(towers, [text]) is not None]
    batch = embedded(towers, ["a dog in the snow", *fine, "a cat"])
    assert batch is not None
    for row, text in ((0, "a dog in the snow"), (-1, "a cat")):
        alone = embedded(towers, [text])
        assert alone is not None
        torch.testing.assert_close(batch[row], alone[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize("unit", ["a dog runs on the beach ", "我的狗在雪地里"])
def test_long_texts_are_cut(towers: EmbeddedTowers, unit: str) -> None:
    start = unit * (20_000 // len(unit))
    first, second = embedded(towers, [start + " a red car"]), embedded(towers, [start + " two people surfing on a wave"])
    assert first is not None and second is not None
    torch.testing.assert_close(first, second, atol=1e-3, rtol=0)


@pytest.mark.parametrize("unit", ["a", "a dog runs on the beach ", "我的狗在雪地里", "🐕", "qxzvkj", " \u0301", "\ufdfa"])
def test_the_work_for_a_text_is_bounded(towers: EmbeddedTowers, unit: str) -> None:
    """A text five times as long as a very long one runs about the same number of Python lines."""
    embedded(towers, ["a dog"])  # load everything before lines are counted

    def lines(characters: int) -> int:
        count, before = 0, sys.gettrace()

        def trace(frame: FrameType, event: str, argument: object) -> Callable[..., object]:
            nonlocal count
            count += event == "line"
            return trace

        sys.settrace(trace)
        try:
            embedded(towers, [f"{characters} {(unit * characters)[:characters]}"])  # a new text, so no cache has it
        finally:
            sys.settrace(before)
        return count

    assert lines(100_000) <= lines(20_000) * 1.1 + 100
