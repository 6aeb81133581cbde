"""The command ``tag``: keywords in XMP sidecars, for photos that a name or a query finds in a library."""

from argparse import Namespace
from functools import partial
from typing import Any

from core.cli import format
from core.cli.commands import Answer, chosen_adapters, log, reported, task_request
from core.cli.gaps import fill_gaps
from core.cli.search import load_names
from core.common.errors import GalleryError, UsageError
from core.common.progress import Steps
from core.common.text import clean_text, one_line
from core.data.sidecars import change_all
from core.data.xmp import LEVELS
from core.names.teach import TaughtName, TaughtNames
from core.retrieval.adapter import Adapter
from core.retrieval.library import PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.name_scores import LeftOut, proposed_cut, scores_left_out
from core.retrieval.photo_set import Where, background
from core.retrieval.questions import Query
from core.retrieval.search import NONE_LEFT, search


def tag(arguments: Namespace) -> Answer:
    # Check the input before loading models, which takes seconds.
    wanted = task_request(arguments)
    if not (arguments.names or arguments.query) and not (arguments.remove and arguments.keyword):
        raise UsageError("`tag` needs --names FILE, --query TEXT, or --remove --keyword WORD.")
    texts = [clean_text(text, "query") for text in arguments.query or ()]
    keyword = _keyword(arguments.keyword or ", ".join(texts)) if arguments.keyword or texts else None
    library, where = PhotoLibrary.open(arguments.library), Where(arguments.folder and arguments.folder.absolute())
    backbone, adapters = chosen_adapters(arguments, wanted)
    *_, adapter = adapters.values()
    photos = LibraryPhotos(library, backbone)
    names = load_names(arguments.names, backbone).among(background([photos]))
    if arguments.review is not None or arguments.precision is not None:
        return fill_gaps(arguments, photos, names, adapter)
    if where.folder is not None:
        photos.check_folder(where.folder)
    asked: list[tuple[str | None, list[str], TaughtName | None]] = [(keyword, texts, None)]
    if names.entries and not texts:
        asked = [(keyword or _keyword(entry.name), [entry.name], entry) for entry in names.entries]
    ranks = not (arguments.remove and arguments.first is arguments.at_least is None)
    scores = scores_left_out(names, adapter) if ranks and not texts else {}
    tags, failed = list[dict[str, Any]](), list[dict[str, str]]()
    for word, words, entry in asked:
        facts, rows = {"keyword": word}, list(range(len(photos)))
        if words and ranks:
            own = LeftOut([], []) if entry is None else scores[entry.name]
            ranked, said = _ranked(photos, names, words, own, adapter, where)
            first, least = arguments.first or 0, float("inf") if arguments.at_least is None else arguments.at_least
            rows = [row for place, (row, score) in enumerate(ranked) if place < first or score >= least]
            facts |= {"photos": len(rows), "score": round(ranked[len(rows) - 1][1], 6) if rows else None, **said}
        files = photos.files(rows, where.folder) if rows else []
        show = partial(Steps(log), f"“{word}”")
        report = change_all(files, str(word), arguments.style, arguments.remove, arguments.dry_run, show)
        tags.append(facts | {"files": len(files), "changed": [str(file) for file in report.changed], "same": report.same})
        failed += reported(report.failed)
    facts = {"tags": tags, "failed": failed, "dry_run": arguments.dry_run, "remove": arguments.remove}
    return Answer(facts, format.tagged)


def _keyword(text: str) -> str:
    word = one_line(text)
    if not word or any(sign in word for sign in LEVELS):
        raise UsageError(f"The keyword “{word}” is unusable, since / and | are levels in photo programs: change --keyword.")
    return word


def _ranked(
    photos: LibraryPhotos, names: TaughtNames, texts: list[str], own: LeftOut, adapter: Adapter, where: Where
) -> tuple[list[tuple[int, float]], dict[str, Any]]:
    """All photos as (row, score), best first, and what the scores of the name's own photos say."""
    question = Query(tuple(texts)).question(photos.backbone)
    ranked = search(photos, question, adapter.with_names(names), None, photos.among(where))
    if not ranked:
        raise GalleryError(NONE_LEFT)
    facts: dict[str, Any] = {key: [round(score, 6) for score in scores] for key, scores in own._asdict().items()}
    cut = proposed_cut(own.own)
    return ranked, facts | {"proposed": cut, "proposed_photos": cut and sum(score >= cut for _, score in ranked)}
