"""The choice of another repository, and so of its backbone, if there are several."""

from __future__ import annotations

import time
from dataclasses import replace

import gradio as gr

from app import texts
from app.api import SWITCH
from app.engines import DEFAULT
from app.steps.context import Controls, Part, Updates
from app.steps.step import Step, choice, with_estimate
from app.tab import Tab
from app.views import page_html
from app.visitor import Switched


class Switch(Step):
    """Laid out only if there is a choice."""

    def layout(self) -> None:
        choices = [(self.t("BACKBONE_SHIPPED", name=DEFAULT), DEFAULT)]
        for name, repository in self.context.models.repositories.items():
            experts = len(repository.index.experts)
            choices.append((self.t("BACKBONE_CHOICE", name=name, experts=experts), name))
        self.choice = choice("backbone", self.t("BACKBONE_LABEL"), choices, DEFAULT)
        self.report = gr.HTML(elem_id="switched")
        self.context.shows(Part.STATUS, [self.choice], lambda tab, _: {self.choice: tab.visitor.backbone})

    def wire(self) -> None:
        # Not ``input``: Gradio 6.31 fires it twice for a choice by mouse, and an error message would appear twice.
        switched = self.slow(
            self.choice.change,
            self._switch,
            tuple(Part),
            SWITCH,
            first=[self.choice],
            also=[self.report, self.context.controls["strength"]],
            shown_on=self.choice,
            trigger_mode="once",
        )
        # If it fails, nothing changes, and the choice shows the repository before.
        self.on(switched.then, lambda tab, _: {self.choice: tab.visitor.backbone}, also=[self.choice])

    def _switch(self, name: str, tab: Tab, _: Controls) -> Updates:
        if name == tab.visitor.backbone:  # the page set the choice itself, which also fires ``change``
            return {}
        begin = time.perf_counter()
        gr.Progress()(0, desc=texts.BACKBONE_LOADING.format(name=name))
        engine = self.context.models.get(name)
        if (training := tab.training) is not None:
            training.set()  # a running training belongs to the backbone before
        done = tab.visitor.switch(name, engine, with_estimate(texts.INDEXING, texts.UNIT_PHOTOS))
        tab.comparison = None
        strength = engine.usual_strength  # a share of mixed scores here may be a factor there
        if tab.asked.request is not None:
            tab.asked = replace(tab.asked, request=replace(tab.asked.request, strength=strength))
        return {self.report: _report(name, done, time.perf_counter() - begin)} | self.context.boxes(strength=strength)


def _report(name: str, done: Switched, seconds: float) -> str:
    words = texts.SWITCHED_PHOTOS if done.photos else texts.SWITCHED
    lines = [words.format(name=name, n=done.photos, seconds=seconds)]
    if done.waiting:
        lines.append(texts.SWITCHED_WAITING.format(before=done.before, names=", ".join(done.waiting)))
    report = page_html.report(lines)
    if done.lost:
        report += page_html.listed_files(texts.SWITCHED_LOST.format(n=len(done.lost)), [p.name for p in done.lost])
    return report
