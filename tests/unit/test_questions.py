"""Questions with several parts: parsing, and the resulting vector."""

import pytest
import torch
from PIL import Image
from tiny_models import random_lora, tiny_backbone

from core.common.errors import DescriptionError
from core.names.teach import TaughtNames
from core.retrieval.questions import NAMED, WITHOUT, Query, split_minus


def test_words_photos_and_what_should_not_show_are_one_vector() -> None:
    backbone = tiny_backbone()
    lora = random_lora(backbone.layout, 1, 0.1)
    photo = Image.effect_noise((48, 48), 80).convert("RGB")
    made = Query.parse(["dog", 'snow -water -"two people"', "-night"], [photo])
    assert (made.texts, made.without) == (("dog", "snow"), ("water", "two people", "night"))
    texts = backbone.encode_text(["dog", "snow", "water", "two people", "night"])
    seen = backbone.suffix(backbone.prefix(backbone.pixels(photo)[None]), lora)[0]
    expected = (texts[0] + texts[1] + seen) / 3 - WITHOUT * texts[2:].mean(0)
    expected = torch.nn.functional.normalize(expected, dim=0)
    torch.testing.assert_close(made.question(backbone).embedding(backbone, lora), expected, atol=1e-5, rtol=0)


def test_what_a_minus_means() -> None:
    assert split_minus("dog -water") == ("dog", ("water",))
    assert split_minus("a t-shirt, 1990 - 1999, - and --") == ("a t-shirt, 1990 - 1999, - and --", ())
    assert split_minus('-"deep water" dog') == ("dog", ("deep water",))
    with pytest.raises(DescriptionError, match="only excludes words"):
        Query.parse(["-water"])
    with pytest.raises(DescriptionError, match="empty"):
        Query.parse([" "])
    with pytest.raises(DescriptionError, match="more than"):
        Query.parse(["dog"] * 40)


def test_in_a_sentence_the_rest_counts_too_and_the_photos_of_names() -> None:
    backbone = tiny_backbone()
    own = [torch.randn(n, *backbone.prefix_shape, generator=torch.Generator().manual_seed(n)).half() for n in (1, 3)]
    names = TaughtNames(backbone).add("wug", own[0]).add("dax", own[1])
    asked = Query.parse(["a wug and a dax in the snow", "a tree", "wug", "-night"])
    named, alone, tree, wug, night = backbone.encode_text([*asked.texts[:1], "a and a in the snow", "a tree", "wug", "night"])
    share = 19 / (19 + NAMED)  # letters and spaces of the rest
    wanted = ((1 - share) * named + share * alone + tree + wug) / 3 - WITHOUT * night
    for photos in own:
        wanted = wanted + backbone.suffix(photos).sum(0) / (len(photos) + 2)
    wanted = torch.nn.functional.normalize(wanted, dim=-1)
    query = asked.question(backbone)
    assert torch.allclose(query.with_names(names).embedding(backbone), wanted, atol=1e-5)
    other = Query.parse(["a tree", "wug", "-dax"]).question(backbone)
    assert other.with_names(names) is other
