"""The page's address and the browser's memory: a reload, Back and a shared link show the same question again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode

import gradio as gr

from app.api import SEARCH
from app.steps.context import Controls, Part, Updates
from app.steps.step import ANSWER, Step
from app.views.template import script
from app.visitors.question import Question, Within
from app.visitors.session import Session
from core.data.sample_photos import Example

QUERY, DESCRIPTION, WITHIN = "q", "about", "in"
FILTERS = ("folder", "since", "until")  # in the address as in ``Controls``
KEPT = (QUERY, DESCRIPTION, WITHIN, *FILTERS)


class Address(Step):
    def layout(self) -> None:
        self.memory = gr.BrowserState(None, storage_key="sg-lora-studio", secret="sg-lora-studio")
        self.address = gr.HTML("", js_on_load=script("address"), visible="hidden", elem_id="address")
        self.context.shows(Part.RESULTS, [self.memory, self.address], self.show)

    def wire(self) -> None:
        context = self.context
        boxes = [context.query, *(context.controls[name] for name in ("description", "where", *FILTERS))]
        self.on(self.address.select, self._go, (), boxes, ANSWER, context.answer, SEARCH)
        self.on(self.address.focus, self._look, parts=[Part.PHOTOS, *ANSWER])

    def _look(self, session: Session, *values: Any) -> Updates:
        """The tab is looked at again: another one may have changed the photos meanwhile."""
        answered, photos = session.comparison, session.album.photos
        if answered is None or not answered.asked.within.own or answered.photos == photos:
            return self.context.show(session, Controls(*values), Part.PHOTOS)
        self.context.ask_again(session)
        return self.context.show(session, Controls(*values), Part.PHOTOS, *ANSWER)

    def show(self, session: Session, _: Controls) -> Updates:
        """What was asked, in the address and in the browser."""
        asked = {QUERY: _query(session), DESCRIPTION: "" if session.request is None else session.request.description}
        asked = {name: value for name, value in asked.items() if value}
        if (question := session.question) is not None:
            asked |= {name: str(value) for name in FILTERS if (value := getattr(question.within, name))}
            if self.context.libraries.names:
                asked[WITHIN] = question.within.value
        return {self.memory: asked | {"token": session.album.token}, self.address: urlencode(asked)}

    def resume(
        self, memory: object, parameters: Mapping[str, str], first: Example | None = None
    ) -> tuple[Session, dict[str, Any]]:
        """The session of a tab that was opened, and the values of its boxes; ``first``: those of a visitor without photos."""
        memory = memory if isinstance(memory, dict) else {}
        session = Session.resume(memory.get("token"))
        linked = {name: parameters[name] for name in KEPT if parameters.get(name)}
        known = linked or {name: memory.get(name) for name in KEPT if isinstance(memory.get(name), str)}
        if first is not None and session.album.token != memory.get("token"):
            session.album.awaits_samples = True
            known = known or {QUERY: first.query, DESCRIPTION: first.description}
        where, filters = self._where(known.get(WITHIN)), {name: known.get(name, "") for name in FILTERS}
        if (query := known.get(QUERY)) and (session.question is None or session.question.kind == "words"):
            session.question = Question.words(query, Within.of(where, **filters))  # asked as soon as there are photos
        values = {
            "query": known.get(QUERY, _query(session)),
            "description": known.get(DESCRIPTION, ""),
            "where": where,
        } | filters
        if session.request is not None and session.request.description == values["description"]:
            kept = session.request
            values |= {"k": kept.k, "tau": kept.tau, "seed": kept.seed}
            values |= {} if kept.strength is None else {"strength": kept.strength}
        return session, values

    def _go(self, session: Session, event: gr.SelectData, progress: gr.Progress = gr.Progress(), *values: Any) -> Updates:
        """Back or forward."""
        asked = {name: values[0] for name, values in parse_qs(str(event.value).lstrip("?")).items()}
        query, description = asked.get(QUERY, ""), asked.get(DESCRIPTION, "")
        filters = {name: asked.get(name, "") for name in FILTERS}
        controls = Controls(*values)._replace(description=description, where=self._where(asked.get(WITHIN)), **filters)
        changed = {"description": description, "where": controls.where} | filters
        boxes = {self.context.query: query} | {self.context.controls[name]: value for name, value in changed.items()}
        if not query or not self.context.can_ask(session, controls.within):
            return boxes
        return boxes | self.answer(session, Question.words(query), controls, progress)

    def _where(self, value: object) -> str:
        """Where a link says to search, or what the page begins with."""
        control = self.context.controls["where"]
        return str(value) if value in [choice for _, choice in control.choices] else control.value


def _query(session: Session) -> str:
    return session.question.what if session.question is not None and session.question.kind == "words" else ""
