"""How it works: a picture of the visitor's own sentence on its way to results, then the text."""

from __future__ import annotations

import gradio as gr

from app import texts
from app.steps.context import Controls, Part, Updates
from app.steps.step import ON_SIGHT, Step
from app.tab import Tab
from app.views import how_html, page_html


class How(Step):
    def layout(self) -> None:
        self.picture = gr.HTML(page_html.note(self.t("LOADING")), js_on_load=ON_SIGHT, elem_id="how")
        gr.Markdown(f'<div lang="en">\n\n{texts.ABOUT}\n\n</div>', elem_classes="sg-about")
        self.context.shows_once_open(self.picture.focus, [self.picture], self.show, Part.RESULTS)

    def show(self, tab: Tab, _: Controls) -> Updates:
        return {self.picture: how_html.picture(self.context.engine(tab).repository, tab)}
