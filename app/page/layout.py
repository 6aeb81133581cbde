"""The page: photos, a question, the sentence that adapts the search, and the results; then experts and evidence."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import gradio as gr

from app.actions import answering
from app.actions.sources import Sources
from app.answers.question import OWN
from app.api import OPEN, add_endpoints
from app.languages import speaking, texts, wanted
from app.models.engines import Models
from app.page.labels import Labels
from app.page.steps.address import Address
from app.page.steps.ask import Ask
from app.page.steps.compare import Compare
from app.page.steps.context import ANSWER, Controls, Part, StepContext, Updates
from app.page.steps.describe import Describe
from app.page.steps.event import memory_of, remembered, tab_of
from app.page.steps.experts import Experts
from app.page.steps.generate import Generate
from app.page.steps.names import Names
from app.page.steps.photo_library import LibraryFolders
from app.page.steps.photos import Photos
from app.page.steps.samples import SampleQuestions
from app.page.steps.step import ON_SIGHT, Step, private
from app.page.steps.switch import Switch
from app.page.steps.take_home import TakeHome
from app.page.views import evidence, page_html, results_html
from app.page.views.template import script
from app.photos.libraries import PhotoLibraries
from app.photos.samples import OPENING, Samples, elsewhere, sample_questions
from app.server.errors import without_paths
from app.visitors.registry import Visitors
from app.visitors.tab import Tab
from core.common.errors import StudioError
from core.sglora.engine import SGLora

READY = (Part.STATUS, Part.EXPERTS, Part.PHOTOS, *ANSWER)  # parts shown as soon as the models are loaded


def build(
    models: Models, visitors: Visitors, libraries: PhotoLibraries | None = None, samples: bool = True
) -> tuple[gr.Blocks, gr.I18n]:
    """Build the page, and its texts in all languages. ``models`` may still be loading. ``samples``: whether it has samples."""
    sources = Sources(libraries or PhotoLibraries(), Samples() if samples else None)
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False, fill_width=False) as page:
        labels = Studio(models, visitors, sources).build(page)
    # For two cores: one light request may run beside a heavy one. More would only slow each other down.
    page.queue(default_concurrency_limit=2, max_size=1_000)
    return page, labels.i18n()


class Studio:
    """The steps of the page, and the events that concern all. It is shared by all visitors and holds no state of theirs."""

    def __init__(self, models: Models, visitors: Visitors, sources: Sources) -> None:
        self.models, self.context = models, StepContext(models, visitors, sources)
        self.t = self.context.labels

    def build(self, page: gr.Blocks) -> Labels:
        threading.Thread(target=self._prepare, name="samples", daemon=True).start()
        steps = self.lay_out()
        add_endpoints(self.models, self.context.visitors)
        for step in steps:
            step.wire()
        self._wire(page)
        return self.t

    def _prepare(self) -> None:
        """Index the samples before the first visitor waits for them."""
        with suppress(Exception):  # the first visitor gets the error message
            if (samples := self.context.sources.samples) is not None:
                samples.gallery(self.models.get(self.models.first), OPENING)

    def lay_out(self) -> list[Step]:
        """Lay out the components and return the steps. A component that only one event needs is made with the event."""
        context, label = self.context, self.t
        context.memory = gr.BrowserState(None, storage_key="sg-lora-studio", secret="sg-lora-studio")
        context.changed = gr.State(0)
        with gr.Row(equal_height=True, elem_classes="sg-start"):
            gr.HTML(label.html("HEADER", page_html.header))
            with gr.Column(scale=0, min_width=220):
                samples = SampleQuestions(context) if context.sources.samples is not None else None
                self.status = gr.HTML(label.html("STATUS", lambda: page_html.status(texts.LOADING, "wait")), elem_id="status")
        context.shows(Part.STATUS, [self.status], self._status)
        with gr.Tabs() as self.tabs:
            with gr.Tab(label("TAB_STUDIO"), id="search", elem_id="tab-search"):
                steps = self._search_tab(samples)
            with gr.Tab(label("TAB_EXPERTS"), id="experts", elem_id="tab-experts"):
                switch = [Switch(context)] if self.models.repositories else []
                self.experts = Experts(context)
            with gr.Tab(label("TAB_EVIDENCE"), id="evidence", elem_id="tab-evidence"):
                # More than half of the page's bytes: they come once the tab is opened.
                shown = gr.HTML(js_on_load=script("evidence"), elem_id="evidence-shown")
                context.shows_once_open(shown.focus, [shown], lambda tab, _: {shown: evidence.page(evidence.shipped())})
            with gr.Tab(label("TAB_ABOUT"), id="about", elem_id="tab-about"):
                picture = gr.HTML(page_html.note(label("LOADING")), js_on_load=ON_SIGHT, elem_id="how")
                gr.Markdown(f'<div lang="en">\n\n{texts.ABOUT}\n\n</div>', elem_classes="sg-about")
                context.shows_once_open(picture.focus, [picture], lambda tab, _: {picture: self._picture(tab)}, Part.RESULTS)
        self.address = Address(context)
        return [*steps, self.experts, self.address, *switch]

    def _search_tab(self, samples: SampleQuestions | None) -> list[Step]:
        """Lay out photos and question, beside them the sentence, and the results below."""
        context = self.context
        with gr.Row(equal_height=False, elem_classes="sg-top"):
            with gr.Column(min_width=320):
                photos, ask = Photos(context), Ask(context)
                names = Names(context)
                with gr.Row(equal_height=False, elem_classes="sg-folded"):
                    names.panel()
                    ask.captions()
            with gr.Column(min_width=320):
                describe, generate = Describe(context), Generate(context)
        compare = Compare(context)
        if samples is not None:
            samples.about_samples()
        compare.results()
        if samples is not None:
            samples.credits()
        photos.manage()
        steps: list[Step] = [photos, ask, describe, generate, names, compare, TakeHome(context)]
        if samples is not None:
            steps.insert(0, samples)
        libraries = context.sources.libraries
        if libraries.writable and libraries.names:
            steps.append(LibraryFolders(context))
        with gr.Accordion(self.t("DETAILS"), open=False, elem_id="more") as context.drawer:
            for step in steps:
                step.more()
        return steps

    def _wire(self, page: gr.Blocks) -> None:
        context, address = self.context, self.address
        # In this order: ``_ready`` needs the tab that ``_open`` resumes.
        answered = context.outputs(*READY)
        opened, remembered = [context.memory, self.tabs, *context.inputs, *answered], [context.memory, address.last]
        begun = page.load(self._open, [*remembered, context.kept_names], list(dict.fromkeys(opened)), **private(OPEN))
        address.on(begun.then, self._ready, [context.kept_names], answered, group=OPEN)
        for sign, opened, components in context.folded:
            address.on(sign, opened, also=components)
        page.unload(self._closed)
        address.on(context.changed.change, self._show_all, [context.kept_names], parts=tuple(Part), group=OPEN)

    def _open(self, memory: Any, last: Any, kept: Any, request: gr.Request) -> Updates:
        """Resume the visitor of this browser in a new tab."""
        context = self.context
        with speaking(wanted(request.headers.get("accept-language") or "")):
            tab, _ = tab_of(context, request, memory)
            first = sample_questions()[0] if context.opens_on_samples else None
            values = self.address.resume(tab, last, request.query_params, first)
            updates = {context.memory: remembered(tab, memory_of(memory)[1])} | self._chosen_tab(request)
            controls = Controls(**values)
            updates |= context.show(tab, controls, Part.PHOTOS)
            if self.models.loaded and not tab.visitor.photos:  # on a slow network, a second event takes a second
                updates |= self._ready(kept, tab, controls)
            return context.with_boxes(updates, **values)

    def _chosen_tab(self, request: gr.Request) -> Updates:
        """Select the tab that the address names. A click in the browser may come before the tabs exist."""
        named = request.query_params.get("tab")
        tab_ids = [tab.id for tab in self.tabs.children if isinstance(tab, gr.Tab)]
        return {self.tabs: gr.Tabs(selected=named)} if named in tab_ids else {}

    def _show_all(self, kept: Any, tab: Tab, controls: Controls) -> Updates:
        """Answer again and show everything: photos or model changed, or the server forgot this tab and perhaps its visitor."""
        values, experts = dict[str, str](), tab.repository
        with suppress(StudioError):
            tab.visitor.hear_names(kept)
            if (tab.listed or ()) != tab.visitor.photos:
                if controls.scope.samples and tab.visitor.photos:  # own photos are searched instead of the samples
                    values = {"where": OWN, **elsewhere(OWN, controls.description, controls.query)}
                    controls = controls._replace(**values)
                if values or (tab.asked.question is None and controls.words):  # the question waited for photos
                    with suppress(StudioError):  # an invalid sentence does not keep photos from being shown
                        tab.asked = controls.asked(controls.words)
            engine = self.context.engine(tab)
            controls = _at_usual_strength(engine, tab, controls)
            answering.answer_again(engine, tab, None, self.context.sources)
        same = experts is not None and experts is tab.repository
        updates: Updates = {}
        for part in Part:
            if same and part in (Part.STATUS, Part.EXPERTS):  # the lists keep what is chosen in them
                continue
            with suppress(StudioError):  # without an engine, show at least that photos and results are gone
                updates |= self.context.show(tab, controls, part)
        return self.context.with_boxes(updates, **values)

    def _closed(self, request: gr.Request) -> None:
        self.context.visitors.leave(request.session_hash or "")

    def _ready(self, kept: Any, tab: Tab, controls: Controls) -> Updates:
        """Wait until the models are loaded or have failed. Then ask again what the tab asked before a reload."""
        if tab.ready:
            return {}
        try:
            engine = self.context.engine(tab)
            tab.visitor.hear_names(kept)
        except Exception as error:
            reason = without_paths(texts.of(error)) if isinstance(error, StudioError) else texts.UNEXPECTED
            return {self.status: page_html.status(texts.FAILED.format(reason=reason), "failed")}
        tab.ready = True
        controls = _at_usual_strength(engine, tab, controls)
        # A made-up link may hold an unusable question: its error appears when the visitor asks it.
        with suppress(StudioError):
            if tab.comparison is None:  # else the visitor asked something before the models were loaded
                return self.context.show_again(tab, controls, *READY, asked=controls.asked(tab.asked.question))
        return self.context.show(tab, controls, *READY)

    def _picture(self, tab: Tab) -> str:
        return results_html.picture(self.context.engine(tab).repository, tab)

    def _status(self, tab: Tab, _: Controls) -> Updates:
        """Show the number of experts and how long the models took to load."""
        engine = self.models.get(tab.visitor.backbone)
        seconds = self.models.engine(tab.visitor.backbone).seconds
        details = texts.READY_DETAILS.format(parameters=engine.parameters, seconds=seconds)
        return {self.status: page_html.status(texts.READY.format(experts=len(engine.repository)), "ready", details)}


def _at_usual_strength(engine: SGLora, tab: Tab, controls: Controls) -> Controls:
    """The controls; until a sentence is asked, with the experts' usual strength: the slider began at that of the shipped."""
    return controls if tab.asked.request is not None else controls._replace(strength=engine.usual_strength)
