"""What a visitor can do, one function each: the engine and the visitor's session in, plain data out."""

from __future__ import annotations

import io
import secrets
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from app import texts
from app.visitors.session import Column, Comparison, Download, Question, Session, Settings
from app.visitors.uploads import MAX_CAPTIONS, discard, sort_uploads
from core.backbones.peft_format import WEIGHTS_FILE
from core.common.errors import DescriptionError, GalleryError, PhotoError, StudioError
from core.common.text import clean_text
from core.data.captions import captions_from_names, parse_typed, read_captions
from core.data.decode_pool import decode_photo
from core.data.image_io import photo_bytes
from core.data.sample_photos import sample_photos
from core.retrieval.gallery import ZERO_SHOT, Adapter, AddReport, Gallery, moves
from core.sglora.engine import Adaptation, SGLora

MAX_SEED = 2**31 - 1
MAX_STRENGTH = 4.0
HISTORY = 8
KEPT_DOWNLOADS = 3

Progress = Callable[[int, int], object]
Ranking = Callable[[int, int, str], object]  # columns that are done, of how many, and the title of the next


def settings(description: str, k: float | None, tau: float | None, seed: float | None, strength: float | None) -> Settings:
    """Check what the controls hold; a strength of None follows the confidence.

    Raises:
        DescriptionError: a value that cannot be used; other controls that are empty count as such.
    """
    k, tau, seed = number("k", k), number("The temperature", tau), number("The seed", seed)
    if not 0 <= seed <= MAX_SEED:
        raise DescriptionError(f"The seed is {seed:g}: it may be 0 to {MAX_SEED:,}.")
    if strength is not None:
        strength = number("The strength", strength)
        if not 0 <= strength <= MAX_STRENGTH:
            raise DescriptionError(f"The strength is {strength:g}: it may be 0 to {MAX_STRENGTH:g}.")
    return Settings(clean_text(description), int(k), float(tau), int(seed), None if strength is None else float(strength))


def page_settings(
    description: str, k: float | None, tau: float | None, seed: float | None, follow: bool, strength: float | None
) -> Settings:
    """As ``settings``, for the page: there a box says whether the strength follows the confidence.

    Raises:
        DescriptionError: as ``settings``; an empty strength counts as such where it does not follow.
    """
    if not follow:
        number("The strength", strength)
    return settings(description, k, tau, seed, None if follow else strength)


def number(name: str, value: object) -> float:
    """What a control holds, as it is; API clients may send anything.

    Raises:
        DescriptionError: it is no finite number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise DescriptionError(f"{name} is not a number.")
    return value


def generate(engine: SGLora, session: Session, wanted: Settings) -> Adaptation:
    """The adapter for these settings; made again only where they changed, or the visitor's experts did."""
    made, last = session.adaptation, session.settings
    if made is None or last is None or session.repository is not engine.repository:
        made = None
    elif last == wanted:
        return made
    elif replace(last, strength=wanted.strength) == wanted:
        # Strength only scales what was generated, and a slider should answer at once.
        strength = engine.strength(made.routing, wanted.strength)
        made = replace(made, lora=made.full.scaled(strength), strength=strength)
    else:
        made = None
    made = made or engine.adapt(wanted.description, wanted.k, wanted.tau, wanted.seed, wanted.strength)
    session.adaptation, session.settings, session.repository = made, wanted, engine.repository
    return made


def write_zip(engine: SGLora, session: Session, adaptation: Adaptation) -> Download:
    """Write the adapter as a ZIP into the visitor's own folder; of those before, all but the last few go."""
    if session.download is not None and session.download.adaptation is adaptation:
        return session.download
    folder = session.album.folder / secrets.token_hex(8)
    files = folder / "adapter"
    engine.save(adaptation, files)
    size = (files / WEIGHTS_FILE).stat().st_size
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(files.iterdir()):
            archive.write(file, file.name)
    path = folder / f"sg-lora-adapter-seed{adaptation.seed}.zip"  # nothing that a visitor wrote becomes part of a path
    path.write_bytes(buffer.getvalue())
    shutil.rmtree(files)
    session.downloads.append(Download(path, size, adaptation))
    while len(session.downloads) > KEPT_DOWNLOADS:
        discard(session.downloads.popleft().path.parent)
    return session.downloads[-1]


@dataclass(frozen=True)
class Added:
    """What became of an upload: the gallery's report (None without photos), more failures, and remarks."""

    report: AddReport | None
    failed: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()


def add_uploads(engine: SGLora, session: Session, paths: Sequence[str], progress: Progress | None = None) -> Added:
    """Add dropped files: photos, ZIP files of photos, captions files; what fails is reported and the rest goes in."""
    album = session.album
    gallery = album.gallery(engine)
    unpacked = album.folder / f"zip-{secrets.token_hex(8)}"
    try:
        with album.photos_change():
            uploads = sort_uploads(paths, unpacked)
            report = gallery.add(uploads.photos, None, progress) if uploads.photos else None
            album.keep(uploads.photos)
    finally:
        discard(unpacked)
    failed, remarks = list(uploads.failed), []
    for name, content in uploads.captions:
        try:
            remarks.append(_captioned(gallery, read_captions(name, content, MAX_CAPTIONS)))
        except StudioError as error:
            failed.append((name, str(error)))
    return Added(report, tuple(failed), tuple(remarks))


