"""Teach names: from photos of the gallery, from files, from marks, or from a file of names."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from app.languages import texts
from app.languages.texts import Text
from app.visitors.tab import Tab
from core.common.errors import DescriptionError, GalleryError
from core.data.decode import Failure
from core.names.file import read_names
from core.names.teach import MAX_PHOTOS, TaughtNames, clean_taught_name
from core.retrieval.gallery import Gallery
from core.retrieval.photo_set import PhotoSet, prefixes
from core.retrieval.questions import split_minus
from core.sglora.engine import SGLora


def from_photos(engine: SGLora, tab: Tab, name: str, ids: Sequence[str], without: Sequence[str] | None = None) -> TaughtNames:
    """Teach a name from photos of the gallery or of the last answer, by id. If the name exists, it gets these photos too.

    ``without``: ids of photos that the name does not mean. Raises DescriptionError: when there is no photo, or the name is
    unusable or one too many; AdapterError: when no LoRA can teach this backbone names.
    """
    photos = _prefixes(engine, tab, ids)
    others = None if without is None else _prefixes(engine, tab, without)
    names = tab.visitor.change_names(engine, lambda names: names.add(name, photos, others))
    select(tab, names, name)
    return names


def _prefixes(engine: SGLora, tab: Tab, ids: Sequence[str]) -> Tensor:
    """Prefix activations of the visitor's photos, then those of the samples or the library that the last answer is from."""
    sets, comparison = list[PhotoSet]([tab.visitor.gallery(engine).contents]), tab.comparison
    if comparison is not None and comparison.asked.scope.samples:
        sets.append(tab.gallery(engine, comparison.asked.scope).contents)
    elif comparison is not None and comparison.library is not None:
        sets.append(comparison.library)
    return prefixes(sets, ids, engine.backbone)


def rename(engine: SGLora, tab: Tab, old: str, new: str) -> None:
    """Rename a name; it stays selected. A question that is the name follows it, with its marks and answers. Raises as
    ``TaughtNames.rename``."""
    visitor, question = tab.visitor, tab.asked.question
    select(tab, visitor.change_names(engine, lambda names: names.rename(old, new)), new)
    if question is not None and tab.asked.words.casefold() == old.casefold():
        renamed = replace(question, what=tab.name)
        tab.asked = replace(tab.asked, question=renamed)
        visitor.marks |= {renamed: visitor.marks.pop(question, {})}
        visitor.lines = {(renamed if each == question else each, n): places for (each, n), places in visitor.lines.items()}


def select(tab: Tab, names: TaughtNames, name: str) -> None:
    """Select a taught name, in its own spelling; none if it is not taught."""
    entry = names.find(name)
    tab.name = "" if entry is None else entry.name


def from_files(engine: SGLora, tab: Tab, name: str, files: Sequence[str]) -> tuple[TaughtNames, tuple[Failure, ...]]:
    """Teach a name from photo files, which do not join the gallery. Returns the names, and the files that cannot be read."""
    clean_taught_name(name)  # check the name before photos are read
    apart = Gallery(engine.backbone, MAX_PHOTOS)
    report = apart.add([Path(file) for file in files[:MAX_PHOTOS]])
    photos = apart.contents.prefixes(range(len(apart.photos)))
    if not len(photos) and report.failed:
        raise DescriptionError(texts.NAMES_NO_PHOTO_READ.format(name=name, reason=texts.of(report.failed[0].reason)))
    return tab.visitor.change_names(engine, lambda names: names.add(name, photos)), tuple(report.failed)


def from_marks(engine: SGLora, tab: Tab, name: str = "") -> TaughtNames:
    """Teach the last question as a name, without the words that it excludes, from its marked photos. If it is a taught name,
    that gets the photos marked as right, and loses those marked as wrong. With a ``name``, teach that one from the photos
    marked as right. Raises GalleryError: when the marks teach nothing."""
    right, wrong = tab.ticked, [photo for photo, yes in tab.marks_of_words.items() if not yes]
    question = "" if tab.comparison is None else split_minus(tab.comparison.asked.what)[0]
    there = () if name.strip() else tab.visitor.names(engine).within(question)
    entry = next((each for each in there if each.is_all_of(question)), None)  # "a wug", and "wug" is taught
    if not right and (entry is None or not wrong):
        raise GalleryError(texts.NAMES_NO_MARKS)
    if entry is None:
        return from_photos(engine, tab, name, right) if name.strip() else from_photos(engine, tab, question, right, wrong)
    yes, no = _prefixes(engine, tab, right), _prefixes(engine, tab, wrong)
    if entry.without is None and all(entry.holds(yes)) and not any(entry.holds(no)):
        raise GalleryError(texts.NAMES_SAME.format(name=entry.name))
    more = yes if right else entry.photos, None if entry.without is None else no
    changed = tab.visitor.change_names(engine, lambda names: names.add(entry.name, *more).take_out(entry.name, no))
    select(tab, changed, entry.name)
    return changed


def that_taught(engine: SGLora, tab: Tab) -> set[str]:
    """The photos marked as right that taught a name of the last question."""
    shown = tab.comparison
    if shown is None or not shown.names:
        return set()
    photos = {key: prefixes(shown.sets, [key], engine.backbone) for key in tab.ticked}
    asked = tab.visitor.names(engine).within(shown.asked.what)
    return {key for key, photo in photos.items() if any(any(entry.holds(photo)) for entry in asked)}


def from_file(engine: SGLora, tab: Tab, path: str) -> tuple[int, list[Text]]:
    """Add the names of a file to the visitor's names. If a name exists, its photos are joined. Returns how many were loaded,
    and the error messages of the others."""
    loaded = read_names(Path(path), engine.backbone)
    failed: list[Text] = []

    def joined(names: TaughtNames) -> TaughtNames:
        for entry in loaded.entries:
            try:
                names = names.add(entry.name, entry.photos, entry.without)
            except DescriptionError as error:
                failed.append(error.message)
        return names

    tab.visitor.change_names(engine, joined)
    return len(loaded.entries) - len(failed), failed
