"""What a visitor can do, one function per action. Each takes the engine and the visitor's session, and returns plain data."""

from __future__ import annotations

import secrets
import shutil
import sys
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from app import texts
from app.http.fair_queue import visitor_left
from app.photo_libraries import PhotoLibraries
from app.places import Place
from app.visitors.comparison import ON_DEMAND, Column, Comparison, Marked
from app.visitors.question import Question
from app.visitors.session import MARKED_QUESTIONS, Session, StillAdding
from app.visitors.uploads import MAX_CAPTIONS, sort_uploads
from core.common.errors import AdapterError, DescriptionError, GalleryError, LibraryError, PhotoError, StudioError, brief
from core.common.text import clean_text
from core.data.captions import CAPTIONS_A_PHOTO, read_captions
from core.data.find_images import is_image
from core.data.sample_photos import Example, examples, sample_photos
from core.experts.adapter_files import adapter_files, names_provenance, provenance, with_names
from core.names.teach import TaughtNames
from core.retrieval import suggest
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.gallery import AddReport
from core.retrieval.search import Photos, some_embeddings
from core.sglora.engine import Adaptation, SGLora
from core.sglora.repository import Expert
from core.sglora.request import DEFAULT_WEIGHT, AdapterRequest
from core.sglora.router import DEFAULT_K, DEFAULT_TAU

_TEXTS = texts.ENGLISH  # answers are kept in English and translated for each visitor who sees them
COMPUTING = threading.BoundedSemaphore(3)  # searches that compute at once: two slow ones do not block a third
MAX_SEED = 2**31 - 1
MAX_STRENGTH = 4.0
HISTORY = 8

Progress = Callable[[int, int], object]
RankingProgress = Callable[[int, int, str], object]  # (columns done, all columns, title of the next one)


def request(description: str, k: float | None, tau: float | None, seed: float | None, strength: float | None) -> AdapterRequest:
    """The adapter that the controls ask for; ``strength`` None: the usual one. Raises DescriptionError: when a value is
    unusable."""
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


def generate(engine: SGLora, session: Session, wanted: AdapterRequest) -> Adaptation:
    """Generate the adapter that ``wanted`` asks for; reuse the last one if neither request nor experts changed."""
    last = session.adaptation if session.repository is engine.repository else None
    if last is not None and last.request == wanted:
        return last
    if last is not None and replace(last.request, strength=wanted.strength) == wanted:
        # Only the strength changed. The slider should answer at once, so the generated LoRA is reused.
        adaptation = engine.at_strength(last, wanted)
    else:
        adaptation = engine.adapt(wanted)
    session.adaptation, session.request, session.repository = adaptation, wanted, engine.repository
    session.remember()
    return adaptation


def adapt_to(engine: SGLora, session: Session, wanted: AdapterRequest | None) -> None:
    """Set the session's adapter to the one that ``wanted`` asks for; None: to no adapter."""
    if wanted is None:
        session.request = session.adaptation = session.repository = None
    else:
        generate(engine, session, wanted)


def suggested(engine: SGLora, session: Session, own: bool = True, library: Photos | None = None) -> list[Expert]:
    """Experts whose topics the visitor's own photos look like, if these are searched, or else those of the library. None for
    the samples, which have questions of their own. Raises GalleryError: as ``Album.gallery``."""
    photos = library
    if own and session.album.photos:
        photos = None if session.album.has_samples_only else session.album.gallery(engine).searchable
    return [] if photos is None else suggest.suggested(engine.repository, some_embeddings(photos, suggest.MOST_PHOTOS))


