"""Data folders in all supported formats, and the error messages for invalid ones."""

import json
from pathlib import Path

import pytest

from core.common.errors import DataError
from core.data import read_folder
from core.data.find_images import photos_in
from core.data.folder import contents
from core.data.jsonl import read_translations

CAPTIONS = {"a.jpg": ["A dog runs.", "a  dog "], "b.jpg": ["A cat."], "c.jpg": []}


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def coco(captions, first=1):
    """A COCO captions JSON: {"images": …, "annotations": …}."""
    images = [{"id": first + i, "file_name": name} for i, name in enumerate(captions)]
    ids = {image["file_name"]: image["id"] for image in images}
    annotations = [{"image_id": ids[name], "caption": text} for name, own in captions.items() for text in own]
    return json.dumps({"images": images, "annotations": annotations})


def photos(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"not read here")


def listed(samples):
    return {s.path.name: list(s.captions) for s in samples}


EXPECTED = {"a.jpg": ["A dog runs.", "a dog"], "b.jpg": ["A cat."], "c.jpg": []}


def test_captions_by_the_line(tmp_path):
    write_lines(tmp_path / "captions.jsonl", [{"image": f"images/{n}", "captions": c} for n, c in CAPTIONS.items()])
    samples = read_folder(tmp_path)
    assert listed(samples) == EXPECTED
    assert samples[0].path == tmp_path / "images" / "a.jpg"


def test_a_caption_may_hold_unusual_separators_and_the_file_a_byte_order_mark(tmp_path):
    row = {"image": "a.jpg", "caption": "one\u2028two\x85three"}
    (tmp_path / "captions.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\r\n\r\n", encoding="utf-8-sig")
    assert listed(read_folder(tmp_path)) == {"a.jpg": ["one two three"]}


def test_labels_by_the_line(tmp_path):
    write_lines(tmp_path / "labels.jsonl", [{"image": "a.jpg", "set": "pets", "domain": "animals", "label": "dog"}])
    (sample,) = read_folder(tmp_path)
    assert (sample.label, sample.domain, sample.dataset, sample.captions) == ("dog", "animals", "pets", ())


@pytest.mark.parametrize(
    ("json_at", "photos_at", "given"),
    [
        ("captions.json", ".", "."),
        ("captions.json", "images", "."),
        ("annotations/captions_val2017.json", "val2017", "."),
        ("captions.json", "images", "images"),
        ("annotations/captions_val2017.json", "val2017", "val2017"),
    ],
)
def test_coco_captions_beside_the_photos(tmp_path, json_at, photos_at, given):
    photos(tmp_path / photos_at, *CAPTIONS)
    (tmp_path / json_at).parent.mkdir(exist_ok=True)
    (tmp_path / json_at).write_text(coco(CAPTIONS))
    samples = read_folder(tmp_path / given)
    assert listed(samples) == EXPECTED
    assert all(s.path.is_file() for s in samples)
    assert {s.split for s in samples} == {""}


def test_coco_train_and_val_are_joined_even_with_equal_file_names(tmp_path):
    (tmp_path / "annotations").mkdir()
    for split, caption in (("train", "in train"), ("val", "in val")):
        photos(tmp_path / f"{split}2017", "1.jpg")
        (tmp_path / "annotations" / f"captions_{split}2017.json").write_text(coco({"1.jpg": [caption]}))
        (tmp_path / "annotations" / f"instances_{split}2017.json").write_text('{"images": [], "annotations": []}')
    samples = read_folder(tmp_path)
    assert [(s.path.parent.name, s.split, s.captions) for s in samples] == [
        ("train2017", "train", ("in train",)),
        ("val2017", "val", ("in val",)),
    ]
    assert [s.captions for s in read_folder(tmp_path / "val2017")] == [("in val",)]


def test_a_folder_whose_name_is_part_of_a_word_decides_nothing(tmp_path):
    photos(tmp_path / "a", "1.jpg")
    photos(tmp_path / "trip", "1.jpg")
    (tmp_path / "captions_val2017.json").write_text(coco({"1.jpg": ["a dog"]}))
    with pytest.raises(DataError, match=r"two photos called 1\.jpg"):
        read_folder(tmp_path)


def test_coco_photos_behind_a_link(tmp_path):
    photos(tmp_path / "disk", *CAPTIONS)
    (tmp_path / "disk" / "circle").symlink_to(tmp_path / "disk")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images").symlink_to(tmp_path / "disk")
    (tmp_path / "data" / "captions.json").write_text(coco(CAPTIONS))
    for given in (tmp_path / "data", tmp_path / "data" / "images"):
        samples = read_folder(given)
        assert listed(samples) == EXPECTED
        assert all(s.path.is_file() for s in samples)


def test_coco_captions_beside_the_current_folder(tmp_path, monkeypatch):
    photos(tmp_path / "images", *CAPTIONS)
    (tmp_path / "captions.json").write_text(coco(CAPTIONS))
    for here, given in (("images", "."), (".", "images"), ("images", "../images")):
        monkeypatch.chdir(tmp_path / here)
        assert listed(read_folder(Path(given))) == EXPECTED


def test_coco_photos_that_are_not_there_are_still_listed(tmp_path):
    (tmp_path / "captions.json").write_text(coco(CAPTIONS))
    assert listed(read_folder(tmp_path)) == EXPECTED


def test_other_json_files_are_no_captions(tmp_path):
    (tmp_path / "config.json").write_text('{"images": 3}')
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match="no COCO captions JSON"):
        read_folder(tmp_path)


def test_a_malformed_coco_file_is_named(tmp_path):
    (tmp_path / "captions.json").write_text('{"images": [{"id": 1}], "annotations": [{"image_id": 1, "caption": "a"}]}')
    with pytest.raises(DataError, match=r"captions\.json .*file_name"):
        read_folder(tmp_path)


def test_a_malformed_line_is_named_by_number(tmp_path):
    (tmp_path / "captions.jsonl").write_text('{"image": "a.jpg", "captions": []}\n{"image": ' + "1" * 10_000 + "}")
    with pytest.raises(DataError, match=r"captions\.jsonl, line 2: "):
        read_folder(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        read_folder(tmp_path / "nowhere")


def test_missing_translations_are_named(tmp_path):
    with pytest.raises(DataError, match=r"languages holds no captions\.jsonl"):
        read_translations(tmp_path / "languages", ["de"])


def test_the_checksum_of_a_data_folder_depends_on_its_files_alone(tmp_path):
    def of_copy(place, names):
        photos(tmp_path / place / "pets", *names)
        write_lines(tmp_path / place / "pets" / "captions.jsonl", [{"image": names[0], "captions": ["A dog."]}])
        return contents(tmp_path / place)

    assert of_copy("here", ["a.jpg"]) == of_copy("there", ["a.jpg"]) != of_copy("there", ["a.jpg", "b.jpg"])
    before = contents(tmp_path / "here")
    (tmp_path / "here" / "pets" / "a.jpg").write_bytes(b"another photo under the same name")
    assert contents(tmp_path / "here") != before


def test_photos_are_found_behind_links_and_hidden_ones_are_left_out(tmp_path):
    disk, folder = tmp_path / "disk", tmp_path / "photos"
    for path in (disk / "b.JPG", disk / "._b.JPG", folder / "below" / "a.png", folder / "notes.txt"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "linked").symlink_to(disk)
    (folder / "linked" / "circle").symlink_to(folder)
    assert [path.relative_to(folder).as_posix() for path in photos_in(folder)] == ["below/a.png", "linked/b.JPG"]
