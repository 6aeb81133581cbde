"""Step 1: a sentence, and the experts that it is routed to."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import actions, texts
from app.errors import friendly
from app.steps.context import Controls, Part, Updates
from app.steps.step import LIGHT, Step, chosen, private
from app.views import experts_html, page_html
from app.visitors.session import Session
from core.common.errors import StudioError
from core.data.sample_photos import EXAMPLES


class Describe(Step):
    def layout(self) -> None:
        gr.HTML(page_html.step(1, texts.DESCRIBE, texts.DESCRIBE_LEAD))
        with gr.Row():
            with gr.Column(min_width=320):
                self.description = gr.Textbox(
                    label=texts.DESCRIPTION_LABEL,
                    placeholder=texts.DESCRIPTION_PLACEHOLDER,
                    lines=2,
                    max_lines=6,
                    elem_id="description",
                )
                self.examples = gr.Dataset(
                    label=texts.EXAMPLES_LABEL,
                    components=[self.description],
                    samples=[[description] for description, _ in EXAMPLES],
                    type="index",
                    elem_id="examples",
                )
                self.map = gr.HTML(elem_id="map")
            with gr.Column(min_width=320):
                self.routing = gr.HTML(page_html.note(texts.ROUTE_EMPTY), elem_id="routing")
        self.context.controls["description"] = self.description
        self.context.shows(Part.ROUTING, [self.routing, self.map], self.show)

    def wire(self) -> None:
        context = self.context
        # Typing routes at once; the last text wins.
        self.description.change(
            self._route,
            [context.session, *context.inputs],
            context.outputs(Part.ROUTING, Part.ADAPTER),
            trigger_mode="always_last",
            **private(LIGHT, 2, "hidden"),
        )
        self.examples.click(_example, self.examples, [self.description, context.query], **private(LIGHT, 2, "hidden"))

    @friendly
    def _route(self, session: Session, *values: Any) -> Updates:
        parts = [Part.ROUTING] if session.adaptation is None else [Part.ROUTING, Part.ADAPTER]
        return self.context.show(session, Controls(*values), *parts)

    def show(self, session: Session, controls: Controls) -> Updates:
        """The sentence's routing; what is wrong with it is said where it is typed, and not in a toast."""
        engine = self.context.engine(session)
        owned = len(session.album.library(engine).own)
        if not controls.description.strip():
            drawn = experts_html.routing_map(engine.repository, None, owned)
            return {self.routing: page_html.note(texts.ROUTE_EMPTY), self.map: drawn}
        try:
            wanted = actions.page_settings(*controls.adapter)
            routing = engine.route(wanted.description, wanted.k, wanted.tau)
        except StudioError as error:
            return {self.routing: page_html.note(str(error), "sg-warn")}
        return {
            self.routing: page_html.routing(engine, routing),
            self.map: experts_html.routing_map(engine.repository, routing, owned),
        }


@friendly
def _example(index: int) -> tuple[str, str]:
    return chosen(EXAMPLES, index)
