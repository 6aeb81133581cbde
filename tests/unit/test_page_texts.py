"""The page's texts: all languages have the same content, the code uses all texts, and visitors get their own language."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import string
from datetime import date
from pathlib import Path

import pytest

from app import languages, texts
from app.languages import ENGLISH, FOLDER, OTHERS, SAMPLES, TAGS, speaking, texts_in, wanted
from app.views import page_html
from core.common import languages as known
from core.common.errors import StudioError
from core.common.messages import english
from core.common.paths import ROOT, experts_path
from core.common.text import clean_text
from core.data.captions import parse_typed, read_captions
from core.data.image_io import open_photo
from core.data.sample_photos import examples, sample_photos
from core.experts.files import RepositoryIndex
from core.retrieval.gallery import Gallery
from core.retrieval.where import Where
from core.sglora.description import subject
from core.sglora.engine import SGLora
from core.sglora.fit import language_remark
from core.sglora.teach import clean_taught_name

OF_CORE = "CORE_"
TEXTS = {code: texts_in(code) for code in TAGS}


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def spec(text: str) -> set[tuple[str, str]]:
    return {(name, spec or "") for _, name, spec, _ in string.Formatter().parse(text) if name is not None}


# The files


def test_there_is_one_file_a_language() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(TAGS)


@pytest.mark.parametrize("code", OTHERS)
def test_a_language_says_the_same_things(code: str) -> None:
    own, english = languages._read(code), TEXTS[ENGLISH]
    assert list(own) == list(english)
    for name, text in own.items():
        assert text, name
        assert re.findall(r"<[^>]+>", text) == re.findall(r"<[^>]+>", english[name]), name
        assert re.findall(r"`[^`]+`", text) == re.findall(r"`[^`]+`", english[name]), name
        if name.startswith(OF_CORE):  # a translated message can leave out fields
            assert fields(text) <= fields(english[name]), name
        else:
            assert spec(text) == spec(english[name]), name
    assert own["EXPERTS_HEADERS"].count("; ") == english["EXPERTS_HEADERS"].count("; ")


@pytest.mark.parametrize("code", OTHERS)
def test_sentences_are_translated(code: str) -> None:
    own = languages._read(code)
    same = [name for name, text in own.items() if text == TEXTS[ENGLISH][name] and len(text.split()) > 3]
    assert same == []
    assert len(set(own.values())) > 0.9 * len(own)


def test_the_code_uses_what_is_there_and_nothing_is_left_over() -> None:
    sources = [path.read_text() for path in (ROOT / "app").rglob("*") if path.suffix in (".py", ".html")]
    used = {
        name for source in sources for name in re.findall(r"\b(?:texts\.ENGLISH|texts|_TEXTS)\.([A-Z][A-Z0-9_]*)\b", source)
    }
    used |= {name for name in TEXTS[ENGLISH] for source in sources if f'"{name}"' in source}
    english_only = {*texts.ENGLISH_ONLY, *(name for name in vars(texts) if name.isupper())}
    assert used - english_only - set(TEXTS[ENGLISH]) == set()
    assert set(texts.ENGLISH_ONLY) - used == set()
    assert {n for n in set(TEXTS[ENGLISH]) - used if not n.startswith((OF_CORE, SAMPLES))} == set()
    assert not set(TEXTS[ENGLISH]) & english_only, "a text is defined in two places"


def literals(pieces: list[str | None]) -> str:
    """A text with one mark for each group of adjacent fields."""
    return re.sub("\0+", "\0", "".join("\0" if piece is None else piece for piece in pieces)).strip("\0").removeprefix(": ")


def test_message_templates_match_the_code_of_core() -> None:
    """Each template must be in the code that makes the message. Otherwise the app cannot recognise the message."""
    files = [*(ROOT / "core").rglob("*.py"), ROOT / "app/visitors/uploads.py"]
    made = set()
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text()))):
        if isinstance(node, ast.JoinedStr):
            made.add(literals([part.value if isinstance(part, ast.Constant) else None for part in node.values]))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            made.add(literals([node.value]))
    for text in english().values():
        made.add(literals([part for before, field, *_ in string.Formatter().parse(text) for part in (before, field and None)]))
    words = {word for text in made for word in text.split()}  # names of languages are list items or keys
    words |= {name for names in json.loads((ROOT / "core/common/languages.json").read_text()).values() for name in names}
    for name, text in TEXTS[ENGLISH].items():
        if not name.startswith(OF_CORE):
            continue
        pieces: list[str | None] = []
        for words_before, field, *_ in string.Formatter().parse(text):
            pieces += [words_before] if field is None else [words_before, None]
        template = literals(pieces)
        assert any(template in text for text in made) or template in words or template in ("Greek", "Hebrew"), name
    assert {"Greek", "Hebrew"} == {known.language("Σκύλος στο χιόνι"), known.language("כלב בשלג")}


def test_sample_questions_are_translated_both_ways() -> None:
    captions = {caption for sample in sample_photos() for caption in sample.captions}
    for code in OTHERS:
        with speaking(code):
            for example in examples().shown:
                asked = clean_text(texts.translated(example.query), "query")
                assert asked != example.query and texts.original(asked) == example.query in captions
                assert texts.translated(example.description) != example.description


# The visitor's language


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en-GB,en;q=0.9,fr;q=0.8", "en"),
        ("it-IT,it;q=0.9,fr;q=0.8,en;q=0.7", "fr"),
        ("en;q=0.3, ja ; q=0.9", "ja"),
        ("zh-Hant-TW", "zh"),
        ("pt-PT", "pt"),
        ("PT_br", "pt"),
        ("tlh, xx;q=0.5", "en"),
        ("de;q=0", "en"),
        ("fr;q=oops,es;q=0.1", "es"),
        ("*", "en"),
        (",;,;;q=,-", "en"),
        ("de" * 100_000, "en"),
    ],
)
def test_accept_language(header: str, code: str) -> None:
    assert wanted(header) == code


def test_without_a_visitor_it_is_english() -> None:
    assert texts.SEARCH == TEXTS["en"]["SEARCH"] == texts.ENGLISH.SEARCH
    with pytest.raises(AttributeError):
        _ = texts.NO_SUCH_TEXT_AT_ALL


def test_concurrent_visitors_get_their_own_language() -> None:
    async def visit(code: str) -> set[str]:
        with speaking(code):
            said = set()
            for _ in range(50):
                await asyncio.sleep(0)
                said |= {texts.SEARCH, await asyncio.to_thread(lambda: texts.SEARCH)}
            return said

    async def all_at_once() -> list[set[str]]:
        return await asyncio.gather(*(visit(code) for code in TAGS))

    assert asyncio.run(all_at_once()) == [{TEXTS[code]["SEARCH"]} for code in TAGS]


@pytest.mark.parametrize("repository", ["embedded", "embedded-photos"])
def test_every_shipped_description_is_in_every_language(repository: str) -> None:
    experts = RepositoryIndex.read(experts_path(repository)).experts
    for code in OTHERS:
        with speaking(code):
            for expert in experts:
                translated = texts.topic(expert.description)
                assert subject(translated) and translated != expert.description, expert.description
    assert [texts.topic(expert.description) for expert in experts] == [expert.description for expert in experts]
    with speaking("de"):
        assert texts.topic("photos of my cat") == "photos of my cat"


@pytest.mark.parametrize("code", OTHERS)
def test_translated_descriptions_are_routed_to_the_experts_of_the_english_ones(code: str, engine: SGLora) -> None:
    same = 0
    for expert in (some := engine.repository.experts[::11]):
        with speaking(code):
            translated = texts.topic(expert.description)
        english, other = (set(engine.route(text).chosen.tolist()[:n]) for text, n in ((expert.description, 4), (translated, 1)))
        same += other <= english
    assert same >= 0.9 * len(some)


def test_a_text_without_a_translation_is_english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in FOLDER.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text() if path.stem == ENGLISH else '{"SEARCH": "Suchen"}')
    monkeypatch.setattr(languages, "FOLDER", tmp_path)
    texts_in.cache_clear()
    try:
        with speaking("de"):
            assert ("Suchen", TEXTS[ENGLISH]["CLEAR"]) == (texts.SEARCH, texts.CLEAR)
            assert texts.PHOTOS_NOW.format(n=1234, limit=5, captioned=0).startswith("Photos: 1,234 of")
    finally:
        texts_in.cache_clear()


# Messages and numbers


def test_numbers_are_written_as_the_language_does() -> None:
    with speaking("de"):
        assert texts.PHOTOS_NOW.format(n=1234, limit=20_000, captioned=0).startswith("Fotos: 1.234 von höchstens 20.000")
        assert texts.GAIN.format(gain=3.25, k=1) == "Gewinn +3,2 R@1"
        assert texts.CAPTIONS_NO_PHOTO.format(name="1,5.jpg", photo="a.png").count("1,5.jpg") == 1, "names keep their numbers"
    with speaking("ja"):
        assert "1,234 枚" in texts.PHOTOS_NOW.format(n=1234, limit=20_000, captioned=0)


def raised(make) -> str:
    with pytest.raises(StudioError) as caught:
        make()
    return str(caught.value)


@pytest.mark.parametrize("code", OTHERS)
def test_messages_of_core_are_said_in_the_visitors_language(code: str) -> None:
    remark = language_remark("zdjęcia mojego psa na śniegu i w lesie", {"English"})
    messages = {
        raised(lambda: clean_text(" ")): "CORE_EMPTY",
        raised(lambda: clean_text("dog " * 5_000)): "CORE_LONG",
        raised(lambda: parse_typed("nothing")): "CORE_TYPED_LINE",
        raised(lambda: open_photo(b"", "Über-Polish.jpg")): "CORE_FILE_EMPTY",
        raised(lambda: open_photo(b"no image", "x.jpg")): "CORE_NO_IMAGE",
        raised(lambda: clean_taught_name("")): "CORE_NAME_EMPTY",
        raised(lambda: Where(since=date(2025, 1, 1), until=date(2024, 1, 1))): "CORE_DAYS_REVERSED",
        remark.text if remark else "": "CORE_LANGUAGE",
    }
    with speaking(code):
        for message, name in messages.items():
            said = texts.translated(message)
            start = max(TEXTS[code][name].split("{")[0], re.sub(r"^.*?\}", "", TEXTS[code][name]).split("{")[0], key=len)
            assert said != message and start in said, name
        assert "Über-Polish.jpg" in texts.translated(next(m for m in messages if "Über" in m)), "a file's name stays unchanged"
        assert TEXTS[code]["CORE_POLISH"] in texts.translated(remark.text if remark else "")
        where = texts.CORE_LINE.format(label="über.csv", line=2)
        row = raised(lambda: read_captions("über.csv", b"image,caption\nx.jpg\n"))
        assert texts.translated(row) == texts.CORE_CSV_PAIR.format(where=where)
        assert "Polish" in texts.translated("Photos for “Polish”"), "text that a visitor wrote stays unchanged"
        assert texts.translated("What nobody wrote {down}.") == "What nobody wrote {down}."


@pytest.mark.parametrize("code", OTHERS)
def test_the_report_of_an_upload_says_in_the_visitors_language_why_a_photo_is_not_there(
    code: str, engine: SGLora, tmp_path: Path
) -> None:
    (broken := tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photo")
    added = Gallery(engine.backbone).add([broken])
    assert [failure.name for failure in added.failed] == ["broken.jpg"]
    with speaking(code):
        said = page_html.report([], added, [("all.zip", "the ZIP holds no files")])
        assert "damaged" not in said and "holds no files" not in said
        assert f"all.zip: {texts.CORE_ZIP_EMPTY}" in said
        assert texts.CORE_DAMAGED.format(label="broken.jpg", error="OSError") in said


def test_columns_keep_their_names_for_the_api() -> None:
    with speaking("de"):
        assert texts.ENGLISH.MERGE == "Experts averaged" and texts.translated(texts.ENGLISH.MERGE) == texts.MERGE
        assert texts.translated("at strength 0, 2 taught") == "bei Stärke 0, 2 gelernt"
        assert texts.listed(["a", "b", "c"]) == "a, b und c" and texts.listed(["a"]) == "a"
