"""The reason why a photo was left out travels between processes, of which one may be hostile."""

from __future__ import annotations

import json
import pickle

import pytest

from core.common.messages import message
from core.data.image_io import as_json, from_json, photo_error, reason_of

REASONS = [
    (message("CORE_NO_IMAGE"), "this is not a readable image (readable: JPEG,"),
    (message("CORE_PIXELS", width=9, height=8, most=64), "9 x 8 pixels is more than 64 megapixels;"),
    (message("CORE_FULL", most=1_000), "the gallery is full: it takes at most 1,000 photos."),
]


@pytest.mark.parametrize(("reason", "text"), REASONS)
def test_a_reason_is_the_same_in_another_process(reason, text) -> None:
    error = pickle.loads(pickle.dumps(photo_error("a.jpg", reason)))
    assert str(error).startswith(f"a.jpg: {text}") and reason_of(error) == reason


@pytest.mark.parametrize(("reason", "text"), REASONS[:2])
def test_a_decoder_gives_its_reason_as_json(reason, text) -> None:
    assert str(from_json(json.loads(json.dumps(as_json(reason))))).startswith(text)


@pytest.mark.parametrize(
    "forged",
    [
        None,
        "text",
        [],
        ["CORE_MEMORY"],
        ["CORE_MEMORY", []],
        ["nothing", {}],
        ["CORE_PIXELS", {}],
        ["CORE_PIXELS", {"width": []}],
    ],
)
def test_a_forged_reason_is_refused(forged) -> None:
    with pytest.raises((LookupError, ValueError, TypeError, AttributeError)):
        from_json(forged)