def write_zip(engine: SGLora, session: Session) -> Path:
    """Write the adapter with the visitor's names, or these alone, as a ZIP. Raises AdapterError: when there is neither."""
    adaptation, names = session.adaptation, session.album.names(engine)
    if adaptation is None and not names.entries:
        raise AdapterError(texts.LORA_NONE)
    if adaptation is None:
        stem, lora, origin = "names", engine.backbone.shared, names_provenance(engine.backbone)
    else:
        stem, lora, origin = f"adapter-seed{adaptation.request.seed}", adaptation.lora, provenance(engine, adaptation)
    lora, origin = with_names(names, lora, origin)
    assert lora is not None
    files = adapter_files(engine.backbone, lora, origin)
    path = session.album.new_file(f"sg-lora-{stem}.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # compression would save only 8 % of weights
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@dataclass(frozen=True)
class Added:
    """The result of an upload: the gallery's report (None without photos), further failures, and remarks."""

    report: AddReport | None
    failed: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()


def add_uploads(engine: SGLora, session: Session, paths: Sequence[str]) -> Added:
    """Add uploaded photos, ZIP files of photos, and captions files. Files that fail are reported; the rest is added."""
    album, remarks, report = session.album, [], None
    unpacked = album.folder / f"zip-{secrets.token_hex(8)}"
    try:
        with album.photos_change():
            uploads = sort_uploads(paths, unpacked)
            if uploads.photos:
                if samples := album.shows_samples:
                    album.set_aside()
                gone = visitor_left()
                gallery = album.gallery(engine)
                report = gallery.add(uploads.photos, album.note_progress, lambda: album.stopped or (gone() and album.deserted))
                if samples and report.added:
                    remarks.append(texts.SAMPLES_GONE)
                done = len(report.added) + len(report.duplicates) + len(report.failed)
                if album.stopped and done < len(uploads.photos):
                    remarks.append(texts.ADDING_STOPPED)
                album.keep(uploads.photos, report.ids)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    failed = list(uploads.failed)
    for name, content in uploads.captions:
        try:
            remarks.append(set_captions(engine, session, read_captions(name, content, MAX_CAPTIONS)))
        except StudioError as error:
            failed.append((name, str(error)))
    return Added(report, tuple(failed), tuple(remarks))


def add_samples(engine: SGLora, session: Session, progress: Progress | None = None) -> None:
    """Show the sample photos with our captions. The visitor's own photos are set aside meanwhile."""
    samples, album = sample_photos(), session.album
    if album.photos and not album.shows_samples:
        album.set_aside()
    captions, files = {s.name: s.captions for s in samples}, [s.path for s in samples]
    with album.photos_change():
        album.shows_samples = True
        gallery = album.gallery(engine)
        report = gallery.add(files, progress)
        gallery.set_captions({p.name: (*p.captions, *captions[p.name]) for p in gallery.photos if p.name in captions})
        album.keep(files, report.ids)


def sample_questions() -> list[Example]:
    """Questions about the samples in the visitor's language. The page opens on the first: its photo rises in this language."""
    questions = [Example(*map(texts.translated, example)) for example in examples().shown]
    questions.insert(0, questions.pop(min(int(texts.OPENS_ON), len(questions)) - 1))
    return questions


def ask_about_samples(engine: SGLora, session: Session) -> None:
    """Ask the first question about the samples, as the page opens, and measure recall."""
    description, query = sample_questions()[0]
    adapt_to(engine, session, request(description, DEFAULT_K, DEFAULT_TAU, 0, DEFAULT_WEIGHT))
    ask(engine, session, Question.words(query))
    measure(engine, session)


def photos_called(engine: SGLora, session: Session, lines: str) -> list[str]:
    """Ids of the gallery's photos with these names, one name a line. Raises GalleryError: when there is no such photo."""
    ids = {photo.name: photo.id for photo in session.album.gallery(engine).photos}
    names = [line.strip() for line in lines.splitlines() if line.strip()]
    if missing := [name for name in names if name not in ids]:
        raise GalleryError(texts.NO_SUCH_PHOTO.format(name=brief(missing[0])))
    return [ids[name] for name in names]


def set_captions(engine: SGLora, session: Session, captions: Mapping[str, Sequence[str]]) -> str:
    """Set captions by file name. Returns a message with the number of photos that they belong to."""
    gallery = session.album.gallery(engine)
    matched = gallery.set_captions(captions)
    if captions and gallery.photos and not matched:
        first = brief(next(iter(captions)))
        if not any(is_image(Path(name)) for name in captions):
            return texts.CAPTIONS_NO_NAMES.format(name=first)
        return texts.CAPTIONS_NO_PHOTO.format(name=first, photo=gallery.photos[0].name)
    more = any(len(photo.captions) >= CAPTIONS_A_PHOTO for photo in gallery.photos)
    cut = texts.CAPTIONS_CUT.format(n=CAPTIONS_A_PHOTO) if more else ""
    return texts.CAPTIONS_SET.format(n=matched, total=len(gallery.photos)) + cut


def columns(engine: SGLora, session: Session) -> list[tuple[str, str, Adapter]]:
    """Title, note and adapter of each column of an answer, zero-shot first. The other columns have the adapter's strength and
    the names that the visitor taught. Names without an adapter make a column too."""
    names, adapted = session.album.names(engine), _adapted(engine, session)
    if names.entries:
        named = []
        for title, own_note, adapter in adapted or [(_TEXTS.NAMES, "", ZERO_SHOT)]:
            note = (_TEXTS.NAMES_NOTE_TOO if own_note else _TEXTS.NAMES_NOTE).format(note=own_note, n=len(names.entries))
            named.append((title, note, _with_names(session, names, adapter)))
        adapted = named
    return [(_TEXTS.ZERO_SHOT, _TEXTS.ZERO_SHOT_NOTE, ZERO_SHOT), *adapted]


def _adapted(engine: SGLora, session: Session) -> list[tuple[str, str, Adapter]]:
    """The columns beside zero-shot, without names. Without a sentence: the part that all adapters share, if there is one."""
    adaptation, shared = session.adaptation, engine.backbone.shared
    if adaptation is None:
        return [] if shared is None else [(_TEXTS.SHARED, _TEXTS.SHARED_NOTE, Adapter.of(shared, engine.usual_strength))]
    if adaptation.strength == 0:  # nothing is applied: the columns equal zero-shot, which is computed once
        shown = {_TEXTS.RANDOM: session.random, _TEXTS.MERGE: session.merge, _TEXTS.SG_LORA: True}
        return [(title, _TEXTS.NO_STRENGTH_NOTE, ZERO_SHOT) for title, wanted in shown.items() if wanted]
    adapted: list[tuple[str, str, Adapter]] = []
    if session.random:
        other = engine.adapt(adaptation.request.with_random_sentence())
        whole = engine.applied(engine.repository.with_shared([other.own], [1.0]), adaptation.strength)
        note = _TEXTS.RANDOM_NOTE.format(sentence=other.request.description)
        adapted.append((_TEXTS.RANDOM, note, Adapter.of(*whole)))
    if session.merge:
        merged = engine.applied(engine.repository.merged(adaptation.routing), adaptation.strength)
        adapted.append((_TEXTS.MERGE, _TEXTS.MERGE_NOTE, Adapter.of(*merged)))
    return [*adapted, (_TEXTS.SG_LORA, _TEXTS.SG_LORA_NOTE, Adapter.of(adaptation.lora, adaptation.weight))]


def _with_names(session: Session, names: TaughtNames, adapter: Adapter) -> Adapter:
    """The adapter with names added; cached, since every question needs it."""
    return session.on_names.get((names.entries, adapter.key), lambda: adapter.with_names(names.on))


def ask(
    engine: SGLora,
    session: Session,
    question: Question,
    progress: RankingProgress | None = None,
    libraries: PhotoLibraries | None = None,
) -> Comparison:
    """Answer a question in every column (see ``columns``). A column of the last answer is reused if its adapter, the photos and
    the question are the same. Raises StillAdding: before the first photo; the question is kept. StudioError: when the visitor
    left."""
    place = Place.of(engine, session, question, libraries)
    if place.library is None and not place.photos and session.album.adding:
        session.question = place.asked
        raise StillAdding(texts.ADDING_FIRST)
    unranked = Comparison(
        place.title,
        (),
        place.asked,
        place.right,
        left_out=_trained_on(engine, session),
        photos=place.photos,
        backbone=engine.backbone.fingerprint,
        names=place.taught,
        sentence="" if session.adaptation is None else session.adaptation.routing.description,
        library=place.library,
        places=place.places,
    )
    session.question = question = place.asked
    last = session.comparison
    if last is None or last.asked != question:
        session.more = 0
    if last is None or replace(last, columns=()) != unranked:
        last = unranked
    kept = {(column.title, column.adapter): column for column in last.columns}
    gone = visitor_left()
    ranked: list[Column] = []
    # Rank all photos: how far a photo moved is known only if it has a place in both columns.
    wanted = columns(engine, session)
    for name, note, adapter in wanted:
        if (name, adapter) in kept:
            ranked.append(kept[name, adapter])
            continue
        if gone():
            raise StudioError(texts.VISITOR_LEFT)
        if progress is not None:
            progress(len(ranked), len(wanted), name)
        with COMPUTING:
            ranking = place.rank(adapter)
        moved = place.moves(ranked[0].ranking, ranking) if ranked else {}
        ranked.append(Column(name, note, ranking, moved, None, adapter))
    session.comparison = answer = replace(unranked, columns=tuple(ranked), places={**last.places, **unranked.places})
    if question.kind == "words":
        pair = (question.what, "" if session.adaptation is None else session.adaptation.request.description)
        session.history = [pair, *(h for h in session.history if h != pair)][:HISTORY]
    count_marked(engine, session, libraries)
    session.remember()
    return answer


def is_current(engine: SGLora, session: Session) -> bool:
    """Whether the last answer has the photos and the adapters of now. Another tab may have changed both."""
    last = session.comparison
    if last is None:
        return True
    if last.backbone != engine.backbone.fingerprint or (last.asked.within.own and last.photos != session.album.photos):
        return False
    return [(column.title, column.adapter) for column in last.columns] == [(name, a) for name, _, a in columns(engine, session)]


def measure(engine: SGLora, session: Session, progress: Progress | None = None) -> Comparison | None:
    """Count recall of the last comparison, after the answer, since reading many captions takes a while. Returns None if there
    is nothing to count. Raises StudioError: when it is stopped."""
    comparison = session.comparison
    if comparison is None or comparison.measured:
        return comparison
    if not comparison.measurable:
        return None
    gallery, gone = session.album.gallery(engine), visitor_left()
    with COMPUTING:
        gallery.read_captions(comparison.left_out, progress, lambda: gone() or session.uncounted is comparison)
        ranked = [
            replace(column, hits=column.hits or gallery.hits(column.adapter, comparison.left_out))
            for column in comparison.columns
        ]
    measured = replace(comparison, columns=tuple(ranked))
    if session.comparison is comparison:  # else the visitor asked something else, which is measured next
        session.comparison = measured
    return measured


def _trained_on(engine: SGLora, session: Session) -> frozenset[str]:
    """Photos that trained an expert in the adapter: recall on them would say nothing."""
    if session.adaptation is None:
        return frozenset()
    names = [engine.repository.experts[i].name for i in session.adaptation.routing.chosen.tolist()]
    return frozenset().union(*(session.album.trained_on.get(name, frozenset()) for name in names))


def ask_again(
    engine: SGLora,
    session: Session,
    progress: RankingProgress | None = None,
    libraries: PhotoLibraries | None = None,
) -> Comparison | None:
    """Ask the last question again with the last sentence. Returns None if nothing was asked, or if it cannot be asked again."""
    if (wanted := session.request) is not None:  # another tab may have changed the experts or the backbone
        if engine.mixes and wanted.strength is not None:
            wanted = replace(wanted, strength=min(wanted.strength, 1.0))  # another backbone's strength may be a factor above 1
        generate(engine, session, wanted)
    if session.question is None:
        return None
    try:
        return ask(engine, session, session.question, progress, libraries)
    except (DescriptionError, GalleryError, PhotoError, LibraryError):
        session.comparison = None
        if session.question.kind != "words":  # words can be asked again of other photos
            session.question = None
        return None


def mark(engine: SGLora, session: Session, photo: str, right: bool, libraries: PhotoLibraries | None = None) -> None:
    """Mark a photo as right or wrong for the question. The same mark again removes it."""
    comparison = session.comparison
    if comparison is None or comparison.asked.kind == "photo":
        return
    marks = session.marks[comparison.asked] = session.marks.pop(comparison.asked, {})
    for question in list(session.marks)[:-MARKED_QUESTIONS]:
        del session.marks[question]
    session.for_name.unused.discard(photo)
    if marks.get(photo) is right:
        del marks[photo]
    elif photo in comparison.places or any(p.id == photo for p in session.album.photos):
        marks[photo] = right
    count_marked(engine, session, libraries)
    session.remember()


def count_marked(engine: SGLora, session: Session, libraries: PhotoLibraries | None = None) -> None:
    """Count the photos that are marked as right among the first ten, without and with the adapter."""
    places: list[tuple[Place, set[str]]] = []
    for asked, marks in list(session.marks.items()):
        photos = {photo for photo, yes in marks.items() if yes}
        with suppress(GalleryError, PhotoError, LibraryError):  # its photos or its library are gone
            places += [(Place.of(engine, session, asked, libraries), photos)] if photos else []
    columns = session.comparison.columns if places and session.comparison is not None else ()
    counts: dict[str, int] = {}
    with suppress(GalleryError, PhotoError, LibraryError):
        for title, adapter in [(c.title, c.adapter) for c in columns if c.title not in ON_DEMAND]:
            counts[title] = sum(hit.key in photos for place, photos in places for hit in place.rank(adapter, 10).hits)
    session.marked = Marked(len(places), sum(len(photos) for _, photos in places), counts)
