"""The choice of a repository with its backbone, if there are several."""

import threading
import time
from dataclasses import replace
from functools import partial

import gradio as gr

from app.answers.comparison import Answer
from app.calls import OPEN
from app.languages import texts
from app.models.engines import DEFAULT, LOOK_SECONDS, OFFERED, OFFERED_AT, OFFERED_MB
from app.page.step import Step, choice, small, with_estimate
from app.page.view import Event, Now, Updates
from app.page.views import page_html
from app.server.errors import without_paths
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
            self.report = self.reports("switched")
            stop = self.stop = small(self.t("STOP"), "stop-download", 90, scale=0)
        self.sight(stop, lambda now: now.tab.download is not None)
        self.shows(self.choice, self._chosen, _wanted)

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

    def _chosen(self, now: Now) -> gr.Dropdown:
        return gr.Dropdown([(self._label(name), name) for name in self._names], value=_wanted(now))

    def wire(self) -> None:
        # Not ``input``: Gradio 6.31 fires it twice for a choice by mouse, and an error message would appear twice.
        self.on(self.choice.change, self._begin, [self.choice])
        # A download takes minutes. In group OPEN, no other visitor's event waits for it.
        options = {"group": OPEN, "waits": True, "trigger_mode": "multiple"}
        self.on(self.choice.change, self._switch, [self.choice], ["strength", self.choice], self.report, **options)
        self.on(self.stop.click, self._stop)

    def _begin(self, event: Event, name: str) -> None:
        if name != event.visitor.backbone:
            event.tab.loading, event.tab.reports["switched"] = name, ROOM
            event.tab.download = threading.Event() if self._downloads(name) else None

    def _switch(self, event: Event, name: str) -> Updates:
        """Wait until a repository is loaded, and index the photos again. If this fails, nothing changes, and the page shows the
        reason."""
        tab = event.tab
        if name == tab.visitor.backbone:  # the page set the choice itself, which also fires ``change``
            return {}
        stop = tab.download or threading.Event()
        try:
            engine = self.context.models.get(name, _downloading(name), lambda: stop.is_set() or tab.closed)
            begin = time.perf_counter()
            done = tab.visitor.switch(name, engine, with_estimate(texts.INDEXING, texts.UNIT_PHOTOS))
        except StudioError as error:
            tab.reports["switched"] = page_html.note(without_paths(texts.of(error)), "sg-warn")
            return {self.choice: tab.visitor.backbone}
        finally:
            if tab.loading == name:
                tab.loading, tab.download = "", None
        if (training := tab.training) is not None:
            training.set()  # a running training belongs to the backbone before
        strength = engine.usual_strength  # a share of mixed scores here may be a factor there
        with tab.turn:
            tab.answer = Answer()
            if tab.asked.request is not None:
                tab.asked = replace(tab.asked, request=replace(tab.asked.request, strength=strength))
        tab.reports["switched"] = _report(name, done, time.perf_counter() - begin)
        return {"strength": strength}

    def _stop(self, event: Event) -> None:
        if event.tab.download is not None:
            event.tab.download.set()


def _wanted(now: Now) -> str:
    """The repository that the visitor chose; it may still load."""
    return now.tab.loading or now.visitor.backbone


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
