"""The gallery compared with brute force: NumPy rankings, embeddings computed outside it, and many threads at once."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from make_zips import photo as png
from recalls import asked, prefixes_of, ranked, recalls
from tiny_models import tiny_backbone

from core.backbones.base import Backbone
from core.backbones.embedded import EmbeddedBackbone
from core.backbones.lora import Lora
from core.backbones.lora_algebra import merge
from core.common.errors import AdapterError, GalleryError, PhotoError, StudioError
from core.data.captions import CAPTIONS_A_PHOTO
from core.data.image_io import open_photo
from core.data.sample_photos import SamplePhoto, sample_photos
from core.names.teach import TaughtNames
from core.retrieval.gallery import KEPT_ADAPTERS, KEPT_HITS, ZERO_SHOT, Adapter, Gallery
from core.retrieval.photo_set import Where
from core.retrieval.search import PHOTO, Search


def counted(backbone: Backbone, patch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the photos and texts that pass through each half of the backbone's towers."""
    counts = Counter[str]()

    def count(name: str, real: Callable[..., torch.Tensor], given: Sized, *more: Any) -> torch.Tensor:
        counts[name] += len(given)
        return real(given, *more)

    for name in ("prefix", "suffix", "text_prefix", "text_suffix"):
        patch.setattr(backbone, name, partial(count, name, getattr(backbone, name)))
    return counts


@pytest.fixture(scope="module")
def vit() -> Backbone:
    """A backbone whose adapters change photos."""
    return tiny_backbone()


@pytest.fixture(scope="module", params=["texts", "photos"])
def either(request: pytest.FixtureRequest, backbone: EmbeddedBackbone, vit: Backbone) -> Backbone:
    """A backbone whose adapters change texts, then one whose adapters change photos."""
    chosen = {"texts": backbone, "photos": vit}[request.param]
    assert lora(chosen, 1).moves_photos == (request.param == "photos")
    return chosen


@pytest.fixture(scope="module")
def samples() -> tuple[SamplePhoto, ...]:
    return sample_photos()[:20]


@pytest.fixture(scope="module")
def indexed(either: Backbone, samples: tuple[SamplePhoto, ...]) -> Gallery:
    gallery = Gallery(either)
    gallery.add([s.path for s in samples])
    gallery.set_captions({s.name: s.captions for s in samples})
    return gallery


@pytest.fixture
def filled(indexed: Gallery, samples: tuple[SamplePhoto, ...]) -> Iterator[Gallery]:
    """A test may change the captions."""
    yield indexed
    indexed.set_captions({s.name: s.captions for s in samples})


def lora(backbone: Backbone, seed: int, scale: float = 0.2) -> Lora:
    generator = torch.Generator().manual_seed(seed)
    return Lora.from_vector(backbone.layout, torch.randn(backbone.layout.size, generator=generator) * scale)


def pictures(n: int) -> list[tuple[str, bytes]]:
    return [(f"picture-{i}.png", png(i)) for i in range(n)]


# Embeddings and rankings


@pytest.mark.parametrize("seed", [None, 3])
def test_text_to_image_is_the_brute_force_ranking(filled, either, seed) -> None:
    adapter = ZERO_SHOT if seed is None else Adapter.of(lora(either, seed))
    photos = filled.contents.embeddings(adapter).numpy()
    for query in ("a cat", "a red motorbike in a garage"):
        scores = photos @ either.encode_text([query], adapter.lora)[0].numpy()
        order = np.argsort(-scores, kind="stable")
        full = ranked(filled, query, adapter, top=None)
        assert [hit.key for hit in full.hits] == [filled.photos[i].id for i in order]
        assert [hit.label for hit in full.hits] == [filled.photos[i].name for i in order]
        assert np.allclose([hit.score for hit in full.hits], scores[order], atol=1e-5)
        assert [hit.rank for hit in full.hits] == list(range(1, len(photos) + 1))
        assert full.total == len(photos)
        assert ranked(filled, f"  {query}\n", adapter, top=5).hits == full.hits[:5]
        assert ranked(filled, query, adapter, top=10_000) == full


