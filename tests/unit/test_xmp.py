"""Keywords in XMP, read back with exiftool and exiv2, and every other byte."""

from __future__ import annotations

import difflib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from sidecar_samples import DARKTABLE, DIGIKAM, EXPECTED, LIGHTROOM, RDF, SIDECARS

from core.common.errors import DataError
from core.data.xmp import LISTS, keywords, new_xmp, with_keyword, without_keyword

WORD = "Shrek & “Fiona” <3"


def exiftool(file: Path, tag: str) -> list[str]:
    """The words of a tag."""
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed (Debian: apt install libimage-exiftool-perl)")
    done = subprocess.run(["exiftool", "-j", "-struct", f"-{tag}", file], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)[0].get(tag.rpartition(":")[2], [])
    return found if isinstance(found, list) else [found]


def exiv2(file: Path) -> dict[str, list[str]]:
    """The values of all keys."""
    if shutil.which("exiv2") is None:
        pytest.skip("exiv2 is not installed (Debian: apt install exiv2)")
    done = subprocess.run(["exiv2", "-PXkv", file], capture_output=True, text=True)
    values: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        values.setdefault(key, []).append(value.strip())
    assert not done.stderr
    return values


@pytest.mark.parametrize("program", SIDECARS)
def test_real_tools_read_the_keyword_and_all_the_rest(program: str, tmp_path: Path) -> None:
    before, after = tmp_path / "before.xmp", tmp_path / "after.xmp"
    before.write_bytes(SIDECARS[program])
    after.write_bytes(with_keyword(SIDECARS[program], WORD))
    assert exiftool(after, "XMP-dc:Subject") == [*EXPECTED[program], WORD]
    lists = ("Xmp.dc.subject", "Xmp.digiKam.TagsList", "Xmp.lr.hierarchicalSubject")
    old, new = exiv2(before), exiv2(after)
    assert {key: value for key, value in new.items() if key not in lists} == {k: v for k, v in old.items() if k not in lists}
    for key in lists:
        if key in old or key == "Xmp.dc.subject":
            assert WORD in new[key][0], key


def test_programs_that_read_their_own_list_first_find_the_keyword(tmp_path: Path) -> None:
    (tmp_path / "a.xmp").write_bytes(with_keyword(DIGIKAM, WORD))
    assert exiftool(tmp_path / "a.xmp", "XMP-digiKam:TagsList") == ["Tiere/Hund", "Müllers & Söhne", WORD]
    assert exiftool(tmp_path / "a.xmp", "XMP-lr:HierarchicalSubject") == ["Tiere|Hund", "Müllers & Söhne", WORD]
    (tmp_path / "b.xmp").write_bytes(with_keyword(new_xmp(), WORD))
    assert exiftool(tmp_path / "b.xmp", "XMP-digiKam:TagsList") == [WORD]
    (tmp_path / "c.xmp").write_bytes(with_keyword(LIGHTROOM, WORD))
    assert exiftool(tmp_path / "c.xmp", "XMP-digiKam:TagsList") == [], "else digiKam would not read the other keywords"


@pytest.mark.parametrize("content", [*SIDECARS.values(), new_xmp(), new_xmp(["a"]), b"\xef\xbb\xbf" + DIGIKAM])
def test_bytes_are_only_added_and_come_out_again(content: bytes) -> None:
    added = with_keyword(content, WORD)
    kinds = {op for op, *_ in difflib.SequenceMatcher(None, content, added, autojunk=False).get_opcodes()}
    assert kinds == {"equal", "insert"}
    assert with_keyword(added, WORD) == added
    both = with_keyword(added, "Esel")
    assert keywords(both) == (*keywords(content), WORD, "Esel")
    assert without_keyword(without_keyword(both, WORD), "Esel") == content == without_keyword(content, "other")


def rdf(inside: str) -> bytes:
    return f'<rdf:RDF xmlns:rdf="{RDF}" xmlns:dc="{LISTS[0].split()[0]}">{inside}</rdf:RDF>'.encode()


@pytest.mark.parametrize(
    "inside",
    [
        "<rdf:Description><dc:subject><rdf:Bag/></dc:subject></rdf:Description>",
        "<rdf:Description><dc:subject><rdf:Seq ></rdf:Seq></dc:subject></rdf:Description>",
        "<rdf:Description><dc:subject><rdf:Bag><!-- <rdf:li/> --></rdf:Bag></dc:subject></rdf:Description>",
        "<rdf:Description rdf:about='a &amp; b'/>",
        "",
    ],
)
def test_empty_lists_of_every_form(inside: str, tmp_path: Path) -> None:
    (tmp_path / "a.xmp").write_bytes(with_keyword(rdf(inside), WORD))
    assert exiftool(tmp_path / "a.xmp", "XMP-dc:Subject") == [WORD]
    assert keywords(without_keyword((tmp_path / "a.xmp").read_bytes(), WORD)) == ()


def test_a_keyword_on_a_lower_level_counts_as_there() -> None:
    assert keywords(with_keyword(DIGIKAM, "Hund")) == ("Hund", "Müllers & Söhne")
    assert with_keyword(DIGIKAM, "Hund") == DIGIKAM
    assert keywords(with_keyword(DARKTABLE, "exposure")) == ("exposure",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (DIGIKAM[:700], "damaged"),
        (b"", "damaged"),
        (DIGIKAM.decode().encode("utf-16"), "form"),
        (b"<html/>", "no XMP"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]>' + rdf(""), "no XMP"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?>' + rdf(""), "form"),
        (rdf("<rdf:Description><dc:subject>cat</dc:subject></rdf:Description>"), "form"),
        (rdf('<rdf:Description dc:subject="cat"/>'), "form"),
        (rdf("").replace(b"rdf:", b"r:").replace(b":rdf", b":r"), "form"),
    ],
)
def test_what_it_does_not_understand_is_rejected(content: bytes, reason: str) -> None:
    for change in (with_keyword, without_keyword):
        with pytest.raises(DataError, match=reason):
            change(content, WORD)
