"""Data folders in all supported formats, compared with torchvision where it reads them, and errors for invalid ones."""

import json
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from core.common.errors import DataError
from core.data import data_folders, read_folder
from core.data.find_images import photos_in
from core.data.folder import contents
from core.data.jsonl import Translation, read_translations

CAPTIONS = {"a.jpg": ["A dog runs.", "a  dog "], "b.jpg": ["A cat."], "c.jpg": []}


def write(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def write_lines(path, rows):
    write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def coco(captions, first=1):
    """A COCO captions JSON: {"images": …, "annotations": …}."""
    images = [{"id": first + i, "file_name": name} for i, name in enumerate(captions)]
    ids = {image["file_name"]: image["id"] for image in images}
    annotations = [{"image_id": ids[name], "caption": text} for name, own in captions.items() for text in own]
    return json.dumps({"images": images, "annotations": annotations})


def photos(folder, *names):
    for name in names:
        write(folder / name, "not read here")


def listed(samples):
    return {s.path.name: list(s.captions) for s in samples}


EXPECTED = {"a.jpg": ["A dog runs.", "a dog"], "b.jpg": ["A cat."], "c.jpg": []}


def test_captions_by_the_line(tmp_path):
    lines = [{"image": f"images/{n}", "captions": c, "categories": ["dog", "cat", "dog"]} for n, c in CAPTIONS.items()]
    write_lines(tmp_path / "captions.jsonl", lines)
    samples = read_folder(tmp_path)
    assert listed(samples) == EXPECTED and {s.categories for s in samples} == {("cat", "dog")}
    assert samples[0].path == tmp_path / "images" / "a.jpg"


def test_labels_by_the_line(tmp_path):
    write_lines(tmp_path / "labels.jsonl", [{"image": "a.jpg", "set": "pets", "domain": "animals", "label": "dog"}])
    (sample,) = read_folder(tmp_path)
    assert (sample.label, sample.domain, sample.dataset, sample.captions) == ("dog", "animals", "pets", ())


@pytest.mark.parametrize(
    ("json_at", "photos_at"),
    [("captions.json", "."), ("captions.json", "images"), ("annotations/captions_val2017.json", "val2017")],
)
def test_coco_captions(tmp_path, json_at, photos_at):
    photos(tmp_path / photos_at, *CAPTIONS)
    (tmp_path / json_at).parent.mkdir(exist_ok=True)
    (tmp_path / json_at).write_text(coco(CAPTIONS))
    samples = read_folder(tmp_path)
    assert listed(samples) == EXPECTED
    assert all(s.path.is_file() for s in samples)
    assert {s.split for s in samples} == {""}


def test_coco_train_and_val_are_joined(tmp_path):
    for name, split in (("1.jpg", "train"), ("2.jpg", "val")):
        photos(tmp_path / f"{split}2017", name)
        write(tmp_path / "annotations" / f"captions_{split}2017.json", coco({name: [f"in {split}"]}))
        write(tmp_path / "annotations" / f"instances_{split}2017.json", '{"images": [], "annotations": []}')
    samples = [(s.path.parent.name, s.split, s.captions) for s in read_folder(tmp_path)]
    assert samples == [("train2017", "train", ("in train",)), ("val2017", "val", ("in val",))]


def test_a_folder_whose_name_is_part_of_a_word_decides_nothing(tmp_path):
    photos(tmp_path / "a", "1.jpg")
    photos(tmp_path / "trip", "1.jpg")
    (tmp_path / "captions_val2017.json").write_text(coco({"1.jpg": ["a dog"]}))
    with pytest.raises(DataError, match=r"a/1\.jpg and trip/1\.jpg, and captions name both"):
        read_folder(tmp_path)


def test_coco_photos_that_are_not_there_are_still_listed(tmp_path):
    (tmp_path / "captions.json").write_text(coco(CAPTIONS))
    assert listed(read_folder(tmp_path)) == EXPECTED


def test_other_json_files_are_no_captions(tmp_path):
    (tmp_path / "config.json").write_text('{"images": 3}')
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match="COCO's or Karpathy's JSON"):
        read_folder(tmp_path)


def test_captions_in_other_languages_from_all_files(tmp_path):
    english = {"image": "1.jpg", "split": "val", "en": "A dog .", "de": "Ein  Hund", "fr": " "}
    write_lines(tmp_path / "captions.jsonl", [english])
    rows = [{"image": "1.jpg", "zh": ["一只狗"], "en-zh": [["A dog .", "一条狗"]]}, {"image": "2.jpg", "zh": []}]
    write_lines(tmp_path / "chinese.jsonl", rows)
    german, native, chinese = ("de", "Ein Hund", "A dog ."), ("zh", "一只狗", ""), ("zh", "一条狗", "A dog .")
    expected = {"1.jpg": [Translation(*each) for each in (german, native, chinese)], "2.jpg": []}
    assert read_translations(tmp_path) == expected