def test_image_to_text_is_the_brute_force_ranking(filled, either, samples) -> None:
    adapter = Adapter.of(lora(either, 4))
    texts = list(dict.fromkeys(c for s in samples for c in s.captions))
    for row in (0, 10):
        every = either.encode_text(texts, adapter.lora).numpy() @ filled.contents.embeddings(adapter).numpy().T
        scores = every[:, row] - np.log(np.exp(20 * every).sum(1)) / 20
        order = np.argsort(-scores, kind="stable")
        photo = prefixes_of(filled, [filled.photos[row].id])
        full = filled.contents.image_to_text(photo, adapter)
        assert [hit.label for hit in full.hits] == [texts[i] for i in order]
        assert np.allclose([hit.score for hit in full.hits], scores[order], atol=1e-5)
        assert full.total == len(texts) and len({hit.key for hit in full.hits}) == len(texts)
        assert all(hit.key.isalnum() for hit in full.hits), "keys appear in HTML, so they must be alphanumeric"
        assert filled.contents.image_to_text(photo, adapter, top=3).hits == full.hits[:3]
        opened = filled.contents.image_to_text(either.prefix(either.pixels(open_photo(samples[row].path))[None]), adapter)
        assert {h.key: h.rank for h in opened.hits if h.rank <= 5} == {h.key: h.rank for h in full.hits if h.rank <= 5}
        assert np.allclose([h.score for h in opened.hits], [h.score for h in full.hits], atol=2e-3)


def test_recalls_are_those_counted_by_hand(filled, either) -> None:
    adapter = Adapter.of(lora(either, 6))
    for photo in filled.photos[5:9]:
        filled.set_captions({photo.name: []})
    kept = [i for i, photo in enumerate(filled.photos) if photo.captions]
    assert len(kept) == len(filled.photos) - 4
    images = filled.contents.embeddings(adapter)[kept]
    texts = [(row, text) for row, i in enumerate(kept) for text in filled.photos[i].captions]
    read = either.encode_text([text for _, text in texts], adapter.lora)
    scores = (images @ read.T).numpy()
    less = scores - np.log(np.exp(20 * (filled.contents.embeddings(adapter) @ read.T).numpy()).sum(0)) / 20
    found = recalls(filled, adapter)
    for k in (1, 5, 10):
        i2t = [any(texts[c][0] == row for c in np.argsort(-less[row])[:k]) for row in range(len(kept))]
        t2i = [owner in np.argsort(-scores[:, c])[:k] for c, (owner, _) in enumerate(texts)]
        assert found["i2t"][f"R@{k}"] == pytest.approx(100 * np.mean(i2t))
        assert found["t2i"][f"R@{k}"] == pytest.approx(100 * np.mean(t2i))


# When the gallery computes


def test_prefixes_are_computed_once_per_content(either, samples, monkeypatch) -> None:
    gallery, counts = Gallery(either), counted(either, monkeypatch)
    paths = [s.path for s in samples[:6]]
    gallery.add(paths)
    for seed in range(3):
        own = lora(either, seed)
        adapter = Adapter.of(own if either.shared is None else merge([either.shared, own], [1.0, 1.0]))
        ranked(gallery, "a cat", adapter)
    embeddings = 1 + 3 if either.shared is None else 2
    assert counts["prefix"] == 6 and counts["suffix"] == embeddings * 6, (
        "only the suffix runs: once for zero-shot and the shared part, or once for each adapter of photos"
    )
    gallery.add([*paths, samples[6].path])
    assert counts["prefix"] == 7


def test_indexes_follow_the_photos(either, samples) -> None:
    """Even if the number of photos stays the same: an index keyed by that number would be stale."""
    gallery = Gallery(either)
    adapter = Adapter.of(lora(either, 7))
    gallery.add([s.path for s in samples[:3]])
    gallery.contents.embeddings(adapter)
    gallery.remove([gallery.photos[0].id, "unknown"])
    gallery.add([samples[5].path])
    one_by_one = [either.prefix(either.pixels(open_photo(samples[i].path))[None]) for i in (1, 2, 5)]
    expected = either.suffix(torch.cat(one_by_one), adapter.lora)
    assert torch.allclose(gallery.contents.embeddings(adapter), expected, atol=5e-3)
    assert {h.key for h in ranked(gallery, "a cat", adapter).hits} == {p.id for p in gallery.photos}
    gallery.clear()
    assert gallery.photos == () and gallery.contents.embeddings(adapter).shape == (0, either.dim)


