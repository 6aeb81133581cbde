"""The command ``learn``: names from keywords and folders that photos have already."""

from argparse import Namespace
from typing import Any

from core.cli import format
from core.cli.commands import Answer, chosen_backbone, log, reported
from core.cli.search import read_gallery
from core.common.errors import DataError, UsageError
from core.common.files import check_free, whole
from core.common.progress import Steps
from core.data.keywords import SOURCES, folder_keywords, grouped, keywords_of
from core.names.file import NAMES_FILE, save_names
from core.retrieval.learning import Keyword, Learned
from core.retrieval.learning import learn as learn_keywords
from core.retrieval.library import PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.training.corpus import usual_adapter


def learn(arguments: Namespace) -> Answer:
    if (arguments.folder is None) == (arguments.library is None):
        raise UsageError("`learn` needs a folder of photos, or --library DIR.")
    check_free(arguments.out, NAMES_FILE, DataError)
    library = None if arguments.library is None else PhotoLibrary.open(arguments.library)
    backbone, failed, unread = chosen_backbone(arguments), list[tuple[object, object]](), list[dict[str, str]]()
    if library is None:
        photos, paths, unread = read_gallery(arguments.folder, backbone)
        files = [(row, arguments.folder / path, path.parent) for row, path in paths]
    else:
        photos = LibraryPhotos(library, backbone)
        files = [(row, file, photos.inner_folder(file)) for row, file in photos.all_files()]
    words: list[list[str]] = [[] for _ in range(len(photos))]
    steps = Steps(log)
    for done, (row, file, folder) in enumerate(files, 1):
        if arguments.source != SOURCES[2]:
            found, damaged = keywords_of(file)
            words[row] += found
            failed += damaged
        if arguments.source != SOURCES[1]:
            words[row] += folder_keywords(folder)
        steps("reading keywords", done, len(files), "files")
    adapter = usual_adapter(backbone, backbone.shared)
    learned = learn_keywords(photos, grouped(words), adapter, lambda done, total: steps("learning", done, total, "keywords"))
    out = None
    if learned.names.entries:
        out = str(arguments.out)
        with whole(arguments.out / NAMES_FILE) as partial:
            partial.write_bytes(save_names(learned.names))
    told = {"photos": len(photos), "with_keywords": sum(map(bool, words)), **_facts(learned)}
    return Answer({**told, "failed": [*unread, *reported(failed)], "out": out}, format.learned)


def _facts(learned: Learned) -> dict[str, Any]:
    """The report as plain data; average precision in percent."""

    def fact(each: Keyword) -> dict[str, Any]:
        before, after = (None if value is None else round(100 * value, 1) for value in (each.before, each.after))
        reason = None if each.reason is None else str(each.reason)
        return {"keyword": each.name, "photos": each.photos, "before": before, "after": after, "reason": reason}

    keywords = sorted(learned.keywords, key=lambda each: -each.photos)
    return {
        "learned": [fact(each) for each in keywords if each.reason is None],
        "not_learned": [fact(each) for each in keywords if each.reason is not None],
        "left_out": {"photos": learned.left_out, "before": learned.before, "after": learned.after},
    }
