"""HTML of the results of a question: columns of photos or captions, how they moved, and recall."""

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from app.actions.learning import Proposed
from app.actions.line import NameLine
from app.answers.comparison import CONTROLS, FIRST, MERGE, NAMES, RANDOM, SG_LORA, SHARED, ZERO, Column, Comparison
from app.languages import texts
from app.page.views.page_html import taught_name
from app.page.views.template import macros
from app.photos.files import Files
from core.common.messages import Message
from core.common.metrics import KS, Hits, recall_interval
from core.retrieval.gallery import Hit, Photo
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.line import MOST_ASKED
from core.retrieval.search import NONE_LEFT

FEW_PHOTOS = 50
WAITING = 12  # photos shown before the first question
STRIP = 120  # photos to choose from for a name
WAYS = ("t2i", "i2t")  # in the order of the table's heads
COUNTS: dict[str, str] = {  # the words of a count, by the title of its column
    ZERO: "COUNT_ZERO_SHOT",
    SHARED: "COUNT_SHARED",
    NAMES: "COUNT_NAMES",
    RANDOM: "COUNT_RANDOM",
    SG_LORA: "COUNT_SG_LORA",
}
_html = macros("results.html")
counting = _html.counting  # takes the verdict's place


def comparison(
    result: Comparison, top: int, zero_shot: bool = True, marks: Mapping[str, bool] = {}, remark: str = ""
) -> Markup:
    """The rankings side by side. ``top``: results in a column. ``zero_shot``: whether to show the zero-shot column beside
    others. ``remark``: a notice about the question."""
    shown = result.columns[0 if zero_shot or len(result.columns) == 1 else 1 :]
    columns = [(column, cards(result, column, top)) for column in shown]
    notes = [note for note in (_taught(result.names), remark) if note]
    return _html.comparison(result, columns, zero_shot, _subject(result), _right_places(result), marks, notes)


def _subject(result: Comparison) -> tuple[str, str, tuple[str, ...]] | None:
    """Name, picture and captions of the photo that was asked about; None if it was words."""
    key = result.asked.what
    if not (pictures := _pictures(result, [key])):
        return None
    photo = result.by_id.get(key)
    name, captions = (texts.of(result.title), ()) if photo is None else (photo.name, photo.captions)
    return name, pictures[key][0], captions if result.of == "captions" else ()


def _taught(names: Sequence[tuple[str, int]]) -> str:
    if not names:
        return ""
    chips = ", ".join(map(taught_name, names))
    return (texts.NAMES_ASKED if len(names) == 1 else texts.NAMES_ASKED_SEVERAL).format(names=chips)


def cards(result: Comparison, column: Column, top: int) -> list[tuple[Hit, str, str]]:
    """The first results of a column, then right answers that are further down. Each has the addresses of its thumbnail and of
    the photo itself; a caption has none."""
    hits = [hit for place, hit in enumerate(column.ranking.hits) if place < top or hit.key in result.right]
    pictures = _pictures(result, [hit.key for hit in hits])
    return [(hit, *pictures.get(hit.key, ("", ""))) for hit in hits]