def test_captions_are_read_once_and_embedded_for_the_last_adapters(backbone, samples, monkeypatch) -> None:
    gallery, counts = Gallery(backbone), counted(backbone, monkeypatch)
    gallery.add([s.path for s in samples[:4]])
    gallery.set_captions({s.name: s.captions for s in samples})
    captions = len({text for photo in gallery.photos for text in photo.captions})
    adapters = [Adapter.of(lora(backbone, seed)) for seed in range(KEPT_HITS + 1)]
    first = [recalls(gallery, adapter) for adapter in adapters]
    expected = {"prefix": 4, "suffix": 2 * 4, "text_prefix": captions, "text_suffix": len(adapters) * captions}
    assert counts == expected, "no photo is embedded again"
    assert recalls(gallery, adapters[-1]) == first[-1] and counts == expected
    assert recalls(gallery, adapters[0]) == first[0] and counts["text_suffix"] == (len(adapters) + 1) * captions, (
        "the oldest is dropped"
    )
    gallery.set_captions({gallery.photos[0].name: ["something new"]})
    recalls(gallery)
    assert counts["text_prefix"] == captions + 1, "only the new caption must be read"


def test_indexes_of_the_last_adapters_are_kept_and_counted(vit) -> None:
    gallery = Gallery(vit)
    gallery.add(pictures(3))
    photos, adapters = gallery.contents, [Adapter.of(lora(vit, seed)) for seed in range(KEPT_ADAPTERS + 1)]
    before = gallery.memory
    plain, indexes = photos.index_for(ZERO_SHOT), [photos.index_for(one) for one in adapters]
    zero_shot = plain.nbytes
    assert zero_shot == 3 * vit.dim * 4 and gallery.memory - before == (1 + KEPT_ADAPTERS) * zero_shot
    assert photos.index_for(adapters[1]) is indexes[1]
    assert photos.index_for(adapters[0]) is not indexes[0], "the index of the first adapter was dropped"
    assert photos.index_for(ZERO_SHOT) is plain


def test_an_adapter_that_breaks_the_numbers_is_refused(filled, either) -> None:
    broken = Lora.from_vector(either.layout, torch.full((either.layout.size,), float("nan")))
    with pytest.raises(AdapterError, match="infinite or invalid"):
        ranked(filled, "a cat", Adapter.of(broken))
    with pytest.raises(AdapterError, match="infinite or invalid"):
        filled.contents.image_to_text(prefixes_of(filled, [filled.photos[0].id]), Adapter.of(broken))
    with pytest.raises(AdapterError, match="infinite or invalid"):
        recalls(filled, Adapter.of(broken))
    assert ranked(filled, "a cat").total == len(filled.photos)


# Adding files


