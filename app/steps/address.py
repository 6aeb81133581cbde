"""The page's address and the browser's memory. A reload, Back or a shared link shows the same question again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import gradio as gr

from app import actions
from app.steps.context import Controls, Part, Updates
from app.steps.step import ANSWER, Step
from app.views.template import script
from app.visitors.question import Question
from app.visitors.session import Session
from core.data.sample_photos import Example

FILTERS = ("folder", "since", "until")  # names in the address and in ``Controls``
KEPT = {"q": "query", "about": "description", "in": "where"} | {name: name for name in FILTERS}


class Address(Step):
    def layout(self) -> None:
        self.memory = gr.BrowserState(None, storage_key="sg-lora-studio", secret="sg-lora-studio")
        self.address = gr.HTML("", js_on_load=script("address"), visible="hidden", elem_id="address")
        self.context.shows(Part.RESULTS, [self.memory, self.address], self.show)

    def wire(self) -> None:
        boxes = [self.context.controls[name] for name in KEPT.values()]
        self.answers(self.address.select, self._go, boxes, trigger_mode="multiple")
        self.on(self.address.focus, self._look, parts=[Part.NAMES, Part.PHOTOS, *ANSWER])

    def _look(self, session: Session, controls: Controls) -> Updates:
        """Update the page when the visitor returns to the tab: another tab may have changed the photos or the names."""
        same = session.listed is session.album.photos  # then what is chosen among them stays
        parts = (Part.NAMES,) if same else (Part.NAMES, Part.PHOTOS)
        if actions.is_current(self.context.engine(session), session):
            return self.context.show(session, controls, *parts)
        return self.context.show_again(session, controls, *parts, *ANSWER)

    def show(self, session: Session, _: Controls) -> Updates:
        """Put the question into the address and into the browser's memory."""
        asked = {"q": _query(session), "about": "" if session.request is None else session.request.description}
        if (question := session.question) is not None:
            asked |= {name: str(getattr(question.within, name) or "") for name in FILTERS}
            asked["in"] = question.within.value if self.context.libraries.names else ""
        asked = {name: value for name, value in asked.items() if value}
        return {self.memory: asked | {"token": session.album.token}, self.address: urlencode(asked)}

    def resume(
        self, memory: object, parameters: Mapping[str, str], first: Example | None = None
    ) -> tuple[Session, dict[str, Any]]:
        """The session of a new tab, and the values of its boxes. ``first``: the example for a visitor without photos."""
        memory = memory if isinstance(memory, dict) else {}
        session = Session.resume(memory.get("token"))
        linked = {name: parameters[name] for name in KEPT if parameters.get(name)}
        asked = linked or {name: memory[name] for name in KEPT if isinstance(memory.get(name), str)}
        if first is not None and session.album.token != memory.get("token"):
            session.album.awaits_samples = True
            asked = asked or {"q": first.query, "about": first.description}
        values = self._values({"q": _query(session)} | asked)
        if (query := asked.get("q")) and (session.question is None or session.question.kind == "words"):
            session.question = Question.words(query, Controls(**values).within)  # asked once there are photos
        if session.request is not None and session.request.description == values["description"]:
            request = session.request
            values |= {"k": request.k, "tau": request.tau, "seed": request.seed}
            values |= {} if request.strength is None else {"strength": request.strength}
        return session, values

    def _go(self, session: Session, event: gr.SelectData, controls: Controls) -> Updates:
        """Ask the question in the address, after Back or Forward."""
        values = self._values(dict(parse_qsl(str(event.value).lstrip("?"))))
        controls, boxes = controls._replace(**values), self.context.boxes(**values)
        if not self.context.can_ask(session, controls):
            session.comparison = None
            session.question = Question.words(controls.query, controls.within) if controls.query.strip() else None
            actions.adapt_to(self.context.engine(session), session, controls.request)
            return boxes | self.context.show(session, controls, *ANSWER)
        return boxes | self.answer(session, Question.words(controls.query), controls)

    def _values(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """The values of the boxes, from a link or the browser's memory."""
        values = {name: asked.get(key, "") for key, name in KEPT.items()}
        where = self.context.controls["where"]
        available = values["where"] in [choice for _, choice in where.choices]
        return values if available else values | {"where": where.value}


def _query(session: Session) -> str:
    return session.question.what if session.question is not None and session.question.kind == "words" else ""
