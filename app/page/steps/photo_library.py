"""The folders of the libraries on this machine, if the page may index them."""

from typing import Any

import gradio as gr

from app.calls import INDEX
from app.languages import texts
from app.page.step import Step, choice, with_estimate
from app.page.view import Event
from app.page.views import page_html
from app.server.hosts import is_from_here
from core.common.errors import LibraryError
from core.common.messages import message
from core.retrieval.indexing import FOLDER_MISSING, Progress


class LibraryFolders(Step):
    """Laid out only if libraries may be written."""

    def layout(self) -> None:
        names = list(self.context.sources.libraries.names)
        with gr.Accordion(self.t("LIBRARY_INDEX"), open=False, elem_id="library-folders"):
            self.name = choice("library-name", self.t("LIBRARY_NAME"), names, names[0], visible=len(names) > 1)
            words: dict[str, Any] = {"label": self.t("LIBRARY_FOLDER"), "info": self.t("LIBRARY_FOLDER_INFO")}
            self.folder = gr.Textbox(max_lines=1, elem_id="library-folder", **words)
            self.index = gr.Button(self.t("LIBRARY_INDEX_NOW"), elem_id="library-index")
            self.report = self.reports("library-report")

    def wire(self) -> None:
        self.on(self.index.click, self._index, [self.name, self.folder], (), self.report, INDEX, waits=True)

    def _index(self, event: Event, name: str, folder: str) -> None:
        if not is_from_here(event.request.client.host, event.request.headers):
            raise LibraryError(texts.LIBRARY_READ_ONLY)
        tab, progress = event.tab, with_estimate(texts.INDEXING, texts.UNIT_PHOTOS)

        def show(now: Progress) -> None:
            if now.total:
                progress(now.done, now.total)

        backbone = event.engine.backbone
        report = self.context.sources.libraries.index(name, folder or "", backbone, show, lambda: tab.closed)
        words = texts.LIBRARY_INDEXED.format(
            photos=report.photos, added=report.added, removed=report.removed, failed=len(report.failed)
        )
        missing = [texts.of(message(FOLDER_MISSING, folder=folder)) for folder in report.missing]
        tab.reports["library-report"] = page_html.note(" ".join([words, *missing]))
