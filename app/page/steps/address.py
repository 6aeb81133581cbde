"""The page's address and the browser's memory. A reload, Back or a shared link shows the same question again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

import gradio as gr

from app.actions import answering
from app.answers.question import OWN, Scope
from app.page.steps.context import ANSWER, Controls, Part, Updates
from app.page.steps.step import Step
from app.page.views.template import script
from app.photos.samples import OPENING
from app.visitors.tab import Tab
from core.data.sample_photos import Example

FILTERS = ("folder", "since", "until")  # names in the address and in ``Controls``
KEPT = {"q": "query", "about": "description", "in": "where"} | {name: name for name in FILTERS}


class Address(Step):
    def layout(self) -> None:
        self.last = gr.BrowserState(None, storage_key="sg-lora-studio-question", secret="sg-lora-studio")
        self.address = gr.HTML("", js_on_load=script("address"), visible="hidden", elem_id="address")
        boxes = [self.context.controls[name] for name in KEPT.values()]  # an event may show an answer to another question
        self.context.shows(Part.RESULTS, [self.last, self.address, *boxes], self.show)

    def wire(self) -> None:
        self.answers(self.address.select, self._go, trigger_mode="multiple")
        self.on(self.address.focus, self._look, parts=[Part.NAMES, Part.PHOTOS, *ANSWER])

    def _look(self, tab: Tab, controls: Controls) -> Updates:
        """Update the page when the visitor returns to the tab: another tab may have changed the photos or the names."""
        same = tab.listed is tab.visitor.photos  # then the chosen photos stay chosen
        parts = (Part.NAMES,) if same else (Part.NAMES, Part.PHOTOS)
        if answering.is_current(self.context.engine(tab), tab, self.context.sources):
            return self.context.show(tab, controls, *parts)
        return self.context.show_again(tab, controls, *parts, *ANSWER)

    def show(self, tab: Tab, controls: Controls) -> Updates:
        """Put the question into the address and into the browser's memory."""
        asked = {"q": tab.asked.words, "about": tab.asked.sentence, "in": controls.where}
        if (question := tab.asked.question) is not None:
            asked |= {name: str(getattr(question.scope, name) or "") for name in FILTERS}
            asked["in"] = question.scope.value
        asked = {name: value for name, value in asked.items() if value}
        if asked.get("in") == OWN:
            del asked["in"]
        return {self.last: asked, self.address: urlencode(asked)}

    def resume(self, tab: Tab, last: object, parameters: Mapping[str, str], first: Example | None) -> dict[str, Any]:
        """Resume what the visitor asked last, or what the address asks. Returns the values of the boxes.

        ``last``: the browser's memory. ``first``: the question for a new visitor; None without samples.
        """
        tab.resume()
        linked = {name: parameters[name] for name in KEPT if parameters.get(name)}
        kept = {name: last[name] for name in KEPT if isinstance(last.get(name), str)} if isinstance(last, dict) else {}
        asked = linked or kept
        if not asked and first is not None and not tab.visitor.has_own:
            asked = {"q": first.query, "about": first.description, "in": OPENING}
        values = self._values(tab, {"q": tab.asked.words} | asked)
        request, question = tab.asked.request, tab.asked.question
        if request is not None and request.description == values["description"]:
            values |= {"k": request.k, "tau": request.tau, "seed": request.seed}
            values |= {} if request.strength is None else {"strength": request.strength}
        if (question is None or question.kind == "words") and (words := Controls(**values).words) is not None:
            tab.asked = replace(tab.asked, question=words)  # asked once there are photos
        return values

    def _go(self, tab: Tab, event: gr.SelectData, controls: Controls) -> Updates:
        return self.change(tab, controls, **self._values(tab, dict(parse_qsl(str(event.value).lstrip("?")))))

    def _values(self, tab: Tab, asked: Mapping[str, str]) -> dict[str, Any]:
        """The values of the boxes, from a link or the browser's memory. If it does not say where to search: own photos for a
        question or a visitor with data, else the default."""
        values, where = {name: asked.get(key, "") for key, name in KEPT.items()}, self.context.controls["where"]
        own = bool(asked.get("q")) or (bool(Scope.of(where.value).samples) and tab.visitor.has_own)
        wanted = values["where"] or (OWN if own else where.value)
        return values | {"where": wanted if wanted in [choice for _, choice in where.choices] else where.value}
