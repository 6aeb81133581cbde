"""What a visitor can do, one function per action. Each takes the engine and the visitor's tab, and returns plain data."""

from __future__ import annotations

import secrets
import shutil
import sys
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from app.actions.sources import Sources
from app.answers.comparison import MERGE, NAMES, RANDOM, SG_LORA, SHARED, ZERO, Column, Comparison
from app.answers.question import Asked, Question, Scope
from app.languages import texts
from app.languages.texts import Text
from app.visitors.tab import Tab
from core.common.errors import AdapterError, DescriptionError, GalleryError, LibraryError, PhotoError, StudioError, brief
from core.common.messages import message
from core.common.text import clean_text
from core.data.captions import CAPTIONS_A_PHOTO, read_captions
from core.data.sample_photos import EVERYDAY
from core.data.uploads import MAX_CAPTIONS, sort_uploads
from core.experts.adapter_files import WHOLE, adapter_files, adapter_part, names_provenance, with_names
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.gallery import AddReport, Stop, never
from core.retrieval.index import Ranking
from core.retrieval.scoped import WORDS, ScopedSearch
from core.retrieval.search import Photos, some_embeddings
from core.retrieval.suggest import MOST_PHOTOS, Look
from core.sglora.engine import Adaptation, SGLora
from core.sglora.request import AdapterRequest
from core.sglora.router import Routing

COMPUTING = threading.BoundedSemaphore(3)  # searches that compute at once: two slow ones do not block a third
MAX_SEED = 2**31 - 1
MAX_STRENGTH = 4.0
MARKED_QUESTIONS = 20  # the latest whose marks are kept

Progress = Callable[[int, int], object]
NO_SOURCES = Sources()


def request(description: str, k: float | None, tau: float | None, seed: float | None, strength: float | None) -> AdapterRequest:
    """The request from the controls' values; ``strength`` None: the default. Raises DescriptionError: when a value is
    invalid."""
    k, tau, seed = number("k", k), number("The temperature", tau), number("The seed", seed)
    strength = None if strength is None else float(number("The strength", strength))
    if not 0 <= seed <= MAX_SEED:
        raise DescriptionError(f"The seed is {seed:g}: choose 0 to {MAX_SEED:,}.")
    if strength is not None and not 0 <= strength <= MAX_STRENGTH:
        raise DescriptionError(f"The strength is {strength:g}: choose 0 to {MAX_STRENGTH:g}.")
    return AdapterRequest(clean_text(description), int(k), float(tau), int(seed), strength)


def number(name: str, value: object) -> float:
    """A control's value, unchanged. API clients may send anything. Raises DescriptionError: when it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise DescriptionError(f"{name} is not a number.")
    return value


def adapted(engine: SGLora, tab: Tab, wanted: AdapterRequest | None) -> Adaptation | None:
    """The adapter for a request: the tab's if request and experts are the same. None without a sentence or experts."""
    if not len(engine.repository):
        return None
    last = tab.adaptation if tab.repository is engine.repository else None
    if wanted is None:
        return None
    return last if last is not None and last.request == wanted else engine.adapt(wanted)


def look(
    engine: SGLora, tab: Tab, scope: Scope = Scope(), library: Photos | None = None, sources: Sources = NO_SOURCES
) -> Look | None:
    """What the searched photos seem to show: samples of one kind, the visitor's own photos, or else those of the library. None
    without photos, or if the repository has no regression. Raises GalleryError: as ``Sources.gallery``."""
    photos, samples = library, scope.samples not in ("", EVERYDAY) and sources.samples is not None
    if samples or (scope.own and tab.visitor.photos):
        photos = sources.gallery(engine, tab.visitor, scope).searchable
    return None if photos is None else Look.of(engine.repository, some_embeddings(photos, MOST_PHOTOS))


def differs(engine: SGLora, tab: Tab, look: Look | None, routing: Routing) -> bool:
    """Whether the photos are of another kind than the experts of a sentence. False if an own expert is
    routed: the regression does not know its photos."""
    shipped = len(engine.repository) - len(tab.visitor.own_experts(engine).entries)
    return look is not None and int(routing.chosen.max()) < shipped and look.differs(routing)


