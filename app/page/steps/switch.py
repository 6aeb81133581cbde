"""The choice of a repository with its backbone, if there are several."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial

import gradio as gr

from app.api import OPEN
from app.languages import texts
from app.models.engines import DEFAULT, LOOK_SECONDS, OFFERED, OFFERED_AT, OFFERED_MB
from app.page.steps.context import Controls, Part, Updates
from app.page.steps.step import Step, choice, with_estimate
from app.page.views import page_html
from app.server.errors import without_paths
from app.visitors.tab import Tab
from app.visitors.visitor import Switched
from core.backbones.hub import Show, weights_here
from core.common.errors import StudioError

ROOM = '<div style="height: 4rem"></div>'  # of a download's progress
# Measured on two CPU cores, with random weights, which cost the same: MB of memory once loaded, and seconds for 1,000 photos.
COSTS = {DEFAULT: {"memory": 400, "seconds": 10}, "ViT-B-32": {"memory": 810, "seconds": 63}}


class Switch(Step):
    """Laid out only if there is a choice."""

    def layout(self) -> None:
        choices = [(self.t.html(f"BACKBONE {name}", partial(self._label, name)), name) for name in self._names]
        self.choice = choice("backbone", self.t("BACKBONE_LABEL"), choices, self.context.models.first)
        with gr.Row(equal_height=False):
            self.report = gr.HTML(elem_id="switched")
            self.stop = gr.Button(self.t("STOP"), size="sm", scale=0, min_width=90, visible=False, elem_id="stop-download")
        self.context.shows(Part.STATUS, [self.choice], self._chosen)

    @property
    def _names(self) -> tuple[str, ...]:
        return (DEFAULT, *self.context.models.repositories)

    def _label(self, name: str) -> str:
        """The name of a repository, its number of experts, and what it costs."""
        offered = self.context.models.repositories.get(name)
        if offered is None:
            label = texts.BACKBONE_SHIPPED.format(name=name)
        elif offered.experts:
            label = texts.BACKBONE_CHOICE.format(name=name, experts=offered.experts)
        else:
            label = texts.BACKBONE_NO_EXPERTS.format(name=name)
        if self._downloads(name):
            label = texts.BACKBONE_DOWNLOAD.format(mb=OFFERED_MB)
        known = COSTS.get(name.split()[0]) if offered is None or not offered.experts else None
        return texts.BACKBONE_COSTS.format(label=label, **known) if known else label

    def _downloads(self, name: str) -> bool:
        """Whether a choice of this repository downloads the weights that the page offers."""
        offered = self.context.models.repositories.get(name)
        return offered is not None and offered.choice == OFFERED and weights_here(OFFERED_AT) is None

    def _chosen(self, tab: Tab, _: Controls) -> Updates:
        return {self.choice: gr.Dropdown([(self._label(name), name) for name in self._names], value=tab.visitor.backbone)}

    def wire(self) -> None:
        # Not ``input``: Gradio 6.31 fires it twice for a choice by mouse, and an error message would appear twice.
        self.on(self.choice.change, self._begin, [self.choice], [self.report, self.stop])
        # A download takes minutes. In group OPEN, no other visitor's event waits for it.
        also = [self.choice, self.report, self.stop, self.context.controls["strength"]]
        self.on(self.choice.change, self._switch, [self.choice], also, (), self.report, OPEN, trigger_mode="multiple")
        self.on(self.stop.click, self._stop, (), [self.stop])

    def _begin(self, name: str, tab: Tab, _: Controls) -> Updates:
        if name == tab.visitor.backbone:
            return {}
        return {self.stop: gr.Button(visible=self._downloads(name)), self.report: ROOM}

    def _switch(self, name: str, tab: Tab, controls: Controls) -> Updates:
        """Wait until a repository is loaded, index the photos again, and let the page show everything again. If this fails,
        nothing changes, and the page shows the reason."""
        if name == tab.visitor.backbone:  # the page set the choice itself, which also fires ``change``
            return {}
        tab.download = stop = threading.Event()
        hidden = {self.stop: gr.Button(visible=False)}
        try:
            engine = self.context.models.get(name, _downloading(name), lambda: stop.is_set() or tab.closed)
            begin = time.perf_counter()
            done = tab.visitor.switch(name, engine, with_estimate(texts.INDEXING, texts.UNIT_PHOTOS))
        except StudioError as error:
            reason = page_html.note(without_paths(texts.of(error)), "sg-warn")
            return hidden | self._chosen(tab, controls) | {self.report: reason}
        if (training := tab.training) is not None:
            training.set()  # a running training belongs to the backbone before
        tab.comparison, strength = None, engine.usual_strength  # a share of mixed scores here may be a factor there
        if tab.asked.request is not None:
            tab.asked = replace(tab.asked, request=replace(tab.asked.request, strength=strength))
        shown = {self.choice: name, self.report: _report(name, done, time.perf_counter() - begin)}
        return hidden | shown | {self.context.controls["strength"]: strength} | self.context.all_again()

    def _stop(self, tab: Tab, _: Controls) -> Updates:
        if tab.download is not None:
            tab.download.set()
        return {self.stop: gr.Button(visible=False)}


def _downloading(name: str) -> Show:
    """Show how much of a download is there, and how fast it comes."""
    progress, first = gr.Progress(), list[tuple[float, int]]()

    def show(done: int, size: int) -> None:
        if not size or done >= size:
            progress(0, desc=texts.BACKBONE_LOADING.format(name=name))
            return
        now = time.perf_counter()
        begin, before = first[0] if first else (now, done)
        first[:] = [(begin, before)]
        speed = (done - before) / max(now - begin, LOOK_SECONDS) / 1e6
        progress(done / size, desc=texts.DOWNLOADING.format(name=name, done=done / 1e6, size=size / 1e6, speed=speed))

    return show


def _report(name: str, done: Switched, seconds: float) -> str:
    words = texts.SWITCHED_PHOTOS if done.photos else texts.SWITCHED
    lines = [words.format(name=name, n=done.photos, seconds=seconds)]
    if done.waiting:
        lines.append(texts.SWITCHED_WAITING.format(before=done.before, names=", ".join(done.waiting)))
    report = page_html.report(lines)
    if done.lost:
        report += page_html.listed_files(texts.SWITCHED_LOST.format(n=len(done.lost)), [p.name for p in done.lost])
    return report
