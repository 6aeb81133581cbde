"""The standard formats of captioned and labelled photos, compared with torchvision's readers where it has one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from torchvision.datasets import Flickr30k, ImageFolder

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


FLICKR8K = "a.jpg#0\tA dog runs .\na.jpg#1\tThe dog .\nb.jpg#0\tA cat .\nc.jpg#0\tA boat .\nd.jpg.1#0\tA ghost .\n"


def test_flickr8k_tokens_with_the_lists_of_the_splits(tmp_path: Path) -> None:
    photos(tmp_path, "Flicker8k_Dataset/a.jpg", "Flicker8k_Dataset/b.jpg", "Flicker8k_Dataset/c.jpg")
    text = tmp_path / "Flickr8k_text"
    write(text / "Flickr8k.token.txt", FLICKR8K)
    write(text / "Flickr8k.lemma.token.txt", FLICKR8K.replace("runs", "run"))
    write(text / "CrowdFlowerAnnotations.txt", "a.jpg\ta.jpg#2\t1\t0\t3\n")
    for part, name in (("train", "a"), ("dev", "b"), ("test", "c")):
        write(text / f"Flickr_8k.{part}Images.txt", f"{name}.jpg\n")
    folder = "Flicker8k_Dataset"
    assert listed(tmp_path) == {
        f"{folder}/a.jpg": ("train", ("A dog runs .", "The dog .")),
        f"{folder}/b.jpg": ("val", ("A cat .",)),
        f"{folder}/c.jpg": ("test", ("A boat .",)),
    }
    assert [s.path.is_file() for s in read_folder(tmp_path / folder)] == [True, True, True]
    write(text / "Flickr_8k.testImages.txt", "c.jpg\nb.jpg\n")
    with pytest.raises(DataError, match=r"Flickr_8k\.testImages\.txt, line 2: b\.jpg is also in the list of val"):
        read_folder(tmp_path)


def test_flickr30k_tokens_read_as_torchvision_reads_them(tmp_path: Path) -> None:
    rows = ['1.jpg#0\tTwo men in " Superman " shirts .', "1.jpg#1\tMen | women .", '2.jpg#0\t" Hello " says a sign .']
    photos(tmp_path, "1.jpg", "2.jpg")
    write(tmp_path / "results_20130124.token", "\n".join(rows) + "\n")
    theirs = Flickr30k(str(tmp_path), str(tmp_path / "results_20130124.token"))
    ours = {name: list(captions) for name, (_, captions) in listed(tmp_path).items()}
    assert ours["1.jpg"] == theirs.annotations["1.jpg"]
    # torchvision removes the quotes, as CSV quotes. The file is not CSV: the quotes belong to the caption.
    assert ours["2.jpg"] == ['" Hello " says a sign .']
    for part, name in (("train", "1"), ("val", "2")):
        write(tmp_path / f"{part}.txt", f"{name}\n")
    assert {n: split for n, (split, _) in listed(tmp_path).items()} == {"1.jpg": "train", "2.jpg": "val"}


def test_flickr30k_csv_with_its_one_damaged_line(tmp_path: Path) -> None:
    photos(tmp_path, "flickr30k_images/1.jpg")
    head = "image_name| comment_number| comment\n1.jpg| 0| A dog , with a | bar .\n"
    write(tmp_path / "results.csv", head + "1.jpg| 4   A dog runs across the grass .\n")
    assert listed(tmp_path) == {"flickr30k_images/1.jpg": ("", ("A dog , with a | bar .", "A dog runs across the grass ."))}
    write(tmp_path / "results.csv", head + "1.jpg A dog\n")
    with pytest.raises(DataError, match=r"results\.csv, line 3: “1\.jpg\| 0\| A dog runs\.” is expected"):
        read_folder(tmp_path)


def test_a_csv_of_captions(tmp_path: Path) -> None:
    photos(tmp_path, "Images/1.jpg")
    write(tmp_path / "captions.txt", 'image,caption\n1.jpg,"A dog, running"\n1.jpg,A dog\n')
    assert listed(tmp_path) == {"Images/1.jpg": ("", ("A dog, running", "A dog"))}


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
        ("Flickr8k.token.txt", "a.jpg#0\tA dog .\na.jpg A cat .\n", r"Flickr8k\.token\.txt, line 2: “1\.jpg#0”, a tab"),
        ("Flickr8k.token.txt", "a.jpg#0\tA dog .\na.jpg#1\t \n", "line 2: an image name and a caption"),
    ],
)
def test_what_is_damaged_is_named(tmp_path: Path, file: str, content: object, message: str) -> None:
    write(tmp_path / file, content)
    with pytest.raises(DataError, match=message):
        read_folder(tmp_path)


def test_text_that_is_not_utf8_is_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "Flickr8k.token.txt").write_bytes(b"a.jpg#0\tA dog\na.jpg#1\tA caf\xe9\n")
    with pytest.raises(DataError, match=r"Flickr8k\.token\.txt, line 2: not UTF-8"):
        read_folder(tmp_path)


def test_which_folders_data_means(tmp_path: Path) -> None:
    photos(tmp_path / "sets", "pets/cat/1.jpg", "pets/dog/1.jpg", "flickr/images/a.jpg")
    write(tmp_path / "sets" / "flickr" / "Flickr8k.token.txt", FLICKR8K)
    (tmp_path / "sets" / ".git").mkdir()
    assert [f.name for f in data_folders(tmp_path / "sets")] == ["flickr", "pets"]
    assert data_folders(tmp_path / "sets" / "pets") == [tmp_path / "sets" / "pets"]
    assert data_folders(tmp_path / "sets" / "flickr") == [tmp_path / "sets" / "flickr"]
    write(tmp_path / "coco" / "annotations" / "captions_val2017.json", CAPTIONS)
    photos(tmp_path / "coco" / "val2017", "7.jpg")
    assert data_folders(tmp_path / "coco") == [tmp_path / "coco"]