def write_zip(engine: SGLora, tab: Tab, part: str = WHOLE) -> Path:
    """Write a part of the adapter (the whole: with the visitor's names), or names alone, as a ZIP. Raises AdapterError: as
    ``adapter_part``, when there is neither, or when names are taught and the part is not the whole."""
    adaptation, names = tab.adaptation, tab.visitor.names(engine)
    if adaptation is None and not names.entries:
        raise AdapterError(texts.LORA_NONE)
    if adaptation is None:
        stem, lora, origin = "names", engine.backbone.shared, names_provenance(engine.backbone)
    else:
        stem, lora, origin = f"adapter-seed{adaptation.request.seed}", *adapter_part(engine, adaptation, part)
    if part != WHOLE and names.entries:
        raise AdapterError(texts.API_PART_NAMES)
    lora, origin = with_names(names, lora, origin)
    assert lora is not None
    files = adapter_files(engine.backbone, lora, origin)
    path = tab.visitor.files.new(f"sg-lora-{stem}.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # compression would save only 8 % of weights
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@dataclass(frozen=True)
class Added:
    """The result of an upload: the gallery's report (None without photos), further failures, and remarks."""

    report: AddReport | None
    failed: tuple[tuple[str, Text], ...] = ()
    remarks: tuple[Text, ...] = ()


def add_uploads(engine: SGLora, tab: Tab, paths: Sequence[str], stop: Stop = never) -> Added:
    """Add uploaded photos, ZIP files of photos, and captions files. Files that fail are reported; the rest is added.

    ``stop``: called before each photo; True leaves out the remaining ones.
    """
    visitor, remarks, report = tab.visitor, list[Text](), None
    unpacked = visitor.files.folder / f"zip-{secrets.token_hex(8)}"
    try:
        with visitor.photos_change():
            uploads = sort_uploads(paths, unpacked)
            if uploads.photos:
                gallery = visitor.gallery(engine)
                report = gallery.add(uploads.photos, visitor.note_progress, lambda: visitor.stopped or stop())
                done = len(report.added) + len(report.duplicates) + len(report.failed)
                if visitor.stopped and done < len(uploads.photos):
                    remarks.append(texts.ADDING_STOPPED)
                visitor.files.keep(uploads.photos, report.ids, {photo.id for photo in gallery.photos})
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    failed = list[tuple[str, Text]](uploads.failed)
    for name, content in uploads.captions:
        try:
            remarks.append(set_captions(engine, tab, read_captions(name, content, MAX_CAPTIONS)))
        except StudioError as error:
            failed.append((name, error.message))
    return Added(report, tuple(failed), tuple(remarks))


def photos_called(engine: SGLora, tab: Tab, lines: str) -> list[str]:
    """Ids of the gallery's photos with these names, one name a line. Raises GalleryError: when there is no such photo."""
    ids = {photo.name: photo.id for photo in tab.visitor.gallery(engine).photos}
    names = [line.strip() for line in lines.splitlines() if line.strip()]
    if missing := [name for name in names if name not in ids]:
        raise GalleryError(texts.NO_SUCH_PHOTO.format(name=brief(missing[0])))
    return [ids[name] for name in names]


def set_captions(engine: SGLora, tab: Tab, captions: Mapping[str, Sequence[str]]) -> str:
    """Set captions by file name. Returns a text with the number of photos that they belong to."""
    gallery = tab.visitor.gallery(engine)
    matched = gallery.set_captions(captions)
    if captions and gallery.photos and not matched:
        first = brief(next(iter(captions)))
        return texts.CAPTIONS_NO_PHOTO.format(name=first, photo=gallery.photos[0].name)
    more = any(len(photo.captions) >= CAPTIONS_A_PHOTO for photo in gallery.photos)
    cut = texts.CAPTIONS_CUT.format(n=CAPTIONS_A_PHOTO) if more else ""
    return texts.CAPTIONS_SET.format(n=matched, total=len(gallery.photos)) + cut


def columns(engine: SGLora, tab: Tab, asked: Asked, adaptation: Adaptation | None) -> list[tuple[str, Text, Adapter]]:
    """Title (a key of texts), note and adapter of each column of an answer, zero-shot first. The other columns have the
    adapter's strength and the names that the visitor taught. Names without an adapter make a column too."""
    names, beside = tab.visitor.names(engine), _beside(engine, asked, adaptation)
    if names.entries:
        named = list[tuple[str, Text, Adapter]]()
        for title, note, adapter in beside or [(NAMES, "", ZERO_SHOT)]:
            note = message("NAMES_NOTE_TOO" if note else "NAMES_NOTE", note=note, n=len(names.entries))
            key = names.entries, names.background, adapter.key
            on_names = tab.on_names.get(key, lambda a=adapter: a.with_names(names.on))
            named.append((title, note, on_names))
        beside = named
    return [(ZERO, message("ZERO_SHOT_NOTE"), ZERO_SHOT), *beside]


def _beside(engine: SGLora, asked: Asked, adaptation: Adaptation | None) -> list[tuple[str, Text, Adapter]]:
    """The columns beside zero-shot, without names. Without a sentence: the shared LoRA, if there is one."""
    shared = engine.backbone.shared
    if adaptation is None:
        return [] if shared is None else [(SHARED, message("SHARED_NOTE"), Adapter.of(shared, engine.usual_strength))]
    beside = list[tuple[str, Text, Adapter]]()
    if asked.random:
        other = engine.adapt(adaptation.request.with_random_sentence())
        whole = engine.applied(engine.repository.with_shared(other.own), adaptation.strength)
        beside.append((RANDOM, message("RANDOM_NOTE", sentence=other.request.description), Adapter.of(*whole)))
    if asked.merge:
        chosen, weights = adaptation.routing.chosen, adaptation.routing.weights
        merged = engine.applied(engine.repository.merged(chosen, weights), adaptation.strength)
        beside.append((MERGE, message("MERGE_NOTE"), Adapter.of(*merged)))
    return [*beside, (SG_LORA, message("SG_LORA_NOTE"), Adapter.of(adaptation.lora, adaptation.weight))]


def answer(engine: SGLora, tab: Tab, asked: Asked, sources: Sources = NO_SOURCES, stop: Stop = never) -> Comparison | None:
    """Generate the adapter, answer the question in every column (see ``columns``), and show both in the tab. Returns None
    without a question.

    A column of the last answer is reused if its adapter, the photos and the question are the same. If this raises, the tab
    shows what it showed before. Raises GalleryError: before the first photo; the question is kept. StudioError: when stopped.
    """
    adaptation, comparison = adapted(engine, tab, asked.request), None
    left_out = _trained_on(engine, tab, adaptation)
    if (question := asked.question) is not None:
        if question.kind == WORDS:
            question = replace(question, what=clean_text(question.what, "query"))
            asked = replace(asked, question=question)
        search = sources.search(engine, tab.visitor, question)
        if search.library is None and not search.photos and question.scope.own and tab.visitor.adding:
            _show(engine, tab, asked, adaptation, None)
            raise GalleryError(texts.ADDING_FIRST)
        unranked = Comparison(
            search.title,
            (),
            question,
            search.right(question.what),
            left_out=left_out,
            photos=search.photos,
            files=sources.files(tab.visitor, question.scope),
            backbone=engine.backbone.fingerprint,
            names=search.taught,
            sentence=asked.sentence,
            library=search.library,
            rows=search.rows,
            opens=tab.here and sources.libraries.writable,
        )
        comparison = _ranked(tab, unranked, search, columns(engine, tab, asked, adaptation), stop)
    _show(engine, tab, asked, adaptation, comparison)
    if question is None and adaptation is not None:
        unranked = [
            Column(title, note, Ranking((), 0), {}, None, on) for title, note, on in columns(engine, tab, asked, adaptation)
        ]
        tab.unasked = Comparison("", tuple(unranked), Question.words(""), left_out=left_out, photos=tab.visitor.photos)
    return comparison


def _show(engine: SGLora, tab: Tab, asked: Asked, adaptation: Adaptation | None, comparison: Comparison | None) -> None:
    if tab.comparison is None or comparison is None or tab.comparison.asked != comparison.asked:
        tab.more = 0
    tab.asked, tab.adaptation, tab.repository = asked, adaptation, engine.repository
    tab.comparison, tab.unasked = comparison, None
    tab.remember()


def _ranked(
    tab: Tab,
    unranked: Comparison,
    search: ScopedSearch,
    wanted: Sequence[tuple[str, Text, Adapter]],
    stop: Stop,
) -> Comparison:
    """The comparison with the ``wanted`` columns. All photos of a gallery are ranked, so that each has a rank in every
    column."""
    last = tab.comparison
    if last is None or replace(last, columns=()) != unranked:
        last = unranked
    kept = {(column.title, column.adapter): column for column in last.columns}
    ranked: list[Column] = []
    for title, note, adapter in wanted:
        if (title, adapter) in kept:
            ranked.append(kept[title, adapter])
            continue
        if stop():
            raise StudioError(texts.VISITOR_LEFT)
        with COMPUTING:
            ranking = search.rank(adapter, stop=stop)
        moved = search.moves(ranked[0].ranking, ranking) if ranked else {}
        ranked.append(Column(title, note, ranking, moved, None, adapter))
    rows, paths = {**last.rows, **search.rows}, {**last.paths, **search.paths}
    return replace(unranked, columns=tuple(ranked), rows=rows, paths=paths)


def is_current(engine: SGLora, tab: Tab, sources: Sources = NO_SOURCES) -> bool:
    """Whether the last answer has the current photos and adapters. Another tab may have changed both."""
    last = tab.comparison
    if last is None:
        return True
    scope = last.asked.scope
    photos = sources.gallery(engine, tab.visitor, scope).photos if scope.own or scope.samples else last.photos
    if last.backbone != engine.backbone.fingerprint or last.photos != photos:
        return False
    now = columns(engine, tab, tab.asked, tab.adaptation)
    return [(column.title, column.adapter) for column in last.columns] == [(title, adapter) for title, _, adapter in now]


def measure(
    engine: SGLora, tab: Tab, sources: Sources = NO_SOURCES, progress: Progress | None = None, stop: Stop = never
) -> Comparison | None:
    """Count recall of the shown columns. It runs after the answer, since encoding many captions takes a while. Returns None if
    there is nothing to count. Raises StudioError: when it is stopped."""
    comparison = tab.counted
    if comparison is None or comparison.measured:
        return comparison
    if not comparison.measurable:
        return None
    gallery = sources.gallery(engine, tab.visitor, comparison.asked.scope)
    with COMPUTING:
        counted = partial(gallery.hits, without=comparison.left_out, progress=progress, stop=stop)
        ranked = [replace(column, hits=column.hits or counted(column.adapter)) for column in comparison.columns]
    measured = replace(comparison, columns=tuple(ranked))
    if tab.comparison is comparison:  # else the visitor asked something else, which is measured next
        tab.comparison = measured
    elif tab.unasked is comparison:
        tab.unasked = measured
    return measured


def _trained_on(engine: SGLora, tab: Tab, adaptation: Adaptation | None) -> frozenset[str]:
    """Photos that trained an expert in the adapter. Recall leaves them out."""
    chosen = [] if adaptation is None else adaptation.routing.chosen.tolist()
    names = [engine.repository.experts[i].name for i in chosen]
    return frozenset().union(*(tab.visitor.trained_on.get(name, frozenset()) for name in names))


def answer_again(
    engine: SGLora,
    tab: Tab,
    asked: Asked | None = None,
    sources: Sources = NO_SOURCES,
    stop: Stop = never,
) -> Comparison | None:
    """Answer the tab's last question (or ``asked``) again after a change. Returns None without a question, or if it cannot be
    asked again."""
    asked = asked or tab.asked
    if asked.request is not None and engine.mixes and asked.request.strength is not None:
        # Another backbone's strength may be a factor above 1.
        asked = replace(asked, request=replace(asked.request, strength=min(asked.request.strength, 1.0)))
    try:
        return answer(engine, tab, asked, sources, stop)
    except (DescriptionError, GalleryError, PhotoError, LibraryError):
        again = asked.words or asked.question is None  # words can be asked again of other photos
        answer(engine, tab, replace(asked, question=None), sources)
        tab.asked = asked if again else replace(asked, question=None)
        tab.remember()
        return None


def mark(tab: Tab, photo: str, right: bool) -> None:
    """Mark a photo as right or wrong for the question. The same mark again removes it."""
    comparison = tab.comparison
    if comparison is None or comparison.asked.kind == "photo":
        return
    marks = tab.marks[comparison.asked] = tab.marks.pop(comparison.asked, {})
    for question in list(tab.marks)[:-MARKED_QUESTIONS]:
        del tab.marks[question]
    if marks.get(photo) is right:
        del marks[photo]
    elif photo in comparison.rows or any(p.id == photo for p in comparison.photos):
        marks[photo] = right
    tab.remember()
