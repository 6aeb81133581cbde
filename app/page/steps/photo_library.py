"""The folders of the libraries on this machine, if the page may index them."""

from __future__ import annotations

import gradio as gr

from app.api import INDEX
from app.languages import texts
from app.page.steps.context import Controls, Updates
from app.page.steps.step import Step, choice, with_estimate
from app.page.views import page_html
from app.server.hosts import is_from_here
from app.visitors.tab import Tab
from core.common.errors import LibraryError
from core.common.messages import message
from core.retrieval.indexing import Progress


class LibraryFolders(Step):
    """Laid out only if libraries may be written."""

    def layout(self) -> None:
        names = list(self.context.sources.libraries.names)
        with gr.Accordion(self.t("LIBRARY_INDEX"), open=False, elem_id="library-folders"):
            self.name = choice("library-name", self.t("LIBRARY_NAME"), names, names[0], visible=len(names) > 1)
            self.folder = gr.Textbox(
                label=self.t("LIBRARY_FOLDER"),
                info=self.t("LIBRARY_FOLDER_INFO"),
                max_lines=1,
                elem_id="library-folder",
            )
            self.index = gr.Button(self.t("LIBRARY_INDEX_NOW"), elem_id="library-index")
            self.report = gr.HTML(elem_id="library-report")

    def wire(self) -> None:
        self.on(self.index.click, self._index, [self.name, self.folder], [self.report], (), self.report, INDEX)

    def _index(self, name: str, folder: str, tab: Tab, request: gr.Request, _: Controls) -> Updates:
        if not is_from_here(request.client.host, request.headers):
            raise LibraryError(texts.LIBRARY_READ_ONLY)
        progress = with_estimate(texts.INDEXING, texts.UNIT_PHOTOS)

        def show(now: Progress) -> None:
            if now.total:
                progress(now.done, now.total)

        backbone = self.context.engine(tab).backbone
        report = self.context.sources.libraries.index(name, folder or "", backbone, show, lambda: tab.closed)
        words = texts.LIBRARY_INDEXED.format(
            photos=report.photos, added=report.added, removed=report.removed, failed=len(report.failed)
        )
        missing = [texts.of(message("CORE_FOLDER_MISSING", folder=folder)) for folder in report.missing]
        return {self.report: page_html.note(" ".join([words, *missing]))}
