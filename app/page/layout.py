"""The page: photos, a question, the sentence that adapts the search, and the results; then experts and evidence."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import gradio as gr

from app.api import add_endpoints
from app.calls import OPEN
from app.languages import texts
from app.models.engines import DEFAULT, Models
from app.page.context import StepContext
from app.page.step import Step
from app.page.steps.address import ASKED, SAMPLING, Address
from app.page.steps.ask import Ask
from app.page.steps.compare import Compare
from app.page.steps.describe import Describe
from app.page.steps.experts import Experts
from app.page.steps.generate import Generate
from app.page.steps.learn import Learn
from app.page.steps.method import Method
from app.page.steps.names import Names
from app.page.steps.photo_library import LibraryFolders
from app.page.steps.photos import Photos
from app.page.steps.samples import SampleQuestions
from app.page.steps.switch import Switch
from app.page.steps.take_home import TakeHome
from app.page.view import Controls, Event, Now, Same, Updates, drawing
from app.page.views import evidence, page_html
from app.page.views.template import script
from app.photos.samples import OPENING, sample_questions
from app.server.errors import without_paths
from app.visitors.registry import Visitors
from core.common.errors import StudioError


def build(models: Models, visitors: Visitors) -> tuple[gr.Blocks, gr.I18n]:
    """Build the page, and its texts in all languages. ``models`` may still be loading."""
    context = StepContext(models, visitors)
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False, fill_width=False) as page:
        Studio(context)
        add_endpoints(models, visitors)
        for step in context.steps:
            step.wire()
    page.queue(max_size=1_000)
    threading.Thread(target=_prepare, args=[context], name="samples", daemon=True).start()
    return page, context.labels.i18n()


def _prepare(context: StepContext) -> None:
    """Index the samples before the first visitor waits for them."""
    with suppress(Exception):  # the first visitor gets the error message
        if (samples := context.sources.samples) is not None:
            samples.gallery(context.models.get(context.models.first), OPENING)


class Studio(Step):
    """All steps of the page, and the events that concern all."""

    def layout(self) -> None:
        """Lay out the steps. A component that only one event needs is made with the event."""
        context, label = self.context, self.t
        context.memory = gr.BrowserState(None, storage_key="sg-lora-studio", secret="sg-lora-studio")
        context.number = gr.Number(0, precision=0, visible=False)
        context.controls["opened"] = gr.Textbox("", visible=False)
        context.controls["weights"] = gr.Textbox("", lines=2, visible="hidden", elem_id="weights")  # `weights.js` writes it
        context.drawn = gr.HTML("", html_template="<i></i>", js_on_load=script("draw"), visible="hidden")
        with gr.Row(equal_height=True, elem_classes="sg-start"):
            header = self.part("header", label.html("HEADER", lambda: page_html.header(context.models.first == DEFAULT)))
            with gr.Column(scale=0, min_width=220):
                samples = [SampleQuestions(context)] if context.sources.samples is not None else []
                loading = label.html("STATUS", lambda: page_html.status(texts.LOADING, "wait"))
                status = self.part("status", loading)
        self.shows(header, self._header, lambda now: now.visitor.backbone, at_once=True)
        self.shows(status, self._status, at_once=True)
        names, listed = self.part("expert-names", visible="hidden"), page_html.expert_names
        self.shows(names, lambda now: listed(now.engine), lambda now: Same(now.engine.repository), when="names")
        with gr.Tabs() as self.tabs:
            with gr.Tab(label("TAB_STUDIO"), id="search", elem_id="tab-search"):
                self._search_tab(samples)
            with gr.Tab(label("TAB_EXPERTS"), id="experts", elem_id="tab-experts"):
                if context.models.repositories:
                    Switch(context)
                Experts(context)
            with gr.Tab(label("TAB_EVIDENCE"), id="evidence", elem_id="tab-evidence"):
                # More than half of the page's bytes: they come once the tab is opened.
                shown = self.part("evidence-shown", "", "evidence")
                self.shows(shown, lambda *_: evidence.page(evidence.shipped()), lambda *_: 0, when="evidence")
            with gr.Tab(label("TAB_ABOUT"), id="about", elem_id="tab-about"):
                Method(context)
                gr.Markdown(f'<div lang="en">\n\n{texts.ABOUT}\n\n</div>', elem_classes="sg-about")
        self.address = Address(context)
        context.drawn.value = drawing("", 0, 0, {}, context.hidden)

    def _search_tab(self, samples: Sequence[SampleQuestions]) -> None:
        """Lay out photos and question, beside them the sentence, and the results below."""
        context = self.context
        with gr.Row(equal_height=False, elem_classes="sg-top"):
            with gr.Column(min_width=320):
                photos, _, ask, names = Photos(context), Learn(context), Ask(context), Names(context)
                with gr.Row(equal_height=False, elem_classes="sg-folded"):
                    names.panel()
                    ask.captions()
            with gr.Column(min_width=320):
                Describe(context)
                Generate(context)
        compare = Compare(context)
        for each in samples:
            each.about_samples()
        compare.options()
        names.line()
        with gr.Row(equal_height=True, elem_classes="sg-marked", elem_id="marks") as marks:
            compare.marks()
            names.from_marks()
        self.sight(marks, lambda now: now.tab.marks)
        compare.results()
        for each in samples:
            each.credits()
        photos.manage()
        TakeHome(context)
        libraries = context.sources.libraries
        if libraries.writable and libraries.names:
            LibraryFolders(context)
        with gr.Accordion(self.t("DETAILS"), open=False, elem_id="more") as self.drawer:
            for step in context.steps:
                step.more()

    def wire(self) -> None:
        context, page = self.context, self.tabs.parent
        folds = {view.when for view in context.views}
        for tab in self.tabs.children:
            if isinstance(tab, gr.Tab) and tab.id in folds:  # not the first tab: Gradio selects it by itself as the page opens
                self.opens(tab.select, str(tab.id))
        assert isinstance(page, gr.Blocks)
        self.opens(self.drawer.expand, "drawer")
        opening: dict[str, Any] = {"group": OPEN, "opening": True, "hears": True}
        sets = [*ASKED.values(), *SAMPLING, "random", "opened", self.tabs]
        # A visitor may ask before the page is there: then it opens with that. What an earlier event has drawn stays, since the
        # visitor may be changing it.
        begun = self.on(page.load, self._open, (), sets, asks=True, **opening)
        # In this order: ``_ready`` needs the tab that ``_open`` resumes.
        self.on(begun.then, self._ready, waits=True, **opening)
        # The server forgot this tab, or an answer overtook another one.
        opening |= {"sets": Controls._fields}
        behind = self.on(context.drawn.behind, self._begin_again, waits=True, trigger_mode="always_last", **opening)
        # `draw.js` sends these when an answer is lost.
        context.drawn.lost(None, cancels=[*context.events, behind])
        self.asks(context.drawn.again, self._go_on, sets=Controls._fields, trigger_mode="multiple")
        # The answer to a check can be lost, too.
        self.on(context.drawn.check, self._check, sets=Controls._fields, trigger_mode="multiple")
        page.unload(self._closed)

    def _open(self, event: Event) -> Updates:
        """Resume the visitor of this browser in a new tab. The address may name a tab of the page."""
        asked = event.request.query_params
        values = self.address.resume(event, asked, sample_questions()[0] if self.context.opens_on_samples else None)
        if (named := asked.get("tab")) in [tab.id for tab in self.tabs.children if isinstance(tab, gr.Tab)]:
            values |= {self.tabs: gr.Tabs(selected=named), "opened": named}
        return values

    def _ready(self, event: Event) -> None:
        """Wait until the models are loaded or have failed: then the page is drawn. A tab that the server forgot asks again."""
        tab, controls = event.tab, event.controls
        with suppress(StudioError):
            if tab.asked.question is None and controls.words and (tab.visitor.photos or not controls.scope.own):
                tab.asked = controls.asked(controls.words)
        with suppress(Exception):  # the status shows the reason
            _ = event.engine

    def _begin_again(self, event: Event) -> None:
        self._ready(event)
        with event.tab.turn:
            event.tab.drawn.views.clear()

    def _check(self, event: Event) -> None:
        """Draw everything if the browser misses an answer. If it missed one, tell it whether others are on their way."""
        if event.since < event.tab.drawn.number:
            event.tab.drawn.views.clear()
        if event.data.get("missed"):
            event.tab.drawn.hidden = None

    def _go_on(self, event: Event) -> Updates:
        """Ask what the controls say, if that is a question."""
        with suppress(StudioError):
            return self._adapt(event)
        return {}

    def _closed(self, request: gr.Request) -> None:
        self.context.visitors.leave(request.session_hash or "")

    def _header(self, now: Now) -> str:
        return page_html.header(now.visitor.backbone == DEFAULT)

    def _status(self, now: Now) -> str:
        """Show the number of experts and how long the models took to load, or why they cannot be loaded."""
        loading = self.context.models.engine(now.visitor.backbone)
        if not loading.loaded:
            return page_html.status(texts.LOADING, "wait")
        try:
            engine = loading.get()
        except Exception as error:
            reason = without_paths(texts.of(error)) if isinstance(error, StudioError) else texts.UNEXPECTED
            return page_html.status(texts.FAILED.format(reason=reason), "failed")
        details = texts.READY_DETAILS.format(parameters=engine.parameters, seconds=loading.seconds)
        return page_html.status(texts.READY.format(experts=len(engine.repository)), "ready", details)
