"""The page's texts: all languages have the same content, the code uses all texts, and visitors get their own language."""

import ast
import json
import re
import string
from collections.abc import Iterator, Mapping
from datetime import date
from importlib import import_module
from pathlib import Path

import pytest

from app.languages import ENGLISH, FOLDER, TAGS, speaking, texts, wanted
from app.models.engines import Models, found_repositories
from app.page.layout import build
from app.page.views import page_html
from app.photos.libraries import PhotoLibraries
from app.photos.samples import Samples
from app.visitors.registry import Visitors
from app.visitors.tab import Sources
from core.backbones.description import subject
from core.common import errors
from core.common.errors import StudioError
from core.common.languages import language_remark
from core.common.messages import Message, message
from core.common.paths import ROOT, experts_path
from core.common.text import clean_text
from core.data.captions import parse_typed, read_captions
from core.data.image_io import open_photo
from core.data.sample_photos import EVERYDAY, sample_photos, sample_sets
from core.data.uploads import sort_uploads
from core.experts.files import RepositoryIndex
from core.names.teach import clean_taught_name
from core.retrieval.photo_set import Where
from core.sglora.engine import SGLora

OTHERS = [code for code in TAGS if code != ENGLISH]
IN_FILE = {code: json.loads((FOLDER / f"{code}.json").read_text()) for code in TAGS}
TEXTS = IN_FILE[ENGLISH]
OF_CORE = sorted(set(IN_FILE["de"]) - set(TEXTS))  # English templates
# Modules of core whose plain texts only operators see. An f-string is for them everywhere.
OPERATORS = (
    *("cli", "backbones", "training/generator", "data/album", "data/sidecars", "data/xmp"),
    *("retrieval/library_photos", "retrieval/ray_engine"),
)
ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, StudioError)}
SAYS = ERRORS | {"message", "Message", "photo_error", "fail", "TrainingStopped"}
CORE = {file.relative_to(ROOT / "core").with_suffix(""): ast.parse(file.read_text()) for file in (ROOT / "core").rglob("*.py")}


def fields(text: str) -> set[tuple[str, str]]:
    """Names and formats of a text's fields."""
    return {(name, spec or "") for _, name, spec, _ in string.Formatter().parse(text) if name is not None}


# The files


def test_there_is_one_file_a_language() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {*TAGS, "english", "topics", "samples"}


@pytest.mark.parametrize("code", OTHERS)
def test_a_language_says_the_same_things(code: str) -> None:
    own, english = IN_FILE[code], IN_FILE[ENGLISH]
    assert set(english) <= set(own)
    assert set(own) == {*english, *OF_CORE}
    for name, text in own.items():
        assert text, name
        original = english.get(name, name)
        for marked in (r"<[^>]+>", r"`[^`]+`"):
            assert re.findall(marked, text) == re.findall(marked, original), name
        assert fields(text) == fields(original), name
    assert own["EXPERTS_HEADERS"].count("; ") == english["EXPERTS_HEADERS"].count("; ")
    assert [name for name, text in own.items() if text == english.get(name) and len(text.split()) > 3] == []
    assert len(set(own.values())) > 0.9 * len(own)


