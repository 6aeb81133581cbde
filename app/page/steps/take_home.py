"""Downloads: results and recall as CSV, the ranked photos as a ZIP, and keywords for photo programs (XMP)."""

from collections.abc import Callable

import gradio as gr

from app.actions import answering
from app.actions.line import line_of
from app.answers import exports
from app.answers.comparison import Comparison
from app.calls import HEAVY
from app.languages import texts
from app.page.event import Event
from app.page.step import Step
from app.page.view import Controls, Same, Updates
from app.page.views import page_html
from app.server.hosts import is_from_here
from app.visitors.tab import Tab
from core.common.errors import DataError, LibraryError
from core.retrieval.index import Hit


class TakeHome(Step):
    def layout(self) -> None:
        with gr.Accordion(self.t("TAKE_HOME"), open=False, elem_id="take-home"):
            with gr.Row():
                self.results = gr.Button(self.t("TAKE_RESULTS"), min_width=150, elem_id="take-results")
                self.recall = gr.Button(self.t("TAKE_RECALL"), min_width=150, elem_id="take-recall")
                self.photos = gr.Button(self.t("TAKE_PHOTOS"), min_width=150, elem_id="take-photos")
            with gr.Row():
                # For a library on this machine, XMP files are written beside the photos, after a confirmation.
                buttons = [gr.Button(visible=False, min_width=150, elem_id=name) for name in ("tag", "tag-here", "tag-sure")]
                self.tag, self.ask, self.sure = buttons
            self.report = self.context.report("take-said")
        self.context.view(buttons, lambda tab, _: (Same(tab.comparison), tab.top, dict(tab.marks)), self._draw)

    def wire(self) -> None:
        self.downloads(self.results.click, self._results, self.report)
        self.downloads(self.recall.click, self._recall, self.report)
        self.downloads(self.photos.click, self._photos, self.report, HEAVY)
        self.downloads(self.tag.click, self._tag, self.report)
        self.on(self.ask.click, lambda _: {self.sure: gr.Button(texts.TAG_SURE, visible=True)}, sets=[self.sure])
        self.on(self.sure.click, self._tag_here, (), [self.sure], self.report, HEAVY, waits=True)

    def _results(self, event: Event) -> str:
        tab = event.tab
        return str(tab.visitor.files.write("sg-lora-results.csv", exports.results_csv(_asked(tab)).encode()))

    def _recall(self, event: Event) -> str:
        tab = event.tab
        if tab.counted is None:
            _asked(tab)
        comparison = answering.measure(self.context.engine(tab), tab)
        if comparison is None:
            raise DataError(texts.TAKE_NO_CAPTIONS)
        return str(tab.visitor.files.write("sg-lora-recall.csv", exports.recall_csv(comparison).encode()))

    def _photos(self, event: Event) -> str:
        exports.write_photos(_asked(event.tab), event.tab.top, path := event.tab.visitor.files.new("sg-lora-photos.zip"))
        return str(path)

    def _tag(self, event: Event) -> str:
        zipped, *_ = self._tagged(event.tab)
        exports.write_sidecars(_asked(event.tab), zipped, path := event.tab.visitor.files.new("sg-lora-keywords.zip"))
        return str(path)

    def _tag_here(self, event: Event) -> Updates:
        tab, request = event.tab, event.request
        comparison = _asked(tab)
        if not (self.context.sources.libraries.writable and is_from_here(request.client.host, request.headers)):
            raise LibraryError(texts.LIBRARY_READ_ONLY)
        report = exports.tag_library(comparison, self._tagged(tab)[1])
        words = texts.TAGGED.format(changed=len(report.changed), same=report.same, failed=len(report.failed))
        tab.reports["take-said"] = page_html.note(words)
        return {self.sure: gr.Button(visible=False)}

    def _tagged(self, tab: Tab) -> tuple[list[Hit], list[Hit], Callable[[int], str]]:
        """The photos to tag: those of the visitor, for a ZIP, and those whose sidecars can be written on this machine; and what
        the button says of some of them. They are the photos above the line, if answers drew one, else the first ones, without
        those that are marked as wrong."""
        comparison = _asked(tab)
        hits, word, line = comparison.columns[-1].ranking.hits, exports.keyword_of(comparison), None
        if word:
            line = line_of(self.context.engine(tab), tab)
        drawn = line is not None and line.asked > 0 and line.ask is None
        first = hits[: line.line if line is not None and drawn else tab.top]
        kept = [hit for hit in first if word and tab.marks.get(hit.key) is not False]
        writable = comparison.library is not None and self.context.sources.libraries.writable
        here = [hit for hit in kept if writable and hit.key in comparison.rows]

        def label(n: int) -> str:
            if drawn:
                return texts.TAG_ABOVE.format(n=n, word=word)
            return (texts.TAG_FIRST if n == len(first) else texts.TAG_SOME).format(n=n, first=len(first), word=word)

        return [hit for hit in kept if hit not in here], here, label

    def _draw(self, tab: Tab, _: Controls) -> Updates:
        hidden = {button: gr.Button(visible=False) for button in (self.tag, self.ask, self.sure)}
        if tab.comparison is None:
            return hidden
        zipped, here, label = self._tagged(tab)
        shown = {self.tag: (zipped, " (ZIP)" if here else ""), self.ask: (here, "")}
        return hidden | {
            button: gr.Button(label(len(hits)) + kind, visible=True) for button, (hits, kind) in shown.items() if hits
        }


def _asked(tab: Tab) -> Comparison:
    if tab.comparison is None:
        raise DataError(texts.TAKE_NOTHING)
    return tab.comparison
