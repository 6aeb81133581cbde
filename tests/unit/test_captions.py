"""Captions files as people write them, and the error messages for unreadable files."""

import json

import pytest

from core.common.errors import DataError
from core.data.captions import MAX_CAPTION, captions_from_names, match_captions, parse_typed, read_captions


def csv(text: str) -> dict[str, tuple[str, ...]]:
    return read_captions("captions.csv", text.encode())


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", ["", "image{}caption\n"])
def test_delimiters_are_found(delimiter: str, header: str) -> None:
    text = header.format(delimiter) + f"dog.jpg{delimiter}a dog on the beach\ncat.jpg{delimiter}a cat\n"
    assert csv(text) == {"dog.jpg": ("a dog on the beach",), "cat.jpg": ("a cat",)}


CSV = {
    'id,Caption,Filename\r\n1,"a dog, running",dog.jpg\r\n2,a cat,cat.jpg\r\n3,the dog again,dog.jpg\r\n': {
        "dog.jpg": ("a dog, running", "the dog again"),
        "cat.jpg": ("a cat",),
    },
    "dog.jpg,a dog\n\n  \ncat.jpg, a cat \ndog.jpg,a dog\n": {"dog.jpg": ("a dog",), "cat.jpg": ("a cat",)},
    "image,caption\ndog.jpg,a dog, running, fast\n": {"dog.jpg": ("a dog, running, fast",)},
    "dog.jpg;a dog, running, fast\n": {"dog.jpg": ("a dog, running, fast",)},
    # Flickr8k and Flickr30k
    "1_a.jpg#0\tA child in pink .\n1_a.jpg#1\tA girl , going in .\n": {"1_a.jpg": ("A child in pink .", "A girl , going in .")},
    "image_name| comment_number| comment\n10.jpg| 0| Two men .\n10.jpg| 1| Friends , at ease .\n": {
        "10.jpg": ("Two men .", "Friends , at ease .")
    },
    'image,caption\na.jpg,"a dog\nand a cat"\nb.jpg,"say ""hi"""\n': {"a.jpg": ("a dog and a cat",), "b.jpg": ('say "hi"',)},
    # Between tabs, a quote costs no other row.
    'a.jpg\t"The dog runs\nb.jpg\t"Welcome" on a sign\nc.jpg\t"say ""hi"""\nd.jpg\tA 5" pipe\n': {
        "a.jpg": ('"The dog runs',),
        "b.jpg": ('"Welcome" on a sign',),
        "c.jpg": ('"say ""hi"""',),
        "d.jpg": ('A 5" pipe',),
    },
}


@pytest.mark.parametrize("text", CSV)
def test_csv_as_people_and_datasets_write_it(text: str) -> None:
    assert csv(text) == CSV[text]


def test_labels_are_captions_too() -> None:
    lines = (
        b'{"image": "images/1.jpg", "set": "pets", "domain": "animals", "label": "tabby cat"}',
        b'{"image": "2.jpg", "label": "dog"}',
    )
    expected = {"images/1.jpg": ("a photo of a tabby cat",), "2.jpg": ("a photo of a dog",)}
    assert read_captions("labels.jsonl", b"\n".join(lines)) == expected


def test_jsonl_as_the_data_folders_have_it() -> None:
    rows = [
        {"image": "images/a.jpg", "split": "val", "captions": ["one ", "  two\n"]},
        {"image": "b.jpg", "caption": "three\u2028four"},
        {"image": "c.jpg", "captions": []},
    ]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n"
    expected = {"images/a.jpg": ("one", "two"), "b.jpg": ("three four",)}
    assert read_captions("captions.jsonl", text.encode()) == expected


def test_a_byte_order_mark_and_other_scripts_are_fine() -> None:
    text = "image,caption\nhund.jpg,ein Hund läuft\n犬.jpg,走る犬\n"
    expected = {"hund.jpg": ("ein Hund läuft",), "犬.jpg": ("走る犬",)}
    assert read_captions("c.csv", b"\xef\xbb\xbf" + text.encode()) == expected
    line = json.dumps({"image": "a.jpg", "captions": ["ä"]}, ensure_ascii=False)
    assert read_captions("c.jsonl", b"\xef\xbb\xbf" + line.encode()) == {"a.jpg": ("ä",)}


