"""What a visitor takes from results: results and recall as CSV, photos or sidecars with a keyword as a ZIP."""

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from app.answers.comparison import SG_LORA, SHARED, Comparison
from app.languages import texts
from core.common.errors import DataError
from core.common.metrics import KS, recall_interval
from core.common.text import free_name, one_line, safe_name
from core.data.sidecars import Report, change_all, sidecar_of
from core.data.xmp import EMPTY, LEVELS, with_keyword
from core.retrieval.index import Hit

FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
MAX_ZIP_BYTES = 512 * 2**20  # bytes of photos; beyond them, the ZIP gets thumbnails


def results_csv(comparison: Comparison) -> str:
    """Every ranked photo or caption, in the last column's order: rank and score in each column, and ranks moved up."""
    columns = [(column, {hit.key: hit for hit in column.ranking.hits}) for column in comparison.columns]
    photos = comparison.of == "photos"
    header = ["question", *(["photo", "path"] if photos else ["caption"])]
    for number, (column, _) in enumerate(columns):
        header += [f"{texts.english(column.title)} {what}" for what in ("rank", "score", *(["moved"] if number else []))]
    question = comparison.asked.what if comparison.asked.kind == "words" else texts.english_of(comparison.title)
    rows = []
    for hit in comparison.columns[-1].ranking.hits:
        row: list[object] = [_words(question), _words(hit.label), *([_words(comparison.place(hit))] if photos else [])]
        for number, (column, hits) in enumerate(columns):
            column_hit = hits.get(hit.key)  # with a library, a column has only the first hits
            row += ["", ""] if column_hit is None else [column_hit.rank, f"{column_hit.score:.6f}"]
            row += [column.moves.get(hit.key, "")] if number else []
        rows.append(row)
    return _csv(header, rows)


def recall_csv(comparison: Comparison) -> str:
    """Recall of each column and control, and its difference to the first column, and of the sentence to search without it, in
    percent with 95 % intervals; no rows without captions."""
    rows, counted = [], comparison.counted
    for column in counted:
        bases = [each for each in counted[:1] if each is not column]
        bases += [each for each in counted if (each.title, column.title) == (SHARED, SG_LORA)]
        for way, hits in column.hits.items():
            for k in KS:
                shares = {"": recall_interval(hits, k)}
                shares |= {texts.english(base.title): recall_interval(hits, k, base.hits[way]) for base in bases}
                for minus, share in shares.items():
                    name, percent = texts.english(column.title), (f"{value:.2f}" for value in share)
                    rows.append([name, texts.english_of(column.note), minus, way, f"R@{k}", *percent, len(hits.ranks)])
    return _csv(["column", "note", "minus", "direction", "measure", "percent", "low", "high", "questions"], rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()


def _words(text: str) -> str:
    """A text as a cell. A leading apostrophe keeps spreadsheets from running it as a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def write_photos(comparison: Comparison, top: int, path: Path) -> None:
    """Write the first photos of the last column into a ZIP: originals that exist and that the visitor may open, else
    thumbnails. Each file name begins with the photo's rank. Raises DataError: when captions were ranked."""
    if comparison.of != "photos":
        raise DataError(texts.TAKE_NO_PHOTOS)
    hits, room = comparison.columns[-1].ranking.hits[:top], MAX_ZIP_BYTES
    pictures = comparison.pictures([hit.key for hit in hits])
    with zipfile.ZipFile(path, "w", strict_timestamps=False) as archive:
        for hit in hits:
            if hit.key in pictures:
                small, photo = pictures[hit.key]
                file = comparison.file(hit.key) or photo
                file = file if file.exists() and file.stat().st_size <= room else small
                room -= file.stat().st_size
                archive.write(file, f"{hit.rank:03d} {safe_name(hit.label)}")


def keyword_of(comparison: Comparison | None) -> str:
    """The question as a keyword, in which / and | would be levels; "" if it is not of words and photos."""
    words = comparison.asked.what if comparison is not None and comparison.asked.kind == "words" else ""
    return one_line(re.sub(f"[{re.escape(LEVELS)}]", " ", words))


def write_keywords(tagged: Iterable[tuple[str, str]], path: Path) -> None:
    """Write a ZIP of new sidecars. ``tagged``: safe names of photos, with their folders, and the keyword of each."""
    names = set[str]()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for photo, word in tagged:
            names.add(name := free_name(sidecar_of(Path(photo)).as_posix(), names.__contains__))
            archive.writestr(name, with_keyword(EMPTY, word))


def tag_library(comparison: Comparison, hits: Sequence[Hit]) -> Report:
    """Write the question as a keyword into the sidecars beside these photos of a library."""
    assert comparison.library is not None
    folder = comparison.library.folders.get(comparison.asked.scope.folder)
    files = comparison.library.files([comparison.rows[hit.key] for hit in hits], folder)
    return change_all(files, keyword_of(comparison))
