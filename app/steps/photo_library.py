"""Libraries on this machine: a question to all of their photos, and the folders that they hold."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gradio as gr

from app import actions, texts
from app.api import INDEX, SEARCH
from app.errors import friendly
from app.http.gradio_patches import visitor_left
from app.http.hosts import is_from_here
from app.photo_libraries import PhotoLibraries
from app.steps.context import Controls, StepContext, Updates
from app.steps.step import Step
from app.views import page_html, results_html
from app.visitors.session import Session
from core.common.errors import LibraryError
from core.retrieval.adapter import Adapter
from core.retrieval.indexing import Progress
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.questions import Query
from core.retrieval.search import search, zero_shot_ranks
from core.sglora.engine import SGLora


class SearchLibrary(Step):
    def __init__(self, context: StepContext, libraries: PhotoLibraries) -> None:
        self._libraries = libraries
        super().__init__(context)

    def layout(self) -> None:
        names = list(self._libraries.names)
        gr.HTML(page_html.note(texts.LIBRARY_LEAD))
        self.name = gr.Dropdown(
            names, value=names[0], label=texts.LIBRARY_NAME, visible=len(names) > 1, filterable=False, elem_id="library-name"
        )
        with gr.Row(equal_height=False, elem_classes="sg-ask"):
            self.query = gr.Textbox(
                label=texts.LIBRARY_QUERY,
                placeholder=texts.LIBRARY_PLACEHOLDER,
                max_lines=1,
                scale=4,
                min_width=200,
                elem_id="library-query",
            )
            self.search = gr.Button(texts.SEARCH, variant="primary", scale=1, min_width=100, elem_id="library-search")
        self.answer_box = gr.HTML(elem_id="library-results")
        with gr.Accordion(texts.LIBRARY_INDEX, open=False, visible=self._libraries.writable, elem_id="library-folders"):
            self.folder = gr.Textbox(
                label=texts.LIBRARY_FOLDER, info=texts.LIBRARY_FOLDER_INFO, max_lines=1, elem_id="library-folder"
            )
            self.index = gr.Button(texts.LIBRARY_INDEX_NOW, elem_id="library-index")
            self.report = gr.HTML(elem_id="library-report")

    def wire(self) -> None:
        events = [self.search.click, self.query.submit]
        self.on(events, self._search, [self.name, self.query], [self.answer_box], (), self.answer_box, SEARCH)
        if self._libraries.writable:
            self.on(self.index.click, self._index, [self.name, self.folder], [self.report], (), self.report, INDEX)

    @friendly
    def _search(self, name: str, query: str, session: Session, *values: Any) -> Updates:
        controls, engine = Controls(*values), self.context.engine(session)
        asked = Query.parse([query])
        actions.adapt_to(engine, session, controls.request)
        photos = self._libraries.photos(name, engine.backbone)
        wanted = actions.columns(engine, session, controls.merge)
        with actions.COMPUTING:
            return self._answer(photos, engine, asked, query, wanted, controls) | {self.context.session: session}

    def _answer(
        self,
        photos: LibraryPhotos,
        engine: SGLora,
        asked: Query,
        query: str,
        wanted: Sequence[tuple[str, str, Adapter]],
        controls: Controls,
    ) -> Updates:
        started, question = time.perf_counter(), asked.question(engine.backbone)
        before, columns = zero_shot_ranks(photos, question), []
        for title, note, adapter in wanted:
            best = search(photos, question, adapter, int(controls.top))
            places = [place for place, _ in best]
            named = zip(photos.paths(places), photos.thumbnails(places), best, strict=True)
            cards = []
            for rank, (path, picture, (place, score)) in enumerate(named, 1):
                moved = before[place] - rank if columns and place in before else None
                cards.append(results_html.Card(rank, path.name, score, moved, results_html.inline(picture)))
            columns.append((title, note, cards))
        lead = texts.LIBRARY_SEARCHED.format(n=len(photos), seconds=time.perf_counter() - started)
        shown = results_html.library(texts.ASKED_PHOTOS.format(query=query.strip()), lead, columns)
        return {self.answer_box: shown}

    @friendly
    def _index(
        self, name: str, folder: str, session: Session, request: gr.Request, progress: gr.Progress = gr.Progress(), *_: Any
    ) -> Updates:
        if not is_from_here(request.client.host, request.headers):
            raise LibraryError(texts.LIBRARY_READ_ONLY)

        def show(now: Progress) -> None:
            left = "" if now.seconds_left is None else texts.LIBRARY_LEFT.format(seconds=now.seconds_left)
            progress((now.done, now.total or None), desc=f"{texts.LIBRARY_STEPS[now.step]}{left}", unit="photos")

        report = self._libraries.index(name, folder or "", self.context.engine(session).backbone, show, visitor_left())
        words = texts.LIBRARY_INDEXED.format(
            photos=report.photos, added=report.added, removed=report.removed, failed=len(report.failed)
        )
        return {self.report: page_html.note(" ".join([words, *report.missing]))}
