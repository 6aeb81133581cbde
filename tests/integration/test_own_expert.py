"""Training an own expert: the photos it uses, what it must not change, and figures measured on held-out photos."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from make_images import encode, picture
from random_engines import TASKS, random_engine
from tiny_models import random_lora, tiny_backbone

from core.backbones.description import embed_descriptions
from core.backbones.lora import Lora, LoraLayout
from core.backbones.lora_algebra import merge
from core.common.metrics import Relevance
from core.retrieval.gallery import Gallery
from core.sglora.engine import SGLora
from core.sglora.request import DEFAULT_WEIGHT
from core.training.class_names import class_name_texts
from core.training.objective import confused_names, contrastive
from core.training.own_expert import OwnRecipe, TrainingStopped, split_photos, train_own_expert

COLOURS = ("red", "green", "blue", "yellow", "purple", "white", "grey", "orange")
# No penalty for forgetting, because it reads a thousand class names.
QUICK = OwnRecipe(batch=16, steps=12, fixed_steps=6, check=3, snapshots=4, memory=0.0)
DESCRIPTION = "photos of coloured papers"


def filled(backbone, n: int) -> Gallery:
    """n captioned photos, and one without a caption."""
    gallery = Gallery(backbone)
    captions = {f"p{i}": [f"{COLOURS[i % 8]} paper {i // 8}", f"a sheet, {COLOURS[i % 8]}, number {i}"] for i in range(n)}
    photos = {f"p{i}.png": i for i in range(n)} | {"bare.png": 10_000}
    gallery.add([(name, encode(picture(seed, (48, 48)), "PNG")) for name, seed in photos.items()])
    gallery.set_captions(captions)
    return gallery


BOTH = pytest.mark.parametrize("gallery", ["open_clip", pytest.param("embedded", marks=pytest.mark.slow)], indirect=True)


@pytest.fixture(scope="module")
def gallery(request) -> Gallery:
    embedded = getattr(request, "param", "open_clip") == "embedded"
    return filled(request.getfixturevalue("backbone") if embedded else tiny_backbone(adapt_blocks=2), 24)


def joining(backbone, shared=None) -> SGLora:
    with torch.random.fork_rng(devices=[]):
        engine = random_engine(backbone)
    return replace(engine, repository=replace(engine.repository, shared=shared))


def train(gallery, shared=None, recipe=QUICK, seed=1, engine=None, **options):
    engine, recipe = engine or joining(gallery.backbone, shared), replace(recipe, seed=seed)
    return train_own_expert(engine, gallery, " my  papers ", DESCRIPTION, recipe=recipe, **options)


def layout_of(gallery) -> LoraLayout:
    return joining(gallery.backbone).repository.layout


def alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal within rounding. Rounding decides the sign of nearly zero gradients, and Adam turns it into a whole step."""
    return float((one - other).norm()) < 0.02 * float(other.norm())


def test_captioned_photos_of_a_gallery(gallery):
    photos, prefix = gallery.contents.captioned()
    assert len(photos) == 24 and all(p.captions for p in photos)
    assert "bare.png" not in {p.name for p in photos}
    rows = [p.id for p in gallery.photos]
    expected = gallery.contents.embeddings()[[rows.index(p.id) for p in photos]]
    torch.testing.assert_close(gallery.backbone.suffix(prefix), expected, atol=1e-5, rtol=0)
    assert not Gallery(gallery.backbone).contents.captioned()[0]


