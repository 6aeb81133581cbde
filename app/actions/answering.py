"""Answers: an adapter for a sentence, and the rankings of a question with and without it."""

import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import cast

from app.answers.comparison import MERGE, NAMES, RANDOM, SG_LORA, SHARED, ZERO, Answer, Column, Comparison, Counted
from app.answers.question import Asked, Question, Scope
from app.languages import texts
from app.visitors.tab import Tab
from core.common.errors import DescriptionError, GalleryError, LibraryError, PhotoError, StudioError
from core.common.messages import message
from core.common.progress import Progress
from core.common.text import clean_text
from core.data.sample_photos import EVERYDAY
from core.experts.random_sentence import random_sentence, random_sentences
from core.names.teach import TaughtNames
from core.retrieval.adapter import Adapter
from core.retrieval.photo_set import PhotoSet
from core.retrieval.search import PHOTO, WORDS, Search
from core.retrieval.suggest import MOST_PHOTOS, Look
from core.sglora.engine import Adaptation, SGLora
from core.sglora.request import AdapterRequest, read_weights
from core.sglora.router import Routing

COMPUTING = threading.BoundedSemaphore(3)  # searches that compute at once: two slow ones do not block a third
MAX_SEED = 2**31 - 1
MARKED_QUESTIONS = 20  # the latest whose marks are kept


def request(
    description: str, k: float | None, tau: float | None, seed: float | None, strength: float | None, weights: str = ""
) -> AdapterRequest:
    """The request from the controls' values; ``strength`` None: the default; ``weights``: lines of “expert=weight”. Raises
    DescriptionError: when a value is invalid."""
    k, tau, seed = number("k", k), number("The temperature", tau), number("The seed", seed)
    strength = None if strength is None else float(number("The strength", strength))
    if not 0 <= seed <= MAX_SEED:
        raise DescriptionError(f"The seed is {seed:g}: choose 0 to {MAX_SEED:,}.")
    by_hand = read_weights(str(weights or "").splitlines())
    return AdapterRequest(clean_text(description), cast("int", k), float(tau), int(seed), strength, by_hand)


