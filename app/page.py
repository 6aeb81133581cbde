"""The page: describe, generate, add photos, compare, top to bottom; then the experts and what is known about them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi.exceptions import RequestValidationError
from gradio import themes
from gradio.themes.utils.fonts import Font
from starlette.middleware import Middleware

from app import actions, texts
from app.api import add_endpoints
from app.engines import Models
from app.errors import friendly
from app.http.allowlist import Routes
from app.http.gradio_patches import GuardedBlocks, harden
from app.http.request_limits import Calls, refuse_fields
from app.steps.compare import Compare
from app.steps.context import Controls, Part, StepContext, Updates
from app.steps.describe import Describe
from app.steps.evidence import Evidence, has_evidence
from app.steps.generate import Generate
from app.steps.library import Library
from app.steps.photos import Photos
from app.steps.step import HEAVY, LIGHT, Step, by_photo, private
from app.steps.switch import Switch
from app.steps.take_home import TakeHome
from app.views import page_html
from app.visitors.retention import Keeper
from app.visitors.session import Session, left
from app.visitors.tab_states import Tabs
from app.visitors.uploads import MAX_UPLOAD
from core.common.errors import StudioError
from core.data.sample_photos import EXAMPLES

STYLE = Path(__file__).with_name("style.css")
# System fonts: the page asks no other server for anything.
SANS = tuple(Font(name) for name in ("ui-sans-serif", "system-ui", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"))
MONO = tuple(Font(name) for name in ("ui-monospace", "Consolas", "Menlo", "monospace"))
# Gradio 6.31 takes scroll_to_output but does nothing with it, and the answer lies below the fold.
SHOW_RESULTS = "() => { document.getElementById('results').scrollIntoView({behavior: 'smooth', block: 'start'}) }"

READY = (Part.STATUS, Part.EXPERTS, Part.LIMITS, Part.ROUTING)  # shown as soon as the models are there
TRIED = (Part.ROUTING, Part.ADAPTER, Part.PHOTOS, Part.RESULTS)


def launch_options(keeper: Keeper | None = None) -> dict[str, Any]:
    """Everything for ``launch`` that belongs to the page rather than to the machine it runs on, and what bounds visitors."""
    bounds = {} if keeper is None else {"state_session_capacity": keeper.limits.sessions}
    kept: dict[str, Any] = {"middleware": []} if keeper is None else keeper.app_kwargs()
    kept["middleware"] = [Middleware(Routes), *kept["middleware"], Middleware(Calls)]
    kept["exception_handlers"] = {RequestValidationError: refuse_fields}
    return bounds | {
        "app_kwargs": kept,
        "theme": _theme(),
        "css_paths": STYLE,
        "max_file_size": MAX_UPLOAD,
        "footer_links": ["api", "settings"],
        "run_history": False,  # it would keep visitors' photos in the browser without asking
        "enable_monitoring": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "share": False,
    }


def _theme() -> themes.Base:
    hues = {"primary_hue": "indigo", "secondary_hue": "teal", "neutral_hue": "slate"}
    # Where the defaults have too little contrast to be read by all (WCAG AA: 4.5 to 1), one shade darker is set.
    return themes.Default(**hues, font=SANS, font_mono=MONO).set(
        body_text_color_subdued="*neutral_500",
        block_info_text_color="*neutral_500",
        input_placeholder_color="*neutral_500",
        link_text_color="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_large_text_size="*text_md",
    )


def build(models: Models, keeper: Keeper | None = None) -> gr.Blocks:
    """The whole app. ``models`` may still be loading; ``keeper`` has the limits (default: those of the environment)."""
    harden(Tabs)
    with GuardedBlocks(title=texts.TITLE, analytics_enabled=False, fill_width=False) as page:
        Studio(models, keeper).build(page)
    # Two cores: a second light request may run beside a heavy one, more would only slow each other down.
    page.queue(default_concurrency_limit=2, max_size=64)
    return page


class Studio:
    """The page's steps together, and what concerns all of them: opening the page, and the one click that shows everything.

    It is shared by all visitors and holds no state of theirs.
    """

    def __init__(self, models: Models, keeper: Keeper | None = None) -> None:
        self.models = models
        self.keeper = keeper or Keeper()

    def build(self, page: gr.Blocks) -> None:
        """Lay the page out and wire it."""
        session = gr.State(Session())  # how long it lives is the keeper's business
        self.context = context = StepContext(self.models, session, self.keeper.limits.keep_seconds)
        self.missed = gr.State(())
        self.token = gr.BrowserState(None, storage_key="sg-lora-studio")
        gr.HTML(page_html.header())
        with gr.Row(equal_height=True, elem_classes="sg-start"):
            self.try_it = gr.Button(texts.TRY, variant="primary", scale=0, min_width=240, elem_id="try-it")
            self.status = gr.HTML(page_html.status(texts.LOADING, "wait"), elem_id="status")
        context.shows(Part.STATUS, [self.status], self._status)
        self.switch = Switch(context) if self.models.repositories else None
        steps: list[Step] = [] if self.switch is None else [self.switch]
        with gr.Tabs():
            with gr.Tab(texts.TAB_STUDIO, id="studio"):
                steps += [Describe(context), Generate(context), Photos(context), Compare(context), TakeHome(context)]
            with gr.Tab(texts.TAB_EXPERTS, id="experts"):
                self.library = Library(context)
                steps.append(self.library)
            if has_evidence():
                with gr.Tab(texts.TAB_EVIDENCE, id="evidence"):
                    Evidence(context)
            with gr.Tab(texts.TAB_ABOUT, id="about"):
                gr.Markdown(texts.ABOUT, elem_classes="sg-about")
        add_endpoints(self.models, session)
        for step in steps:
            step.wire()
        self._wire(page)
        self.keeper.attend(page, self.missed)

    def _wire(self, page: gr.Blocks) -> None:
        context = self.context
        asked = [context.session, *context.inputs]
        # One after the other: what is ready depends on whose experts they are.
        page.load(self._open, [self.token], [self.token, *context.outputs(Part.PHOTOS)], **private(LIGHT, None)).then(
            self._ready, asked, context.outputs(*READY), **private("load", None, "hidden")
        )
        page.unload(self._closed)
        self.missed.change(
            self._show_what_is_there,
            [self.missed, *asked],
            [self.token, *context.outputs(*Part)],
            **private(LIGHT, None, "hidden"),
        )
        self.try_it.click(
            self._try,
            asked,
            list(dict.fromkeys([context.controls["description"], context.query, *context.outputs(*TRIED)])),
            show_progress_on=self.status,
            **private(HEAVY, 1),
        ).success(None, js=SHOW_RESULTS, **private(LIGHT, 2, "hidden"))

    @friendly
    def _open(self, request: gr.Request, token: Any) -> Updates:
        session = Session.resume(token)
        self._opened(request, session)
        return {self.token: session.album.token} | self.context.show(session, Controls(), Part.PHOTOS)

    def _opened(self, request: gr.Request, session: Session) -> None:
        """A tab shows this album from now on, and its browser comes back to it."""
        session.album.keeps_files = bool(self.models.repositories)
        if request.session_hash:
            session.album.tabs.add(request.session_hash)

    @friendly
    def _show_what_is_there(self, request: gr.Request, _: Any, session: Session, *values: Any) -> Updates:
        """The keeper emptied the visitor's album."""
        self._opened(request, session)
        updates = {self.token: session.album.token}
        for part in Part:
            with suppress(StudioError):  # no engine: photos and results are gone all the same
                updates |= self.context.show(session, Controls(*values), part)
        return updates

    def _closed(self, request: gr.Request) -> None:
        self.context.close(request.session_hash)
        left(request.session_hash)

    def _ready(self, session: Session, *values: Any) -> Updates:
        """Waits until the models are there, or are known not to come."""
        try:
            self.context.engine(session)
        except Exception as error:
            reason = str(error) if isinstance(error, StudioError) else texts.UNEXPECTED
            return {self.status: page_html.status(texts.FAILED.format(reason=reason), "failed")}
        return self.context.show(session, Controls(*values), *READY)

    def _status(self, session: Session, _: Controls) -> Updates:
        """What the visitor's models are, once they are there."""
        engine = self.models.get(session.album.backbone)
        seconds = self.models.engine(session.album.backbone).seconds
        words = texts.READY.format(experts=len(engine.repository), parameters=f"{engine.written.size:,}", seconds=seconds)
        return {self.status: page_html.status(words, "ready")}

    @friendly
    def _try(self, session: Session, progress: gr.Progress = gr.Progress(), *values: Any) -> Updates:
        description, query = EXAMPLES[0]
        controls, engine = Controls(*values)._replace(description=description), self.context.engine(session)
        actions.generate(engine, session, actions.page_settings(*controls.adapter))
        actions.add_samples(engine, session, by_photo(progress))
        actions.compare_words(engine, session, query)
        updates = self.context.show(session, controls, *TRIED)
        return updates | {self.context.controls["description"]: description, self.context.query: query}
