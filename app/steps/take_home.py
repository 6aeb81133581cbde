"""Downloads: results and recall as CSV, and the ranked photos as a ZIP."""

from __future__ import annotations

import gradio as gr

from app import actions, exports, texts
from app.api import HEAVY
from app.comparison import Comparison
from app.steps.context import DEFAULT_TOP, Controls
from app.steps.step import Step
from app.tab import Tab
from core.common.errors import DataError


class TakeHome(Step):
    def layout(self) -> None:
        with gr.Accordion(self.t("TAKE_HOME"), open=False, elem_id="take-home"):
            with gr.Row():
                self.results = gr.Button(self.t("TAKE_RESULTS"), min_width=150, elem_id="take-results")
                self.recall = gr.Button(self.t("TAKE_RECALL"), min_width=150, elem_id="take-recall")
                self.photos = gr.Button(self.t("TAKE_PHOTOS"), min_width=150, elem_id="take-photos")
            self.report = gr.HTML(elem_id="take-said")

    def wire(self) -> None:
        self.downloads(self.results, self._results, self.report)
        self.downloads(self.recall, self._recall, self.report)
        self.downloads(self.photos, self._photos, self.report, HEAVY)

    def _results(self, tab: Tab, _: Controls) -> str:
        return str(tab.visitor.files.write("sg-lora-results.csv", exports.results_csv(_asked(tab)).encode()))

    def _recall(self, tab: Tab, _: Controls) -> str:
        if tab.unasked is None:
            _asked(tab)
        comparison = actions.measure(self.context.engine(tab), tab, self.context.sources)
        if comparison is None:
            raise DataError(texts.TAKE_NO_CAPTIONS)
        return str(tab.visitor.files.write("sg-lora-recall.csv", exports.recall_csv(comparison).encode()))

    def _photos(self, tab: Tab, controls: Controls) -> str:
        comparison, top = _asked(tab), controls.top or DEFAULT_TOP
        path = tab.visitor.files.new("sg-lora-photos.zip")
        exports.write_photos(tab.visitor.files, comparison, int(top) + tab.more, path)
        return str(path)


def _asked(tab: Tab) -> Comparison:
    if tab.comparison is None:
        raise DataError(texts.TAKE_NOTHING)
    return tab.comparison