def number(name: str, value: object) -> float:
    """A control's value, unchanged. API clients may send anything. Raises DescriptionError: when it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise DescriptionError(f"{name} is not a number.")
    return value


def adapted(engine: SGLora, last: Answer, wanted: AdapterRequest | None) -> Adaptation | None:
    """The adapter for a request: that of the last answer if request and experts are the same. None without a sentence or
    experts."""
    if wanted is None or not len(engine.repository):
        return None
    kept = last.adaptation if last.repository is engine.repository else None
    return kept if kept is not None and kept.request == wanted else engine.adapt(wanted)


def look(engine: SGLora, tab: Tab, scope: Scope = Scope()) -> Look | None:
    """What the searched photos seem to show: samples of one kind, the visitor's own photos, or else those of the library. None
    without photos, or if the repository has no regression. Raises GalleryError: as ``Tab.gallery``."""
    photos: PhotoSet | None = None
    if (scope.samples not in ("", EVERYDAY) and tab.sources.samples) or (scope.own and tab.visitor.photos):
        photos = tab.gallery(engine, scope).contents
    else:
        with suppress(StudioError):
            photos = tab.library(engine, scope)
    return None if photos is None else Look.of(engine.repository, photos.embeddings(most=MOST_PHOTOS))


def differs(engine: SGLora, tab: Tab, look: Look | None, routing: Routing) -> bool:
    """Whether the photos are of another kind than the experts of a sentence. False if an own expert is
    routed: the regression does not know its photos."""
    shipped = len(engine.repository) - len(tab.visitor.own_experts(engine).entries)
    return look is not None and int(routing.chosen.max()) < shipped and look.differs(routing)


def columns(engine: SGLora, names: TaughtNames, asked: Asked, adaptation: Adaptation | None) -> list[Column]:
    """The columns of an answer before they are ranked, zero-shot first. The other columns have the adapter's strength and the
    names that the visitor taught. Names without an adapter make a column too, if they are asked."""
    beside = _beside(engine, asked, adaptation)
    captions = asked.question is not None and asked.question.kind == PHOTO  # any of them may contain a name
    if n := len(names.entries if captions else names.within(asked.words)):
        beside = [replace(column, note=message("NAMES_NOTE_TOO", note=column.note, n=n)) for column in beside]
        beside = beside or [Column(NAMES, message("NAMES_NOTE", n=n))]
    named = [replace(column, adapter=column.adapter.with_names(names)) for column in beside]
    return [Column(ZERO, message("ZERO_SHOT_NOTE")), *named]


def _beside(engine: SGLora, asked: Asked, adaptation: Adaptation | None) -> list[Column]:
    """The columns beside zero-shot, without names. Without a sentence that is applied: the shared LoRA, if there is one."""
    if adaptation is None or not adaptation.fits:
        return _shared(engine)
    beside = list[Column]()
    if asked.random:
        beside.append(_random(random_sentence(engine, adaptation.request)))
    if asked.merge:
        chosen, weights = adaptation.routing.chosen, adaptation.routing.weights
        merged = engine.applied(engine.repository.merged(chosen, weights), adaptation.strength)
        beside.append(Column(MERGE, message("MERGE_NOTE"), adapter=Adapter.of(*merged)))
    made = Adapter.of(adaptation.lora, adaptation.weight)
    return [*beside, Column(SG_LORA, message("SG_LORA_NOTE"), adapter=made)]


def without_sentence(engine: SGLora) -> list[Adapter]:
    """The adapter of search without a sentence, if there is one."""
    return [] if engine.backbone.shared is None else [Adapter.of(engine.backbone.shared, engine.usual_strength)]


def controls(engine: SGLora, tab: Tab, shown: Sequence[Column]) -> list[Column]:
    """What the adapter of a sentence is measured against, beside the columns that are ``shown``: search without a sentence, and
    with every random one."""
    made = tab.adaptation
    if made is None or shown[-1].title != SG_LORA:
        return []
    beside = _shared(engine)
    if any(column.title == RANDOM for column in shown):
        beside += map(_random, random_sentences(engine, made.request))
    names, there = shown[-1].adapter.names, {column.adapter for column in shown}
    named = beside if names is None else [replace(each, adapter=each.adapter.with_names(names)) for each in beside]
    return [column for column in named if column.adapter not in there]


def _shared(engine: SGLora) -> list[Column]:
    return [Column(SHARED, message("SHARED_NOTE"), adapter=adapter) for adapter in without_sentence(engine)]


def _random(other: Adaptation) -> Column:
    note = message("RANDOM_APPLIED", sentence=other.request.description)
    return Column(RANDOM, note, adapter=Adapter.of(other.lora, other.weight))


def compute(engine: SGLora, tab: Tab, asked: Asked) -> Answer:
    """Generate the adapter, and answer the question in every column (see ``columns``). Changes nothing.

    A column of the tab's answer is reused if its adapter, the photos and the question are the same. Raises GalleryError: before
    the first photo. StudioError: when the tab is closed meanwhile.
    """
    last, question = tab.answer, asked.question
    adaptation = adapted(engine, last, asked.request)
    left_out = _trained_on(engine, tab, adaptation)
    if question is None:
        unranked = tuple(columns(engine, tab.visitor.names(engine), asked, adaptation))
        unasked = Comparison("", unranked, Question.words(""), left_out=left_out, photos=tab.visitor.photos)
        return Answer(adaptation, engine.repository, None, None if adaptation is None else unasked)
    if question.kind == WORDS:
        question = replace(question, what=clean_text(question.what, "query"))
    search = tab.search(engine, question)
    if search.library is None and not search.photos and question.scope.own and tab.visitor.adding:
        raise AddingFirst(texts.ADDING_FIRST)
    unranked = Comparison(
        search.title,
        (),
        question,
        search.right(question.what),
        left_out=left_out,
        photos=search.photos,
        files=tab.files(question.scope),
        backbone=engine.backbone.fingerprint,
        names=search.taught,
        sentence=asked.sentence,
        sets=search.sets,
        library=search.library,
        opens=tab.here and tab.sources.libraries.writable,
    )
    wanted = columns(engine, search.names, asked, adaptation)
    return Answer(adaptation, engine.repository, _ranked(tab, unranked, search, wanted))


class AddingFirst(GalleryError):
    """A question that is asked again once the first photos are there."""


def answer(engine: SGLora, tab: Tab, asked: Asked) -> Comparison | None:
    """Answer a question, and show the answer in the tab. Returns None without a question. If this raises, the tab shows what it
    showed before. Raises as ``compute``."""
    depends = depends_on(engine, tab, asked)
    try:
        made = compute(engine, tab, asked)
    except AddingFirst:
        tab.asked, tab.answer, tab.answered = asked, compute(engine, tab, replace(asked, question=None)), depends
        raise
    if made.comparison is not None:
        asked = replace(asked, question=made.comparison.asked)
    if tab.comparison is None or made.comparison is None or tab.comparison.asked != made.comparison.asked:
        tab.more = 0
    tab.asked, tab.answer, tab.answered = asked, made, (asked, *depends[1:])
    return made.comparison


def depends_on(engine: SGLora, tab: Tab, asked: Asked) -> tuple[object, ...]:
    """What an answer depends on: the question, and the visitor's photos, names and experts. Another tab may change them."""
    visitor, scope = tab.visitor, Scope() if asked.question is None else asked.question.scope
    photos = visitor.photos if scope.own else ()
    return asked, visitor.backbone, photos, visitor.names(engine).entries, visitor.own_experts(engine).entries


