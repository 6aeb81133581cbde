"""Descriptions: different wordings of one subject are equal, and unusual sentences get a remark."""

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F

from core.backbones.description import TEMPLATES, embed_descriptions, embed_expert, subject
from core.experts.random_sentence import MORE, RANDOM
from core.sglora.fit import NO_PHOTOS


class Counting:
    """Embeds a text by counting its letters."""

    def encode_sentence(self, texts: Sequence[str]) -> torch.Tensor:
        rows = [[text.lower().count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        return F.normalize(torch.tensor(rows, dtype=torch.float32), dim=-1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("photos of my kids", "kids"),
        ("my kids", "kids"),
        ("A photo of a birthday party.", "birthday party"),
        ("Pictures with  bicycles", "bicycles"),
        ("our Christmas photos", "Christmas"),
        ("photos", "photos"),
        ("the", "the"),
        ("aerial photos of fields", "aerial photos of fields"),
        ("photographer of the year", "photographer of the year"),
        ("Fotos von Pferden", "Pferden"),
        ("unsere Bilder vom Strand", "Strand"),
        ("les photos de chevaux", "chevaux"),
        ("photos d’enfants", "enfants"),
        ("fotos del mar", "mar"),
        ("imagens da praia", "praia"),
        ("foto di gatti", "gatti"),
        ("foto's van honden", "honden"),
        ("фотографии кошек", "кошек"),
        ("猫的照片。", "猫"),
        ("雪の中の犬の写真", "雪の中の犬"),
        ("航空写真", "航空写真"),
        ("Fotos", "Fotos"),
    ],
)
def test_subject_is_what_the_photos_show(text: str, expected: str) -> None:
    assert subject(text) == expected


def test_an_embedding_is_the_mean_over_templates() -> None:
    encoder = Counting()
    (found,) = embed_descriptions(encoder, ["photos of a dog"])
    rows = encoder.encode_sentence([t.format("dog") for t in TEMPLATES])
    torch.testing.assert_close(found, F.normalize(rows.mean(0), dim=0))
    torch.testing.assert_close(found, embed_descriptions(encoder, ["my dog"])[0])
    both = F.normalize(embed_descriptions(encoder, ["dog", "puppy"]).mean(0), dim=0)
    torch.testing.assert_close(embed_expert(encoder, ("a dog", "puppy")), both)


def test_no_control_is_a_reference_sentence() -> None:
    assert not set(NO_PHOTOS) & {*RANDOM, *MORE} and len({*RANDOM, *MORE}) == 8
