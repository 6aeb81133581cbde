"""Libraries on the page: who may read and write what. Tests use the tab through the page's own functions."""

import os
import re
import shutil
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_visitors import Running, decoded_slowly, launched
from made_up_photos import blurred, dated
from recalls import headline
from strangers import API, Stranger, wait

from app.actions import adding, answering
from app.answers.comparison import Comparison
from app.answers.exports import results_csv, write_photos
from app.answers.question import Asked, Question, Scope, checked_day
from app.languages import speaking, texts
from app.page.view import Controls
from app.page.views import results_html
from app.photos.libraries import PhotoLibraries
from app.server.hosts import is_from_here
from app.visitors.tab import Sources, Tab
from app.visitors.visitor import Visitor
from core.common.errors import DescriptionError, GalleryError, LibraryError, StudioError
from core.data.sample_photos import sample_photos
from core.retrieval.columns import embeddings
from core.retrieval.indexing import index_folders
from core.retrieval.library import PhotoLibrary
from core.retrieval.questions import Query
from core.retrieval.search import search
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

BOTH, ALONE = Scope(True, library="pictures"), Scope(False, library="pictures")
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


@pytest.fixture(scope="module")
def library_app(engine: SGLora, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The app with two empty libraries, to which the user of this machine may add photos."""
    folder = tmp_path_factory.mktemp("app")
    libraries = PhotoLibraries([folder / "library", folder / "other"], writable=True)
    with launched(engine, folder, libraries=libraries) as running:
        yield running


def event(app: Running, name: str, *first: object, **controls: object) -> tuple[int, list[object]]:
    """The number of a page's event, and its values: those of its own boxes, what the browser remembers, and the controls."""
    number, fn = next((n, fn) for n, fn in app.page.fns.items() if getattr(fn.fn, "__qualname__", "") == name)
    values = dict(zip(Controls._fields, (box.value for box in fn.inputs[len(first) + 2 :]), strict=True))
    return number, [*first, None, 0, *(values | controls).values()]


@pytest.mark.slow
def test_the_user_of_this_machine_indexes_a_library_that_all_search(library_app: Running, tmp_path: Path) -> None:
    photos, folder = tmp_path / "photos", library_app.folder.parent / "library"
    blurred(photos, [f"{i}.jpg" for i in range(5)], 1)
    (photos / "0.jpg").rename(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.jpg"))  # a name that is not UTF-8
    index, values = event(library_app, "LibraryFolders._index", "library", str(photos))
    for headers in ({"x-forwarded-for": "203.0.113.7"}, {"forwarded": "for=203.0.113.7"}, {"x-real-ip": "203.0.113.7"}):
        Stranger(library_app.url, headers=headers).event(index, *values)
        assert not folder.exists(), headers
    here, other = Stranger(library_app.url), Stranger(library_app.url)
    assert "5 photos are in the library: 5 new" in str(here.event(index, *values).values)
    assert PhotoLibrary.open(folder).about.folders == (str(photos),)
    # Before a question, its first photos are shown.
    number, values = event(library_app, "Ask._elsewhere", where="library:library", query="")
    assert str(other.event(number, *values).values).count("<img") == 5
    number, values = event(library_app, "Step.answer", where="library:library", query="a dog")
    assert r"caf\\\\udce9.jpg" in str(other.event(number, *values).values)
    for headers, opens in (({}, True), ({"x-forwarded-for": "203.0.113.7"}, False)):
        shown = str(Stranger(library_app.url, headers=headers).event(number, *values).values)
        assert (str(photos) in shown) is ("data-opens" in shown) is opens, headers
    # One that cannot be read says so when it is chosen.
    shutil.rmtree(folder / "photos.lance")
    number, values = event(library_app, "Ask._elsewhere", where="library:library", query="")
    assert "damaged" in other.event(number, *values).words


@pytest.mark.slow
def test_indexing_ends_when_its_visitor_leaves(library_app: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = decoded_slowly(monkeypatch)
    blurred(tmp_path / "photos", [f"{i}.jpg" for i in range(200)], 1)
    stranger, until = Stranger(library_app.url), time.monotonic() + 60
    index, values = event(library_app, "LibraryFolders._index", "other", str(tmp_path / "photos"))
    body = {"data": values, "fn_index": index, "session_hash": stranger.session}
    assert stranger.post(f"{API}/queue/join", json=body).status_code == 200
    with stranger.present():
        wait(lambda: len(names) >= 3, until)
    wait(lambda: not library_app.page._queue.event_ids_to_events, until)
    assert len(names) < 200


def test_only_known_libraries_are_opened_and_only_writable_ones_written(engine: SGLora, tmp_path: Path) -> None:
    photos, folder = tmp_path / "photos", tmp_path / "library"
    blurred(photos, ["a.jpg"], 1)
    with pytest.raises(LibraryError, match="holds no library"):
        PhotoLibraries([folder])
    writable = PhotoLibraries([folder], writable=True)

    def index(libraries: PhotoLibraries, where: str) -> None:
        libraries.index("library", where, engine.backbone, lambda _: None, lambda: False)

    with pytest.raises(LibraryError, match="~unknown-user does not exist"):
        index(writable, "~unknown-user")
    index(writable, str(photos))
    away = PhotoLibraries([folder])
    with pytest.raises(LibraryError, match="can only be searched here"):
        index(away, str(photos))
    for name in ("", "other", str(folder), "../library"):
        with pytest.raises(LibraryError, match="no such library"):
            away.photos(name, engine.backbone)
    before = away.photos("library", engine.backbone)
    assert away.photos("library", engine.backbone) is before
    blurred(photos, ["new.jpg"], 2)
    index(writable, "")
    assert len(away.photos("library", engine.backbone)) == 2


@pytest.fixture(scope="module")
def pictures(engine: SGLora, tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """The library "pictures" of the first twelve sample photos."""
    tmp_path = tmp_path_factory.mktemp("pictures")
    folder = tmp_path / "photos"
    folder.mkdir()
    for sample in sample_photos()[:12]:
        shutil.copy(sample.path, folder / sample.name)
    index_folders(PhotoLibrary.create(tmp_path / "pictures", engine.backbone), [folder], engine.backbone)
    return Sources(PhotoLibraries([tmp_path / "pictures"]))


def scores(comparison: Comparison) -> list[dict[str, float]]:
    return [{hit.key: hit.score for hit in column.ranking.hits} for column in comparison.columns]


def answer(engine: SGLora, tab: Tab, question: Question, sources: Sources = Sources(), **asked: Any) -> Comparison:
    tab.sources = sources
    return answering.answer(engine, tab, Asked(question, **asked))


@pytest.mark.parametrize("query", ["a dog on grass", "a dog -grass"])
def test_own_photos_and_a_library_make_one_ranking(engine: SGLora, pictures: Sources, query: str) -> None:
    tab, request = Tab(Visitor()), AdapterRequest("photos of dogs", strength=0.7)

    def here(scope: Scope) -> Comparison:
        return answer(engine, tab, Question.words(query, scope), pictures, request=request, merge=True)

    # For a visitor without photos, "both" means the library.
    alone = here(ALONE)
    assert scores(here(BOTH)) == scores(alone)
    assert [len(column.ranking.hits) for column in alone.columns] == [12, 12, 12]
    adding.add_uploads(engine, tab, [str(sample.path) for sample in sample_photos()[6:24]])
    own, both = here(Scope()), here(BOTH)
    for mine, theirs, together in zip(scores(own), scores(alone), scores(both), strict=True):
        assert len(together) == 24 and together == pytest.approx(theirs | mine, abs=2e-3)
        assert list(together.values()) == sorted(together.values(), reverse=True)
    assert {hit.label for hit in both.columns[0].ranking.hits} == {sample.name for sample in sample_photos()[:24]}
    before = {hit.key: hit.rank for hit in both.columns[0].ranking.hits}
    last = both.columns[-1]
    assert dict(last.moves) == {hit.key: before[hit.key] - hit.rank for hit in last.ranking.hits}
    # Excluded words lower a photo's score, as on the command line.
    photos = pictures.libraries.photos("pictures", engine.backbone)
    asked = search(photos, Query.parse([query]).question(engine.backbone), top=None)
    assert scores(alone)[0] == pytest.approx({photos.key(row): score for row, score in asked}, abs=1e-5)


def test_marks_similar_photos_and_what_goes_home_work_in_a_library(engine: SGLora, pictures: Sources, tmp_path: Path) -> None:
    tab = Tab(Visitor())
    adding.add_uploads(engine, tab, [str(sample_photos()[20].path)])
    found = answer(engine, tab, Question.words("a lion", BOTH), pictures)
    hits = found.columns[0].ranking.hits
    borrowed = next(hit for hit in hits if hit.key in found.rows)
    answering.mark(tab, borrowed.key, True)
    counted = re.sub("<[^>]+>", "", results_html.marked(found, tab.ticked))
    assert counted.startswith(
        headline(texts.MARKED.format(question=texts.of(found.title), total=1), ZERO_SHOT=int(borrowed.rank <= 10))
    )
    page = results_html.comparison(found, 13, marks=tab.visitor.marks[found.asked])
    assert page.count('class="sg-open"') == 13 * len(found.columns) and page.count('data-mark="up" aria-pressed="true"') == 2
    write_photos(found, 13, tmp_path / "photos.zip")
    with zipfile.ZipFile(tmp_path / "photos.zip") as archive:
        assert [name[4:] for name in archive.namelist()] == [hit.label for hit in found.columns[-1].ranking.hits]
    # Only the user of this machine gets the files themselves, and sees where they are.
    file, own = found.paths[borrowed.key], replace(found, opens=True)
    write_photos(own, 13, tmp_path / "originals.zip")
    with zipfile.ZipFile(tmp_path / "originals.zip") as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    assert file.read_bytes() in contents and len({*contents} & {path.read_bytes() for path in found.paths.values()}) == 12
    assert str(file) in results_csv(own) and str(file) in results_html.comparison(own, 13)
    assert str(file.parent) not in results_csv(found) + page and f"{file.parent.name}/{file.name}" in results_csv(found)

    # The results leave out the photo itself and rank the others by similarity.
    gallery, photos = tab.visitor.gallery(engine), pictures.libraries.photos("pictures", engine.backbone)
    rows = {p.id: row for p, row in zip(gallery.photos, gallery.contents.embeddings(), strict=True)}
    rows |= {photos.key(row): embeddings(engine.backbone, photos.index.take(np.array([row])))[0] for row in range(12)}
    for key in (borrowed.key, tab.visitor.photos[0].id):
        like = answer(engine, tab, Question("similar", key, scope=BOTH), pictures).columns[0].ranking.hits
        assert [hit.key for hit in like] == sorted(rows.keys() - {key}, key=lambda other: -float(rows[key] @ rows[other]))
    for scope, reason in ((BOTH, "not in the library"), (Scope(), "not there any more")):
        with pytest.raises(StudioError, match=reason):
            answer(engine, tab, Question("similar", "0" * 32, scope=scope), pictures)


def test_folders_and_days_leave_the_others_as_they_rank(engine: SGLora, tmp_path: Path) -> None:
    """Compared with the full ranking without the photos of other folders and days."""
    facts: dict[str, tuple[str, date | None]] = {}  # by file name

    def photo(file: Path, folder: str, day: date | None) -> Path:
        facts[file.name] = folder, day
        return dated(file, "0000:00:00" if day is None else f"{day:%Y:%m:%d}")

    days = (date(2023, 5, 1), date(2024, 5, 1), date(2024, 5, 2), None)
    for place in ("pictures", "pictures/sea", "pictures/sea/boat's", "pictures/seaside"):
        for number, day in enumerate(days):
            photo(tmp_path / place / f"{place.replace('/', '-')}-{number}.jpg", place, day)
    index_folders(PhotoLibrary.create(tmp_path / "library", engine.backbone), [tmp_path / "pictures"], engine.backbone)
    with zipfile.ZipFile(tmp_path / "trip.zip", "w") as archive:
        for place in ("", "sea/", "sea/boats/"):
            folder = f"trip/{place}".rstrip("/")
            for number, day in enumerate(days):
                file = photo(tmp_path / "own" / f"{len(facts)}-{number}.jpg", folder, day)
                archive.write(file, place + file.name)
    tab, sources = Tab(Visitor()), Sources(PhotoLibraries([tmp_path / "library"]))
    adding.add_uploads(engine, tab, [str(tmp_path / "trip.zip"), str(photo(tmp_path / "alone.jpg", "", days[1]))])

    assert PhotoLibrary.open(tmp_path / "library").counts()["dated"] == 4 * 3
    asked = 0
    for own, library in ((True, ""), (False, "library"), (True, "library")):
        plain = Scope(own, library=library)
        whole = answer(engine, tab, Question.words("a boat", plain), sources)
        there = ("trip",) * own + ("pictures",) * bool(library)
        assert set(whole.folders) == {place for place, _ in facts.values() if place.startswith(there)} and whole.several_days
        for folder, (since, until) in product(
            ("", "trip", "trip/sea", "trip/sea/boats", "pictures/sea", "pictures/sea/boat's", "pictures/seaside", "elsewhere"),
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
                with pytest.raises(DescriptionError, match=f"The first day {since} is after {until}: swap"):
                    answer(engine, tab, question, sources)
                continue
            if not expected[0]:
                with pytest.raises(GalleryError, match="No photo matches this folder"):
                    answer(engine, tab, question, sources)
                continue
            found = answer(engine, tab, question, sources)
            for column, hits in zip(found.columns, expected, strict=True):
                assert [(h.key, pytest.approx(h.score, abs=1e-6)) for h in column.ranking.hits] == hits
                assert [h.rank for h in column.ranking.hits] == list(range(1, len(hits) + 1))
                assert column.ranking.total == len(hits)
            asked += 1
    assert asked > 30


@pytest.mark.parametrize("value", ["mine", "", None, 7, "both:", "elsewhere:x", "library"])
def test_search_asks_own_photos_by_default(value: object) -> None:
    assert Scope.of(value) == Scope()
    for scope in (Scope(), Scope(True, library="a:b"), Scope(False, library="c"), Scope(False, "aerial")):
        assert Scope.of(scope.value) == scope
    days = {"since": date(2024, 5, 1), "until": date(2024, 5, 2)}
    assert Scope.of("library:c", "a/b", "2024-05-01", "2024-05-02") == Scope(False, "", "c", "a/b", **days)
    assert Scope.of("mine", None, "the day before", 7) == Scope()


@pytest.mark.parametrize(
    ("code", "typed"), [("en", "2024/12/31"), ("de", "31.12.2024"), ("fr", "31/12/2024"), ("ja", "2024/12/31")]
)
def test_days_are_read_as_the_visitors_language_writes_them(code: str, typed: str) -> None:
    with speaking(code):
        assert checked_day(typed) == checked_day(" 2024-12-31 ") == date(2024, 12, 31) and checked_day(" ") is None
        for wrong in ("31.31.2024", "2024-02-30", "2024-1-1", "yesterday"):
            with pytest.raises(DescriptionError, match=wrong):
                checked_day(wrong)
