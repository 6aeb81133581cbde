"""The sentence that adapts the search, and the experts that it is routed to."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import actions, texts
from app.errors import friendly
from app.steps.context import Controls, Part, Updates
from app.steps.step import ANSWER, LIGHT, SEARCH, SEARCHES, Step, in_turn, private
from app.views import experts_html, page_html
from app.visitors.session import Session
from core.common.errors import StudioError


class Describe(Step):
    def layout(self) -> None:
        with gr.Row(equal_height=False, elem_classes="sg-ask"):
            self.description = gr.Textbox(
                label=texts.DESCRIPTION_LABEL,
                placeholder=texts.DESCRIPTION_PLACEHOLDER,
                max_lines=3,
                scale=4,
                min_width=200,
                elem_id="description",
            )
            self.button = gr.Button(texts.GENERATE_BUTTON, scale=1, min_width=100, elem_id="generate")
        self.routing = gr.HTML(page_html.note(texts.ROUTE_EMPTY), elem_id="routing")
        self.suggestion = gr.Button("", size="sm", visible=False, elem_id="suggestion")
        self.context.controls["description"] = self.description

    def more(self) -> None:
        with gr.Row():
            self.chart = gr.HTML(elem_id="chart", min_width=320)
            self.map = gr.HTML(elem_id="map", min_width=320)
        self.context.shows(Part.ROUTING, [self.routing, self.suggestion, self.chart, self.map], self.show)

    def wire(self) -> None:
        context = self.context
        asked = [context.session, *context.inputs]
        # Typing routes at once; the last text wins.
        self.description.change(
            self._route,
            asked,
            context.outputs(Part.ROUTING),
            trigger_mode="always_last",
            **private(LIGHT, 2, "hidden"),
        )
        gr.on(
            [self.button.click, self.description.submit],
            self._adapt,
            [context.query, *asked],
            context.outputs(*ANSWER),
            show_progress_on=context.answer,
            **private(SEARCH, SEARCHES),
        )
        self.suggestion.click(lambda words: words, self.suggestion, self.description, **private(LIGHT, 2, "hidden"))

    @friendly
    def _route(self, session: Session, *values: Any) -> Updates:
        return self.context.show(session, Controls(*values), Part.ROUTING)

    @friendly
    @in_turn
    def _adapt(self, query: str, session: Session, progress: gr.Progress = gr.Progress(), *values: Any) -> Updates:
        """Generate, and ask what is asked already."""
        controls = Controls(*values)
        if query.strip() and session.album.photos:
            return self.answer(session, query, controls, progress)
        engine = self.context.engine(session)
        actions.generate(engine, session, actions.request(*controls.adapter))
        actions.compare_again(engine, session)
        return self.context.show(session, controls, *ANSWER)

    def show(self, session: Session, controls: Controls) -> Updates:
        """The sentence's routing; what is wrong with it is said where it is typed, and not in a toast."""
        engine = self.context.engine(session)
        owned = len(session.album.own_experts(engine).entries)
        hidden = {self.suggestion: gr.Button(visible=False)}
        if not controls.description.strip():
            drawn = experts_html.routing_map(engine.repository, None, owned)
            return hidden | {
                self.routing: page_html.note(texts.ROUTE_EMPTY),
                self.chart: gr.HTML(visible=False),
                self.map: drawn,
            }
        try:
            wanted = actions.request(*controls.adapter)
            routing = engine.route(wanted.description, wanted.k, wanted.tau)
        except StudioError as error:
            return hidden | {self.routing: page_html.note(str(error), "sg-warn")}
        fit = engine.fit(routing)
        nearest = engine.repository.experts[int(routing.chosen[0])]
        return {
            self.routing: page_html.routing(engine, routing, fit),
            self.suggestion: gr.Button(nearest.description, visible=not fit.fits),
            self.chart: gr.HTML(page_html.routing_details(engine, routing), visible=True),
            self.map: experts_html.routing_map(engine.repository, routing, owned),
        }
