"""Take it home: results and recall as CSV, the ranked photos as a ZIP, and the session to go on with another day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from app import actions, exports, texts
from app.errors import friendly
from app.steps.compare import DEFAULT_TOP
from app.steps.step import HEAVY, LIGHT, Step, Updates, private
from app.views import page_html
from app.visitors.session import Session
from core.common.errors import DataError

# What is asked for is made first, and then fetched: Gradio's own download button fetches what it held before the click.
FETCH = """(file) => {
  if (!file) return;
  const link = document.createElement('a');
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
}"""


class TakeHome(Step):
    def layout(self) -> None:
        with gr.Accordion(texts.TAKE_HOME, open=False, elem_id="take-home"):
            with gr.Row():
                self.results = gr.Button(texts.TAKE_RESULTS, min_width=150, elem_id="take-results")
                self.recall = gr.Button(texts.TAKE_RECALL, min_width=150, elem_id="take-recall")
                self.photos = gr.Button(texts.TAKE_PHOTOS, min_width=150, elem_id="take-photos")
                self.save = gr.Button(texts.SESSION_SAVE, min_width=150, elem_id="session-save")
                self.load = gr.UploadButton(texts.SESSION_LOAD, file_types=[".json"], min_width=150, elem_id="session-load")
            self.said = gr.HTML(elem_id="take-said")
            self.file = gr.File(visible=False)

    def wire(self) -> None:
        session, top = self.studio.session, self.studio.compare.top
        for button, make, inputs, group in (
            (self.results, self._results, [session], LIGHT),
            (self.recall, self._recall, [session], LIGHT),
            (self.photos, self._photos, [session, top], HEAVY),
            (self.save, self._session, [session], LIGHT),
        ):
            made = button.click(make, inputs, self.file, show_progress_on=self.said, **private(group, None))
            made.success(None, self.file, None, js=FETCH, **private(LIGHT, None, "hidden"))
        generate, compare = self.studio.generate, self.studio.compare
        controls = [*generate.controls, compare.query]
        shown = list(dict.fromkeys([self.said, *controls, *generate.made, *compare.shown]))
        self.load.upload(self._load, [session, self.load, *compare.view], shown, **private(HEAVY, 1))

    @friendly
    def _results(self, session: Session) -> str:
        return _write(session, "sg-lora-results.csv", exports.results_csv(_asked(session)))

    @friendly
    def _recall(self, session: Session) -> str:
        comparison = _asked(session)
        if not comparison.columns[0].hits:
            raise DataError(texts.TAKE_NO_CAPTIONS)
        return _write(session, "sg-lora-recall.csv", exports.recall_csv(comparison))

    @friendly
    def _photos(self, session: Session, top: int) -> str:
        comparison = _asked(session)
        path = exports.new_file(session.album, "sg-lora-photos.zip")
        exports.write_photos(session.album, comparison, int(top or DEFAULT_TOP), path)
        return str(path)

    @friendly
    def _session(self, session: Session) -> str:
        engine = self.engine(session)
        return _write(session, "sg-lora-session.json", exports.session_json(session, engine.backbone.fingerprint))

    @friendly
    def _load(self, session: Session, path: str, only_changed: bool, top: int) -> Updates:
        saved, engine = exports.read_session(Path(path)), self.engine(session)
        session.history = list(saved.questions)
        generate, compare = self.studio.generate, self.studio.compare
        lines = [texts.SESSION_LOADED]
        if saved.fingerprint != engine.backbone.fingerprint:
            lines.append(texts.SESSION_OTHER_BACKBONE)
        updates: dict[Any, Any] = {self.said: page_html.report(None, (), lines)}
        made = saved.settings
        if made is not None:
            k = min(made.k, len(engine.repository))  # what is beyond a slider's end would be refused with every event
            tau, strength = _within(generate.tau, made.tau), _within(generate.strength, made.strength or 0)
            values = (made.description, k, tau, made.seed, made.strength is None, strength)
            updates |= dict(zip(generate.controls, values, strict=True))
            updates |= generate.adapter(engine, session, *values)
        if saved.questions:
            updates[compare.query] = query = saved.questions[0][0]
            if made is not None and session.album.photos:
                actions.compare_words(engine, session, query)
        return updates | compare.results(session, only_changed, top)


def _asked(session: Session) -> Any:
    """The last comparison.

    Raises:
        DataError: nothing was asked yet.
    """
    if session.comparison is None:
        raise DataError(texts.TAKE_NOTHING)
    return session.comparison


def _within(slider: gr.Slider, value: float) -> float:
    return min(max(value, slider.minimum), slider.maximum)


def _write(session: Session, name: str, content: str) -> str:
    path = exports.new_file(session.album, name)
    path.write_text(content, encoding="utf-8")
    return str(path)