@pytest.mark.parametrize("wrong", [{"de": 3}, {"en-zh": "一只狗"}, {"en-zh": [["A dog", 1]]}, {"en-zh": ["A dog"]}])
def test_malformed_translations_are_named(tmp_path, wrong):
    with pytest.raises(DataError, match=r"nowhere holds no \.jsonl file with captions in other languages"):
        read_translations(tmp_path / "nowhere")
    write_lines(tmp_path / "chinese.jsonl", [{"image": "1.jpg", **wrong}])
    with pytest.raises(DataError, match=r"chinese\.jsonl, line 1: "):
        read_translations(tmp_path)


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


# Splits, categories and classes


def splits_and_captions(folder):
    return {s.path.relative_to(folder).as_posix(): (s.split, s.captions) for s in read_folder(folder)}


def karpathy(*images):
    return {"dataset": "made up", "images": list(images)}


def entry(name, split, *captions, **more):
    sentences = [{"raw": c, "tokens": c.split(), "imgid": 0, "sentid": 0} for c in captions]
    return {"filename": name, "split": split, "sentences": sentences, **more}


INSTANCES = {
    "categories": [
        {"id": 1, "name": "person", "supercategory": "person"},
        {"id": 18, "name": "dog", "supercategory": "animal"},
    ],
    "images": [{"id": 7, "file_name": "7.jpg"}, {"id": 8, "file_name": "8.jpg"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 18, "segmentation": [[1, 2, 3]], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 18, "segmentation": {"counts": [1], "size": [4, 4]}, "iscrowd": 1},
        {"id": 3, "image_id": 7, "category_id": 1, "segmentation": [], "iscrowd": 0},
    ],
}
DOGS = {
    "images": INSTANCES["images"],
    "annotations": [{"image_id": 7, "caption": "a dog and a man"}, {"image_id": 8, "caption": "a  wall\n"}],
}


def test_karpathys_split_with_restval(tmp_path):
    photos(tmp_path, "train2014/a.jpg", "val2014/a.jpg", "val2014/b.jpg", "val2014/c.jpg")
    write(
        tmp_path / "dataset_coco.json",
        karpathy(
            entry("a.jpg", "train", "one", filepath="train2014", cocoid=1),
            entry("a.jpg", "restval", "two", filepath="val2014", cocoid=7),
            entry("b.jpg", "val", "three", " ", filepath="val2014", cocoid=8),
            entry("c.jpg", "test", "a\nfour", filepath="val2014", cocoid=9),
        ),
    )
    assert splits_and_captions(tmp_path) == {
        "train2014/a.jpg": ("train", ("one",)),
        "val2014/a.jpg": ("train", ("two",)),
        "val2014/b.jpg": ("val", ("three",)),
        "val2014/c.jpg": ("test", ("a four",)),
    }


def test_of_karpathys_three_files_the_one_whose_photos_are_there(tmp_path):
    photos(tmp_path, "images/8k.jpg")
    write(tmp_path / "dataset_flickr8k.json", karpathy(entry("8k.jpg", "val", "a dog")))
    write(tmp_path / "dataset_flickr30k.json", karpathy(entry("30k.jpg", "val", "a cat")))
    assert splits_and_captions(tmp_path) == {"images/8k.jpg": ("val", ("a dog",))}


def test_coco_categories_come_from_the_instances_beside_the_captions(tmp_path):
    photos(tmp_path, "val2017/7.jpg", "val2017/8.jpg")
    write(tmp_path / "annotations" / "captions_val2017.json", DOGS)
    write(tmp_path / "annotations" / "instances_val2017.json", INSTANCES)
    assert {s.categories for s in read_folder(tmp_path)} == {()}
    found = {s.path.name: (s.captions, s.categories) for s in read_folder(tmp_path, categories=True)}
    assert found == {"7.jpg": (("a dog and a man",), ("dog", "person")), "8.jpg": (("a wall",), ())}
    write(tmp_path / "annotations" / "instances_val2017.json", {"annotations": [{"image_id": 7}]})
    with pytest.raises(DataError, match=r"instances_val2017\.json needs categories"):
        read_folder(tmp_path, categories=True)


def test_two_years_of_coco_share_photos(tmp_path):
    for name, split in (("7.jpg", "val2014"), ("8.jpg", "train2017")):
        photos(tmp_path, f"{split}/{name}")
        write(tmp_path / "annotations" / f"captions_{split}.json", coco({name: ["a dog"]}))
    with pytest.raises(DataError, match=r"captions_val2014\.json and captions_train2017\.json share photos"):
        read_folder(tmp_path)