def refresh(engine: SGLora, tab: Tab) -> None:
    """Answer the tab's question again if what the answer depends on has changed. While photos are being added, only the first
    answer is made: the next one waits until all are there."""
    if tab.answered is None or not (tab.visitor.adding or tab.answered == depends_on(engine, tab, tab.asked)):
        answer_again(engine, tab)


def _ranked(tab: Tab, unranked: Comparison, search: Search, wanted: Sequence[Column]) -> Comparison:
    """The comparison with the ``wanted`` columns. All photos of a gallery are ranked, so that each has a rank in every
    column."""
    if (last := tab.comparison) is None or replace(last, columns=()) != unranked:
        last = unranked
    kept = {(column.title, column.adapter): column for column in last.columns}
    ranked: list[Column] = []
    for new in wanted:
        if (column := kept.get((new.title, new.adapter))) is None:
            if tab.closed:
                raise StudioError(texts.VISITOR_LEFT)
            with COMPUTING:
                ranking = search.rank(new.adapter, stop=lambda: tab.closed)
            moves = search.moves(ranked[0].ranking, ranking) if ranked else {}
            column = replace(new, ranking=ranking, moves=moves)
        ranked.append(column)
    rows, paths = {**last.rows, **search.rows}, {**last.paths, **search.paths}
    return replace(unranked, columns=tuple(ranked), rows=rows, paths=paths)


def measure(engine: SGLora, tab: Tab, progress: Progress | None = None) -> Comparison | None:
    """Count recall of the shown columns. It runs after the answer, since encoding many captions takes a while. Returns None if
    there is nothing to count. Raises StudioError: when the tab is closed meanwhile."""
    comparison = tab.counted
    if comparison is None or comparison.measured:
        return comparison
    if not comparison.measurable:
        return None
    photos = tab.gallery(engine, comparison.asked.scope).contents

    def counted(column: Column) -> Counted:
        hits = photos.hits(column.adapter, comparison.left_out, progress, lambda: tab.closed)
        return Counted(column.title, column.note, column.adapter, hits)

    with COMPUTING:
        beside = list(map(counted, controls(engine, tab, comparison.columns)))
        *before, adapted = map(counted, comparison.columns)  # last, since the gallery keeps what it has read for a few adapters
    measured = replace(comparison, counted=(*before, *beside, adapted))
    if tab.counted is comparison:  # else the visitor asked something else, which is measured next
        kept = "unasked" if tab.comparison is None else "comparison"
        tab.answer = replace(tab.answer, **{kept: measured})
    return measured


def _trained_on(engine: SGLora, tab: Tab, adaptation: Adaptation | None) -> frozenset[str]:
    """Photos that trained an expert in the adapter. Recall leaves them out."""
    chosen = [] if adaptation is None else adaptation.routing.chosen.tolist()
    names = [engine.repository.experts[i].name for i in chosen]
    return frozenset().union(*(tab.visitor.trained_on.get(name, frozenset()) for name in names))


def answer_again(engine: SGLora, tab: Tab, asked: Asked | None = None) -> Comparison | None:
    """Answer the tab's last question (or ``asked``) again after a change. Returns None without a question, or if it cannot be
    asked again."""
    asked = asked or tab.asked
    if asked.request is not None:
        asked = replace(asked, request=engine.limited(asked.request))
    try:
        return answer(engine, tab, asked)
    except (DescriptionError, GalleryError, PhotoError, LibraryError):
        again = asked.words or asked.question is None  # words can be asked again of other photos
        depends = depends_on(engine, tab, asked)
        answer(engine, tab, replace(asked, question=None))
        if again:
            tab.asked, tab.answered = asked, depends
        return None


def mark(tab: Tab, photo: str, right: bool) -> None:
    """Mark a photo as right or wrong for the question. The same mark again removes it."""
    comparison = tab.comparison
    if comparison is None or comparison.asked.kind == "photo":
        return
    every = tab.visitor.marks
    marks = every[comparison.asked] = every.pop(comparison.asked, {})
    for question in list(every)[:-MARKED_QUESTIONS]:
        del every[question]
    if marks.get(photo) is right:
        del marks[photo]
    elif photo in comparison.rows or any(p.id == photo for p in comparison.photos):
        marks[photo] = right
