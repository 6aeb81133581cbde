"""Files that a visitor downloads. They hold the same values as the page; other libraries read them back."""

import csv
import io
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from recalls import recalls

from app.actions import adding, answering
from app.answers import exports
from app.answers.question import Asked, Question, Scope
from app.languages import texts
from app.photos.samples import Samples
from app.visitors.tab import Sources, Tab
from app.visitors.visitor import Visitor
from core.common.errors import DataError
from core.data.sample_photos import sample_photos
from core.data.xmp import SUBJECT, keywords
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

SENTENCE, QUERY = "photos of wild animals", "a cat, that runs"
SOURCES = Sources(samples=Samples())


@pytest.fixture(scope="module")
def tab(engine: SGLora) -> Tab:
    made = Tab(Visitor(), sources=SOURCES)
    question = Question.words(QUERY, Scope.of("samples"))
    answering.answer(engine, made, Asked(question, AdapterRequest(SENTENCE, 3, 0.2, 5, 1.0), merge=True))
    return made


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_results_name_every_photo_with_its_ranks(engine: SGLora, tab: Tab) -> None:
    gallery = SOURCES.samples.gallery(engine)
    first, last = tab.comparison.columns[0], tab.comparison.columns[-1]
    read = rows(exports.results_csv(tab.comparison))
    assert [r["photo"] for r in read] == [h.label for h in last.ranking.hits]
    assert sorted(r["photo"] for r in read) == sorted(p.name for p in gallery.photos)
    was = {h.label: h.rank for h in first.ranking.hits}
    for rank, row in enumerate(read, 1):
        assert int(row[f"{texts.english(last.title)} rank"]) == rank
        assert int(row[f"{texts.english(first.title)} rank"]) == was[row["photo"]]
        assert int(row[f"{texts.english(last.title)} moved"]) == was[row["photo"]] - rank
        assert row["question"] == QUERY


@pytest.mark.parametrize("name", ["=1+1.jpg", "+1.jpg", "-1.jpg", "@SUM(A1).jpg", "＝1.jpg", "\t=1.jpg"])
def test_no_name_is_a_formula_in_a_spreadsheet(tab: Tab, name: str) -> None:
    found = tab.comparison
    columns = []
    for column in found.columns:
        hits = tuple(replace(hit, label=name, score=-0.5) for hit in column.ranking.hits)
        columns.append(replace(column, ranking=replace(column.ranking, hits=hits)))
    read = rows(exports.results_csv(replace(found, asked=Question.words(name), columns=tuple(columns))))
    assert {row["photo"] for row in read} == {f"'{name}"} and {row["question"] for row in read} == {f"'{name}"}
    assert {row[f"{texts.english(column.title)} score"] for row in read for column in columns} == {"-0.500000"}, (
        "no quote before numbers"
    )


def test_recall_is_that_of_the_gallery(engine: SGLora, tab: Tab) -> None:
    gallery = SOURCES.samples.gallery(engine)
    read = rows(exports.recall_csv(answering.measure(engine, tab)))
    names = tab.visitor.names(engine)
    columns = answering.columns(engine, names, tab.asked, tab.adaptation)
    adapters = {texts.english(column.title): column.adapter for column in columns}
    assert list(adapters) == [texts.english(column.title) for column in tab.comparison.columns]
    (adapters["Shared LoRA"],) = answering.without_sentence(engine)  # it is counted beside the columns
    others = len(adapters) - 1
    assert len(read) == 6 * (1 + 2 * others + 1), "each column, its difference to the first, and SG-LoRA's to the shared LoRA"
    for row in read:
        expected = recalls(gallery, adapters[row["column"]])[row["direction"]][row["measure"]]
        if row["minus"]:
            expected -= recalls(gallery, adapters[row["minus"]])[row["direction"]][row["measure"]]
        assert float(row["percent"]) == pytest.approx(expected, abs=0.01)
        assert float(row["low"]) <= float(row["percent"]) <= float(row["high"])


@pytest.mark.parametrize("kept", [True, False])
def test_the_zip_holds_the_photos_in_their_order(engine: SGLora, tmp_path: Path, kept: bool) -> None:
    """The visitor's own files where the app kept them, else their thumbnails."""
    tab, own = Tab(Visitor()), {s.name: s.path for s in sample_photos()[:5]}
    adding.add_uploads(engine, tab, [str(path) for path in own.values()])
    if not kept:
        shutil.rmtree(tab.visitor.files.folder / "photos")
    made = answering.answer(engine, tab, Asked(Question.words(QUERY), AdapterRequest(SENTENCE)))
    exports.write_photos(made, 4, path := tmp_path / "photos.zip")
    hits, thumbnails = made.columns[-1].ranking.hits[:4], {p.name: p.thumbnail for p in tab.visitor.photos}
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"{i:03d} {hit.label}" for i, hit in enumerate(hits, 1)]
        for name, hit in zip(archive.namelist(), hits, strict=True):
            assert archive.read(name) == (own[hit.label].read_bytes() if kept else thumbnails[hit.label])


def test_the_zip_of_samples_holds_their_files(tab: Tab, tmp_path: Path) -> None:
    exports.write_photos(tab.comparison, 2, path := tmp_path / "photos.zip")
    with zipfile.ZipFile(path) as archive:
        files = {name[4:]: archive.read(name) for name in archive.namelist()}
    assert len(files) == 2 and files.items() <= {s.name: s.path.read_bytes() for s in sample_photos()}.items()


def test_the_zip_of_sidecars_has_the_question_as_keyword(tab: Tab, tmp_path: Path) -> None:
    hits = tab.comparison.columns[-1].ranking.hits[1:4]
    word = exports.keyword_of(tab.comparison)
    exports.write_keywords([(hit.label, word) for hit in hits], path := tmp_path / "keywords.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"{hit.label}.xmp" for hit in hits]
        assert all(keywords(archive.read(name))[SUBJECT] == [QUERY] for name in archive.namelist())
    leveled = replace(tab.comparison, asked=Question.words("a cat/dog | or  two"))
    assert exports.keyword_of(leveled) == "a cat dog or two"


def test_captions_are_no_photos(engine: SGLora, tab: Tab, tmp_path: Path) -> None:
    photos, other = SOURCES.samples.gallery(engine).photos, Tab(tab.visitor, sources=SOURCES)
    question = Question.photo(photos[0].id, scope=Scope.of("samples"))
    made = answering.answer(engine, other, Asked(question, tab.asked.request))
    with pytest.raises(DataError, match="search with words"):
        exports.write_photos(made, 4, tmp_path / "photos.zip")
    assert exports.keyword_of(made) == ""
    assert {r["caption"] for r in rows(exports.results_csv(made))} == {c for p in photos for c in p.captions}
