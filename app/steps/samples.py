"""Sample photos and questions about them, for a first look."""

from __future__ import annotations

import gradio as gr

from app import actions, texts
from app.api import HEAVY
from app.steps.context import Controls, Part, Updates
from app.steps.step import ANSWER, Step, clicked, private, with_estimate
from app.views import page_html
from app.visitors.question import OWN, Question
from app.visitors.session import Session
from core.data.sample_photos import Example, examples


class Samples(Step):
    def layout(self) -> None:
        shown = self.context.opens_on_samples
        self.try_it = gr.Button(texts.TRY, variant="primary", min_width=220, visible=not shown, elem_id="try-it")
        with gr.Column(visible=False, elem_id="try-asks") as self.asks:
            self.words = gr.HTML()
            with gr.Row():
                self.yes = gr.Button(texts.TRY_YES, size="sm", min_width=100, elem_id="try-yes")
                self.no = gr.Button(texts.TRY_NO, size="sm", min_width=100, elem_id="try-no")

    def about_samples(self) -> None:
        """Lay out the questions that are shown with the samples."""
        chosen_from = examples()._asdict()
        label = texts.EXAMPLES_CHOSEN.format(**chosen_from) if chosen_from["questions"] else texts.EXAMPLES_LABEL
        questions = [example.query for example in actions.sample_questions()]
        self.examples = self.chips("examples", label, questions, self.context.opens_on_samples)
        self.context.shows(Part.PHOTOS, [self.examples, self.try_it, self.asks], self.show)

    def show(self, session: Session, _: Controls) -> Updates:
        """Show the questions about the samples, or the button that brings them. If photos change, it no longer asks."""
        samples = session.album.shows_samples or session.album.awaits_samples
        variant = "secondary" if session.album.photos else "primary"
        button = gr.Button(visible=not samples, variant=variant)
        return {self.examples: gr.Dataset(visible=samples), self.try_it: button, self.asks: gr.Column(visible=False)}

    def wire(self) -> None:
        controls, answer = self.context.controls, self.context.answer
        boxes = [controls["description"], controls["query"], controls["where"]]
        outputs = [*boxes, self.asks, self.words]
        self.on(self.try_it.click, self._try, (), outputs, (Part.PHOTOS, *ANSWER), answer, HEAVY, turn=False)
        self.on(self.yes.click, self._samples, (), outputs, (Part.PHOTOS, *ANSWER), answer, HEAVY, turn=False)
        self.no.click(lambda: gr.Column(visible=False), None, self.asks, **private())
        shown = (Part.PHOTOS, *ANSWER)
        self.on(self.examples.select, self._chosen, (), boxes, shown, answer, HEAVY, trigger_mode="multiple")

    def _try(self, session: Session, controls: Controls) -> Updates:
        """Show the samples. If the visitor has own photos, ask first."""
        album = session.album
        if album.photos and not album.shows_samples:
            return {self.asks: gr.Column(visible=True), self.words: page_html.note(texts.TRY_ASKS.format(n=len(album.photos)))}
        return self._samples(session, controls)

    def _samples(self, session: Session, controls: Controls) -> Updates:
        engine, album, shelf = self.context.engine(session), session.album, self.context.shelf
        if shelf is not None:
            if not album.shows_samples:
                album.set_aside()
                album.awaits_samples = True
            shelf.show(engine, session)
        if not (album.photos and album.has_samples_only):
            actions.add_samples(engine, session, with_estimate(texts.INDEXING, texts.UNIT_PHOTOS))
        updates = self._ask(actions.sample_questions()[0], session, controls)
        return updates | self.context.show(session, controls, Part.PHOTOS) | {self.asks: gr.Column(visible=False)}

    def _chosen(self, session: Session, event: gr.SelectData, controls: Controls) -> Updates:
        return self._ask(clicked(actions.sample_questions(), lambda example: example.query, event), session, controls)

    def _ask(self, example: Example, session: Session, controls: Controls) -> Updates:
        values = {**example._asdict(), "where": OWN}
        controls = controls._replace(**values)
        return self.answer(session, Question.words(controls.query), controls) | self.context.boxes(**values)
