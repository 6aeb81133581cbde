"""Downloads: results and recall as CSV, the ranked photos as a ZIP, and keywords for photo programs (XMP)."""

import gradio as gr

from app.actions import answering
from app.actions.line import line_of
from app.answers import exports
from app.answers.comparison import Comparison
from app.calls import HEAVY
from app.languages import texts
from app.page.step import Step
from app.page.view import Event, Now, Same, Updates
from app.page.views import page_html
from app.server.hosts import is_from_here
from app.visitors.tab import Tab
from core.common.errors import DataError, LibraryError
from core.common.text import safe_name
from core.retrieval.index import Hit


class TakeHome(Step):
    def layout(self) -> None:
        with gr.Accordion(self.t("TAKE_HOME"), open=False, elem_id="take-home") as self.folded:
            with gr.Row():
                self.results = gr.Button(self.t("TAKE_RESULTS"), min_width=150, elem_id="take-results")
                self.recall = gr.Button(self.t("TAKE_RECALL"), min_width=150, elem_id="take-recall")
                self.photos = gr.Button(self.t("TAKE_PHOTOS"), min_width=150, elem_id="take-photos")
            with gr.Row():
                # For a library on this machine, XMP files are written beside the photos, after a confirmation.
                buttons = [gr.Button(visible=False, min_width=150, elem_id=name) for name in ("tag", "tag-here", "tag-sure")]
                self.tag, self.ask, self.sure = buttons
            self.report = self.reports("take-said")
        self.view(buttons, self._depends, self._draw, when="take-home")

    def wire(self) -> None:
        self.opens(self.folded.expand, "take-home")
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
        comparison = answering.measure(event.engine, tab)
        if comparison is None:
            raise DataError(texts.TAKE_NO_CAPTIONS)
        return str(tab.visitor.files.write("sg-lora-recall.csv", exports.recall_csv(comparison).encode()))

    def _photos(self, event: Event) -> str:
        exports.write_photos(_asked(event.tab), event.tab.top, path := event.visitor.files.new("sg-lora-photos.zip"))
        return str(path)

    def _tag(self, event: Event) -> str:
        (zipped, *_), word = self._tagged(event), exports.keyword_of(event.tab.comparison)
        path = event.visitor.files.new("sg-lora-keywords.zip")
        exports.write_keywords([(safe_name(hit.label), word) for hit in zipped], path)
        return str(path)

    def _tag_here(self, event: Event) -> Updates:
        tab, request = event.tab, event.request
        comparison = _asked(tab)
        if not (self.context.sources.libraries.writable and is_from_here(request.client.host, request.headers)):
            raise LibraryError(texts.LIBRARY_READ_ONLY)
        report = exports.tag_library(comparison, self._tagged(event)[1])
        words = texts.TAGGED.format(changed=len(report.changed), same=report.same, failed=len(report.failed))
        tab.reports["take-said"] = page_html.note(words)
        return {self.sure: gr.Button(visible=False)}

    def _depends(self, now: Now) -> object:
        return Same(now.tab.comparison), now.tab.top, dict(now.tab.marks)

    def _tagged(self, now: Now) -> tuple[list[Hit], list[Hit], int]:
        """The photos to tag: those whose sidecars come as a ZIP, and those that get them on this machine. They are the photos
        above the line, if answers drew one, else the first ones, without those that are marked as wrong. Also how many first
        ones; 0: the line decides."""
        tab, comparison, line = now.tab, _asked(now.tab), line_of(now.engine, now.tab)
        above = line.line if line is not None and line.asked and line.ask is None else None
        first = comparison.columns[-1].ranking.hits[: tab.top if above is None else above]
        kept = [hit for hit in first if tab.marks.get(hit.key) is not False]
        on_disk = comparison.rows if comparison.library is not None and self.context.sources.libraries.writable else {}
        here = [hit for hit in kept if hit.key in on_disk]
        return [hit for hit in kept if hit.key not in on_disk], here, len(first) if above is None else 0

    def _draw(self, now: Now) -> Updates:
        updates = {button: gr.Button(visible=False) for button in (self.tag, self.ask, self.sure)}
        if not (word := exports.keyword_of(now.tab.comparison)):
            return updates
        zipped, here, first = self._tagged(now)
        for button, hits, kind in ((self.tag, zipped, " (ZIP)" if here else ""), (self.ask, here, "")):
            words = texts.TAG_ABOVE if not first else texts.TAG_FIRST if len(hits) == first else texts.TAG_SOME
            if hits:
                updates[button] = gr.Button(words.format(n=len(hits), first=first, word=word) + kind, visible=True)
        return updates


def _asked(tab: Tab) -> Comparison:
    if tab.comparison is None:
        raise DataError(texts.TAKE_NOTHING)
    return tab.comparison
