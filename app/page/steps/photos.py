"""The visitor's photos and their captions."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import gradio as gr

from app.actions import adding
from app.actions.adding import Added
from app.answers.question import OWN
from app.calls import HEAVY
from app.languages import texts
from app.page.step import Step, dropped, small
from app.page.view import Event, Now, Updates
from app.page.views import page_html
from app.photos.samples import elsewhere
from app.visitors.visitor import PHOTO_LIMIT
from core.common.errors import GalleryError, StudioError
from core.data.captions import captions_from_names, parse_typed

LOOK_SECONDS = 0.7


class Photos(Step):
    def layout(self) -> None:
        with gr.Row(equal_height=True, elem_classes="sg-photo-line"):
            self.upload = dropped("upload", self.t("UPLOAD_LABEL"), file_count="multiple", scale=0, min_width=260)
            self.fill = self.part("fill", page_html.note(self.t("GALLERY_EMPTY")))
            self.stop = small(self.t("STOP"), "stop-adding", 90, scale=0)
            self.take_back = small("", "take-back", 150, visible=False, scale=0)
            self.clear = small(self.t("CLEAR"), "clear", scale=0)
        self.sight(self.stop, lambda now: now.visitor.adding and not now.visitor.stopped)
        self.sight(self.clear, lambda now: now.visitor.photos and not now.visitor.adding)
        self.report = self.part("report")

    def manage(self) -> None:
        with gr.Accordion(self.t("CAPTIONS"), open=False, elem_id="captions") as self.folded:
            with gr.Column(elem_classes="sg-gallery"):
                self.gallery = gr.Gallery(
                    label=self.t("GALLERY_LABEL"),
                    columns=8,
                    height=300,
                    object_fit="cover",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    visible=False,  # so that a browser does not load its code before it is opened
                    elem_id="gallery",
                )
            with gr.Row():
                self.remove = small(self.t("REMOVE"), "remove", 140, interactive=False)
            captions: dict[str, Any] = {"label": self.t("CAPTIONS_LABEL"), "placeholder": self.t("CAPTIONS_PLACEHOLDER")}
            self.typed = gr.Textbox(lines=3, max_lines=12, elem_id="typed", **captions)
            with gr.Row():
                self.use_typed = small(self.t("CAPTIONS_SAVE"), "use-typed", 140)
                self.use_names = small(self.t("CAPTIONS_NAMES"), "use-names", 140)
            self.reports("captioned")
            minutes = f"{self.context.visitors.limits.keep_seconds / 60:g}"
            gr.HTML(page_html.note(self.t("GALLERY_LEAD", limit=PHOTO_LIMIT, minutes=minutes)))
        # The timer shows photos that are still being added, by this tab, by another, or by this one before a reload.
        self.timer = gr.Timer(LOOK_SECONDS, active=False)
        self.shows(self.timer, lambda now: gr.Timer(active=now.visitor.adding), lambda now: now.visitor.adding, at_once=True)
        self.shows(self.fill, self._fill, self._filled, at_once=True)
        self.shows(self.take_back, self._back, lambda now: (now.visitor.removed, now.visitor.adding), at_once=True)
        self.shows(self.report, self._report, at_once=True)
        self.shows(self.gallery, self._shown, lambda now: now.visitor.photos, when="captions")
        self.shows(self.remove, self._removable, lambda now: (now.visitor.photos, now.picked))

    def wire(self) -> None:
        picked = self.context.picked
        # This comes first, since the browser sends one event after the other.
        self.on(self.upload.upload, self._begin)
        # The cross in the upload box stops, too.
        self.on([self.stop.click, self.upload.clear], self._stop)
        changes: dict[str, Any] = {"group": HEAVY, "waits": True}
        sets = [self.upload, "where", "query", "description", "random"]
        self.on(self.upload.upload, self._add, [self.upload], sets, **changes)
        self.on(self.clear.click, self._clear, **changes)
        self.on(self.take_back.click, self._take_back, **changes)
        self.on(self.remove.click, self._remove, [picked], **changes)
        self.on(self.use_typed.click, self._caption, [self.typed], **changes)
        self.on(self.use_names.click, self._caption_by_names, **changes)
        self.on(self.timer.tick)
        self.opens(self.folded.expand, "captions")
        self.on(self.gallery.select, self._select, sets=[picked])
        self.on(picked.change, self._picked, [picked])

    # What a visitor does

    def _begin(self, event: Event) -> None:
        event.visitor.stopped = False
        event.visitor.await_photos()

    def _stop(self, event: Event) -> None:
        event.visitor.stopped = True

    def _add(self, event: Event, paths: list[str] | None) -> Updates:
        visitor, before = event.visitor, event.visitor.photos
        try:
            done = adding.add_uploads(event.engine, event.tab, paths or [])
        except GalleryError as error:  # they are being indexed again, or added by another tab; the box is emptied
            done = Added(None, remarks=(error.message,))
        finally:
            visitor.await_photos(False)
        self.context.visitors.make_room_on_disk(visitor)
        event.tab.reports["report"] = page_html.report(done.remarks, done.report, done.failed)
        return {self.upload: None, **(self._own(event) if visitor.photos != before else {})}

    def _own(self, event: Event) -> dict[str, Any]:
        """New photos are searched instead of the samples. A question that waited for photos is asked."""
        tab, controls = event.tab, event.tab.drawn.controls
        values = {"where": OWN, **elsewhere(OWN, controls.description, controls.query)} if controls.scope.samples else {}
        controls = controls._replace(**values)
        with tab.turn, suppress(StudioError):  # an invalid sentence does not keep photos from being shown
            if values or (tab.asked.question is None and controls.words):
                tab.asked = controls.asked(controls.words)
        return values

    def _clear(self, event: Event) -> None:
        event.visitor.remove([photo.id for photo in event.visitor.photos])

    def _take_back(self, event: Event) -> None:
        event.visitor.take_back()

    def _remove(self, event: Event, picked: str | None) -> None:
        event.visitor.remove([picked] if picked is not None else [])

    def _caption(self, event: Event, typed: str) -> None:
        self._captioned(event, parse_typed(typed or ""))

    def _caption_by_names(self, event: Event) -> None:
        self._captioned(event, captions_from_names([photo.name for photo in event.visitor.photos]))

    def _captioned(self, event: Event, captions: Mapping[str, Sequence[str]]) -> None:
        event.tab.reports["captioned"] = page_html.report([adding.set_captions(event.engine, event.tab, captions)])

    def _select(self, event: Event) -> Updates:
        index, photos = event.data.get("index"), event.visitor.photos
        if type(index) is not int or not 0 <= index < len(photos):
            raise StudioError(texts.NOT_THERE)
        self._picked(event, photos[index].id)
        return {self.context.picked: event.picked}

    def _picked(self, event: Event, photo: str | None) -> None:
        event.tab.picked = event.visitor.photos, photo or ""

    # What the page shows

    def _report(self, now: Now) -> str:
        """The report of an upload disappears with its photos."""
        lost = not now.visitor.photos and not now.visitor.adding and now.visitor.removed
        return "" if lost else now.tab.reports.get("report", "")

    def _filled(self, now: Now) -> object:
        visitor = now.visitor
        return visitor.photos, visitor.progress, visitor.adding, visitor.limit, now.controls.where

    def _fill(self, now: Now) -> str:
        library, scope = now.library, now.controls.scope
        now.visitor.delete_unused_files()
        found = 0 if library is None else len(library)
        return page_html.gallery_line(now.visitor, len(now.photos) if scope.samples else 0, scope.library, found)

    def _back(self, now: Now) -> gr.Button:
        removed = len(now.visitor.removed)
        words = (texts.TAKE_BACK_ONE if removed == 1 else texts.TAKE_BACK).format(n=removed)
        return gr.Button(words, visible=removed > 0 and not now.visitor.adding)

    def _shown(self, now: Now) -> gr.Gallery:
        """Draw the photos. What is chosen stays chosen if they are drawn again."""
        options: dict[str, Any] = {} if now.picked else {"selected_index": None}
        return gr.Gallery(value=now.visitor.thumbnails(), visible=True, **options)

    def _removable(self, now: Now) -> gr.Button:
        return gr.Button(interactive=now.picked in {photo.id for photo in now.visitor.photos})