BAD = {
    "latin1.csv": ("image,caption\na.jpg,ok\nb.jpg,käse\n".encode("latin-1"), r"latin1\.csv, line 3: not UTF-8"),
    "utf16.csv": ("image,caption\n".encode("utf-16"), r"utf16\.csv, line 1: not UTF-8"),
    "empty.csv": (b"", r"empty\.csv holds no captions"),
    "blank.csv": (b"image,caption\na.jpg,\n", "holds no captions"),
    "only.csv": (b"image,label\na.jpg,dog\n", r"only\.csv, line 1: .*no caption column"),
    "one.csv": (b"image,caption\na.jpg,ok\n\njust words\n", r"one\.csv, line 4: an image and a caption"),
    "noname.csv": (b"a.jpg,ok\n,no name\n", r"noname\.csv, line 2"),
    "wide.csv": (b"caption,image\nok,a.jpg\na dog, running,b.jpg\n", r"wide\.csv, line 3: 3 columns"),
    "quote.csv": (b'image,caption\na.jpg,"never closed\nb.jpg,fine\n', r"quote\.csv, line 3: not valid CSV"),
    "field.csv": (b"a.jpg," + b"x" * 200_000, r"field\.csv, line 1: not valid CSV"),
    "broken.jsonl": (b'{"image": "a.jpg", "captions": ["x"]}\n{"image": ', r"broken\.jsonl, line 2: not valid JSON"),
    "list.jsonl": (b'["a.jpg", "x"]', r'list\.jsonl, line 1: an object with an "image"'),
    "type.jsonl": (b'{"image": "a.jpg", "captions": [1]}', r'type\.jsonl, line 1: "captions" must be'),
    "labels.jsonl": (b'{"image": "a.jpg", "label": 1}', r'labels\.jsonl, line 1: a "label" text is expected'),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_named_by_file_and_line(name: str) -> None:
    data, message = BAD[name]
    with pytest.raises(DataError, match=message) as caught:
        read_captions(name, data)
    assert len(str(caught.value)) < 500


def test_file_names_become_captions_where_they_say_something() -> None:
    names = [
        "dog_on_beach-2.jpg",
        "two cats (3).PNG",
        "cheetah1.jpg",
        "folder/red-motor.bike.webp",
        "3_birds.jpg",
        "犬と猫.jpg",
        "IMG_2034.jpg",
        "DSC00012.JPG",
        "20240131_120000.jpg",
        "1000268201_693b08cb0e.jpg",
        "a.jpg",
        "",
    ]
    assert captions_from_names(names) == {
        "dog_on_beach-2.jpg": ("dog on beach",),
        "two cats (3).PNG": ("two cats",),
        "cheetah1.jpg": ("cheetah",),
        "folder/red-motor.bike.webp": ("red motor bike",),
        "3_birds.jpg": ("3 birds",),
        "犬と猫.jpg": ("犬と猫",),
    }


def test_typed_lines() -> None:
    text = "dog.jpg: a dog, running\n\ncat , a cat: asleep\n dog.jpg:again\na, b.png: both\n"
    assert parse_typed(text) == {"dog.jpg": ("a dog, running", "again"), "cat": ("a cat: asleep",), "a, b.png": ("both",)}
    assert parse_typed(" \n") == {}


@pytest.mark.parametrize("line", ["just words", ": no name", "name:", "name: ", ","])
def test_typed_lines_that_miss_something_are_named(line: str) -> None:
    with pytest.raises(DataError, match=r"Typed captions, line 2"):
        parse_typed(f"ok.jpg: fine\n{line}\n")


def test_matching_by_name_stem_and_case() -> None:
    captions = {"images/DOG.jpg": ["a dog"], "cat": ["a cat"], "b.png": ["b"]}
    names = ["dog.JPG", "Cat.webp", "b.png", "b.jpg", "nobody.jpg"]
    expected = [("a dog",), ("a cat",), ("b",), None, None]
    assert match_captions(names, captions) == expected


def test_captions_are_tidied() -> None:
    texts = ["  a\tdog\n", "a dog", "", "\x00", "y" * 5000]
    (found,) = match_captions(["a.jpg"], {"a.jpg": texts})
    assert found == ("a dog", "y" * MAX_CAPTION)
