"""“Is this Shrek?”: answers about results of a name draw the line below its photos, and a yes teaches the photo."""

from typing import NamedTuple

from app.actions.answering import MARKED_QUESTIONS, mark
from app.visitors.tab import Tab
from core.retrieval.index import Hit
from core.retrieval.line import MOST_ASKED, bisect
from core.retrieval.photo_set import prefixes
from core.sglora.engine import SGLora


class NameLine(NamedTuple):
    name: str
    asked: int  # how many photos were asked about
    ask: Hit | None  # the one to ask about now; None: the line is drawn
    line: int  # so many results are above it
    above: int  # those of them that are not marked as wrong


def line_of(engine: SGLora, tab: Tab) -> NameLine | None:
    """The line in the results of the last question; None if this is no taught name alone.

    Marks are answers, too. A photo that a yes taught has moved up. So it counts as well at the place where it was asked about.
    """
    shown, marks = tab.comparison, tab.marks_of_words
    if shown is None or shown.asked.kind != "words" or (entry := tab.visitor.names(engine).alone(shown.asked.what)) is None:
        return None
    ranking, sets = shown.columns[-1].ranking, shown.sets
    hits, asked = ranking.hits, tab.visitor.lines.get((shown.asked, ranking.total), {})
    answers = [(place, marks[hit.key]) for place, hit in enumerate(hits) if hit.key in marks]
    answers += [(place, True) for key, place in asked.items() if marks.get(key)]
    free = {place for place, hit in enumerate(hits) if hit.key not in marks}
    line, place = bisect(answers, len(hits), free)
    while place is not None and any(entry.holds(prefixes(sets, [hits[place].key], engine.backbone))):
        answers.append((place, True))  # it has taught the name
        line, place = bisect(answers, len(hits), free := free - {place})
    ask = None if place is None or len(asked) >= MOST_ASKED else hits[place]
    return NameLine(entry.name, len(asked), ask, line, sum(marks.get(hit.key) is not False for hit in hits[:line]))


def answer_photo(engine: SGLora, tab: Tab, key: object, right: bool) -> None:
    """Answer whether a photo shows the name. Nothing changes if the page asks about another photo by now."""
    now, shown, lines = line_of(engine, tab), tab.comparison, tab.visitor.lines
    if shown is None or now is None or now.ask is None or now.ask.key != key:
        return
    ranked = shown.asked, shown.columns[-1].ranking.total  # places among other photos mean nothing
    places = {**lines.get(ranked, {}), now.ask.key: now.ask.rank - 1}
    tab.visitor.lines = dict([*lines.items(), (ranked, places)][-MARKED_QUESTIONS:])
    mark(tab, now.ask.key, right)
    if right:
        photo = prefixes(shown.sets, [now.ask.key], engine.backbone)
        tab.visitor.change_names(engine, lambda names: names.add(now.name, photo))
