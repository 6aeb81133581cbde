"""The page: describe, generate, add photos, compare; top to bottom. Layout first, then what each control does."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes.utils.fonts import Font

from app import actions, texts, views
from app.api import HEAVY, LIGHT, add_endpoints
from app.command import adapt_command
from app.errors import friendly
from app.models import Models
from app.session import KEEP_SECONDS, PHOTO_LIMIT, Session, forget
from app.uploads import MAX_UPLOAD
from core.errors import StudioError
from core.router import DEFAULT_K, DEFAULT_TAU
from core.samples import EXAMPLES
from core.sglora import DEFAULT_STRENGTH, SGLora

STYLE = Path(__file__).with_name("style.css")
TOPS = (5, 10, 20, 50)
DEFAULT_TOP = 10
# System fonts: the page asks no other server for anything.
SANS = tuple(Font(name) for name in ("ui-sans-serif", "system-ui", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"))
MONO = tuple(Font(name) for name in ("ui-monospace", "Consolas", "Menlo", "monospace"))
# Gradio 6.31 takes scroll_to_output but does nothing with it, and the answer lies below the fold.
SHOW_RESULTS = "() => { document.getElementById('results').scrollIntoView({behavior: 'smooth', block: 'start'}) }"

Updates = dict[Any, Any]


def launch_options() -> dict[str, Any]:
    """Everything for ``launch`` that belongs to the page rather than to the machine it runs on."""
    return {
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


def build(models: Models) -> gr.Blocks:
    """The whole app. ``models`` may still be loading."""
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False, delete_cache=(600, KEEP_SECONDS), fill_width=False) as page:
        Studio(models).build(page)
    # Two cores: a second light request may run beside a heavy one, more would only slow each other down.
    page.queue(default_concurrency_limit=2, max_size=64)
    return page


class Studio:
    """The components of the page and what they do. It is shared by all visitors and holds no state of theirs."""

    def __init__(self, models: Models) -> None:
        self.models = models

    def build(self, page: gr.Blocks) -> None:
        """Lay the page out and wire it."""
        self.session = gr.State(Session(), time_to_live=KEEP_SECONDS, delete_callback=forget)
        self.token = gr.BrowserState(None, storage_key="sg-lora-studio")
        gr.HTML(views.header())
        with gr.Row(equal_height=True, elem_classes="sg-start"):
            self.try_it = gr.Button(texts.TRY, variant="primary", scale=0, min_width=240, elem_id="try-it")
            self.status = gr.HTML(views.status(texts.LOADING, "wait"), elem_id="status")
        with gr.Tabs():
            with gr.Tab(texts.TAB_STUDIO, id="studio"):
                self._describe()
                self._generate()
                self._photos()
                self._compare()
            with gr.Tab(texts.TAB_EXPERTS, id="experts"):
                self._experts()
            with gr.Tab(texts.TAB_ABOUT, id="about"):
                gr.Markdown(texts.ABOUT, elem_classes="sg-about")
        add_endpoints(self.models, self.session)
        self._wire(page)

    # Layout

    def _describe(self) -> None:
        gr.HTML(views.step(1, texts.DESCRIBE, texts.DESCRIBE_LEAD))
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
            with gr.Column(min_width=320):
                self.routing = gr.HTML(views.note(texts.ROUTE_EMPTY), elem_id="routing")

    def _generate(self) -> None:
        gr.HTML(views.step(2, texts.GENERATE, texts.GENERATE_LEAD))
        with gr.Row():
            with gr.Column(min_width=320):
                with gr.Row():
                    self.generate = gr.Button(texts.GENERATE_BUTTON, variant="primary", min_width=150, elem_id="generate")
                    self.resample = gr.Button(texts.RESAMPLE, min_width=120, elem_id="resample")
                with gr.Accordion(texts.SETTINGS, open=False, elem_id="settings"):
                    self.strength = gr.Slider(
                        0,
                        2,
                        DEFAULT_STRENGTH,
                        step=0.05,
                        label=texts.STRENGTH_LABEL,
                        info=texts.STRENGTH_INFO,
                        elem_id="strength",
                    )
                    self.seed = gr.Number(0, label=texts.SEED_LABEL, info=texts.SEED_INFO, precision=0, elem_id="seed")
                    self.k = gr.Slider(1, 64, DEFAULT_K, step=1, label=texts.K_LABEL, info=texts.K_INFO, elem_id="k")
                    self.tau = gr.Slider(
                        0.01, 1, DEFAULT_TAU, step=0.01, label=texts.TAU_LABEL, info=texts.TAU_INFO, elem_id="tau"
                    )
                self.download = gr.DownloadButton(texts.DOWNLOAD, interactive=False, elem_id="download")
                self.command = gr.Textbox(
                    label=texts.COMMAND_LABEL,
                    interactive=False,
                    buttons=["copy"],
                    max_lines=4,
                    visible=False,
                    elem_id="command",
                )
            with gr.Column(min_width=320):
                self.lora = gr.HTML(views.note(texts.LORA_EMPTY), elem_id="lora")

    def _photos(self) -> None:
        lead = texts.GALLERY_LEAD.format(limit=PHOTO_LIMIT, minutes=KEEP_SECONDS // 60)
        gr.HTML(views.step(3, texts.GALLERY, lead))
        with gr.Row():
            with gr.Column(min_width=320):
                self.upload = gr.File(label=texts.UPLOAD_LABEL, file_count="multiple", height=150, elem_id="upload")
                with gr.Row():
                    self.samples = gr.Button(texts.SAMPLES, min_width=150, elem_id="samples")
                    self.remove = gr.Button(texts.REMOVE, min_width=150, interactive=False, elem_id="remove")
                    self.clear = gr.Button(texts.CLEAR, min_width=100, elem_id="clear")
                self.report = gr.HTML(elem_id="report")
                with gr.Accordion(texts.CAPTIONS, open=False, elem_id="captions"):
                    self.typed = gr.Textbox(
                        label=texts.CAPTIONS_LABEL,
                        placeholder=texts.CAPTIONS_PLACEHOLDER,
                        lines=4,
                        max_lines=12,
                        elem_id="typed",
                    )
                    with gr.Row():
                        self.use_typed = gr.Button(texts.CAPTIONS_SAVE, min_width=140, elem_id="use-typed")
                        self.use_names = gr.Button(texts.CAPTIONS_NAMES, min_width=140, elem_id="use-names")
            with gr.Column(min_width=320):
                self.gallery = gr.Gallery(
                    label=texts.GALLERY_LABEL,
                    columns=5,
                    height=330,
                    object_fit="cover",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    elem_id="gallery",
                )
                self.fill = gr.HTML(views.note(texts.GALLERY_EMPTY), elem_id="fill")

    def _compare(self) -> None:
        gr.HTML(views.step(4, texts.COMPARE, texts.COMPARE_LEAD))
        with gr.Tabs():
            with gr.Tab(texts.WORDS_TAB), gr.Row(equal_height=False, elem_classes="sg-ask"):
                self.query = gr.Textbox(
                    label=texts.QUERY_LABEL, placeholder=texts.QUERY_PLACEHOLDER, scale=4, min_width=240, elem_id="query"
                )
                self.search = gr.Button(texts.SEARCH, variant="primary", scale=1, min_width=120, elem_id="search")
            with gr.Tab(texts.PHOTO_TAB), gr.Row(equal_height=False, elem_classes="sg-ask"):
                self.pick = gr.Dropdown(label=texts.PICK_LABEL, choices=[], scale=2, min_width=240, elem_id="pick")
                self.other = gr.File(label=texts.OTHER_PHOTO, height=120, scale=2, min_width=240, elem_id="other")
                self.find = gr.Button(texts.DESCRIBE_PHOTO, variant="primary", scale=1, min_width=120, elem_id="find")
        with gr.Row(elem_classes="sg-options"):
            self.only_changed = gr.Checkbox(
                False, label=texts.ONLY_CHANGED, container=False, min_width=160, elem_id="only-changed"
            )
            self.top = gr.Radio(TOPS, value=DEFAULT_TOP, label=texts.TOP_LABEL, min_width=240, elem_id="top")
        self.results = gr.HTML(views.note(texts.COMPARE_EMPTY), elem_id="results")
        self.history = gr.Dataset(
            label=texts.HISTORY, components=[self.query], samples=[], type="index", visible=False, elem_id="history"
        )

    def _experts(self) -> None:
        self.experts_lead = gr.HTML(views.note(texts.LOADING))
        self.find_expert = gr.Textbox(label=texts.EXPERTS_FIND, placeholder=texts.EXPERTS_FIND_HINT, elem_id="find-expert")
        self.experts = gr.Dataframe(
            headers=list(texts.EXPERTS_HEADERS),
            label=texts.EXPERTS_LABEL,
            datatype=["str"] * 4 + ["number"] * 5,
            interactive=False,
            wrap=True,
            max_height=640,
            buttons=[],
            elem_id="experts",
        )

    # Behaviour

    def _wire(self, page: gr.Blocks) -> None:
        controls = [self.description, self.k, self.tau, self.seed, self.strength]
        view = [self.only_changed, self.top]
        made = [self.session, self.routing, self.lora, self.download, self.command]
        shown = [self.results, self.history]
        album = [self.gallery, self.fill, self.pick, self.remove, self.report]

        page.load(self._open, [self.token], [self.session, self.token, *album], **_private(LIGHT, None))
        page.load(self._ready, None, [self.status, self.k, self.experts, self.experts_lead], **_private("load", None, "hidden"))

        # Typing routes at once; the last text wins. Sliders redo what is on the page, and nothing that is not.
        self.description.change(
            self._route,
            [self.session, *controls],
            [self.routing, self.lora],
            trigger_mode="always_last",
            **_private(LIGHT, 2, "hidden"),
        )
        gr.on(
            [control.change for control in controls[1:]],
            self._redo,
            [self.session, *controls, *view],
            [*made, *shown],
            trigger_mode="always_last",
            **_private(LIGHT, 2, "hidden"),
        )
        self.resample.click(_another_seed, None, self.seed, **_private(LIGHT, 2, "hidden"))
        self.examples.click(_example, self.examples, [self.description, self.query], **_private(LIGHT, 2, "hidden"))
        gr.on(
            [self.generate.click, self.description.submit],
            self._make,
            [self.session, *controls, *view],
            [*made, *shown],
            show_progress_on=self.lora,
            **_private(LIGHT, 2),
        )

        heavy = {"show_progress_on": self.gallery, **_private(HEAVY, 1)}
        self.upload.upload(self._add, [self.session, self.upload, *view], [self.session, self.upload, *album, *shown], **heavy)
        self.samples.click(self._add_samples, [self.session, *view], [self.session, *album, *shown], **heavy)
        self.clear.click(self._clear, [self.session], [self.session, *album, *shown], **heavy)
        self.remove.click(self._remove, [self.session, self.pick, *view], [self.session, *album, *shown], **heavy)
        self.use_typed.click(self._caption, [self.session, self.typed, *view], [self.session, *album, *shown], **heavy)
        self.use_names.click(self._caption_names, [self.session, *view], [self.session, *album, *shown], **heavy)
        self.gallery.select(self._select, [self.session], [self.pick, self.remove], **_private(LIGHT, 2, "hidden"))
        self.pick.change(lambda p: gr.Button(interactive=p is not None), self.pick, self.remove, **_private(LIGHT, 2, "hidden"))

        gr.on(
            [self.search.click, self.query.submit],
            self._search,
            [self.session, *controls, self.query, *view],
            [*made, *shown],
            show_progress_on=self.results,
            **_private(HEAVY, 1),
        )
        self.find.click(
            self._find,
            [self.session, *controls, self.pick, self.other, *view],
            [*made, *shown],
            show_progress_on=self.results,
            **_private(HEAVY, 1),
        )
        gr.on(
            [self.only_changed.change, self.top.change],
            self._show_again,
            [self.session, *view],
            [self.results],
            **_private(LIGHT, 2, "hidden"),
        )
        self.history.click(
            self._recall, [self.session, self.history], [self.query, self.description], **_private(LIGHT, 2, "hidden")
        )

        self.find_expert.change(
            self._find_expert, self.find_expert, self.experts, trigger_mode="always_last", **_private(LIGHT, 2, "hidden")
        )

        self.try_it.click(
            self._try,
            [self.session, *controls[1:], *view],
            [*made, *album, *shown, self.description, self.query],
            show_progress_on=self.status,
            **_private(HEAVY, 1),
        ).success(None, js=SHOW_RESULTS, **_private(LIGHT, 2, "hidden"))

    # Opening

    @friendly
    def _open(self, token: Any) -> Updates:
        session = Session.resume(token)
        updates = {self.session: session, self.token: session.album.token, self.report: ""}
        return updates | self._album(session, session.album.photos)

    def _ready(self) -> Updates:
        """Waits until the models are there, or are known not to come."""
        try:
            engine = self.models.get()
        except Exception as error:
            reason = str(error) if isinstance(error, StudioError) else texts.UNEXPECTED
            return {self.status: views.status(texts.FAILED.format(reason=reason), "failed"), self.experts_lead: ""}
        repository = engine.repository
        words = texts.READY.format(
            experts=len(repository), parameters=f"{repository.layout.size:,}", seconds=self.models.seconds
        )
        return {
            self.status: views.status(words, "ready"),
            self.k: gr.Slider(maximum=len(repository)),
            self.experts: views.expert_rows(repository.experts),
            self.experts_lead: views.note(texts.EXPERTS_LEAD.format(rank=repository.layout.rank)),
        }

    @friendly
    def _find_expert(self, words: str) -> list[list[object]]:
        return views.expert_rows(self.models.get().repository.experts, words)

    # Describe and generate

    def _route(self, session: Session, description: str, k: float, tau: float, *_: Any) -> Updates:
        """Shown where the text is typed, so what is wrong with it is said there too, and not in a toast."""
        if not description.strip():
            return {self.routing: views.note(texts.ROUTE_EMPTY), self.lora: gr.skip()}
        try:
            engine = self.models.get()
            shown = views.routing(engine, engine.route(description, int(k), tau))
        except StudioError as error:
            shown = views.note(str(error), "sg-warn")
        return {self.routing: shown, self.lora: self._stale(session, description)}

    def _stale(self, session: Session, description: str) -> Any:
        if session.adaptation is None or session.download is None:
            return gr.skip()
        return views.adapter(session.adaptation, self.models.expert_norms, session.download.weights, description)

    @friendly
    def _make(self, session: Session, *values: Any) -> Updates:
        *controls, only_changed, top = values
        engine = self.models.get()
        updates = self._adapter(engine, session, *controls)
        actions.compare_again(engine, session)
        return updates | self._results(session, only_changed, top)

    @friendly
    def _redo(self, session: Session, description: str, *values: Any) -> Updates:
        *controls, only_changed, top = values
        if session.adaptation is None:
            shown = self._route(session, description, *controls)[self.routing]
            return {self.session: session, self.routing: shown}
        # An adapter is there: the sliders speak about that one, whatever is being typed above.
        engine = self.models.get()
        updates = self._adapter(engine, session, session.adaptation.routing.description, *controls, current=description)
        actions.compare_again(engine, session)
        return updates | self._results(session, only_changed, top)

    def _adapter(
        self,
        engine: SGLora,
        session: Session,
        description: str,
        k: float,
        tau: float,
        seed: float,
        strength: float,
        current: str | None = None,
    ) -> Updates:
        wanted = actions.settings(description, k, tau, seed, strength)
        result = actions.generate(engine, session, wanted)
        download = actions.write_zip(engine, session, result)
        return {
            self.session: session,
            self.routing: views.routing(engine, result.routing),
            self.lora: views.adapter(result, self.models.expert_norms, download.weights, current or description),
            self.download: gr.DownloadButton(value=str(download.path), interactive=True),
            self.command: gr.Textbox(value=adapt_command(wanted), visible=True),
        }

    # Photos

    def _album(self, session: Session, photos: tuple) -> Updates:
        """Everything that shows the gallery."""
        picked = {self.pick: gr.Dropdown(choices=[(p.name, p.id) for p in photos], value=None)}
        return picked | {
            self.gallery: gr.Gallery(value=session.album.thumbnails(), selected_index=None),
            self.fill: views.gallery_line(photos),
            self.remove: gr.Button(interactive=False),
        }

    def _changed(self, session: Session, report: str, only_changed: bool, top: int) -> Updates:
        """After the photos or captions changed: show them, and ask the last question again."""
        actions.compare_again(self.models.get(), session)
        updates = {self.session: session, self.report: report}
        return updates | self._album(session, session.album.photos) | self._results(session, only_changed, top)

    @friendly
    def _add(
        self, session: Session, paths: list[str] | None, only_changed: bool, top: int, progress: gr.Progress = gr.Progress()
    ) -> Updates:
        done = actions.add_uploads(self.models.get(), session, paths or [], _by_photo(progress))
        report = views.report(done.report, done.failed, done.remarks)
        return self._changed(session, report, only_changed, top) | {self.upload: None}

    @friendly
    def _add_samples(self, session: Session, only_changed: bool, top: int, progress: gr.Progress = gr.Progress()) -> Updates:
        done = actions.add_samples(self.models.get(), session, _by_photo(progress))
        return self._changed(session, views.report(done.report, done.failed), only_changed, top)

    @friendly
    def _clear(self, session: Session) -> Updates:
        session.album.gallery(self.models.get()).clear()
        return self._changed(session, "", False, DEFAULT_TOP)

    @friendly
    def _remove(self, session: Session, picked: str | None, only_changed: bool, top: int) -> Updates:
        if picked is not None:
            session.album.gallery(self.models.get()).remove([picked])
        return self._changed(session, "", only_changed, top)

    @friendly
    def _caption(self, session: Session, typed: str, only_changed: bool, top: int) -> Updates:
        remark = actions.set_captions(self.models.get(), session, typed)
        return self._changed(session, views.report(None, (), [remark]), only_changed, top)

    @friendly
    def _caption_names(self, session: Session, only_changed: bool, top: int) -> Updates:
        remark = actions.caption_by_names(self.models.get(), session)
        return self._changed(session, views.report(None, (), [remark]), only_changed, top)

    @friendly
    def _select(self, session: Session, event: gr.SelectData) -> Updates:
        photos = session.album.photos
        picked = photos[event.index].id if isinstance(event.index, int) and event.index < len(photos) else None
        return {self.pick: picked, self.remove: gr.Button(interactive=picked is not None)}

    # Compare

    @friendly
    def _search(self, session: Session, *values: Any) -> Updates:
        *controls, query, only_changed, top = values
        engine = self.models.get()
        updates = self._adapter(engine, session, *controls)
        actions.compare_words(engine, session, query)
        return updates | self._results(session, only_changed, top)

    @friendly
    def _find(self, session: Session, *values: Any) -> Updates:
        *controls, picked, other, only_changed, top = values
        engine = self.models.get()
        updates = self._adapter(engine, session, *controls)
        actions.compare_photo(engine, session, picked, other)
        return updates | self._results(session, only_changed, top)

    def _results(self, session: Session, only_changed: bool, top: int) -> Updates:
        asked = [[texts.ASKED_BEFORE.format(query=query, task=task)] for query, task in session.history]
        shown = gr.Dataset(samples=asked, visible=bool(asked))
        return {self.results: self._show_again(session, only_changed, top), self.history: shown}

    def _show_again(self, session: Session, only_changed: bool, top: int) -> str:
        if session.comparison is None:
            return views.note(texts.COMPARE_EMPTY)
        photos = {p.id: p for p in session.album.photos}
        return views.comparison(session.comparison, photos, int(top), only_changed)

    @friendly
    def _recall(self, session: Session, index: int) -> tuple[str, str]:
        return session.history[index]

    @friendly
    def _try(
        self,
        session: Session,
        k: float,
        tau: float,
        seed: float,
        strength: float,
        only_changed: bool,
        top: int,
        progress: gr.Progress = gr.Progress(),
    ) -> Updates:
        description, query = EXAMPLES[0]
        engine = self.models.get()
        updates = self._adapter(engine, session, description, k, tau, seed, strength)
        done = actions.add_samples(engine, session, _by_photo(progress))
        actions.compare_words(engine, session, query)
        updates |= self._changed(session, views.report(done.report, done.failed), only_changed, top)
        return updates | {self.description: description, self.query: query}


def _private(group: str, limit: int | None, show_progress: str = "full") -> dict[str, Any]:
    """Options of the page's own events: not part of the API, within a concurrency group."""
    return {
        "api_visibility": "private",
        "concurrency_id": group,
        "concurrency_limit": limit,
        "show_progress": show_progress,
    }


def _by_photo(progress: gr.Progress) -> Callable[[int, int], None]:
    return lambda done, total: progress((done, total), desc=texts.INDEXING, unit="photos")


def _another_seed() -> int:
    return random.randrange(10_000)


def _example(index: int) -> tuple[str, str]:
    return EXAMPLES[index]
