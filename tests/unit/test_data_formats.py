"""The standard formats of captioned and labelled photos, compared with torchvision's readers where it has one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from core.common.errors import DataError
from core.data import data_folders, read_folder


def photos(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / name, "JPEG")


def write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def listed(folder: Path, **options: bool) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {s.path.relative_to(folder).as_posix(): (s.split, s.captions) for s in read_folder(folder, **options)}


def karpathy(*images: dict) -> dict:
    return {"dataset": "made up", "images": list(images)}


def entry(name: str, split: str, *captions: str, **more: object) -> dict:
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
CAPTIONS = {
    "images": INSTANCES["images"],
    "annotations": [{"image_id": 7, "caption": "a dog and a man"}, {"image_id": 8, "caption": "a  wall\n"}],
}


def test_karpathys_split_with_restval_and_categories(tmp_path: Path) -> None:
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
    write(tmp_path / "annotations" / "instances_val2014.json", INSTANCES)
    assert listed(tmp_path) == {
        "train2014/a.jpg": ("train", ("one",)),
        "val2014/a.jpg": ("train", ("two",)),
        "val2014/b.jpg": ("val", ("three",)),
        "val2014/c.jpg": ("test", ("a four",)),
    }
    assert [s.categories for s in read_folder(tmp_path, categories=True)] == [(), ("dog", "person"), (), ()]
    # The path of the image folder alone also works, if the JSON is beside the folder.
    assert [s.path.is_file() for s in read_folder(tmp_path / "val2014")] == [True, True, True, True]


def test_of_karpathys_three_files_the_one_whose_photos_are_there(tmp_path: Path) -> None:
    photos(tmp_path, "images/8k.jpg")
    write(tmp_path / "dataset_flickr8k.json", karpathy(entry("8k.jpg", "val", "a dog")))
    write(tmp_path / "dataset_flickr30k.json", karpathy(entry("30k.jpg", "val", "a cat")))
    assert listed(tmp_path) == {"images/8k.jpg": ("val", ("a dog",))}
    photos(tmp_path, "images/30k.jpg")
    with pytest.raises(DataError, match=r"dataset_flickr30k\.json and dataset_flickr8k\.json"):
        read_folder(tmp_path)


def test_coco_categories_come_from_the_instances_beside_the_captions(tmp_path: Path) -> None:
    photos(tmp_path, "val2017/7.jpg", "val2017/8.jpg")
    write(tmp_path / "annotations" / "captions_val2017.json", CAPTIONS)
    write(tmp_path / "annotations" / "instances_val2017.json", INSTANCES)
    assert {s.categories for s in read_folder(tmp_path)} == {()}
    found = {s.path.name: (s.captions, s.categories) for s in read_folder(tmp_path, categories=True)}
    assert found == {"7.jpg": (("a dog and a man",), ("dog", "person")), "8.jpg": (("a wall",), ())}
    write(tmp_path / "annotations" / "instances_val2017.json", {"annotations": [{"image_id": 7}]})
    with pytest.raises(DataError, match=r"instances_val2017\.json is not a file of COCO instances"):
        read_folder(tmp_path, categories=True)


def test_categories_by_the_line(tmp_path: Path) -> None:
    write(tmp_path / "captions.jsonl", '{"image": "a.jpg", "captions": [], "categories": ["dog", "cat", "dog"]}')
    assert read_folder(tmp_path)[0].categories == ("cat", "dog")


def test_two_years_of_coco_share_photos(tmp_path: Path) -> None:
    for split in ("val2014", "train2017"):
        photos(tmp_path, f"{split}/7.jpg", f"{split}/8.jpg")
        write(tmp_path / "annotations" / f"captions_{split}.json", CAPTIONS)
    with pytest.raises(DataError, match=r"captions_val2014\.json and captions_train2017\.json share photos"):
        read_folder(tmp_path)


@pytest.mark.parametrize("root", ["", "train"])
def test_an_image_folder_reads_as_torchvision_reads_it(tmp_path: Path, root: str) -> None:
    top = tmp_path / "pets"
    photos(top / root, "cat/1.jpg", "cat/more/2.jpg", "maine_coon/1.JPG", "dog/x.png")
    write(top / root / "dog" / "notes.txt", "no photo")
    theirs = ImageFolder(str(top / root))
    names = {str(Path(path)): theirs.classes[i].replace("_", " ") for path, i in theirs.samples}
    samples = read_folder(top)
    assert {str(s.path): s.label for s in samples} == names
    assert {(s.split, s.domain, s.dataset) for s in samples} == {(root, "pets", "pets")}


def test_folders_that_are_no_classes(tmp_path: Path) -> None:
    photos(tmp_path / "coco", "train2017/1.jpg", "val2017/2.jpg")
    photos(tmp_path / "bare", "train/1.jpg", "val/2.jpg")
    photos(tmp_path / "one", "images/1.jpg", "thumbnails/1.jpg")
    for folder in ("coco", "bare", "one"):
        with pytest.raises(DataError, match="one of them is needed"):
            read_folder(tmp_path / folder)
    photos(tmp_path / "mixed", "train/cat/1.jpg", "train/dog/1.jpg", "cat/1.jpg")
    with pytest.raises(DataError, match="holds train and cat"):
        read_folder(tmp_path / "mixed")


def test_a_name_that_could_be_either_of_two_photos(tmp_path: Path) -> None:
    photos(tmp_path, "large/7.jpg", "small/7.jpg", "small/8.jpg")
    write(tmp_path / "captions.json", CAPTIONS)
    with pytest.raises(DataError, match=r"two photos called 7\.jpg, large/7\.jpg and small/7\.jpg"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("dataset_coco.json", '{"images": [', r"dataset_coco\.json: not valid JSON"),
        ("captions_val2017.json", '{"images":\n[{', r"captions_val2017\.json, line 2: not valid JSON"),
        (
            "dataset_x.json",
            karpathy(entry("a.jpg", "train"), entry("b.jpg", "dev")),
            r"dataset_x\.json, image 2, .*KeyError: 'dev'",
        ),
        ("dataset_x.json", karpathy(entry("a.jpg", "train"), {"split": "val"}), "image 2, .*sentences"),
    ],
)
def test_what_is_damaged_is_named(tmp_path: Path, file: str, content: object, message: str) -> None:
    write(tmp_path / file, content)
    with pytest.raises(DataError, match=message):
        read_folder(tmp_path)


def test_which_folders_data_means(tmp_path: Path) -> None:
    photos(tmp_path / "sets", "pets/cat/1.jpg", "pets/dog/1.jpg", "flickr/images/a.jpg")
    write(tmp_path / "sets" / "flickr" / "dataset_flickr8k.json", karpathy(entry("a.jpg", "val", "a dog")))
    (tmp_path / "sets" / ".git").mkdir()
    assert [f.name for f in data_folders(tmp_path / "sets")] == ["flickr", "pets"]
    assert data_folders(tmp_path / "sets" / "pets") == [tmp_path / "sets" / "pets"]
    assert data_folders(tmp_path / "sets" / "flickr") == [tmp_path / "sets" / "flickr"]
    write(tmp_path / "coco" / "annotations" / "captions_val2017.json", CAPTIONS)
    photos(tmp_path / "coco" / "val2017", "7.jpg")
    assert data_folders(tmp_path / "coco") == [tmp_path / "coco"]
