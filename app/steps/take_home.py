"""Downloads: results and recall as CSV, the ranked photos as a ZIP, and the session to continue another day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from app import actions, exports, texts
from app.api import HEAVY
from app.steps.context import DEFAULT_TOP, Controls, Updates
from app.steps.generate import most_strength
from app.steps.step import ANSWER, Step
from app.views import page_html
from app.visitors.comparison import Comparison
from app.visitors.question import Question
from app.visitors.session import Session
from core.common.errors import DataError
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest


class TakeHome(Step):
    def layout(self) -> None:
        with gr.Accordion(texts.TAKE_HOME, open=False, elem_id="take-home"):
            with gr.Row():
                self.results = gr.Button(texts.TAKE_RESULTS, min_width=150, elem_id="take-results")
                self.recall = gr.Button(texts.TAKE_RECALL, min_width=150, elem_id="take-recall")
                self.photos = gr.Button(texts.TAKE_PHOTOS, min_width=150, elem_id="take-photos")
                self.save = gr.Button(texts.SESSION_SAVE, min_width=150, elem_id="session-save")
                self.load = gr.UploadButton(texts.SESSION_LOAD, file_types=[".json"], min_width=150, elem_id="session-load")
            self.report = gr.HTML(elem_id="take-said")

    def wire(self) -> None:
        self.downloads(self.results, self._results, self.report)
        self.downloads(self.recall, self._recall, self.report)
        self.downloads(self.photos, self._photos, self.report, HEAVY)
        self.downloads(self.save, self._session, self.report)
        shown = [self.report, *self.context.inputs]
        self.on(self.load.upload, self._load, [self.load], shown, ANSWER, self.report, HEAVY, turn=False)

    def _results(self, session: Session, _: Controls) -> str:
        return str(session.album.write("sg-lora-results.csv", exports.results_csv(_asked(session)).encode()))

    def _recall(self, session: Session, _: Controls) -> str:
        _asked(session)
        comparison = actions.measure(self.context.engine(session), session)
        if comparison is None:
            raise DataError(texts.TAKE_NO_CAPTIONS)
        return str(session.album.write("sg-lora-recall.csv", exports.recall_csv(comparison).encode()))

    def _photos(self, session: Session, controls: Controls) -> str:
        comparison, top = _asked(session), controls.top or DEFAULT_TOP
        path = session.album.new_file("sg-lora-photos.zip")
        exports.write_photos(session.album, comparison, int(top) + session.more, path)
        return str(path)

    def _session(self, session: Session, _: Controls) -> str:
        content = exports.session_json(session, self.context.engine(session).backbone.fingerprint)
        return str(session.album.write("sg-lora-session.json", content.encode()))

    def _load(self, path: str, session: Session, controls: Controls) -> Updates:
        context = self.context
        saved, engine = exports.read_session(Path(path)), context.engine(session)
        session.history = list(saved.questions)
        lines = [texts.SESSION_LOADED]
        if saved.fingerprint != engine.backbone.fingerprint:
            lines.append(texts.SESSION_OTHER_BACKBONE)
        loaded: dict[str, Any] = {"description": ""} if saved.request is None else self._settings(saved.request, engine)
        if saved.questions:
            loaded["query"] = saved.questions[0][0]
        controls = controls._replace(**loaded)
        actions.adapt_to(engine, session, controls.request)
        if saved.questions:
            session.question = Question.words(controls.query, controls.within)
        report = page_html.report(lines)
        return context.show_again(session, controls, *ANSWER) | context.boxes(**loaded) | {self.report: report}

    def _settings(self, request: AdapterRequest, engine: SGLora) -> dict[str, Any]:
        """The values of the page's controls for a request. Every event would reject a value beyond a slider's end."""

        def within(name: str, value: float) -> float:
            slider = self.context.controls[name]
            return min(max(value, slider.minimum), slider.maximum)

        wanted = engine.usual_strength if request.strength is None else request.strength
        strength = min(within("strength", wanted), most_strength(engine))
        k, tau = min(request.k, len(engine.repository)), within("tau", request.tau)
        return {"description": request.description, "k": k, "tau": tau, "seed": request.seed, "strength": strength}


def _asked(session: Session) -> Comparison:
    if session.comparison is None:
        raise DataError(texts.TAKE_NOTHING)
    return session.comparison
