"""Libraries on the page: who may read and write what. Tests use the tab through the page's own functions."""

from __future__ import annotations

import os
import re
import shutil
import time
import zipfile
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from app.http.hosts import is_from_here
from app.visitors.comparison import Comparison
from app.visitors.limits import Limits
from app.visitors.question import Question, Within, checked_day
from app.visitors.session import Session
from app_visitors import launched
from made_up_photos import blurred
from PIL import Image
from strangers import API, Stranger, wait

from app import actions, texts
from app.engines import Models
from app.exports import results_csv, write_photos
from app.languages import speaking
from app.page import Studio
from app.photo_libraries import PhotoLibraries
from app.steps.context import Controls, Part
from app.steps.photo_library import LibraryFolders
from app.views import results_html
from core.common.errors import DescriptionError, GalleryError, LibraryError, StudioError
from core.data import decode_pool
from core.data.sample_photos import sample_photos
from core.retrieval.columns import embeddings
from core.retrieval.indexing import index_folders
from core.retrieval.library import PhotoLibrary
from core.retrieval.questions import Query
from core.retrieval.search import search
from core.sglora.engine import SGLora

HERE = {"host": "127.0.0.1:7860"}


@pytest.mark.parametrize(
    ("peer", "headers", "here"),
    [
        ("127.0.0.1", HERE, True),
        ("::1", {"host": "[::1]:7860"}, True),
        ("127.0.0.1", {"host": "localhost"}, True),
        ("192.168.1.5", HERE, False),
        ("127.0.0.1", {"host": "evil.example"}, False),
        ("127.0.0.1", {"host": "127.0.0.1.nip.io"}, False),
        ("127.0.0.1", {"host": "["}, False),
        ("127.0.0.1", {}, False),
        ("127.0.0.1", HERE | {"x-forwarded-for": "127.0.0.1"}, False),
        ("127.0.0.1", HERE | {"forwarded": "for=127.0.0.1"}, False),
        ("127.0.0.1", HERE | {"x-forwarded-proto": "https"}, False),
        ("127.0.0.1", HERE | {"X-Forwarded-Port": "443"}, False),
    ],
)
def test_who_is_at_this_machine(peer: str, headers: dict[str, str], here: bool) -> None:
    assert is_from_here(peer, headers) is here


