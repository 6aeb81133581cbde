"""The sample photos, which come with installed packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.common.errors import GalleryError
from core.common.text import safe_name
from core.data.image_io import open_photo
from core.data.sample_photos import examples, sample_photos
from core.sglora.request import AdapterRequest

ROOT = Path(__file__).resolve().parents[2]


def test_samples_are_distinct_readable_photos_with_captions() -> None:
    samples = sample_photos()
    assert len(samples) == 40
    assert len({s.name.casefold() for s in samples}) == len({s.path.read_bytes() for s in samples}) == len(samples)
    for sample in samples:
        assert sample.name == sample.path.name == safe_name(sample.name)
        assert min(open_photo(sample.path).size) >= 100
        assert sample.captions and all(c == c.strip() and len(c.split()) >= 3 for c in sample.captions)
    captions = [c for s in samples for c in s.captions]
    assert len(set(captions)) == len(captions)


def test_packages_are_located_without_being_imported() -> None:
    code = (
        "import sys, core.data.sample_photos as s; s.sample_photos()\n"
        "print([p for p in ('gradio', 'skimage', 'interior_photos') if p in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_without_the_packages_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(GalleryError, match=r"sample photos are missing.*pip install"):
        sample_photos()


def test_examples_are_the_largest_rises_a_median_and_the_largest_fall(engine) -> None:
    """The test ranks with plain cosine similarities, and mixes them by hand, for all captions."""
    samples = sample_photos()
    prefix = engine.backbone.prefix(torch.stack([engine.backbone.pixels(open_photo(s.path)) for s in samples]))
    zero_shot, rises, fits = engine.backbone.suffix(prefix), {}, {}
    for subject in dict.fromkeys(s.subject for s in samples):
        made = engine.adapt(AdapterRequest(subject))
        adapted, fits[subject] = engine.backbone.suffix(prefix, made.lora), made.fit.fits
        for row, sample in enumerate(samples):
            for caption in sample.captions if sample.subject == subject else ():
                ways = ((zero_shot, None), (adapted, made.lora))
                plain, full = (images @ engine.backbone.encode_text([caption], lora)[0] for images, lora in ways)
                mixed = (1 - made.weight) * plain + made.weight * full
                before, after = (1 + int((each > each[row]).sum()) for each in (plain, mixed))
                rises[subject, caption] = 1 / after - 1 / before
    found, ordered = examples(), sorted(rises.values())
    shown = [rises[tuple(example)] for example in found.shown]
    assert shown[0] == max(rise for (subject, _), rise in rises.items() if fits[subject]) and shown[4] == ordered[0]
    assert shown[:3] == sorted(shown[:3], reverse=True) and shown[2] >= ordered[-6]
    assert shown[3] == pytest.approx(ordered[len(ordered) // 2], abs=0.02)
    moved = (sum(r > 0 for r in ordered), sum(r < 0 for r in ordered))
    assert found.questions == len(rises) and (found.rose, found.fell) == pytest.approx(moved, abs=3)  # rounding decides ties
