"""Names that the visitor teaches from photos. Every question uses them at once."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import gradio as gr

from app.actions import teaching
from app.actions.line import answer_photo, line_of
from app.answers.commands import NAMES
from app.calls import HEAVY
from app.languages import texts
from app.languages.texts import Text
from app.page.step import Step, clicked, small, textbox
from app.page.view import Event, Now, Same, Updates
from app.page.views import page_html, results_html
from core.names.file import save_names
from core.names.teach import left_out

# The photos chosen in the strip replace its HTML as an input.
CHOSEN = "(kept, name, _, ...others) => [kept, name, JSON.stringify([...(window.sgChosen ?? new Map()).keys()]), ...others]"
TAUGHT = "() => { window.sgChosen?.clear(); document.dispatchEvent(new Event('sg-chosen')); }"


class Names(Step):
    def layout(self) -> None:
        """Lay out the taught names, always visible. ``panel`` teaches new ones."""
        self.taught_chips = self.chips("names-chips", self.t("NAMES_TAUGHT"))

    def panel(self) -> None:
        with gr.Accordion(self.t("NAMES_TITLE"), open=False, elem_id="names") as self.folded:
            gr.HTML(page_html.note(self.t("NAMES_LEAD")))
            self.strip = self.part("names-strip", "", "strip")
            with gr.Row(equal_height=False, elem_classes="sg-ask"):
                self.name = textbox("names-name", self.t("NAMES_NAME"), self.t("NAMES_PLACEHOLDER"), scale=2, min_width=120)
                self.button = gr.Button(self.t("NAMES_TEACH"), variant="primary", scale=1, min_width=90, elem_id="names-teach")
            self.taught = gr.Radio(label=self.t("NAMES_TAUGHT"), choices=[], visible=False, elem_id="names-taught")
            with gr.Row():
                keys = ("NAMES_RENAME", "names-rename"), ("NAMES_REMOVE", "names-remove"), ("NAMES_SAVE", "names-save")
                buttons = [small(self.t(key), elem_id) for key, elem_id in keys]
                self.rename, self.remove, self.save = (self.sight(each, lambda now: now.visitor.taught) for each in buttons)
                self.load = gr.UploadButton(
                    self.t("NAMES_LOAD"), file_types=[".safetensors"], size="sm", min_width=100, elem_id="names-load"
                )
            self.report = self.reports("names-report")
        self.kept = self.context.kept_names = gr.BrowserState(None, storage_key="sg-lora-studio-names", secret="sg-lora-studio")
        self.view([self.kept], self._names, self._draw_kept)
        self.view([self.taught_chips, self.taught], lambda now: (now.visitor.taught, now.tab.name), self._draw)
        self.shows(self.strip, self._photos, self._depends, when="names")

    def line(self) -> None:
        """Lay out “Is this Shrek?”, above the results."""
        self.asked = self.part("line", "", "line")
        self.shows(self.asked, self._line)

    def from_marks(self) -> None:
        """Lay out the button that learns from marks, beside their count."""
        button = small(self.t("NAMES_MARKS"), "names-marks", 190, scale=0)
        self.marks = self.sight(button, lambda now: now.tab.marks_of_words)

    def wire(self) -> None:
        def changes(event: Any, handler: Callable[..., Updates | None], *first: Any, **options: Any) -> Any:
            return self.on(event, handler, first, [self.name, "query"], self.report, HEAVY, hears=True, **options)

        taught = changes([self.button.click, self.name.submit], self._teach, self.name, self.strip, js=CHOSEN)
        learned = changes(self.marks.click, self._from_marks, self.name)
        for each in (taught, learned):
            each.success(None, js=TAUGHT)
        changes(self.rename.click, self._rename, self.taught, self.name)
        changes(self.remove.click, self._remove, self.taught)
        changes(self.load.upload, self._load, self.load)
        self.on(self.asked.answered, self._answered, group=HEAVY, trigger_mode="multiple")
        self.on(self.taught.input, self._select, [self.taught], [self.name])
        self.downloads(self.save.click, self._save, self.report)
        self.opens(self.folded.expand, "names")
        self.asks(self.taught_chips.select, self._ask, sets=["query"], trigger_mode="multiple")

    def _ask(self, event: Event) -> Updates:
        name, _ = clicked(event.visitor.taught, page_html.taught_name, event.data.get("value"))
        return self.answer(event, query=name)

    def _select(self, event: Event, name: str | None) -> Updates:
        """Select a name, to rename it or to give it more photos."""
        event.tab.name = name or ""
        return {self.name: event.tab.name}

    def _teach(self, event: Event, name: str, chosen: str | None) -> Updates:
        photos: list[str] = []
        with suppress(ValueError, TypeError):  # an API client may send anything
            photos = [key for key in json.loads(chosen or "[]") if isinstance(key, str)]
        teaching.from_photos(event.engine, event.tab, name or "", photos)
        return self._changed(event, left_out(event.tab.name, len(photos)))

    def _from_marks(self, event: Event, name: str) -> Updates:
        ticked = len(event.tab.ticked)
        teaching.from_marks(event.engine, event.tab, name or "")
        return self._changed(event, left_out(event.tab.name, ticked))

    def _answered(self, event: Event) -> None:
        answer_photo(event.engine, event.tab, event.data.get("key"), event.data.get("value") == "up")

    def _line(self, now: Now) -> str:
        return results_html.line(now.tab.comparison, line_of(now.engine, now.tab))

    def _rename(self, event: Event, old: str | None, new: str) -> Updates:
        tab, words = event.tab, event.tab.asked.words
        teaching.rename(event.engine, tab, old or "", new or "")
        return self._changed(event) | ({} if tab.asked.words == words else {"query": tab.asked.words})

    def _remove(self, event: Event, name: str | None) -> Updates:
        event.visitor.change_names(event.engine, lambda names: names.remove(name or ""))
        return self._changed(event)

    def _load(self, event: Event, path: str) -> None:
        n, failed = teaching.from_file(event.engine, event.tab, path)
        self._changed(event, [texts.NAMES_LOADED.format(n=n), *failed])

    def _save(self, event: Event) -> str:
        return str(event.visitor.files.write(NAMES, save_names(event.visitor.names(event.engine))))

    def _changed(self, event: Event, remarks: Sequence[Text] = ()) -> Updates:
        event.tab.reports["names-report"] = page_html.report(remarks)
        return {self.name: ""}

    def _names(self, now: Now) -> object:
        """The names; None before the browser has sent those that it keeps."""
        return None if now.visitor.kept is None else now.visitor.names(now.engine).entries

    def _draw(self, now: Now) -> Updates:
        taught = now.visitor.taught
        choices, names = [(page_html.taught_name(each), each[0]) for each in taught], [name for name, _ in taught]
        selected = now.tab.name if now.tab.name in names else next(reversed(names), None)
        return {
            self.taught_chips: gr.Dataset(samples=[[label] for label, _ in choices], visible=bool(choices)),
            self.taught: gr.Radio(choices=choices, value=selected, visible=bool(choices)),
        }

    def _draw_kept(self, now: Now) -> Updates:
        """Send the names to the browser's storage. Shows a notice about damaged or too large ones."""
        visitor = now.visitor
        if visitor.kept is None:
            return {}
        names = visitor.names(now.engine)
        if visitor.names_lost:
            visitor.names_lost = False
            gr.Warning(texts.NAMES_NOT_BACK)
        visitor.kept = visitor.kept.with_names(names)
        if names.entries and names.backbone.fingerprint not in visitor.kept.files:
            gr.Warning(texts.NAMES_NOT_KEPT)
        return {self.kept: visitor.kept.files}

    def _depends(self, now: Now) -> object:
        return Same(now.tab.comparison), now.photos[: results_html.STRIP]

    def _photos(self, now: Now) -> str:
        """Photos to choose from: the results, or else the photos that are searched."""
        return results_html.strip(now.tab.comparison, now.photos, now.files)
