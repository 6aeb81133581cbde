"""Photos and captions that a visitor adds."""

import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.languages import texts
from app.languages.texts import Text
from app.visitors.tab import Tab
from core.common.errors import GalleryError, StudioError, brief
from core.data.captions import CAPTIONS_A_PHOTO, read_captions
from core.data.uploads import MAX_CAPTIONS, sort_uploads
from core.retrieval.gallery import AddReport
from core.sglora.engine import SGLora


@dataclass(frozen=True)
class Added:
    """The result of an upload: the gallery's report (None without photos), further failures, and remarks."""

    report: AddReport | None
    failed: tuple[tuple[str, Text], ...] = ()
    remarks: tuple[Text, ...] = ()


def add_uploads(engine: SGLora, tab: Tab, paths: Sequence[str]) -> Added:
    """Add uploaded photos, ZIP files of photos, and captions files. Files that fail are reported; the rest is added, unless the
    visitor stops it or leaves."""
    visitor, remarks, report = tab.visitor, list[Text](), None
    unpacked = visitor.files.folder / f"zip-{secrets.token_hex(8)}"
    try:
        with visitor.photos_change():
            uploads = sort_uploads(paths, unpacked)
            if uploads.photos:
                gallery = visitor.gallery(engine)
                report = gallery.add(
                    uploads.photos, visitor.note_progress, lambda: visitor.stopped or visitor.deserted, uploads.keywords
                )
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