def _pictures(result: Comparison, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The addresses of the thumbnails and of the photos themselves, by key."""
    return {key: (address(small), address(photo)) for key, (small, photo) in result.pictures(keys).items()}


def strip(result: Comparison | None, found: Sequence[Photo], files: Files) -> Markup:
    """Photos to choose for a name: the first results, or else the first photos ``found``. ``files``: of these photos."""
    if result is None or result.of == "captions":
        return _html.strip([(photo.id, photo.name, address(files.thumbnail(photo))) for photo in found[:STRIP]])
    shown = cards(result, result.columns[-1], STRIP)
    return _html.strip([(hit.key, hit.label, picture) for hit, picture, _ in shown if picture])


def waiting(
    found: Sequence[Photo], files: Files, library: LibraryPhotos | None = None, none_left: bool = False, adding: bool = False
) -> Markup:
    """What to do before the first question, and the first photos, if there are any: those of a gallery, or else a library's.
    ``none_left``: the last question's filter leaves no photo."""
    photos = [(photo.name, address(files.thumbnail(photo))) for photo in found[:WAITING]]
    if not photos and library is not None:
        rows = list(range(min(WAITING, len(library))))
        thumbnails = files.library_thumbnails(library, {library.key(row): row for row in rows})
        photos = [
            (name, address(thumbnails[library.key(row)])) for row, (name, _) in zip(rows, library.named(rows), strict=True)
        ]
    asks = texts.of(Message(NONE_LEFT)) if none_left else texts.COMPARE_EMPTY
    words = asks if photos else texts.ADDING if adding else texts.COMPARE_NO_PHOTOS
    return _html.waiting(words, photos)


def marked(result: Comparison | None, right: Collection[str]) -> Markup:
    """The verdict from the photos that the visitor marked as ``right`` for the question that is shown. Photos that were removed
    count not."""
    if result is None or not (photos := {*right} & {*result.by_id, *result.rows}):
        return Markup("")
    words = texts.MARKED.format(question=texts.of(result.title), total=len(photos))
    return _html.verdict(_counts(words, _among_first(result, photos, CONTROLS)))


def line(result: Comparison | None, now: NameLine | None) -> Markup:
    """The photo to ask about, or else how many photos are above the line."""
    if result is None or now is None or not (now.ask or now.asked):
        return Markup("")
    pictures = _pictures(result, [now.ask.key] if now.ask else [])
    return _html.line(now, [small for small, _ in pictures.values()], MOST_ASKED)


def gaps(proposed: Sequence[Proposed], files: Files) -> Markup:
    """Keyword by keyword, the photos that may get it. Those that are more likely wrong than right begin outside."""
    words = [(word, list(group)) for word, group in groupby(proposed, lambda each: each.word)]
    pictures = {each.photo.id: address(files.thumbnail(each.photo)) for each in proposed}
    return _html.gaps(words, pictures) if words else Markup("")


def _counts(words: str, counts: Sequence[tuple[str, int]]) -> Markup:
    """Counts by the titles of their columns. Only the best one is green, if there is one."""
    best, least = (pick(count for _, count in counts) for pick in (max, min))
    bold = [(title, _html.bold(count, int(count == best > least))) for title, count in counts]
    shown = [Markup(getattr(texts, COUNTS[title])).format(n=n) for title, n in bold]
    return Markup("{}: {}").format(words, Markup(", ").join(shown))


def _among_first(result: Comparison, photos: Collection[str], without: Collection[str]) -> list[tuple[str, int]]:
    """How many of these photos each column has among its first, by its title."""
    columns = [column for column in result.columns if column.title not in without]
    return [(column.title, sum(hit.key in photos for hit in column.ranking.hits[:FIRST])) for column in columns]


def address(path: Path) -> str:
    """The address of a visitor's file in a browser. It is relative, as the app may be served below a path."""
    return f"gradio_api/file={quote(str(path))}"


def _right_places(result: Comparison) -> Markup:
    """The place of the right answer in each column, or how many are among the first, if captions tell which ones are right."""
    if result.of == "photos" and len(result.right) > 1:
        return _html.right_places(
            _counts(texts.RIGHT_PHOTOS.format(total=len(result.right)), _among_first(result, result.right, (MERGE,)))
        )
    rankings = [column.ranking.hits for column in result.columns if column.title != MERGE]
    best = [next((hit.rank for hit in hits if hit.key in result.right), len(hits) + 1) for hits in rankings]
    places = [str(rank) if rank <= len(hits) else f"> {len(hits)}" for rank, hits in zip(best, rankings, strict=True)]
    if all(place.startswith(">") for place in places):
        return Markup("")
    gain = int(best[-1] < min(best[:-1], default=0))
    words = Markup(texts.RIGHT_PHOTO if result.of == "photos" else texts.RIGHT_CAPTION)
    return _html.right_places(words.format(places=_html.bold(" → ".join(places), gain)))


def recalls(result: Comparison, compared: bool = True) -> Markup:
    """The headline of a measured comparison. Folded below: each column's recall with its interval, and the leads. ``compared``:
    whether the page shows zero-shot beside the last column."""
    columns = [column for column in result.counted if column.title != RANDOM]
    random = [column for column in result.counted if column.title == RANDOM]
    base, hits = columns[0], {column.title: column.hits for column in columns}
    rows, control = [(getattr(texts, title), False, _shares(found)) for title, found in hits.items()], ""
    if random:
        counts = sorted(map(result.found, random))
        mean = round(sum(counts) / len(counts))
        control = texts.RANDOM_RANGE.format(n=len(counts), mean=mean, low=counts[0], high=counts[-1])
        each = np.array([_shares(column.hits) for column in random])[..., 0]  # [sentences, ways and ks]
        spread = np.stack([each.mean(0), each.min(0), each.max(0)], 1)
        rows.insert(1, (texts.RANDOM_ALL.format(n=len(random)), False, spread.tolist()))
    pairs = [(base.title, title) for title in hits if title != base.title] + [(SHARED, SG_LORA)]
    for first, title in pairs:
        if first in hits and title in hits:
            words = texts.RECALL_DIFFERENCE.format(name=getattr(texts, title), base=getattr(texts, first))
            rows.append((words, True, _shares(hits[title], hits[first])))
    photos, captions = hits[base.title]["i2t"].total, len(hits[base.title]["t2i"].ranks)
    caution = texts.RECALL_CAUTION if photos < FEW_PHOTOS else ""
    note = texts.RECALL_NOTE.format(photos=photos, captions=captions, caution=caution)
    return _html.recalls(headline(result, compared), control, len(result.left_out), note, rows)


def headline(result: Comparison, compared: bool = True) -> Markup:
    """How many captions find their photo in each column, or photos their right name. ``compared``: as for ``recalls``."""
    columns = [column for column in result.counted if column.title not in CONTROLS]
    hits = columns[0].hits
    photos, captions = texts.FIRST_NAME.format(total=hits["i2t"].total), texts.FIRST_TEN.format(total=len(hits["t2i"].ranks))
    counts = [(column.title, result.found(column)) for column in columns[0 if compared else 1 :]]
    return _counts(photos if result.named else captions, counts)


def _shares(hits: Mapping[str, Hits], minus: Mapping[str, Hits] | None = None) -> list[tuple[float, float, float]]:
    """Recall with its interval in both ways, or its difference to another adapter's."""
    return [recall_interval(hits[way], k, None if minus is None else minus[way]) for way in WAYS for k in KS]