def test_a_mixed_upload_keeps_the_good_part(vit, samples, tmp_path: Path) -> None:
    cat = next(s for s in samples if s.name == "chelsea.png").path.read_bytes()
    gone = tmp_path / "gone.jpg"
    sources = [
        *(("cat.png", cat), ("broken.png", cat[: len(cat) // 2]), ("nothing.jpg", b""), ("words.txt", b"no photo")),
        *(("../../cat.png", png(1)), ("same cat.png", cat), gone, tmp_path, ("broken again.png", cat[: len(cat) // 2])),
        *(("CAT.PNG", png(2)), ("a\x00b\n.png", png(3))),
    ]
    gallery = Gallery(vit)
    steps: list[tuple[int, int]] = []
    report = gallery.add(sources, progress=lambda done, total: steps.append((done, total)))
    assert [photo.name for photo in report.added] == ["cat.png", "cat 2.png", "CAT 3.PNG", "a b .png"]
    assert tuple(report.added) == gallery.photos
    assert report.duplicates == ["same cat.png"]
    failed = ["broken.png", "nothing.jpg", "words.txt", "gone.jpg", tmp_path.name, "broken again.png"]
    assert [f.name for f in report.failed] == failed
    reasons = [str(f.reason) for f in report.failed]
    for said, reason in zip(("cut off", "empty", "not a readable image", "not there"), reasons, strict=False):
        assert said in reason
    assert reasons[5] == reasons[0], "the same damaged content fails under each name and is not a duplicate"
    assert steps[-1] == (len(sources), len(sources)) and steps == sorted(steps)
    later = gallery.add([("cat3.png", cat), ("bad.png", b"x")])
    assert later.added == [] and later.duplicates == ["cat3.png"] and len(later.failed) == 1
    assert gallery.photos == tuple(report.added), "earlier photos must stay"


@pytest.mark.slow
def test_an_interrupted_upload_keeps_what_is_in(vit) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    gallery = Gallery(vit)
    files = pictures(80)
    with pytest.raises(KeyboardInterrupt):
        gallery.add(files, progress=stop)
    kept = len(gallery.photos)
    assert 0 < kept < 80
    steps: list[int] = []
    report = gallery.add(files, progress=lambda done, total: steps.append(done))
    assert len(steps) >= 3 and steps == sorted(steps) and steps[-1] == 80
    assert len(report.duplicates) == kept and [photo.name for photo in gallery.photos] == [name for name, _ in files]


def test_the_limit_is_exact_and_said(vit) -> None:
    gallery = Gallery(vit, limit=5)
    files = pictures(8)
    report = gallery.add([files[0], ("bad.png", b"bad"), *files[1:], files[0]])
    assert [p.name for p in gallery.photos] == [name for name, _ in files[:5]], "damaged files do not count against the limit"
    assert [f.name for f in report.failed] == ["bad.png", *(name for name, _ in files[5:])]
    assert all("at most 5 photos" in str(f.reason) for f in report.failed[1:])
    assert report.duplicates == [files[0][0]]
    gallery.remove([gallery.photos[0].id])
    assert len(gallery.add(files[6:]).added) == 1


def test_bytes_limit_a_gallery_too(backbone) -> None:
    *files, last = pictures(61)
    gallery, most = Gallery(backbone, most_bytes=2**18), 2**18
    report = gallery.add(files)
    assert len(report.added) + len(report.failed) == 60 and report.failed
    assert 0.9 * most < gallery.memory <= most
    assert len(gallery.photos) >= gallery.holds_at_most > 10
    refused = gallery.add([last])
    assert not refused.added and "MB of memory" in str(refused.failed[0].reason)
    gallery.remove([photo.id for photo in gallery.photos[:5]])
    assert gallery.add([last]).added


def test_captions_are_bounded_and_count_as_memory(backbone, monkeypatch) -> None:
    gallery = Gallery(backbone)
    gallery.add([(f"{i}.png", png(i)) for i in range(4)])
    before = gallery.memory
    gallery.set_captions({f"folder {n}/0.png": [f"caption {n} {'x' * 500}"] for n in range(1_000)})
    (photo, *_) = gallery.photos
    assert len(photo.captions) == CAPTIONS_A_PHOTO
    texts = gallery.memory - before
    assert texts >= 500 * CAPTIONS_A_PHOTO
    prefix = prefixes_of(gallery, [photo.id])
    gallery.contents.image_to_text(prefix)
    sentences = CAPTIONS_A_PHOTO * 4 * backbone.sentence_dim
    assert gallery.memory >= before + texts + sentences
    gallery.set_captions({"1.png": ["not read yet"]})
    with pytest.raises(StudioError, match="stopped"):
        gallery.contents.image_to_text(prefix, stop=lambda: True)

    monkeypatch.setattr("core.retrieval.gallery.MOST_TEXTS", 50)
    gallery.set_captions({f"{i}.png": [f"{i} {n}" for n in range(CAPTIONS_A_PHOTO)] for i in range(4)})
    assert gallery.contents.image_to_text(prefix).total == 2 * CAPTIONS_A_PHOTO


def test_questions_to_an_empty_gallery_say_what_to_do(vit) -> None:
    gallery = Gallery(vit)
    with pytest.raises(GalleryError, match="no photos yet: add some"):
        ranked(gallery, "a cat")
    with pytest.raises(GalleryError, match="at least two photos with captions"):
        recalls(gallery)
    gallery.add(pictures(2))
    gallery.set_captions({"picture-0": ["one"]})
    with pytest.raises(GalleryError, match="at least two photos with captions"):
        recalls(gallery)
    with pytest.raises(PhotoError, match="Choose one of your photos"):
        Search(PHOTO, "0" * 32, gallery.contents, None, TaughtNames(vit), Where()).rank(ZERO_SHOT)
    gallery.set_captions({"picture-0": []})
    with pytest.raises(GalleryError, match="No photo has captions yet"):
        gallery.contents.image_to_text(prefixes_of(gallery, [gallery.photos[0].id]))


# Threads


@pytest.mark.slow
def test_adapters_used_at_once_do_not_disturb_each_other(either, samples, indexed) -> None:
    adapters = [ZERO_SHOT, *(Adapter.of(lora(either, seed)) for seed in range(5))]
    quiet, busy = indexed, Gallery(either)
    busy.add([s.path for s in samples])

    def asked(gallery: Gallery, adapter: Adapter) -> np.ndarray:
        """The scores in the order of the photos, because rounding may swap near ties in a ranking."""
        scores = {hit.key: hit.score for hit in ranked(gallery, "a cat", adapter, top=None).hits}
        return np.array([scores.pop(photo.id) for photo in gallery.photos])

    alone = [(quiet.contents.embeddings(adapter), asked(quiet, adapter)) for adapter in adapters]
    assert min(np.abs(a - b).max() for i, (_, a) in enumerate(alone) for _, b in alone[:i]) > 0.02, "a mix-up must show"
    start = threading.Barrier(12)

    def work(which: int) -> tuple[torch.Tensor, np.ndarray]:
        start.wait()
        scores = asked(busy, adapters[which])
        return busy.contents.embeddings(adapters[which]), scores

    with ThreadPoolExecutor(12) as pool:
        results = list(pool.map(work, [*range(6), *range(6)]))
    for i, (embeddings, scores) in enumerate(results):
        assert torch.allclose(embeddings, alone[i % 6][0], atol=5e-3)
        np.testing.assert_allclose(scores, alone[i % 6][1], atol=5e-3)


def test_uploads_at_once_lose_and_double_nothing(backbone) -> None:
    files = pictures(24)
    gallery = Gallery(backbone, limit=20)
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda i: gallery.add(files[6 * i : 6 * i + 12]), range(3)))
    assert len(gallery.photos) == 20
    assert len({p.id for p in gallery.photos}) == len({p.name for p in gallery.photos}) == 20
    assert sum(len(r.added) for r in reports) == 20
    assert sum(len(r.added) + len(r.duplicates) + len(r.failed) for r in reports) == 36


def test_searching_while_photos_come_and_go(backbone) -> None:
    files = pictures(20)
    gallery = Gallery(backbone)
    gallery.add(files[:10])
    adapter = Adapter.of(lora(backbone, 9))
    done = threading.Event()

    def change() -> None:
        try:
            for _ in range(2):
                gallery.add(files[10:])
                gallery.set_captions({name: [f"caption of {name}"] for name, _ in files})
                gallery.set_captions({files[0][0]: ["first"]})
                gallery.remove([photo.id for photo in gallery.photos[10:]])
        finally:
            done.set()

    def ask() -> int:
        asked = 0
        while not done.is_set() or not asked:
            ranking = ranked(gallery, "a pattern", adapter, top=None)
            assert [hit.rank for hit in ranking.hits] == list(range(1, ranking.total + 1))
            assert len({hit.key for hit in ranking.hits}) == ranking.total >= 10
            asked += 1
        return asked

    with ThreadPoolExecutor(3) as pool:
        changing = pool.submit(change)
        asking = [pool.submit(ask) for _ in range(2)]
        changing.result()
        assert all(future.result() > 0 for future in asking)
    assert len(gallery.photos) == 10
    assert {h.key for h in ranked(gallery, "x1", adapter, top=None).hits} == {p.id for p in gallery.photos}


def test_an_answer_has_the_photos_of_its_beginning(backbone) -> None:
    """Photos that another tab adds or removes while columns are ranked."""
    files, gallery = pictures(6), Gallery(backbone)
    gallery.add(files[:4])
    search = asked(gallery, "a pattern")
    first = {hit.key for hit in search.rank(ZERO_SHOT).hits}
    gallery.add(files[4:])
    gallery.remove([gallery.photos[0].id])
    assert {hit.key for hit in search.rank(Adapter.of(lora(backbone, 9))).hits} == first