@BOTH
def test_an_expert_and_its_figures_counted_by_hand(gallery):
    backbone, shared = gallery.backbone, gallery.backbone.shared
    made, layout = train(gallery, shared), layout_of(gallery)
    e, none = made.expert, torch.zeros(layout.size)
    assert (e.name, e.description, e.images, e.seed, e.snapshots) == ("my papers", DESCRIPTION, 18, 1, 4)
    assert made.steps == 6 and (made.mean.shape, made.variance.shape) == ((layout.size,), (len(TASKS),))
    assert not made.mean.requires_grad and (made.variance >= 0).all() and made.variance.any()
    assert made.mean.abs().max() > 1e-4 and (made.start == e.before or shared is not None), "a new LoRA must change nothing"
    torch.testing.assert_close(made.embedding, embed_descriptions(backbone, [DESCRIPTION])[0])
    photos, prefix = gallery.contents.captioned()
    held = split_photos([p.id for p in photos]).held
    texts = [(row, text) for row in held for text in photos[row].captions]

    def scored(lora: Lora | None) -> np.ndarray:
        return (backbone.suffix(prefix[held.tolist()], lora) @ backbone.encode_text([t for _, t in texts], lora).T).numpy()

    assert e.shared == (made.start if shared is not None else {})
    for vector, found in ((None, e.before), (none, made.start), (made.mean, e.after)):
        weight = 0.0 if vector is None else 1.0 if shared is None else DEFAULT_WEIGHT
        own = Lora.from_vector(layout, none if vector is None else vector)
        scores = (1 - weight) * scored(None) + weight * scored(own if shared is None else merge([shared, own], [1.0, 1.0]))
        assert found["images"] == len(held) == 6
        for k in (1, 5, 10):
            i2t = [any(texts[c][0] == row for c in np.argsort(-scores[i])[:k]) for i, row in enumerate(held)]
            t2i = [row in held[np.argsort(-scores[:, c])[:k]] for c, (row, _) in enumerate(texts)]
            assert found["i2t"][f"R@{k}"] == pytest.approx(100 * np.mean(i2t))
            assert found["t2i"][f"R@{k}"] == pytest.approx(100 * np.mean(t2i))
    assert e.gain() == pytest.approx(sum(e.after[w]["R@1"] - e.before[w]["R@1"] for w in ("i2t", "t2i")) / 2)


def test_mean_and_variance_are_those_of_the_last_steps(gallery):
    before, last = (train(gallery, recipe=replace(QUICK, snapshots=1, fixed_steps=steps)).mean for steps in (5, 6))
    made, basis = train(gallery, recipe=replace(QUICK, snapshots=2)), joining(gallery.backbone).repository.basis
    assert alike(made.mean, (before + last) / 2)
    assert alike(made.variance, (basis.components @ (last - before) / basis.scale / 2).square())


def test_held_photos_do_not_train_nor_stop(gallery):
    """New captions on held-out photos do not change the expert. New captions on a training photo do."""
    recipe = replace(QUICK, steps=6, check=2, stop_from=10)
    made, (photos, _) = train(gallery, recipe=recipe), gallery.contents.captioned()
    assert made.expert.images == 15, "three more photos decide when to stop"
    split = split_photos([p.id for p in photos], 10)
    held, first = {photos[row].name for row in split.held}, photos[split.train[0]].name
    for changed, same in ((held, True), ({first}, False)):
        other = filled(gallery.backbone, 24)
        other.set_captions({p.name: ["something else entirely"] if p.name in changed else p.captions for p in photos})
        again = train(other, recipe=recipe)
        assert alike(again.mean, made.mean) == same
        assert alike(again.variance, made.variance) == same


def test_split():
    ids = [f"{i:032x}" for i in range(200)]
    for n, stop_from, sizes in ((20, 60, (15, 0, 5)), (79, 60, (59, 0, 20)), (80, 60, (48, 12, 20)), (200, 60, (120, 30, 50))):
        split = split_photos(ids[:n], stop_from)
        parts = [split.train, split.validation, split.held]
        assert tuple(map(len, parts)) == sizes
        assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    one, other = split_photos(ids), split_photos(ids[::-1])
    assert {ids[i] for i in one.held} == {ids[::-1][i] for i in other.held}


