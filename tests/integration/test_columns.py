"""One index of photos with and without the shared part, compared with brute force over two matrices."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_photos import blurred
from recalls import mixed, ranked
from shared_parts import random_shared
from tiny_models import noise

from core.common.errors import AdapterError
from core.data.image_io import open_photo
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.gallery import Gallery
from core.retrieval.indexing import index_folders
from core.retrieval.library import PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.popularity import popularity
from core.retrieval.questions import Query
from core.retrieval.search import search
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
    return gallery


@pytest.fixture(scope="module")
def prefixes(engine: SGLora, photos: list[Path]) -> torch.Tensor:
    return torch.cat([engine.backbone.prefix(engine.backbone.pixels(open_photo(path))[None]) for path in photos])


def test_the_strength_is_the_weight_and_ends_at_one(engine) -> None:
    assert engine.usual_strength == engine.adapt(AdapterRequest(SENTENCE)).weight
    lora = engine.adapt(AdapterRequest(SENTENCE)).lora
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(AdapterError, match="between 0 and 1"):
            Adapter.of(lora, weight)
    keys = {Adapter.of(lora, weight).key for weight in (0, 0.3, 0.7, 1)}
    assert len(keys) == 4 and ZERO_SHOT.key in keys


def test_popularity_is_the_log_sum_over_photos() -> None:
    photos, texts = (torch.nn.functional.normalize(noise(n, 6, seed=n), dim=1) for n in (9, 2_500))
    scores = (photos @ texts.T).double().numpy()
    np.testing.assert_allclose(popularity(photos, texts), np.log(np.exp(20 * scores).sum(0)) / 20, atol=1e-5)
    assert not popularity(photos[:1], texts).any(), "with a single photo, popularity must be zero"
    assert popularity(photos, texts[:0]).shape == (0,)


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
        scores = mixed(backbone, prefixes, [QUERY], made.lora, strength)[:, 0].numpy()
        by_name = {path.name: scores[i] for i, path in enumerate(photos)}
        found = search(opened, question, adapter, None)
        np.testing.assert_allclose([score for _, score in found], [by_name[names[place]] for place, _ in found], atol=5e-3)
        there = ranked(gallery, QUERY, adapter, top=None)
        np.testing.assert_allclose([hit.score for hit in there.hits], [score for _, score in found], atol=5e-3)
        zero_shot = ranked(gallery, QUERY, ZERO_SHOT, top=None)
        assert there == zero_shot if strength == 0 else [h.key for h in there.hits] != [h.key for h in zero_shot.hits]
    with pytest.raises(AdapterError, match="in another way"):
        search(opened, question, Adapter.of(random_shared(backbone, 9)))