@pytest.mark.slow
def test_a_visitor_behind_a_proxy_indexes_no_folder(engine: SGLora, tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "library"
    blurred(secret, ["a.jpg"], 1)
    libraries = PhotoLibraries([folder], writable=True)
    with launched(engine, tmp_path, Limits(), libraries=libraries) as app:
        (index,) = (number for number, fn in app.page.fns.items() if fn.name == "_index")
        data = ["library", str(secret), None, *(control.value for control in app.page.fns[index].inputs[3:])]
        for headers in ({"x-forwarded-for": "203.0.113.7"}, {"forwarded": "for=203.0.113.7"}, {"x-real-ip": "203.0.113.7"}):
            Stranger(app.url, headers=headers).event(index, *data)
            assert not folder.exists(), headers
        Stranger(app.url).event(index, *data)
        assert PhotoLibrary.open(folder).about.folders == (str(secret),)


@pytest.mark.slow
def test_indexing_ends_when_its_visitor_leaves(engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, names = decode_pool._Process.decode, []

    def slow(process: decode_pool._Process, name: str, *args: Any) -> decode_pool.DecodedPhoto:
        names.append(name)
        time.sleep(0.1)
        return decode(process, name, *args)

    monkeypatch.setattr(decode_pool._Process, "decode", slow)
    photos = tmp_path / "photos"
    blurred(photos, [f"{i}.jpg" for i in range(300)], 1)
    with launched(engine, tmp_path, Limits(), libraries=PhotoLibraries([tmp_path / "library"], writable=True)) as app:
        (index,) = (number for number, fn in app.page.fns.items() if fn.name == "_index")
        stranger = Stranger(app.url)
        controls = [control.value for control in app.page.fns[index].inputs[3:]]
        body = {"data": ["library", str(photos), None, *controls], "fn_index": index, "session_hash": stranger.session}
        assert stranger.post(f"{API}/queue/join", json=body).status_code == 200
        until = time.monotonic() + 60
        stranger.leave_when(lambda: len(names) >= 3, until)
        wait(lambda: not app.page._queue.event_ids_to_events, until)
        assert len(names) < 300


@pytest.mark.slow
def test_names_that_are_no_utf8_are_found_on_the_page(engine: SGLora, tmp_path: Path) -> None:
    photos, folder = tmp_path / "photos", tmp_path / "library"
    blurred(photos, ["a.jpg"], 1)
    (photos / "a.jpg").rename(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.jpg"))
    index_folders(PhotoLibrary.create(folder, engine.backbone), [photos], engine.backbone)
    with launched(engine, tmp_path, Limits(), libraries=PhotoLibraries([folder])) as app:
        number = next(n for n, fn in app.page.fns.items() if getattr(fn.fn, "__qualname__", "") == "Ask._search")
        controls = [control.value for control in app.page.fns[number].inputs[1:]]
        controls[Controls._fields.index("query")] = "a dog"
        answer = Stranger(app.url).event(number, None, *controls)
        assert answer.values is not None and any(r"caf\udce9.jpg" in str(value) for value in answer.values), answer


def test_a_library_is_indexed_and_searched_from_the_page(engine: SGLora, tmp_path: Path) -> None:
    photos, folder = tmp_path / "photos", tmp_path / "library"
    blurred(photos, [f"{i}.jpg" for i in range(5)], 1)
    with pytest.raises(LibraryError, match="holds no library"):
        PhotoLibraries([folder])
    libraries = PhotoLibraries([folder], writable=True)
    with pytest.raises(LibraryError, match="~unknown-user does not exist"):
        libraries.index("library", "~unknown-user", engine.backbone, lambda _: None, lambda: False)
    studio = Studio(Models(lambda: engine), libraries=libraries)
    with gr.Blocks() as page:
        studio.build(page)
    step = LibraryFolders.__new__(LibraryFolders)
    with gr.Blocks():
        step.__init__(studio.context)
    session = Session()
    request = SimpleNamespace(client=SimpleNamespace(host="127.0.0.1"), headers={"host": "localhost:7860"})
    report = step._index("library", str(photos), session, request, Controls())[step.report]
    assert "5 photos are in the library: 5 new" in report
    # Before a question its first photos are shown, also when the visitor comes back to the tab.
    for part in (Part.PHOTOS, Part.RESULTS):
        shown = studio.context.show(session, Controls(where="library:library"), part)[studio.context.answer]
        assert shown.count("<img") == 5

    away = PhotoLibraries([folder])
    assert away.names == ("library",) and PhotoLibrary.open(folder).about.folders == (str(photos),)
    with pytest.raises(LibraryError, match="can only be searched here"):
        away.index("library", str(photos), engine.backbone, lambda _: None, lambda: False)
    for name in ("", "other", str(folder), "../library"):
        with pytest.raises(LibraryError, match="no such library"):
            away.photos(name, engine.backbone)
    before = away.photos("library", engine.backbone)
    assert away.photos("library", engine.backbone) is before
    blurred(photos, ["new.jpg"], 2)
    libraries.index("library", "", engine.backbone, lambda _: None, lambda: False)
    assert len(away.photos("library", engine.backbone)) == 6


@pytest.fixture
def pictures(engine: SGLora, tmp_path: Path) -> PhotoLibraries:
    """The library "pictures" of the first twelve sample photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for sample in sample_photos()[:12]:
        shutil.copy(sample.path, folder / sample.name)
    index_folders(PhotoLibrary.create(tmp_path / "pictures", engine.backbone), [folder], engine.backbone)
    return PhotoLibraries([tmp_path / "pictures"])


def scores(comparison: Comparison) -> list[dict[str, float]]:
    return [{hit.key: hit.score for hit in column.ranking.hits} for column in comparison.columns]


@pytest.mark.parametrize("query", ["a dog on grass", "a dog -grass"])
def test_own_photos_and_a_library_make_one_ranking(engine: SGLora, pictures: PhotoLibraries, query: str) -> None:
    session, names = Session(merge=True), {sample.name for sample in sample_photos()}
    actions.generate(engine, session, actions.request("photos of dogs", 4, 0.1, 0, 0.7))
    here = lambda within: actions.ask(engine, session, Question.words(query, within), libraries=pictures)  # noqa: E731
    # For a visitor without photos, "both" means the library.
    alone = here(Within(False, "pictures"))
    assert scores(here(Within(True, "pictures"))) == scores(alone)
    assert [len(column.ranking.hits) for column in alone.columns] == [12, 12, 12]
    actions.add_uploads(engine, session, [str(sample.path) for sample in sample_photos()[6:24]])
    own, both = here(Within()), here(Within(True, "pictures"))
    for mine, theirs, together in zip(scores(own), scores(alone), scores(both), strict=True):
        assert len(together) == 24 and together == pytest.approx(theirs | mine, abs=2e-3)
        assert list(together.values()) == sorted(together.values(), reverse=True)
    assert {hit.label for hit in both.columns[0].ranking.hits} <= names
    before = {hit.key: hit.rank for hit in both.columns[0].ranking.hits}
    last = both.columns[-1]
    assert dict(last.moves) == {hit.key: before[hit.key] - hit.rank for hit in last.ranking.hits}
    # Excluded words lower a photo's score, as on the command line.
    asked = Query.parse([query]).question(engine.backbone)
    photos = pictures.photos("pictures", engine.backbone)
    expected = {photos.key(place): score for place, score in search(photos, asked, top=None)}
    assert scores(alone)[0] == pytest.approx(expected, abs=1e-5)


def test_marks_similar_photos_and_what_goes_home_work_in_a_library(
    engine: SGLora, pictures: PhotoLibraries, tmp_path: Path
) -> None:
    session, within = Session(), Within(True, "pictures")
    actions.add_uploads(engine, session, [str(sample_photos()[20].path)])
    answer = actions.ask(engine, session, Question.words("a lion", within), libraries=pictures)
    hits = answer.columns[0].ranking.hits
    borrowed = next(hit for hit in hits if hit.key in answer.places)
    actions.mark(engine, session, borrowed.key, True, pictures)
    assert (session.marked.photos, session.marked.among_ten[texts.ZERO_SHOT]) == (1, int(borrowed.rank <= 10))
    page = results_html.comparison(answer, session.album, results_html.Shown(13), session.marks[answer.asked])
    assert page.count('class="sg-open"') == 13 * len(answer.columns) and page.count('data-mark="up" aria-pressed="true"') == 2
    assert results_csv(answer).count("\n") == 1 + 13
    write_photos(session.album, answer, 13, tmp_path / "photos.zip")
    with zipfile.ZipFile(tmp_path / "photos.zip") as archive:
        assert [name[4:] for name in archive.namelist()] == [hit.label for hit in answer.columns[-1].ranking.hits]

    # The results leave out the photo itself and rank the others by similarity.
    for key in (borrowed.key, session.album.photos[0].id):
        like = actions.ask(engine, session, Question("similar", key, within=within), libraries=pictures)
        found = [hit.key for hit in like.columns[0].ranking.hits]
        assert sorted([*found, key]) == sorted(hit.key for hit in hits)
        gallery, photos = session.album.gallery(engine), pictures.photos("pictures", engine.backbone)
        rows = {p.id: row for p, row in zip(gallery.photos, gallery.embeddings(), strict=True)}
        rows |= {photos.key(place): embeddings(engine.backbone, photos.index.take(np.array([place])))[0] for place in range(12)}
        assert found == sorted(found, key=lambda other: -float(rows[key] @ rows[other]))
    with pytest.raises(StudioError, match="not in the library"):
        actions.ask(engine, session, Question("similar", "0" * 32, within=within), libraries=pictures)
    with pytest.raises(StudioError, match=re.escape(texts.CORE_NOTHING_LIKE)):
        actions.ask(engine, session, Question("similar", "0" * 32))

    # Marks on the visitor's own photos still count when the library is gone.
    actions.ask(engine, session, Question.words("a lion"))
    actions.mark(engine, session, session.album.photos[0].id, True, pictures)
    assert (session.marked.questions, session.marked.photos) == (2, 2)
    actions.count_marked(engine, session, PhotoLibraries([]))
    assert (session.marked.questions, session.marked.photos, session.marked.among_ten[texts.ZERO_SHOT]) == (1, 1, 1)


def test_folders_and_days_leave_the_others_as_they_rank(engine: SGLora, tmp_path: Path) -> None:
    """Compared with the full ranking without the photos of other folders and days."""
    facts: dict[str, tuple[str, date | None]] = {}  # by file name

    def photo(file: Path, folder: str, day: date | None) -> Path:
        exif = Image.Exif()
        if day is not None:
            exif[0x0132] = f"{day:%Y:%m:%d} 12:30:00"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((64, 64), 30 + 9 * len(facts)).convert("RGB").save(file, exif=exif)
        facts[file.name] = folder, day
        return file

    days = (date(2023, 5, 1), date(2024, 5, 1), date(2024, 5, 2), None)
    for place in ("pictures", "pictures/sea", "pictures/sea/boats", "pictures/seaside"):
        for number, day in enumerate(days):
            photo(tmp_path / place / f"{place.replace('/', '-')}-{number}.jpg", place, day)
    index_folders(PhotoLibrary.create(tmp_path / "library", engine.backbone), [tmp_path / "pictures"], engine.backbone)
    with zipfile.ZipFile(tmp_path / "trip.zip", "w") as archive:
        for place in ("", "sea/", "sea/boats/"):
            folder = f"trip/{place}".rstrip("/")
            for number, day in enumerate(days):
                file = photo(tmp_path / "own" / f"{len(facts)}-{number}.jpg", folder, day)
                archive.write(file, place + file.name)
    session, libraries = Session(), PhotoLibraries([tmp_path / "library"])
    actions.add_uploads(engine, session, [str(tmp_path / "trip.zip"), str(photo(tmp_path / "alone.jpg", "", days[1]))])

    asked = 0
    for own, library in ((True, ""), (False, "library"), (True, "library")):
        plain = Within(own, library)
        whole = actions.ask(engine, session, Question.words("a boat", plain), libraries=libraries)
        there = ("trip",) * own + ("pictures",) * bool(library)
        assert set(whole.folders) == {place for place, _ in facts.values() if place.startswith(there)} and whole.several_days
        for folder, (since, until) in product(
            ("", "trip", "trip/sea", "trip/sea/boats", "pictures", "pictures/sea", "pictures/seaside", "elsewhere"),
            ((None, None), (days[1], None), (None, days[1]), (days[1], days[1]), (days[2], days[0])),
        ):
            left = {
                name
                for name, (place, day) in facts.items()
                if f"{place}/".startswith(f"{folder}/" if folder else "")
                and (since is None or (day is not None and day >= since))
                and (until is None or (day is not None and day <= until))
            }
            expected = [[(h.key, h.score) for h in column.ranking.hits if h.label in left] for column in whole.columns]
            question = Question.words("a boat", replace(plain, folder=folder, since=since, until=until))
            if since and until and since > until:
                with pytest.raises(DescriptionError, match=f"The first day, {since}, is after the last, {until}: swap them"):
                    actions.ask(engine, session, question, libraries=libraries)
                continue
            if not expected[0]:
                with pytest.raises(GalleryError, match="No photo matches this folder"):
                    actions.ask(engine, session, question, libraries=libraries)
                continue
            answer = actions.ask(engine, session, question, libraries=libraries)
            for column, hits in zip(answer.columns, expected, strict=True):
                assert [(h.key, pytest.approx(h.score, abs=1e-6)) for h in column.ranking.hits] == hits
                assert [h.rank for h in column.ranking.hits] == list(range(1, len(hits) + 1))
                assert column.ranking.total == len(hits)
            asked += 1
    assert asked > 30


@pytest.mark.parametrize("value", ["mine", "", None, 7, "both:", "elsewhere:x", "library"])
def test_search_asks_own_photos_by_default(value: object) -> None:
    assert Within.of(value) == Within()
    for within in (Within(), Within(True, "a:b"), Within(False, "c")):
        assert Within.of(within.value) == within
    days = {"since": date(2024, 5, 1), "until": date(2024, 5, 2)}
    assert Within.of("library:c", "a/b", "2024-05-01", "2024-05-02") == Within(False, "c", "a/b", **days)
    assert Within.of("mine", None, "the day before", 7) == Within()


@pytest.mark.parametrize(
    ("code", "typed"), [("en", "2024/12/31"), ("de", "31.12.2024"), ("fr", "31/12/2024"), ("ja", "2024/12/31")]
)
def test_days_are_read_as_the_visitors_language_writes_them(code: str, typed: str) -> None:
    with speaking(code):
        assert checked_day(typed) == checked_day(" 2024-12-31 ") == date(2024, 12, 31) and checked_day(" ") is None
        for wrong in ("31.31.2024", "2024-02-30", "20241231", "2024-1-1", "yesterday"):
            with pytest.raises(DescriptionError, match=wrong):
                checked_day(wrong)