def constants(module: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """The names of a module that are texts."""
    for node in ast.walk(module):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            yield from ((ast.unparse(name), plain(value, {})) for name, value in pairs)


def plain(node: ast.expr, named: Mapping[str, list[str]]) -> list[str]:
    """The texts that an argument may be; f-strings do not count."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.Name(id=name):
            return named.get(name, [])
        case ast.IfExp(body=one, orelse=other):
            return plain(one, named) + plain(other, named)
    return []


SHARED = {name: texts for module in CORE.values() for name, texts in constants(module) if name.isupper()}


def said(module: ast.Module) -> Iterator[str]:
    """The templates that a module of core raises or returns."""
    named = SHARED | dict(constants(module))
    for node in ast.walk(module):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=arguments) if name in SAYS:
                yield from (text for argument in arguments[:2] for text in plain(argument, named) if text)


def test_what_core_says_to_visitors_is_translated() -> None:
    of_visitors = [module for name, module in CORE.items() if not name.as_posix().startswith(OPERATORS)]
    assert {text for module in of_visitors for text in said(module)} - set(OF_CORE) == set()
    assert len(OF_CORE) > 100


def test_what_is_translated_is_said_by_core() -> None:
    nodes = (node for module in CORE.values() for node in ast.walk(module))
    spoken = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    languages = json.loads((ROOT / "core/common/languages.json").read_text()).values()
    spoken |= {name for script in languages for name in script} | {"Greek", "Hebrew", "Thai"}  # the last have the script's name
    assert set(OF_CORE) - spoken == set()


def test_the_code_uses_what_is_there_and_nothing_is_left_over() -> None:
    used = set()
    for file in (ROOT / "app").rglob("*.html"):
        used |= set(re.findall(r"\btexts\.([A-Z][A-Z0-9_]*)\b", file.read_text()))
    for node in (node for file in (ROOT / "app").rglob("*.py") for node in ast.walk(ast.parse(file.read_text()))):
        match node:
            case ast.Attribute(value=ast.Name(id="texts"), attr=name) if name.isupper():
                used.add(name)
            case ast.Constant(value=str(name)) if name in TEXTS or name in texts.ENGLISH_ONLY:
                used.add(name)
    assert used - set(TEXTS) - set(texts.ENGLISH_ONLY) - set(vars(texts)) == set()
    assert {*texts.ENGLISH_ONLY, *TEXTS} - used == set()
    assert not set(TEXTS) & {*texts.ENGLISH_ONLY, *vars(texts)}, "a text is defined in two places"


def test_what_is_asked_of_the_samples_is_in_every_language() -> None:
    """Titles, sentences, questions and names. Two names of one set never have the same words."""
    for name, samples in sample_sets().items():
        captions = {caption for photo in sample_photos(name) for caption in photo.captions}
        queries, sentences = [e.query for e in samples.examples], {e.description for e in samples.examples}
        assert set(queries) <= captions and len(queries) == len(set(queries))
        assert name == EVERYDAY or set(queries) == captions
        for code in OTHERS:
            with speaking(code):
                same = {words for words in (samples.title, *sentences, *queries) if texts.of_sample(words) == words}
                assert same <= {"chaparral", "short", "t-shirt"}
                assert len({texts.of_sample(query) for query in queries}) == len(queries)


@pytest.mark.parametrize("repository", ["embedded", "embedded-photos"])
def test_every_shipped_description_is_in_every_language(repository: str) -> None:
    descriptions = [expert.description for expert in RepositoryIndex.read(experts_path(repository)).experts]
    for code in OTHERS:
        with speaking(code):
            translated = list(map(texts.topic, descriptions))
            assert all(map(subject, translated)) and not set(translated) & set(descriptions)
            assert texts.topic("photos of my cat") == "photos of my cat"
    assert list(map(texts.topic, descriptions)) == descriptions


@pytest.mark.parametrize("code", OTHERS)
def test_translated_descriptions_are_routed_to_the_experts_of_the_english_ones(code: str, engine: SGLora) -> None:
    same = 0
    for expert in (some := engine.repository.experts[::11]):
        with speaking(code):
            translated = texts.topic(expert.description)
        english, other = (set(engine.route(text).chosen.tolist()[:n]) for text, n in ((expert.description, 4), (translated, 1)))
        same += other <= english
    assert same >= 0.9 * len(some)


# The layout, which browsers translate


def strings(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """(name of the property, text) of every text in a component's properties."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from strings(inner, key)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings(inner, name)
    elif isinstance(value, str):
        yield name, value


@pytest.mark.slow
@pytest.mark.parametrize("samples", [True, False])
def test_a_browser_translates_every_label(samples: bool, tmp_path: Path) -> None:
    """Looked up as Gradio's browser code does it: by the key in the mark, in the browser's language."""

    def none() -> SGLora:
        raise StudioError("no models here")

    libraries = PhotoLibraries() if samples else PhotoLibraries([tmp_path / "library"], writable=True)
    models = Models(none, () if samples else found_repositories([]))
    page, i18n = build(models, Visitors(sources=Sources(libraries, Samples() if samples else None)))
    marked, plain = set(), set()
    for component in page.config["components"]:
        for name, text in strings(component["props"]):
            marks = re.findall(r"__i18n__(\{.*?\})", text)
            marked |= {json.loads(mark)["key"] for mark in marks}
            # A hidden table gets its headers with the rows. Names of the API's parameters are hidden, too.
            if not marks and 'lang="en"' not in text and name not in ("elem_id", "name", "headers", "js_on_load"):
                plain |= set() if text.isidentifier() and text.islower() else {text}
    translations = i18n.translations
    assert {"en", "de", "fr", "es", "pt-BR", "zh-CN", "ja"} <= set(translations)
    for words in translations.values():
        assert marked <= set(words) and all(words.values())
    english, german = translations["en"], translations["de"]
    assert german["SEARCH"] == "Suchen" and "<h1>" in german["HEADER"]
    assert [key for key in marked if english[key] == german[key] and len(english[key].split()) > 2] == []
    translated = {text for key, text in IN_FILE[ENGLISH].items() if text != IN_FILE["de"][key]}
    left = {text for text in plain if any(text == words or (" " in words and words in text) for words in translated)}
    assert left == set(), "a label is in English in every browser"


# The visitor's language


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "en"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("it-IT,it;q=0.9,fr;q=0.8,en;q=0.7", "en"),  # Gradio takes its labels' language from the first one, too
        (" ja ; q=0.9", "ja"),
        ("PT_br", "pt"),
        (",;,;;q=,-", "en"),
        ("de" * 100_000, "en"),
    ],
)
def test_accept_language(header: str, code: str) -> None:
    assert wanted(header) == code