def add_samples(engine: SGLora, session: Session, progress: Progress | None = None) -> Added:
    """Add the sample photos with our captions."""
    samples = sample_photos()
    captions, files = {s.name: s.captions for s in samples}, [s.path for s in samples]
    gallery = session.album.gallery(engine)
    with session.album.photos_change():
        added = Added(gallery.add(files, captions, progress))
        session.album.keep(files)
    return added


def set_captions(engine: SGLora, session: Session, typed: str) -> str:
    """Use typed captions; the answer says how many photos they belong to."""
    return _captioned(session.album.gallery(engine), parse_typed(typed))


def caption_by_names(engine: SGLora, session: Session) -> str:
    """Use the file names as captions."""
    gallery = session.album.gallery(engine)
    return _captioned(gallery, captions_from_names([p.name for p in gallery.photos]))


def _captioned(gallery: Gallery, captions: Mapping[str, Sequence[str]]) -> str:
    return texts.CAPTIONS_SET.format(n=gallery.set_captions(captions), total=len(gallery.photos))


def adapters(engine: SGLora, adaptation: Adaptation) -> tuple[tuple[str, str, Adapter], ...]:
    """The columns of a comparison: title, note and adapter; zero-shot first, the others at the adapter's strength."""
    zero_shot = (texts.ZERO_SHOT, texts.ZERO_SHOT_NOTE, ZERO_SHOT)
    if adaptation.strength == 0:  # nothing is applied: the very same numbers, and no photo is encoded again
        return zero_shot, *((title, texts.NO_STRENGTH_NOTE, ZERO_SHOT) for title in (texts.MERGE, texts.SG_LORA))
    merged = engine.merged(adaptation.routing).scaled(adaptation.strength)
    return (
        zero_shot,
        (texts.MERGE, texts.MERGE_NOTE, Adapter.of(merged)),
        (texts.SG_LORA, texts.SG_LORA_NOTE, Adapter.of(adaptation.lora)),
    )


def compare_words(engine: SGLora, session: Session, query: str, progress: Ranking | None = None) -> Comparison:
    """Words -> photos, in every column, with the session's adapter."""
    query = clean_text(query, "query")
    asked = ("words", query)
    columns = _columns(
        engine, session, asked, lambda gallery, adapter: gallery.text_to_image(query, adapter, top=None), progress
    )
    title = texts.ASKED_PHOTOS.format(query=query)
    session.comparison = Comparison("photos", title, columns, asked, session.album.photos, engine.backbone.fingerprint)
    if session.adaptation is not None:
        entry = (query, session.adaptation.routing.description)
        session.history = [entry, *(h for h in session.history if h != entry)][:HISTORY]
    return session.comparison


def compare_photo(
    engine: SGLora, session: Session, picked: str | None, other: str | None, progress: Ranking | None = None
) -> Comparison:
    """A photo -> the gallery's captions, in every column.

    Args:
        engine: the engine. session: the visitor's.
        picked: id of a photo of the gallery. other: path of an uploaded photo, which goes before ``picked``.
        progress: called before each column.
    """
    gallery = session.album.gallery(engine)
    if other:
        path, framing = Path(other), engine.backbone.framing
        name = path.name
        decoded = decode_photo(photo_bytes(path, name), name, framing)
        photo = Image.frombytes("RGB", (framing.width, framing.height), decoded.pixels)
    else:
        name = next((p.name for p in gallery.photos if p.id == picked), None)
        if name is None:
            raise PhotoError(texts.NOTHING_PICKED)
        photo = picked
    asked = ("photo", (picked, other))
    columns = _columns(
        engine, session, asked, lambda gallery, adapter: gallery.image_to_text(photo, adapter, top=None), progress
    )
    title = texts.ASKED_CAPTIONS.format(name=name)
    session.comparison = Comparison("captions", title, columns, asked, session.album.photos, engine.backbone.fingerprint)
    return session.comparison


def _columns(engine: SGLora, session: Session, asked: Question, rank: Callable, progress: Ranking | None) -> tuple[Column, ...]:
    """Every column for a question; those whose adapter, photos and question are the last ones' are taken over."""
    session.again = asked
    gallery, last = session.album.gallery(engine), session.comparison
    basis = (asked, gallery.photos, engine.backbone.fingerprint)
    same = () if last is None or (last.asked, last.photos, last.backbone) != basis else last.columns
    kept = {(column.title, column.adapter): column for column in same}
    captioned = sum(bool(p.captions) for p in gallery.photos) > 1
    columns: list[Column] = []
    # All of it is ranked: how far something moved is only known when both ends are.
    wanted = adapters(engine, session.adaptation)
    for title, remark, adapter in wanted:
        if (title, adapter.key) in kept:
            columns.append(kept[title, adapter.key])
            continue
        if progress is not None:
            progress(len(columns), len(wanted), title)
        ranking = rank(gallery, adapter)
        moved = moves(columns[0].ranking, ranking) if columns else {}
        hits = gallery.hits(adapter) if captioned else None
        columns.append(Column(title, remark, ranking, moved, hits, adapter.key))
    return tuple(columns)


def compare_again(engine: SGLora, session: Session, progress: Ranking | None = None) -> Comparison | None:
    """The last adapter and the last question with what is there now: other experts, more or fewer photos.

    None where nothing was asked, or it cannot be asked again.
    """
    if session.settings is not None:
        generate(engine, session, session.settings)  # another tab may have changed the experts or the backbone
    if session.again is None or session.settings is None:
        return None
    kind, what = session.again
    try:
        if kind == "words":
            return compare_words(engine, session, what, progress)
        return compare_photo(engine, session, *what, progress)
    except (GalleryError, PhotoError):
        session.comparison = session.again = None
        return None
