"""The page: describe, generate, add photos, compare, top to bottom; then the experts and what is known about them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi.exceptions import RequestValidationError
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
from app.steps.describe import Describe
from app.steps.evidence import Evidence, has_evidence
from app.steps.generate import Generate
from app.steps.library import Library
from app.steps.photos import Photos
from app.steps.step import HEAVY, LIGHT, Updates, by_photo, private
from app.steps.switch import Switch
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


def launch_options(keeper: Keeper | None = None) -> dict[str, Any]:
    """Everything for ``launch`` that belongs to the page rather than to the machine it runs on, and what bounds visitors."""
    bounds = {} if keeper is None else {"state_session_capacity": keeper.limits.sessions}
    kept = {"middleware": []} if keeper is None else keeper.app_kwargs()
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


def _theme() -> gr.themes.Base:
    hues = {"primary_hue": "indigo", "secondary_hue": "teal", "neutral_hue": "slate"}
    # Where the defaults have too little contrast to be read by all (WCAG AA: 4.5 to 1), one shade darker is set.
    return gr.themes.Default(**hues, font=SANS, font_mono=MONO).set(
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
        self.session = gr.State(Session())  # how long it lives is the keeper's business
        self.missed = gr.State(())
        self.token = gr.BrowserState(None, storage_key="sg-lora-studio")
        gr.HTML(page_html.header())
        with gr.Row(equal_height=True, elem_classes="sg-start"):
            self.try_it = gr.Button(texts.TRY, variant="primary", scale=0, min_width=240, elem_id="try-it")
            self.status = gr.HTML(page_html.status(texts.LOADING, "wait"), elem_id="status")
        self.switch = Switch(self) if self.models.repositories else None
        with gr.Tabs():
            with gr.Tab(texts.TAB_STUDIO, id="studio"):
                self.describe = Describe(self)
                self.generate = Generate(self)
                self.photos = Photos(self)
                self.compare = Compare(self)
            with gr.Tab(texts.TAB_EXPERTS, id="experts"):
                self.library = Library(self)
            if has_evidence():
                with gr.Tab(texts.TAB_EVIDENCE, id="evidence"):
                    Evidence(self)
            with gr.Tab(texts.TAB_ABOUT, id="about"):
                gr.Markdown(texts.ABOUT, elem_classes="sg-about")
        add_endpoints(self.models, self.session)
        for step in (self.describe, self.generate, self.photos, self.compare, self.library, self.switch):
            if step is not None:
                step.wire()
        self._wire(page)
        self.keeper.attend(page, self.missed)

    def _wire(self, page: gr.Blocks) -> None:
        choice = [] if self.switch is None else [self.switch.choice]
        opened = [self.session, self.token, *choice, *self.photos.shown]
        ready = [self.status, *self.library.shown]
        # One after the other: what is ready depends on whose experts they are.
        page.load(self._open, [self.token], opened, **private(LIGHT, None)).then(
            self._ready, [self.session], ready, **private("load", None, "hidden")
        )
        page.unload(self._closed)
        now = [self.session, self.missed, self.library.find, *self.generate.controls, *self.compare.view]
        shown = [*self.generate.made, *self.photos.shown, *self.compare.shown, *self.library.shown]
        self.missed.change(
            self._show_what_is_there,
            now,
            list(dict.fromkeys([self.token, self.status, *choice, *shown])),
            **private(LIGHT, None, "hidden"),
        )
        self.try_it.click(
            self._try,
            [self.session, *self.generate.sliders, *self.compare.view],
            [*self.generate.made, *self.photos.shown, *self.compare.shown, self.describe.description, self.compare.query],
            show_progress_on=self.status,
            **private(HEAVY, 1),
        ).success(None, js=SHOW_RESULTS, **private(LIGHT, 2, "hidden"))

    @friendly
    def _open(self, request: gr.Request, token: Any) -> Updates:
        session = Session.resume(token)
        return {self.session: session, self.photos.report: ""} | self._opened(request, session) | self.photos.album(session)

    def _opened(self, request: gr.Request, session: Session) -> Updates:
        """A tab shows this album from now on, and its browser comes back to it."""
        album = session.album
        album.keeps_files = bool(self.models.repositories)
        if request.session_hash:
            album.tabs.add(request.session_hash)
        return {self.token: album.token} | ({} if self.switch is None else {self.switch.choice: album.backbone})

    @friendly
    def _show_what_is_there(
        self, request: gr.Request, session: Session, missed: tuple[int, ...], words: str | None, *values: Any
    ) -> Updates:
        """The keeper emptied the visitor's album; the event that said so has shown the components in ``missed`` itself."""
        *_, only_changed, top = values
        updates = self._opened(request, session) | self.photos.album(session)
        if self.photos.report._id not in missed:
            updates[self.photos.report] = ""
        with suppress(StudioError):  # no engine: photos and results are gone all the same
            updates |= self.ready(session) | self.library.switched(session, words, *values)
        if session.adaptation is None:
            updates |= self.generate.nothing()
        return updates | self.compare.results(session, only_changed, top)

    def _closed(self, request: gr.Request) -> None:
        self.library.closed(request)
        left(request.session_hash)

    def _ready(self, session: Session) -> Updates:
        """Waits until the models are there, or are known not to come."""
        try:
            self.library.engine(session)
        except Exception as error:
            reason = str(error) if isinstance(error, StudioError) else texts.UNEXPECTED
            return {self.status: page_html.status(texts.FAILED.format(reason=reason), "failed"), self.library.lead: ""}
        return self.ready(session) | self.library.opened(session)

    def ready(self, session: Session) -> Updates:
        """What the visitor's models are, once they are there."""
        engine = self.models.get(session.album.backbone)
        seconds = self.models.engine(session.album.backbone).seconds
        words = texts.READY.format(experts=len(engine.repository), parameters=f"{engine.written.size:,}", seconds=seconds)
        return {self.status: page_html.status(words, "ready")}

    @friendly
    def _try(
        self,
        session: Session,
        k: float,
        tau: float,
        seed: float,
        follow: bool,
        strength: float,
        only_changed: bool,
        top: int,
        progress: gr.Progress = gr.Progress(),
    ) -> Updates:
        description, query = EXAMPLES[0]
        engine = self.library.engine(session)
        updates = self.generate.adapter(engine, session, description, k, tau, seed, follow, strength)
        done = actions.add_samples(engine, session, by_photo(progress))
        actions.compare_words(engine, session, query)
        updates |= self.photos.changed(session, page_html.report(done.report, done.failed), only_changed, top)
        return updates | {self.describe.description: description, self.compare.query: query}