@pytest.mark.parametrize("root", ["", "train"])
def test_an_image_folder_reads_as_torchvision_reads_it(tmp_path, root):
    top = tmp_path / "pets"
    photos(top / root, "cat/1.jpg", "cat/more/2.jpg", "maine_coon/1.JPG", "dog/x.png")
    write(top / root / "dog" / "notes.txt", "no photo")
    theirs = ImageFolder(str(top / root))
    names = {str(Path(path)): theirs.classes[i].replace("_", " ") for path, i in theirs.samples}
    samples = read_folder(top)
    assert {str(s.path): s.label for s in samples} == names
    assert {(s.split, s.domain, s.dataset) for s in samples} == {(root, "pets", "pets")}


def test_folders_that_are_no_classes(tmp_path):
    photos(tmp_path / "coco", "train2017/1.jpg", "val2017/2.jpg")
    photos(tmp_path / "bare", "train/1.jpg", "val/2.jpg")
    photos(tmp_path / "one", "images/1.jpg", "thumbnails/1.jpg")
    for folder in ("coco", "bare", "one"):
        with pytest.raises(DataError, match=r"needs captions\.jsonl"):
            read_folder(tmp_path / folder)
    photos(tmp_path / "mixed", "train/cat/1.jpg", "train/dog/1.jpg", "cat/1.jpg")
    with pytest.raises(DataError, match="holds train and cat"):
        read_folder(tmp_path / "mixed")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "captions.json",
            {"images": [{"id": 1}], "annotations": [{"image_id": 1, "caption": "a"}]},
            r"captions\.json .*file_name",
        ),
        ("captions.jsonl", '{"image": "a.jpg", "captions": []}\n{"image": ' + "1" * 10_000 + "}", r"captions\.jsonl, line 2: "),
        ("dataset_coco.json", '{"images": [', r"dataset_coco\.json: not valid JSON"),
        ("captions_val2017.json", '{"images":\n[{', r"captions_val2017\.json, line 2: not valid JSON"),
        ("dataset_x.json", karpathy(entry("a.jpg", "train"), entry("b.jpg", "dev")), r"dataset_x\.json .*KeyError: 'dev'"),
        ("dataset_x.json", karpathy(entry("a.jpg", "train"), {"split": "val"}), "dataset_x.*KeyError.*sentences"),
    ],
)
def test_what_is_damaged_is_named(tmp_path, file, content, message):
    write(tmp_path / file, content)
    with pytest.raises(DataError, match=message):
        read_folder(tmp_path)
    with pytest.raises(DataError, match="nowhere does not exist"):
        read_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("folder", "name", "table"),
    [
        ("Images", "captions.txt", "image,caption\na.jpg,A dog , black and white .\na.jpg,A dog runs .\nb.jpg,A cat ."),
        (
            "Flicker8k_Dataset",
            "Flickr8k.token.txt",
            "a.jpg#0\tA dog , black and white .\na.jpg#1\tA dog runs .\nb.jpg#0\tA cat .",
        ),
    ],
)
def test_flickr8k_as_it_is_downloaded(tmp_path, folder, name, table):
    photos(tmp_path, f"{folder}/a.jpg", f"{folder}/b.jpg")
    before = contents(tmp_path)
    (tmp_path / name).write_text(table)
    assert data_folders(tmp_path) == [tmp_path] and contents(tmp_path) != before
    expected = {"a.jpg": ["A dog, black and white .", "A dog runs ."], "b.jpg": ["A cat ."]}
    found = {s.path: [caption.replace(" ,", ",") for caption in s.captions] for s in read_folder(tmp_path)}
    assert found == {tmp_path / folder / photo: texts for photo, texts in expected.items()}


def test_which_folders_data_means(tmp_path):
    photos(tmp_path / "sets", "pets/cat/1.jpg", "pets/dog/1.jpg", "flickr/images/a.jpg")
    write(tmp_path / "sets" / "flickr" / "dataset_flickr8k.json", karpathy(entry("a.jpg", "val", "a dog")))
    (tmp_path / "sets" / ".git").mkdir()
    assert [f.name for f in data_folders(tmp_path / "sets")] == ["flickr", "pets"]
    assert data_folders(tmp_path / "sets" / "pets") == [tmp_path / "sets" / "pets"]
    assert data_folders(tmp_path / "sets" / "flickr") == [tmp_path / "sets" / "flickr"]
    write(tmp_path / "coco" / "annotations" / "captions_val2017.json", DOGS)
    photos(tmp_path / "coco" / "val2017", "7.jpg")
    assert data_folders(tmp_path / "coco") == [tmp_path / "coco"]