def test_no_trace(gallery):
    weights = {k: v.clone() for k, v in gallery.backbone.adapted.state_dict().items()}
    before, embeddings = torch.get_rng_state(), gallery.contents.embeddings()
    first, other = (train(gallery, seed=seed).mean for seed in (1, 2))
    with torch.no_grad():
        second = train(gallery).mean
        assert not torch.is_grad_enabled()
    engine = joining(gallery.backbone)  # as in the app, where models load in a thread of their own
    with torch.inference_mode():
        third = train(gallery, engine=engine).mean
        assert torch.is_inference_mode_enabled()
    with ThreadPoolExecutor(2) as pool:  # two at once get what they get alone
        fourth, beside = pool.map(lambda seed: train(gallery, seed=seed, engine=engine).mean, (1, 2))
    assert all(alike(again, first) for again in (second, third, fourth)) and alike(beside, other)
    assert not alike(first, other) and torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(v, weights[k]) for k, v in gallery.backbone.adapted.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in gallery.backbone.adapted.parameters())
    torch.testing.assert_close(gallery.contents.embeddings(), embeddings)


def test_progress_and_stop(gallery):
    seen, stop = [], threading.Event()
    train(gallery, progress=lambda *now: seen.append(now))
    assert [(step, steps) for step, steps, _ in seen] == [(i, 6) for i in range(1, 7)]
    assert all(left >= 0 for *_, left in seen) and seen[-1][2] == 0
    for last in (2, 6):
        seen.clear()
        stop.clear()

        def press(step, steps, left, last=last):
            seen.append(step)
            if step == last:
                stop.set()

        with pytest.raises(TrainingStopped, match="nothing was kept"):
            train(gallery, progress=press, stop=stop)
        assert len(seen) == last


def test_never_worse_than_the_start_on_the_stop_photos(gallery):
    (photos, prefix), backbone = gallery.contents.captioned(), gallery.backbone
    rows = split_photos([p.id for p in photos], 10).validation
    relevance = Relevance.of([photos[row].captions for row in rows])

    def loss(vector):
        lora = Lora.from_vector(layout_of(gallery), vector)
        images, texts = backbone.suffix(prefix[rows.tolist()], lora), backbone.encode_text(relevance.texts, lora)
        return contrastive(images, texts, torch.from_numpy(relevance.matrix), 20.0)

    for lr in (1e-3, 1.0):
        made = train(gallery, recipe=replace(QUICK, lr=lr, check=2, stop_from=10))
        assert loss(made.mean) <= loss(torch.zeros_like(made.mean))
    still = train(gallery, recipe=replace(QUICK, lr=0.0, check=2, snapshots=1, stop_from=10))
    assert still.steps == 4 and not still.mean.any() and still.expert.snapshots == 1 and not still.variance.any()
    assert still.expert.after == still.start


@BOTH
def test_an_expert_lora_is_trained_on_top_of_what_all_share(gallery):
    shared = random_lora(gallery.backbone.layout, 3, size=0.05)
    still = train(gallery, shared, recipe=replace(QUICK, lr=0.0, fixed_steps=1))
    assert not still.mean.any() and still.expert.after == still.start
    kept = [train(gallery, shared, recipe=replace(QUICK, lr=5e-3, fixed_steps=4, memory=memory)) for memory in (0.0, 5.0)]
    _, prefix = gallery.contents.captioned()
    backbone, names, layout = gallery.backbone, class_name_texts(), layout_of(gallery)
    before, known = backbone.suffix(prefix), backbone.encode_text(names)

    def drift(vector):
        """How far the adapter moves class names, or how much it changes the photos' similarities to them."""
        lora = merge([shared, Lora.from_vector(layout, vector)], [1.0, 1.0])
        if backbone.layout.moves_texts:
            return float((backbone.encode_text(names, lora) - known).norm(dim=1).mean())
        return float(confused_names(backbone.suffix(prefix, lora), before, backbone.encode_text(names, lora), known))

    assert drift(kept[1].mean) < drift(kept[0].mean), "the penalty must reduce the drift"
