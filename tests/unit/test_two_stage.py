"""Search with adapters against brute force: every photo through an adapter of photos, the query through one of texts."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tiny_models import noise, random_lora, tiny_backbone

from core.backbones.base import Backbone
from core.common.errors import AdapterError, DescriptionError
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.index import Index
from core.retrieval.questions import WITHOUT, Query, split_minus
from core.retrieval.two_stage import EncodedQuery, TwoStageSearch

PHOTOS = 400


class Store:
    """Photos in memory that counts what is read of them."""

    def __init__(self, backbone: Backbone, prefixes: torch.Tensor) -> None:
        self.backbone, self._prefixes = backbone, prefixes
        self.index = Index(backbone.suffix(prefixes))
        self.read = 0

    def prefixes(self, places: np.ndarray) -> torch.Tensor:
        assert (np.diff(places) > 0).all()
        self.read += len(places)
        return self._prefixes[places]

    def scores(self, question: EncodedQuery, adapter: Adapter) -> np.ndarray:
        adapted = self.backbone.suffix(self._prefixes, adapter.lora)
        return (adapted @ question.embedding(self.backbone, adapter.lora)).numpy()


@pytest.fixture(scope="module")
def store() -> Store:
    """Photos whose adapters change photos."""
    backbone = tiny_backbone()
    pixels = torch.nn.functional.interpolate(noise(PHOTOS, 3, 6, 6, seed=3), (48, 48), mode="bilinear")
    assert backbone.layout.moves_photos
    return Store(backbone, backbone.prefix(pixels))


@pytest.fixture(scope="module")
def adapters(store: Store) -> list[Adapter]:
    return [ZERO_SHOT, *(Adapter.of(random_lora(store.backbone.layout, seed, 0.1)) for seed in (1, 2))]


def question(store: Store, seed: int) -> EncodedQuery:
    sentence = noise(1, store.backbone.sentence_dim, seed=seed)
    return EncodedQuery(torch.nn.functional.normalize(sentence, dim=1), torch.ones(1))


def best(scores: np.ndarray, top: int | None) -> list[int]:
    return np.argsort(-scores, kind="stable")[:top].tolist()


@pytest.mark.parametrize("exact_up_to", [PHOTOS, 0])
def test_exact_search_is_brute_force(store: Store, adapters: list[Adapter], exact_up_to: int) -> None:
    search = TwoStageSearch(store, exact_up_to)
    for top in (1, 10, None):
        found = search.search(question(store, 5), adapters, top, exact=True)
        for adapter, answer in zip(adapters, found, strict=True):
            scores = store.scores(question(store, 5), adapter)
            assert not answer.approximate
            assert len(set(answer.places.tolist())) == len(answer.places)
            np.testing.assert_allclose(answer.scores, scores[answer.places], atol=1e-5)
            np.testing.assert_allclose(answer.scores, scores[best(scores, top)], atol=1e-5)  # two that tie may change places


def test_two_stages_find_nearly_what_brute_force_finds_and_score_it_exactly(store: Store, adapters: list[Adapter]) -> None:
    search, shares = TwoStageSearch(store, exact_up_to=0), []
    for seed in range(20):
        for adapter, answer in zip(adapters, search.search(question(store, seed), adapters, 10, reranked=60), strict=True):
            scores = store.scores(question(store, seed), adapter)
            np.testing.assert_allclose(answer.scores, scores[answer.places], atol=1e-5)
            assert answer.approximate == (adapter is not ZERO_SHOT)
            shares.append(len(set(answer.places.tolist()) & set(best(scores, 10))) / 10)
    assert np.mean(shares) > 0.9
    everything = search.search(question(store, 1), adapters, 10, reranked=PHOTOS)
    for adapter, answer in zip(adapters, everything, strict=True):
        assert answer.places.tolist() == best(store.scores(question(store, 1), adapter), 10)


def test_a_new_adapter_costs_its_sample_and_a_question_its_candidates_once_for_all_columns(store: Store, adapters) -> None:
    search = TwoStageSearch(store, exact_up_to=0)
    search.map_of(adapters[1])
    search.map_of(adapters[2])
    store.read = 0
    search.search(question(store, 1), [adapters[1]], 10, reranked=40)
    assert store.read == 40
    store.read = 0
    search.search(question(store, 1), adapters, 10, reranked=40)
    assert 40 <= store.read <= 80


def test_filters_leave_the_best_of_what_may_be_answers(store: Store, adapters: list[Adapter]) -> None:
    among = np.arange(7, PHOTOS, 3)
    for exact_up_to in (0, PHOTOS):
        for adapter in adapters:
            search = TwoStageSearch(store, exact_up_to)
            answer = search.search(question(store, 8), [adapter], 10, among=among, reranked=len(among))[0]
            scores = store.scores(question(store, 8), adapter)
            assert answer.places.tolist() == among[np.argsort(-scores[among], kind="stable")[:10]].tolist()


def test_ranks_and_overlap_are_those_of_brute_force(store: Store, adapters: list[Adapter]) -> None:
    search, asked = TwoStageSearch(store, exact_up_to=0), question(store, 9)
    order = best(store.scores(asked, ZERO_SHOT), None)
    assert search.ranks(asked.embedding(store.backbone, None), np.array([order[0], order[17]])) == [1, 18]
    share, photos = search.overlap(asked, adapters[1], reranked=PHOTOS)
    assert (share, photos) == (1.0, PHOTOS)
    assert search.overlap(asked, adapters[1], top=PHOTOS, reranked=100)[0] == 0.25


@torch.no_grad()
def test_the_zero_shot_index_answers_the_query_of_an_adapter_of_texts_exactly(backbone: Backbone) -> None:
    """By a text head that the LoRA is merged into; no photo is read again, however many there are."""
    assert not backbone.layout.moves_photos
    store = Store(backbone, noise(PHOTOS, *backbone.prefix_shape, seed=3))
    lora = random_lora(backbone.layout, 1, 0.1)
    merged = copy.deepcopy(backbone.adapted)
    for name, factors in lora.factors.items():
        merged.get_submodule(name).weight += factors.b @ factors.a
    wanted, unwanted = ["a dog in the snow", "two boats"], ["night"]
    asked = Query(tuple(wanted), (), tuple(unwanted)).question(backbone)
    among = np.arange(7, PHOTOS, 3)
    rankings = []
    for head, adapter in ((merged.text, Adapter.of(lora)), (backbone.adapted.text, ZERO_SHOT)):
        texts = head(backbone.encode_sentence(wanted + unwanted)).cpu()
        query = torch.nn.functional.normalize(texts[:2].mean(0) - WITHOUT * texts[2], dim=0)
        scores = (backbone.suffix(store._prefixes) @ query).numpy()
        rankings.append(best(scores, 10))
        for exact_up_to in (0, PHOTOS):
            search = TwoStageSearch(store, exact_up_to)
            assert search.exact(adapter)
            for top in (1, 10, None):
                for places in (np.arange(PHOTOS), among):
                    found = search.search(asked, [adapter], top, among=None if len(places) == PHOTOS else places)[0]
                    expected = scores[places]
                    np.testing.assert_allclose(found.scores, np.sort(expected)[::-1][:top], atol=1e-5)
                    np.testing.assert_allclose(found.scores, scores[found.places], atol=1e-5)
                    assert np.isin(found.places, places).all() and not found.approximate
            assert torch.equal(search.embeddings(adapter, among), store.index.take(among))
            assert search.whole(adapter) is store.index
    assert store.read == 0
    assert rankings[0] != rankings[1], "the adapter changes what is found"


def test_an_adapter_of_texts_whose_numbers_are_not_finite_is_refused(backbone: Backbone) -> None:
    asked = Query(("a dog",)).question(backbone)
    with pytest.raises(AdapterError, match="not finite"):
        asked.embedding(backbone, random_lora(backbone.layout, 1).scaled(1e38))


def test_words_photos_and_what_should_not_show_are_one_vector(store: Store, adapters: list[Adapter]) -> None:
    from PIL import Image

    backbone, lora = store.backbone, adapters[1].lora
    photo = Image.effect_noise((48, 48), 80).convert("RGB")
    made = Query.parse(["dog", 'snow -water -"two people"'], [photo], ["night"])
    assert (made.texts, made.without) == (("dog", "snow"), ("night", "water", "two people"))
    texts = backbone.encode_text(["dog", "snow", "night", "water", "two people"])
    seen = backbone.suffix(backbone.prefix(backbone.pixels(photo)[None]), lora)[0]
    expected = (texts[0] + texts[1] + seen) / 3 - WITHOUT * texts[2:].mean(0)
    expected = torch.nn.functional.normalize(expected, dim=0)
    torch.testing.assert_close(made.question(backbone).embedding(backbone, lora), expected, atol=1e-5, rtol=0)


def test_what_a_minus_means() -> None:
    assert split_minus("dog -water") == ("dog", ("water",))
    assert split_minus("a t-shirt, 1990 - 1999, - and --") == ("a t-shirt, 1990 - 1999, - and --", ())
    assert split_minus('-"deep water" dog') == ("dog", ("deep water",))
    with pytest.raises(DescriptionError, match="only says what photos should not show"):
        Query.parse(["-water"])
    with pytest.raises(DescriptionError, match="empty"):
        Query.parse([" "])
    with pytest.raises(DescriptionError, match="more than"):
        Query.parse(["dog"] * 40)


def test_adapters_that_change_much_get_more_candidates(store: Store) -> None:
    search = TwoStageSearch(store, exact_up_to=0)
    for size, far in ((0.02, False), (2.0, True)):
        adapter = Adapter.of(random_lora(store.backbone.layout, 3, size))
        cosine = (store.backbone.suffix(store._prefixes, adapter.lora) * store.backbone.suffix(store._prefixes)).sum(-1).mean()
        assert search.map_of(adapter).closeness == pytest.approx(float(cosine), abs=0.05)
        store.read = 0
        search.search(question(store, 2), [adapter], 10)
        assert store.read == (PHOTOS if far else 300), "there are fewer photos than candidates"
