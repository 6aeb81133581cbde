"""Search with adapters, compared with brute force: photo adapters change every photo, text adapters change the query."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tiny_models import noise, random_lora, tiny_backbone

from core.backbones.base import Backbone
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import photo_rows
from core.retrieval.questions import WITHOUT, EncodedQuery, Query
from core.retrieval.search import KEPT_ADAPTERS, PhotoIndexes, search

PHOTOS = 400
AMONG = np.arange(7, PHOTOS, 3)


@pytest.fixture(scope="module")
def vit() -> Backbone:
    """A backbone whose adapters change photos."""
    return tiny_backbone()


@pytest.fixture(scope="module")
def prefixes(vit: Backbone) -> torch.Tensor:
    return vit.prefix(torch.nn.functional.interpolate(noise(PHOTOS, 3, 6, 6, seed=3), (48, 48), mode="bilinear"))


@pytest.fixture
def photos(vit: Backbone, prefixes: torch.Tensor) -> PhotoIndexes:
    return PhotoIndexes(vit, list(prefixes), list(vit.suffix(prefixes)))


def adapter(backbone: Backbone, seed: int) -> Adapter:
    return Adapter.of(random_lora(backbone.layout, seed, 0.1))


def question(backbone: Backbone, seed: int) -> EncodedQuery:
    sentence = noise(1, backbone.sentence_dim, seed=seed)
    return EncodedQuery(torch.nn.functional.normalize(sentence, dim=1), torch.ones(1))


def check(found: list[tuple[int, float]], scores: np.ndarray, places: np.ndarray, top: int | None) -> None:
    """Check that these are the best of some places. Two places with nearly equal scores can be swapped."""
    chosen, values = [place for place, _ in found], [score for _, score in found]
    assert len(set(chosen)) == len(chosen) and set(chosen) <= set(places.tolist())
    np.testing.assert_allclose(values, scores[chosen], atol=1e-5)
    np.testing.assert_allclose(values, np.sort(scores[places])[::-1][:top], atol=1e-5)


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_adapters_of_photos_rank_as_photos_that_went_through_them(vit, prefixes, photos, seed) -> None:
    asked, chosen = question(vit, 5), ZERO_SHOT if seed is None else adapter(vit, seed)
    scores = (vit.suffix(prefixes, chosen.lora) @ vit.text_suffix(asked.texts)[0]).numpy()
    for top in (1, 10, None):
        check(search(photos, asked, chosen, top), scores, np.arange(PHOTOS), top)
        check(search(photos, asked, chosen, top, AMONG), scores, AMONG, top)


def test_indexes_of_the_last_adapters_are_kept_and_counted(vit, photos) -> None:
    zero_shot, adapters = photos.index.nbytes, [adapter(vit, seed) for seed in range(KEPT_ADAPTERS + 1)]
    indexes = [photos.index_for(one) for one in adapters]
    assert zero_shot == PHOTOS * vit.dim * 4 and photos.nbytes == (1 + KEPT_ADAPTERS) * zero_shot
    assert photos.index_for(adapters[1]) is indexes[1]
    assert photos.index_for(adapters[0]) is not indexes[0], "the index of the first adapter was dropped"
    assert photos.index_for(adapters[1]) is indexes[1], "the second adapter was used after the third, so its index is kept"
    assert photos.index_for(ZERO_SHOT) is photos.index


@torch.no_grad()
def test_the_zero_shot_index_answers_the_query_of_an_adapter_of_texts(backbone: Backbone) -> None:
    """The reference is a text head with the LoRA merged in, on photos without the shared part. Search must not use
    activations."""
    prefixes = torch.nn.functional.normalize(noise(PHOTOS, *backbone.prefix_shape, seed=3), dim=-1)
    lora = random_lora(backbone.layout, 1, 0.1)
    photos = PhotoIndexes(
        backbone, [torch.full_like(prefix, torch.nan) for prefix in prefixes], list(photo_rows(backbone, prefixes))
    )
    merged = copy.deepcopy(backbone.adapted)
    for name, factors in lora.factors.items():
        merged.get_submodule(name).weight += factors.b @ factors.a
    wanted, unwanted = ["a dog in the snow", "two boats"], ["night"]
    asked = Query(tuple(wanted), (), tuple(unwanted)).question(backbone)
    rankings = []
    for towers, chosen in ((merged, Adapter.of(lora)), (backbone.adapted, ZERO_SHOT)):
        texts = towers.text(backbone.encode_sentence(wanted + unwanted)).cpu()
        query = torch.nn.functional.normalize(texts[:2].mean(0) - WITHOUT * texts[2], dim=0)
        scores = (prefixes[:, 0] @ query).numpy()
        for top in (1, 10, None):
            check(search(photos, asked, chosen, top), scores, np.arange(PHOTOS), top)
            check(search(photos, asked, chosen, top, AMONG), scores, AMONG, top)
        rankings.append(np.argsort(-scores)[:10].tolist())
    assert rankings[0] != rankings[1], "the adapter changes the ranking"
