"""The sample photos, which come with installed packages."""

import pytest

from core.common.errors import GalleryError
from core.common.paths import ASSETS
from core.common.text import safe_name
from core.data.image_io import open_photo
from core.data.sample_photos import EVERYDAY, sample_photos, sample_sets


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


def test_without_the_packages_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(GalleryError, match=r"sample photos of .* are missing.*pip install"):
        sample_photos()


@pytest.mark.parametrize("name", [name for name in sample_sets() if name != EVERYDAY])
def test_a_set_has_names_and_credits(name: str) -> None:
    folder, samples = ASSETS / "opening" / name, sample_photos(name)
    assert {s.path for s in samples} == set((folder / "images").iterdir())
    names = [s.captions for s in samples]
    assert {len(each) for each in names} == {1} and len(set(names)) <= len(names) / 2
    assert sample_sets()[name].credits == (folder / "CREDITS.txt").read_text().strip()
    assert "public domain" in sample_sets()[name].credits or (folder / "LICENSE").is_file()
