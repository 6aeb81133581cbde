"""One index of photos with and without the shared part, compared with brute force over two matrices."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_photos import blurred
from recalls import recalls
from shared_parts import random_shared
from tiny_models import noise, random_lora

from core.backbones.lora import Lora
from core.common.errors import AdapterError, DescriptionError
from core.common.metrics import Relevance
from core.data.image_io import open_photo
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import photo_rows, text_rows, width
from core.retrieval.gallery import Gallery
from core.retrieval.indexing import index_folders
from core.retrieval.library import PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.popularity import popularity
from core.retrieval.questions import WITHOUT, Query
from core.retrieval.search import PhotoIndexes, search
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

SENTENCE, QUERY = "photos of people surfing", "a man on a wave"
PHOTOS = 30


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    blurred(folder, [f"{i:02}.jpg" for i in range(PHOTOS)], 1)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def gallery(engine: SGLora, photos: list[Path]) -> Gallery:
    gallery = Gallery(engine.backbone)
    gallery.add(photos)
    gallery.set_captions({path.name: [f"a photo of number {i}", f"picture {i % 7}"] for i, path in enumerate(photos)})
    return gallery


@pytest.fixture(scope="module")
def prefixes(engine: SGLora, photos: list[Path]) -> torch.Tensor:
    return torch.cat([engine.backbone.prefix(engine.backbone.pixels(open_photo(path))[None]) for path in photos])


def mixture(engine: SGLora, prefixes: torch.Tensor, texts: list[str], lora: Lora, weight: float) -> np.ndarray:
    """[n, m] scores with two matrices: (1 - w) zero-shot + w adapted."""
    backbone = engine.backbone
    zero = backbone.suffix(prefixes) @ backbone.encode_text(texts).T
    adapted = backbone.suffix(prefixes, lora) @ backbone.encode_text(texts, lora).T
    return ((1 - weight) * zero + weight * adapted).numpy()


def test_rows_have_unit_length_and_hold_both_embeddings(engine, gallery, prefixes) -> None:
    backbone, index = engine.backbone, gallery.searchable.index
    rows = index.take(np.arange(len(index)))
    assert width(backbone) == 2 * backbone.dim == rows.shape[1]
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(PHOTOS))
    adapter = Adapter.of(engine.adapt(AdapterRequest(SENTENCE)).lora)
    assert gallery.searchable.index_for(adapter) is index, "a new sentence must reuse the photos' index"
    torch.testing.assert_close(gallery.embeddings(), backbone.suffix(prefixes), atol=5e-3, rtol=0)
    torch.testing.assert_close(gallery.embeddings(adapter), backbone.suffix(prefixes, adapter.lora), atol=5e-3, rtol=0)
    assert (gallery.embeddings() - gallery.embeddings(adapter)).abs().max() > 0.02


def test_questions_of_words_and_photos_are_mixed_alike(engine, prefixes, photos) -> None:
    backbone, lora, weight = engine.backbone, engine.adapt(AdapterRequest(SENTENCE)).lora, 0.4
    asked = Query((QUERY,), (open_photo(photos[3]),), ("a boat",)).question(backbone)
    scores = torch.zeros(PHOTOS)
    for share, one in ((1 - weight, None), (weight, lora)):
        wanted, unwanted = backbone.encode_text([QUERY, "a boat"], one)
        seen = backbone.suffix(prefixes, one)
        query = (wanted + seen[3]) / 2 - WITHOUT * unwanted
        scores += share * seen @ (query / query.norm())
    indexes = PhotoIndexes(backbone, list(prefixes), list(photo_rows(backbone, prefixes)))
    found = search(indexes, asked, Adapter.of(lora, weight), None)
    np.testing.assert_allclose([score for _, score in found], scores[[place for place, _ in found]], atol=1e-3)
    assert found[0][0] == int(scores.argmax())


def test_an_adapter_of_texts_alone_asks_the_zero_shot_half(engine, prefixes) -> None:
    backbone, own = engine.backbone, random_lora(engine.repository.layout, 5, 0.1)
    read = backbone.text_prefix([QUERY, "two boats"])
    for weight in (0.25, 1.0):
        expected = mixture(engine, prefixes, [QUERY, "two boats"], own, weight)
        found = photo_rows(backbone, prefixes) @ text_rows(backbone, read, Adapter.of(own, weight)).T
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(backbone.suffix(prefixes, own), backbone.suffix(prefixes), atol=0)


def test_galleries_and_libraries_reject_adapters_that_change_photos(engine, gallery) -> None:
    other = random_shared(engine.backbone, 9)
    adapter = Adapter.of(other)
    for use in (
        lambda: gallery.text_to_image(QUERY, adapter),
        lambda: gallery.image_to_text(gallery.photos[0].id, adapter),
        lambda: recalls(gallery, adapter),
        lambda: gallery.embeddings(adapter),
    ):
        with pytest.raises(AdapterError, match="in another way"):
            use()


def test_the_strength_is_the_weight_and_ends_at_one(engine) -> None:
    assert engine.usual_strength == engine.adapt(AdapterRequest(SENTENCE)).weight
    with pytest.raises(DescriptionError, match="this backbone takes 0 to 1"):
        engine.adapt(AdapterRequest(SENTENCE, strength=1.5))
    lora = engine.adapt(AdapterRequest(SENTENCE)).lora
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(AdapterError, match="between 0 and 1"):
            Adapter.of(lora, weight)
    keys = {Adapter.of(lora, weight).key for weight in (0, 0.3, 0.7, 1)}
    assert len(keys) == 4 and ZERO_SHOT.key in keys


# Photo -> words


def test_captions_are_ranked_by_the_mixture_less_their_popularity(engine, gallery, prefixes) -> None:
    made = engine.adapt(AdapterRequest(SENTENCE, strength=0.6))
    adapter = Adapter.of(made.lora, made.weight)
    texts = list(dict.fromkeys(text for photo in gallery.photos for text in photo.captions))
    scores = mixture(engine, prefixes, texts, made.lora, 0.6).astype(np.float64)
    less = scores - np.log(np.exp(20 * scores).sum(0)) / 20
    differently = 0
    for row in (0, 5, 11):
        full = gallery.image_to_text(gallery.photos[row].id, adapter, top=None)
        at = [texts.index(hit.label) for hit in full.hits]
        np.testing.assert_allclose(less[row][at], np.sort(less[row])[::-1], atol=5e-3)
        np.testing.assert_allclose([hit.score for hit in full.hits], less[row][at], atol=5e-3)
        assert gallery.image_to_text(gallery.photos[row].id, adapter, top=4).hits == full.hits[:4]
        differently += at != np.argsort(-scores[row], kind="stable").tolist()
    assert differently, "popularity must change some order"
    relevance = Relevance.of([photo.captions for photo in gallery.photos])
    ranks = np.argsort(np.argsort(-less, axis=1), axis=1)
    first = np.where(relevance.matrix, ranks, len(texts)).min(1)
    assert recalls(gallery, adapter)["i2t"]["R@5"] == pytest.approx(100 * np.mean(first < 5), abs=100 / PHOTOS)


def test_popularity_is_the_log_sum_over_photos() -> None:
    photos, texts = (torch.nn.functional.normalize(noise(n, 6, seed=n), dim=1) for n in (9, 2_500))
    scores = (photos @ texts.T).double().numpy()
    np.testing.assert_allclose(popularity(photos, texts), np.log(np.exp(20 * scores).sum(0)) / 20, atol=1e-5)
    assert not popularity(photos[:1], texts).any(), "with a single photo, popularity must be zero"
    assert popularity(photos, texts[:0]).shape == (0,)


# Libraries


def test_library_gallery_and_matrices_agree(engine, gallery, prefixes, photos, tmp_path: Path) -> None:
    backbone = engine.backbone
    library = PhotoLibrary.create(tmp_path / "library", backbone)
    index_folders(library, [photos[0].parent], backbone)
    opened = LibraryPhotos(PhotoLibrary.open(library.folder, backbone), backbone)
    assert json.loads((library.folder / "library.json").read_text())["dim"] == 2 * backbone.dim
    names = [path.name for path in opened.paths(range(PHOTOS))]
    question = Query((QUERY,)).question(backbone)
    for strength in (0.0, 0.5, 1.0):
        made = engine.adapt(AdapterRequest(SENTENCE, strength=strength))
        adapter = Adapter.of(made.lora, made.weight)
        scores = mixture(engine, prefixes, [QUERY], made.lora, strength)[:, 0]
        by_name = {path.name: scores[i] for i, path in enumerate(photos)}
        found = search(opened, question, adapter, None)
        np.testing.assert_allclose([score for _, score in found], [by_name[names[place]] for place, _ in found], atol=5e-3)
        there = gallery.text_to_image(QUERY, adapter, top=None)
        np.testing.assert_allclose([hit.score for hit in there.hits], [score for _, score in found], atol=5e-3)
        zero_shot = gallery.text_to_image(QUERY, ZERO_SHOT, top=None)
        assert there == zero_shot if strength == 0 else [h.key for h in there.hits] != [h.key for h in zero_shot.hits]
    with pytest.raises(AdapterError, match="in another way"):
        search(opened, question, Adapter.of(random_shared(backbone, 9)))