def test_without_a_visitor_texts_are_english() -> None:
    assert IN_FILE[ENGLISH]["SEARCH"] == texts.SEARCH
    with pytest.raises(AttributeError):
        _ = texts.NO_SUCH_TEXT_AT_ALL


def test_numbers_are_written_as_the_language_does() -> None:
    with speaking("de"):
        assert texts.PHOTOS_NOW.format(n=1234, limit=20_000, captioned=0).startswith("Fotos: 1.234 von höchstens 20.000")
        assert texts.GAIN.format(gain=3.25, k=1) == "Gewinn +3,2 R@1"
        assert texts.CAPTIONS_NO_PHOTO.format(name="1,5.jpg", photo="a.png").count("1,5.jpg") == 1, "names keep their numbers"
    with speaking("ja"):
        assert "1,234 枚" in texts.PHOTOS_NOW.format(n=1234, limit=20_000, captioned=0)


def test_a_message_is_said_in_the_visitors_language() -> None:
    empty = message("The {what} is empty: say what the photos show, such as “photos of people surfing”.", what=message("query"))
    taught = message("NAMES_NOTE_TOO", note=message("MERGE_NOTE"), n=2)
    assert texts.of(empty) == "The query is empty: say what the photos show, such as “photos of people surfing”."
    with speaking("de"):
        assert texts.of(empty).startswith("Hier fehlt etwas (Frage): ") and texts.english_of(empty).startswith("The query")
        assert texts.of(taught) == "ohne Generator, 2 gelernt" and texts.english_of(taught) == "no generator, 2 taught"
        assert "„Search {down}“" in texts.of(message("Photos for “{query}”", query="Search {down}"))
        assert texts.of(StudioError("Photos for “Polish”")) == "Photos for “Polish”", "other texts stay unchanged"
        assert texts.english("MERGE") == "Experts averaged" != texts.MERGE


def templates(text: object) -> Iterator[str]:
    """The templates of a message and of those in its fields."""
    if isinstance(text, Message):
        yield text.template
        for value in text.fields.values():
            yield from templates(value)


def test_what_core_says_to_a_visitor_is_translated_with_all_that_is_in_it(tmp_path: Path) -> None:
    said = [language_remark("zdjęcia mojego psa na śniegu i w lesie", {"English"})]
    (tmp_path / "empty.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    (tmp_path / "broken.zip").write_bytes(b"PK")
    failed = sort_uploads([tmp_path / "empty.zip", tmp_path / "broken.zip"], tmp_path / "unpacked").failed
    said += [reason for _, reason in failed]
    assert len(failed) == 2
    for make in (
        lambda: clean_text(" "),
        lambda: clean_text("dog " * 5_000),
        lambda: clean_text("", "query"),
        lambda: parse_typed("nothing"),
        lambda: read_captions("zorp.csv", b"image,caption\nx.jpg\n"),
        lambda: open_photo(b"", "zorp.jpg"),
        lambda: open_photo(b"no image", "zorp.jpg"),
        lambda: clean_taught_name(""),
        lambda: Where(since=date(2025, 1, 1), until=date(2024, 1, 1)),
    ):
        with pytest.raises(StudioError) as caught:
            make()
        said.append(caught.value.message)
    for code in OTHERS:
        with speaking(code):
            for text in said:
                assert isinstance(text, Message) and set(templates(text)) <= set(IN_FILE[code]), text
                assert texts.of(text) != str(text) and ("zorp" in str(text)) == ("zorp" in texts.of(text))
            assert all(f"{name}: {texts.of(reason)}" in page_html.report([], None, failed) for name, reason in failed)


def test_each_step_of_the_method_names_code_that_exists() -> None:
    named = re.findall(r'"(core/[\w/]+\.py)", "([\w.]+)"', (ROOT / "app/page/views/templates/how.html").read_text())
    assert len(named) == 6
    for file, name in named:
        found: object = import_module(file.removesuffix(".py").replace("/", "."))
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found)
