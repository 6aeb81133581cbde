"""Downloads besides the adapter: results and recall as CSV, the ranked photos as a ZIP, the session as JSON."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app import texts
from app.actions import HISTORY, request
from app.visitors.album import Album
from app.visitors.comparison import Comparison
from app.visitors.session import Session
from core.common.errors import DataError, StudioError, brief
from core.common.metrics import KS, recall_interval
from core.common.text import clean_text, safe_name
from core.retrieval.gallery import Photo
from core.sglora.request import AdapterRequest

KIND, FORMAT = "SG-LoRA Studio session", 1
MAX_SESSION_BYTES = 2**20
FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
MAX_ZIP_BYTES = 512 * 2**20  # bytes of photos; beyond them, the ZIP gets thumbnails


def results_csv(comparison: Comparison) -> str:
    """Every ranked photo or caption, in the last column's order: place and score in each column, and places moved up."""
    columns = [(column, {hit.key: hit for hit in column.ranking.hits}) for column in comparison.columns]
    header = ["question", "photo" if comparison.of == "photos" else "caption"]
    for place, (column, _) in enumerate(columns):
        header += [f"{column.title} {what}" for what in ("place", "score", *(["moved"] if place else []))]
    question = comparison.asked.what if comparison.asked.kind == "words" else comparison.title
    rows = []
    for hit in comparison.columns[-1].ranking.hits:
        row: list[object] = [_words(question), _words(hit.label)]
        for place, (column, hits) in enumerate(columns):
            column_hit = hits.get(hit.key)  # with a library, a column has only the first hits
            row += ["", ""] if column_hit is None else [column_hit.rank, f"{column_hit.score:.6f}"]
            row += [column.moves.get(hit.key, "")] if place else []
        rows.append(row)
    return _csv(header, rows)


def recall_csv(comparison: Comparison) -> str:
    """Recall of each column and its difference to the first, in percent with 95 % intervals; no rows without captions."""
    rows, base = [], comparison.columns[0]
    for column in comparison.columns:
        for way, hits in (column.hits or {}).items():
            for k in KS:
                share = recall_interval(hits, k)
                rows.append([column.title, "", way, f"R@{k}", *(f"{value:.2f}" for value in share), len(hits.ranks)])
                if column is not base and base.hits is not None:
                    lead = recall_interval(hits, k, base.hits[way])
                    leads = (f"{value:.2f}" for value in lead)
                    rows.append([column.title, base.title, way, f"R@{k}", *leads, len(hits.ranks)])
    return _csv(["column", "minus", "direction", "measure", "percent", "low", "high", "questions"], rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def _words(text: str) -> str:
    """A text as a cell. A leading apostrophe keeps spreadsheets from running it as a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def write_photos(album: Album, comparison: Comparison, top: int, path: Path) -> None:
    """Write the first photos of the last column into a ZIP. Each file name begins with the photo's place.

    A photo is the visitor's own file if it still exists, else its thumbnail. Raises DataError: when captions were ranked.
    """
    if comparison.of != "photos":
        raise DataError(texts.TAKE_NO_PHOTOS)
    photos, room, hits = {photo.id: photo for photo in album.photos}, MAX_ZIP_BYTES, comparison.columns[-1].ranking.hits[:top]
    places = {hit.key: comparison.places[hit.key] for hit in hits if hit.key not in photos and hit.key in comparison.places}
    copies = {} if comparison.library is None else album.library_thumbnails(comparison.library, places)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # JPEGs do not compress
        for hit in hits:
            if (photo := photos.get(hit.key)) is not None:
                content = _content(album, photo)
                content = content if len(content) <= room else photo.thumbnail
            elif hit.key in copies:
                content = copies[hit.key].read_bytes()
            else:
                continue
            room -= len(content)
            archive.writestr(f"{hit.rank:03d} {safe_name(hit.label)}", content)


def _content(album: Album, photo: Photo) -> bytes:
    try:
        return album.original(photo).read_bytes()
    except OSError:  # the file was deleted meanwhile
        return photo.thumbnail


@dataclass(frozen=True)
class SavedSession:
    """The content of a session file."""

    request: AdapterRequest | None  # of the last adapter, if there was one
    questions: tuple[tuple[str, str], ...]  # (query, sentence) asked, latest first
    fingerprint: str  # of the backbone that it was saved with


def session_json(session: Session, fingerprint: str) -> str:
    """Sentence, seed, settings and questions of a session as JSON. Photos and experts are not saved."""
    content: dict[str, Any] = {
        "kind": KIND,
        "format": FORMAT,
        "backbone_fingerprint": fingerprint,
        "settings": None if session.request is None else asdict(session.request),
        "questions": [{"query": query, "description": description} for query, description in session.history],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read_session(path: Path) -> SavedSession:
    """Read a session that ``session_json`` wrote. Anyone may have changed it. Raises DataError: when it is unusable."""
    if path.stat().st_size > MAX_SESSION_BYTES:
        raise DataError(texts.SESSION_NOT_ONE.format(name=brief(path.name)))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (content["kind"], content["format"]) != (KIND, FORMAT):
            raise ValueError("another kind")
        saved = content["settings"]
        wanted = saved and request(saved["description"], saved["k"], saved["tau"], saved["seed"], saved["strength"])
        pairs = [(question["query"], question["description"]) for question in content["questions"][:HISTORY]]
        questions = [(clean_text(query, "query"), description and clean_text(description)) for query, description in pairs]
        fingerprint = str(content["backbone_fingerprint"])
    except StudioError as error:
        raise DataError(texts.SESSION_VALUE.format(name=brief(path.name), reason=texts.translated(str(error)))) from None
    except (OSError, KeyError, TypeError, AttributeError, ValueError, RecursionError):
        raise DataError(texts.SESSION_NOT_ONE.format(name=brief(path.name))) from None
    return SavedSession(wanted or None, tuple(questions), fingerprint)
