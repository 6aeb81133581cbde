"""Files that a visitor downloads. They hold the same values as the page; other libraries read them back."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from recalls import recalls

from app import actions, exports
from app.visitors.question import Question
from app.visitors.session import Session
from core.common.errors import DataError
from core.common.paths import ROOT
from core.data.sample_photos import sample_photos
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

SENTENCE, QUERY = "photos of wild animals", "a cat, that runs"


@pytest.fixture(scope="module")
def session(engine: SGLora) -> Session:
    """A session with some samples, an adapter and a typed question."""
    made = Session(merge=True)
    actions.add_samples(engine, made)
    actions.generate(engine, made, actions.request(SENTENCE, 3, 0.2, 5, 1.0))
    actions.ask(engine, made, Question.words(QUERY))
    return made


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_results_name_every_photo_with_its_places(engine: SGLora, session: Session) -> None:
    gallery = session.album.gallery(engine)
    first, last = session.comparison.columns[0], session.comparison.columns[-1]
    read = rows(exports.results_csv(session.comparison))
    assert [r["photo"] for r in read] == [h.label for h in last.ranking.hits]
    assert sorted(r["photo"] for r in read) == sorted(p.name for p in gallery.photos)
    was = {h.label: h.rank for h in first.ranking.hits}
    for place, row in enumerate(read, 1):
        assert int(row[f"{last.title} place"]) == place
        assert int(row[f"{first.title} place"]) == was[row["photo"]]
        assert int(row[f"{last.title} moved"]) == was[row["photo"]] - place
        assert row["question"] == QUERY


@pytest.mark.parametrize("name", ["=1+1.jpg", "+1.jpg", "-1.jpg", "@SUM(A1).jpg", "＝1.jpg", "\t=1.jpg"])
def test_no_name_is_a_formula_in_a_spreadsheet(session: Session, name: str) -> None:
    found = session.comparison
    columns = []
    for column in found.columns:
        hits = tuple(replace(hit, label=name, score=-0.5) for hit in column.ranking.hits)
        columns.append(replace(column, ranking=replace(column.ranking, hits=hits)))
    read = rows(exports.results_csv(replace(found, asked=Question.words(name), columns=tuple(columns))))
    assert {row["photo"] for row in read} == {f"'{name}"} and {row["question"] for row in read} == {f"'{name}"}
    assert {row[f"{column.title} score"] for row in read for column in columns} == {"-0.500000"}, "no quote before numbers"


def test_recall_is_that_of_the_gallery(engine: SGLora, session: Session) -> None:
    gallery = session.album.gallery(engine)
    read = rows(exports.recall_csv(actions.measure(engine, session)))
    adapters = {title: adapter for title, _, adapter in actions.columns(engine, session)}
    assert list(adapters) == [column.title for column in session.comparison.columns]
    assert len(read) == 6 * (2 * len(adapters) - 1)
    for row in read:
        expected = recalls(gallery, adapters[row["column"]])[row["direction"]][row["measure"]]
        if row["minus"]:
            expected -= recalls(gallery, adapters[row["minus"]])[row["direction"]][row["measure"]]
        assert float(row["percent"]) == pytest.approx(expected, abs=0.01)
        assert float(row["low"]) <= float(row["percent"]) <= float(row["high"])


def test_the_zip_holds_the_photos_in_their_order(session: Session, tmp_path: Path) -> None:
    exports.write_photos(session.album, session.comparison, 4, path := tmp_path / "photos.zip")
    hits = session.comparison.columns[-1].ranking.hits[:4]
    own = {s.name: s.path for s in sample_photos()}
    thumbnails = {p.name: p.thumbnail for p in session.album.photos}
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"{i:03d} {hit.label}" for i, hit in enumerate(hits, 1)]
        for name, hit in zip(archive.namelist(), hits, strict=True):
            expected = own[hit.label].read_bytes() if session.album.keeps_files else thumbnails[hit.label]
            assert archive.read(name) == expected


def test_a_photo_is_the_visitors_own_file_where_it_was_kept(engine: SGLora, tmp_path: Path) -> None:
    made = Session()
    made.album.keeps_files = True
    actions.add_samples(engine, made)
    actions.generate(engine, made, actions.request(SENTENCE, 3, 0.2, 5, 0.0))
    exports.write_photos(made.album, actions.ask(engine, made, Question.words(QUERY)), 2, path := tmp_path / "photos.zip")
    own = {s.name: s.path.read_bytes() for s in sample_photos()}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            assert archive.read(name) == own[name[4:]]


def test_captions_are_no_photos(engine: SGLora, session: Session, tmp_path: Path) -> None:
    other = Session(album=session.album, request=session.request, adaptation=session.adaptation)
    found = actions.ask(engine, other, Question.photo(session.album.photos[0].id))
    with pytest.raises(DataError, match="search with words"):
        exports.write_photos(session.album, found, 4, tmp_path / "photos.zip")
    assert {r["caption"] for r in rows(exports.results_csv(found))} == {c for p in session.album.photos for c in p.captions}


def test_a_session_comes_back(session: Session, tmp_path: Path) -> None:
    (path := tmp_path / "session.json").write_text(exports.session_json(session, "f" * 16), encoding="utf-8")
    saved = exports.read_session(path)
    assert saved.request == session.request == AdapterRequest(SENTENCE, 3, 0.2, 5, 1.0)
    assert saved.questions == ((QUERY, SENTENCE),)
    assert saved.fingerprint == "f" * 16


def test_a_session_in_which_nothing_was_made_comes_back(tmp_path: Path) -> None:
    (path := tmp_path / "session.json").write_text(exports.session_json(Session(), ""), encoding="utf-8")
    assert exports.read_session(path) == exports.SavedSession(None, (), "")


def changed(session: Session, **values: object) -> str:
    return json.dumps({**json.loads(exports.session_json(session, "")), **values})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "other"}, "not a session"),
        ({"format": 2}, "not a session"),
        ({"questions": [1]}, "not a session"),
        ({"settings": {"description": "a dog"}}, "not a session"),
        ({"settings": {"description": "", "k": 4, "tau": 0.1, "seed": 0, "strength": 1}}, "description is empty"),
        ({"settings": {"description": "a dog", "k": "4", "tau": 0.1, "seed": 0, "strength": 1}}, "k is not a number"),
        ({"settings": {"description": "a dog", "k": 4, "tau": 0.1, "seed": -1, "strength": 1}}, "seed is -1"),
        ({"questions": [{"query": "", "description": ""}]}, "query is empty"),
    ],
)
def test_a_file_that_is_no_session_says_why(session: Session, tmp_path: Path, values: dict, words: str) -> None:
    (path := tmp_path / "session.json").write_text(changed(session, **values))
    with pytest.raises(DataError, match=words):
        exports.read_session(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"null", b"[" * 100_000, b" " * (2**20 + 1)])
def test_any_other_file_is_no_session(tmp_path: Path, content: bytes) -> None:
    (path := tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.json is not a session"):
        exports.read_session(path)


def test_the_last_exports_stay_and_older_ones_go() -> None:
    album = Session().album
    paths = [album.new_file("results.csv") for _ in range(6)]
    assert [path.parent.exists() for path in paths] == [False] * 3 + [True] * 3


@pytest.mark.slow
def test_the_lines_in_the_adapters_readme_run(engine: SGLora, session: Session, tmp_path: Path) -> None:
    download = actions.write_zip(engine, session)
    shutil.unpack_archive(download, tmp_path / "adapter", "zip")
    text = (tmp_path / "adapter" / "README.md").read_text()
    assert SENTENCE in text
    photo = sample_photos()[0].path
    shutil.copy(photo, tmp_path / "photo.jpg")
    lines = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in done.stdout.splitlines())}
    gallery = session.album.gallery(engine)
    (_, _, zero_shot), *_, (_, _, generated) = actions.columns(engine, session)
    for name, adapter in (("zero-shot", zero_shot), ("adapted", generated)):
        found = gallery.text_to_image("a dog that jumps over an obstacle", adapter, None).hits
        score = next(hit.score for hit in found if hit.label == sample_photos()[0].name)
        assert said[name] == pytest.approx(score, abs=2e-3)
    assert said["with peft"] == pytest.approx(said["adapted"], abs=2e-3)
