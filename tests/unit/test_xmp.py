"""Keywords in XMP, read back with exiftool and exiv2, and every other byte."""

import difflib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from sidecar_samples import DARKTABLE, DIGIKAM, EXPECTED, LIGHTROOM, RDF, SIDECARS

from core.common.errors import DataError
from core.data.xmp import EMPTY, HIERARCHY, NAMESPACES, SUBJECT, keywords, with_keyword, without_keyword

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


def immich_reads(file: Path) -> list[str]:
    """The keywords that immich reads, in its order (metadata.service.ts, getTagList)."""
    return exiftool(file, "XMP-digiKam:TagsList") or exiftool(file, "XMP-lr:HierarchicalSubject")


def digikam_reads(file: Path) -> str:
    """The keywords that digiKam reads, in its order (dmetadatasettingscontainer.cpp)."""
    keys = ("Xmp.digiKam.TagsList", "Xmp.MicrosoftPhoto.LastKeywordXMP", "Xmp.lr.hierarchicalSubject", "Xmp.dc.subject")
    values = exiv2(file)
    return next(values[key][0] for key in keys if key in values)


DC_ONLY = EMPTY.replace(
    b" </rdf:RDF>",
    f"""  <rdf:Description rdf:about="" xmlns:dc="{NAMESPACES["dc"]}">
   <dc:subject><rdf:Bag><rdf:li>Hund</rdf:li><rdf:li>Müllers &amp; Söhne</rdf:li></rdf:Bag></dc:subject>
  </rdf:Description>
 </rdf:RDF>""".encode(),
)


@pytest.mark.parametrize(
    ("content", "others"),
    [
        (EMPTY, []),
        (DARKTABLE, []),
        (DIGIKAM, ["Tiere/Hund", "Müllers & Söhne"]),
        (LIGHTROOM, EXPECTED["Lightroom"]),
        (DC_ONLY, ["Hund", "Müllers & Söhne"]),
    ],
)
def test_immich_and_digikam_find_the_keyword_beside_all_others(content: bytes, others: list[str], tmp_path: Path) -> None:
    file = tmp_path / "a.xmp"
    file.write_bytes(with_keyword(content, WORD))
    found = immich_reads(file)
    assert len(found) == len(others) + 1 and found[-1] == WORD
    for keyword in (*others, WORD):
        assert keyword in digikam_reads(file).replace("|", "/")


@pytest.mark.parametrize("content", [*SIDECARS.values(), EMPTY, DC_ONLY, b"\xef\xbb\xbf" + DIGIKAM])
def test_bytes_are_only_added_and_come_out_again(content: bytes) -> None:
    added = with_keyword(content, WORD)
    kinds = {op for op, *_ in difflib.SequenceMatcher(None, content, added, autojunk=False).get_opcodes()}
    assert kinds == {"equal", "insert"}
    assert with_keyword(added, WORD) == added
    both = with_keyword(added, "Esel")
    assert keywords(both)[SUBJECT] == [*keywords(content).get(SUBJECT, []), WORD, "Esel"]
    assert without_keyword(without_keyword(both, WORD), "Esel") == content == without_keyword(content, "other")


def test_new_lists_have_the_keywords_inside_the_photo() -> None:
    inside = {SUBJECT: ["Hund"], HIERARCHY: ["Tiere|Hund"]}
    for content in (EMPTY, DARKTABLE):
        made = with_keyword(content, WORD, inside)
        assert keywords(made) == {SUBJECT: ["Hund", WORD], HIERARCHY: ["Tiere|Hund", WORD]}
        assert without_keyword(made, WORD, inside) == content
    without = without_keyword(without_keyword(made, "Hund", inside), WORD, inside)
    assert keywords(without) == {SUBJECT: [], HIERARCHY: ["Tiere|Hund"]}, "what the user took out stays out"


OTHER_PREFIX = f"""<rdf:Description xmlns:a="{NAMESPACES["dc"]}"><a:subject><rdf:Bag/></a:subject></rdf:Description>"""


def rdf(inside: str) -> bytes:
    inner = f'<rdf:RDF xmlns:rdf="{RDF}" xmlns:dc="{NAMESPACES["dc"]}">{inside}</rdf:RDF>'
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{inner}</x:xmpmeta>'.encode()


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
    assert exiftool(tmp_path / "a.xmp", "XMP-dc:Subject") == [WORD] and WORD in exiv2(tmp_path / "a.xmp")["Xmp.dc.subject"]
    assert not keywords(without_keyword((tmp_path / "a.xmp").read_bytes(), WORD)).get(SUBJECT)


def test_a_keyword_on_a_lower_level_counts_as_there() -> None:
    assert keywords(with_keyword(DIGIKAM, "Hund"))[SUBJECT] == ["Hund", "Müllers & Söhne"]
    assert with_keyword(DIGIKAM, "Hund") == DIGIKAM
    assert keywords(with_keyword(DARKTABLE, "exposure"))[SUBJECT] == ["exposure"]


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
        (rdf(f"<!-- <dc:subject><rdf:Bag/></dc:subject> -->{OTHER_PREFIX}"), "form"),
    ],
)
def test_what_it_does_not_understand_is_rejected(content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        with_keyword(content, WORD)
    try:
        assert without_keyword(content, WORD) == content
    except DataError as error:
        assert reason in str(error)
