"""The page: photos, a question, the sentence that adapts the search, and the results; then experts and evidence."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi.exceptions import RequestValidationError
from gradio import themes
from gradio.themes.utils.fonts import Font
from starlette.middleware import Middleware

from app import actions, languages, texts
from app.api import add_endpoints
from app.engines import Models
from app.errors import without_paths
from app.http.allowlist import Routes
from app.http.gradio_patches import harden
from app.http.guarded_blocks import GuardedBlocks
from app.http.hosts import Hosts
from app.http.mcp_visitors import FewCalls, separate_visitors
from app.http.request_limits import Calls, refuse_fields
from app.http.visitor_language import VisitorLanguage
from app.photo_libraries import PhotoLibraries
from app.sample_shelf import SampleShelf
from app.steps.address import Address
from app.steps.ask import Ask
from app.steps.compare import Compare
from app.steps.context import Controls, Part, StepContext, Updates
from app.steps.describe import Describe
from app.steps.experts import Experts
from app.steps.generate import Generate
from app.steps.names import Names
from app.steps.photo_library import LibraryFolders
from app.steps.photos import Photos
from app.steps.samples import Samples
from app.steps.step import ANSWER, ON_SIGHT, Step, private
from app.steps.switch import Switch
from app.steps.take_home import TakeHome
from app.views import evidence, page_html
from app.visitors.album import left
from app.visitors.retention import Keeper
from app.visitors.session import Session
from app.visitors.tab_states import Tabs
from app.visitors.uploads import MAX_UPLOAD
from core.common.errors import StudioError

STYLE = Path(__file__).with_name("style.css")
# System fonts, so that the page loads nothing from other servers.
SANS = tuple(Font(name) for name in ("ui-sans-serif", "system-ui", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"))
MONO = tuple(Font(name) for name in ("ui-monospace", "Consolas", "Menlo", "monospace"))
OPEN = "open"  # concurrency group of events that wait for the models; it has no limit
READY = (Part.STATUS, Part.EXPERTS, Part.ROUTING, Part.SUGGESTIONS)  # parts shown as soon as the models are loaded


def launch_options(keeper: Keeper | None = None, mcp: bool = False, hosts: Hosts = Hosts()) -> dict[str, Any]:
    """The options of ``launch`` that do not depend on the machine, and what limits visitors."""
    if mcp:
        separate_visitors()
    keeper = keeper or Keeper()
    passed = [Middleware(VisitorLanguage), Middleware(Routes, mcp=mcp, hosts=hosts), *([Middleware(FewCalls)] if mcp else [])]
    passed += [keeper.gate(), Middleware(Calls)]
    refused = {RequestValidationError: refuse_fields}
    return {
        "app_kwargs": {"lifespan": keeper.lifespan, "middleware": passed, "exception_handlers": refused},
        "state_session_capacity": keeper.limits.sessions,
        "theme": _theme(),
        "css_paths": STYLE,
        "max_file_size": MAX_UPLOAD,
        "footer_links": ["api", "settings"],
        "run_history": False,  # Gradio would keep visitors' photos in the browser without asking
        "enable_monitoring": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": mcp,
        "share": False,
    }


def _theme() -> themes.Base:
    hues = {"primary_hue": "indigo", "secondary_hue": "teal", "neutral_hue": "slate"}
    # One shade darker, where the defaults have less contrast than WCAG AA asks for (4.5 to 1).
    return themes.Default(**hues, font=SANS, font_mono=MONO).set(
        body_text_color_subdued="*neutral_500",
        block_info_text_color="*neutral_500",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        link_text_color="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_large_text_size="*text_md",
    )


def build(
    models: Models, keeper: Keeper | None = None, libraries: PhotoLibraries | None = None, samples: bool = True
) -> gr.Blocks:
    """Build the whole app. ``models`` may still be loading; ``keeper`` has the limits (default: ``Limits()``).

    ``samples``: whether the page opens on the sample photos if there is no library.
    """
    harden(Tabs)
    with GuardedBlocks(title=texts.TITLE, analytics_enabled=False, fill_width=False) as page:
        Studio(models, keeper, libraries, samples).build(page)
    for language in languages.OTHERS:
        page.lay_out_again(language, Studio(models, keeper, libraries, samples).lay_out)
    # For two cores: one light request may run beside a heavy one. More would only slow each other down.
    page.queue(default_concurrency_limit=2, max_size=10_000)  # FairQueue limits how many wait
    return page


class Studio:
    """The steps of the page, and the events that concern all. It is shared by all visitors and holds no state of theirs."""

    def __init__(
        self, models: Models, keeper: Keeper | None = None, libraries: PhotoLibraries | None = None, samples: bool = False
    ) -> None:
        self.models, self.libraries = models, libraries or PhotoLibraries()
        self.keeper = keeper or Keeper()
        self.shelf = SampleShelf() if samples and not self.libraries.names else None

    def _prepare(self) -> None:
        """Answer the question that the page opens on, before the first visitor waits for it."""
        with suppress(Exception):  # the first visitor gets the error message
            if self.shelf is not None:
                self.shelf.session(self.models.get())

    def build(self, page: gr.Blocks) -> None:
        threading.Thread(target=self._prepare, name="first visitor", daemon=True).start()
        steps = self.lay_out()
        add_endpoints(self.models, self.context.session)
        for step in steps:
            step.wire()
        self._wire(page)
        self.keeper.attend(page, self.missed)

    def lay_out(self) -> list[Step]:
        """Lay out the components and return the steps. A component that only one event needs is made with the event."""
        session = gr.State(Session())  # the keeper decides when it ends
        self.context = context = StepContext(self.models, session, self.keeper.limits.keep_seconds, self.libraries, self.shelf)
        self.missed = gr.State(0)
        with gr.Row(equal_height=True, elem_classes="sg-start"):
            gr.HTML(page_html.header())
            with gr.Column(scale=0, min_width=320):
                samples = Samples(context)
                self.status = gr.HTML(page_html.status(texts.LOADING, "wait"), elem_id="status")
                self.switch = Switch(context) if self.models.repositories else None
        if self.switch:
            self.switch.panel()
        context.shows(Part.STATUS, [self.status], self._status)
        with gr.Tabs() as self.tabs:
            with gr.Tab(texts.TAB_STUDIO, id="search", elem_id="tab-search"):
                steps = self._search_tab(samples)
            with gr.Tab(texts.TAB_EXPERTS, id="experts", elem_id="tab-experts"):
                self.experts = Experts(context)
            if evidence.shipped():
                with gr.Tab(texts.TAB_EVIDENCE, id="evidence", elem_id="tab-evidence"):
                    # More than half of the page's bytes: they come once the tab is opened.
                    self.evidence = gr.HTML(js_on_load=ON_SIGHT)
            with gr.Tab(texts.TAB_ABOUT, id="about", elem_id="tab-about"):
                gr.Markdown(f'<div lang="en">\n\n{texts.ABOUT}\n\n</div>', elem_classes="sg-about")
        self.address = Address(context)
        return [*steps, self.experts, self.address, *([self.switch] if self.switch else [])]

    def _search_tab(self, samples: Samples) -> list[Step]:
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
        samples.about_samples()
        compare.results()
        ask.asked_before()
        photos.manage()
        steps: list[Step] = [samples, photos, ask, describe, generate, names, compare, TakeHome(context)]
        if self.libraries.writable and self.libraries.names:
            steps.append(LibraryFolders(context))
        with gr.Accordion(texts.DETAILS, open=False, elem_id="more") as context.drawer:
            for step in steps:
                step.more()
        return steps

    def _wire(self, page: gr.Blocks) -> None:
        context = self.context
        # In this order: ``_ready`` needs the session that ``_open`` resumes.
        answered = context.outputs(*READY, Part.PHOTOS, *ANSWER)
        resumed = [context.session, self.tabs, self.address.memory, *context.inputs]
        opened = page.load(self._open, [self.address.memory], list(dict.fromkeys([*resumed, *answered])), **private(OPEN))
        opened.then(self._ready, context.asked, answered, **private(OPEN))
        if shown := evidence.shipped():
            self.evidence.focus(lambda: evidence.page(shown), None, self.evidence, **private(OPEN))
        page.unload(self._closed)
        self.missed.change(self._show_what_is_there, context.asked, context.outputs(*Part), **private())

    def _open(self, request: gr.Request, memory: Any) -> Updates:
        context = self.context
        first = None if self.shelf is None else actions.sample_questions()[0]
        session, values = self.address.resume(memory, request.query_params, first)
        self._opened(request, session)
        stored = (memory if isinstance(memory, dict) else {}) | {"token": session.album.token}
        updates = {context.session: session, self.address.memory: stored} | self._chosen_tab(request) | context.boxes(**values)
        updates |= context.show(session, Controls(), Part.PHOTOS)
        if self.models.loaded and not session.album.photos:  # on a slow network, a second event takes a second
            updates |= self._ready(session, *Controls(**values))
        return updates

    def _chosen_tab(self, request: gr.Request) -> Updates:
        """Select the tab that the address names. A click in the browser may come before the tabs exist."""
        named = request.query_params.get("tab")
        tab_ids = [tab.id for tab in self.tabs.children if isinstance(tab, gr.Tab)]
        return {self.tabs: gr.Tabs(selected=named)} if named in tab_ids else {}

    def _opened(self, request: gr.Request, session: Session) -> None:
        """Note that a tab shows this album."""
        session.album.keeps_files = True
        if request.session_hash:
            session.album.tabs.add(request.session_hash)

    def _show_what_is_there(self, request: gr.Request, session: Session, *values: Any) -> Updates:
        """Show everything again, after the keeper emptied the visitor's album."""
        self._opened(request, session)
        session.opened.update(part.name for part in Part)  # a new session does not know what the tab has opened
        updates: Updates = {}
        with session.turn:
            for part in Part:
                with suppress(StudioError):  # without an engine, show at least that photos and results are gone
                    updates |= self.context.show(session, Controls(*values), part)
        return updates

    def _closed(self, request: gr.Request) -> None:
        left(request.session_hash)

    def _ready(self, session: Session, *values: Any) -> Updates:
        """Wait until the models are loaded or have failed. Then ask again what the tab asked before a reload."""
        if session.ready:
            return {}
        controls = Controls(*values)
        try:
            engine = self.context.engine(session)
        except Exception as error:
            reason = texts.translated(without_paths(str(error))) if isinstance(error, StudioError) else texts.UNEXPECTED
            return {self.status: page_html.status(texts.FAILED.format(reason=reason), "failed")}
        if session.request is None:  # the slider began at the strength that is usual for the shipped experts
            controls = controls._replace(strength=engine.usual_strength)
        # A made-up link may hold an unusable question: its error appears when the visitor asks it.
        with session.turn, suppress(StudioError):
            if session.comparison is None:  # else the visitor asked something before the models were loaded
                session.request = controls.request
                if self.shelf is None or not self.shelf.answer(session):
                    actions.ask_again(engine, session, None, self.libraries)
        session.ready = True
        photos = (Part.PHOTOS,) if session.album.shows_samples else ()
        return self.context.show(session, controls, *READY, *photos, *ANSWER)

    def _status(self, session: Session, _: Controls) -> Updates:
        """Show the number of experts and how long the models took to load."""
        engine = self.models.get(session.album.backbone)
        seconds = self.models.engine(session.album.backbone).seconds
        details = texts.READY_DETAILS.format(parameters=engine.parameters, seconds=seconds)
        return {self.status: page_html.status(texts.READY.format(experts=len(engine.repository)), "ready", details)}
