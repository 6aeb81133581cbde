"""The folders of the libraries on this machine, if the page may index them."""

from __future__ import annotations

import gradio as gr

from app import texts
from app.api import INDEX
from app.http.fair_queue import visitor_left
from app.http.hosts import is_from_here
from app.steps.context import Controls, Updates
from app.steps.step import Step, choice
from app.views import page_html
from app.visitors.session import Session
from core.common.errors import LibraryError
from core.common.messages import message
from core.retrieval.indexing import Progress


class LibraryFolders(Step):
    """Laid out only if libraries may be written."""

    def layout(self) -> None:
        names = list(self.context.libraries.names)
        with gr.Accordion(texts.LIBRARY_INDEX, open=False, elem_id="library-folders"):
            self.name = choice("library-name", texts.LIBRARY_NAME, names, names[0], visible=len(names) > 1)
            self.folder = gr.Textbox(
                label=texts.LIBRARY_FOLDER, info=texts.LIBRARY_FOLDER_INFO, max_lines=1, elem_id="library-folder"
            )
            self.index = gr.Button(texts.LIBRARY_INDEX_NOW, elem_id="library-index")
            self.report = gr.HTML(elem_id="library-report")

    def wire(self) -> None:
        self.on(self.index.click, self._index, [self.name, self.folder], [self.report], (), self.report, INDEX)

    def _index(self, name: str, folder: str, session: Session, request: gr.Request, _: Controls) -> Updates:
        if not is_from_here(request.client.host, request.headers):
            raise LibraryError(texts.LIBRARY_READ_ONLY)
        progress = gr.Progress()

        def show(now: Progress) -> None:
            left = "" if now.seconds_left is None else texts.LIBRARY_LEFT.format(seconds=now.seconds_left)
            words = {"looking": texts.LIBRARY_LOOKING, "encoding": texts.LIBRARY_ENCODING, "writing": texts.LIBRARY_WRITING}
            progress((now.done, now.total or None), desc=f"{words[now.step]}{left}", unit=texts.UNIT_PHOTOS)

        report = self.context.libraries.index(name, folder or "", self.context.engine(session).backbone, show, visitor_left())
        words = texts.LIBRARY_INDEXED.format(
            photos=report.photos, added=report.added, removed=report.removed, failed=len(report.failed)
        )
        return {
            self.report: page_html.note(
                " ".join([words, *(str(message("CORE_FOLDER_MISSING", folder=folder)) for folder in report.missing)])
            )
        }
