"""The visitor's photos and their captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import gradio as gr

from app.actions import answering
from app.actions.answering import Added
from app.api import HEAVY
from app.languages import texts
from app.page.steps.context import Controls, Part, Updates
from app.page.steps.step import Step, chosen, dropped
from app.page.views import page_html, results_html
from app.visitors.tab import Tab
from app.visitors.visitor import PHOTO_LIMIT
from core.common.errors import GalleryError
from core.data.captions import captions_from_names, parse_typed

LOOK_SECONDS = 0.7


class Photos(Step):
    def layout(self) -> None:
        with gr.Row(equal_height=True, elem_classes="sg-photo-line"):
            self.upload = dropped("upload", self.t("UPLOAD_LABEL"), file_count="multiple", scale=0, min_width=260)
            self.fill = gr.HTML(page_html.note(self.t("GALLERY_EMPTY")), elem_id="fill")
            self.stop = gr.Button(self.t("STOP"), size="sm", scale=0, min_width=90, visible=False, elem_id="stop-adding")
            self.take_back = gr.Button("", size="sm", scale=0, min_width=150, visible=False, elem_id="take-back")
            self.clear = gr.Button(self.t("CLEAR"), size="sm", scale=0, min_width=100, visible=False, elem_id="clear")
        self.report = gr.HTML(elem_id="report")

    def manage(self) -> None:
        """Lay out the photos themselves and their captions."""
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
                self.remove = gr.Button(self.t("REMOVE"), size="sm", min_width=140, interactive=False, elem_id="remove")
            self.typed = gr.Textbox(
                label=self.t("CAPTIONS_LABEL"),
                placeholder=self.t("CAPTIONS_PLACEHOLDER"),
                lines=3,
                max_lines=12,
                elem_id="typed",
            )
            with gr.Row():
                self.use_typed = gr.Button(self.t("CAPTIONS_SAVE"), size="sm", min_width=140, elem_id="use-typed")
                self.use_names = gr.Button(self.t("CAPTIONS_NAMES"), size="sm", min_width=140, elem_id="use-names")
            minutes = f"{self.context.visitors.limits.keep_seconds / 60:g}"
            gr.HTML(page_html.note(self.t("GALLERY_LEAD", limit=PHOTO_LIMIT, minutes=minutes)))
        self.timer = gr.Timer(LOOK_SECONDS, active=False)
        self.line = [self.fill, self.stop, self.take_back, self.clear, self.timer]
        self.context.shows(Part.PHOTOS, [*self.line, self.remove, self.report], self.show)
        self.context.shows_once_open(self.folded.expand, [self.gallery], self._thumbnails, Part.PHOTOS)

    def wire(self) -> None:
        picked = self.context.picked
        # This comes first, since the browser sends one event after the other.
        self.on(self.upload.upload, self._begin, (), self.line)
        # The cross in the upload box stops, too.
        self.on([self.stop.click, self.upload.clear], self._stop, (), [self.stop])
        self.on(self.upload.upload, self._add, [self.upload], [self.upload, self.report], group=HEAVY)
        for event, handler, first in (
            (self.clear.click, self._clear, []),
            (self.take_back.click, self._take_back, []),
            (self.remove.click, self._remove, [picked]),
            (self.use_typed.click, self._caption, [self.typed]),
            (self.use_names.click, self._caption_by_names, []),
        ):
            self.on(event, handler, first, [self.report], group=HEAVY)
        # The timer shows photos that are still being added, by this tab, by another, or by this one before a reload.
        self.on(self.timer.tick, self._look, (), [*self.line, self.context.answer])
        self.on(self.gallery.select, self._select, (), [picked])
        self.on(picked.change, self._picked, [picked], [self.remove])

    def show(self, tab: Tab, controls: Controls) -> Updates:
        gone = not tab.visitor.photos and tab.listed != ()  # or a tab that the server forgot
        tab.listed = tab.visitor.photos
        tab.visitor.delete_unused_files()
        # The timer stops itself: on a busy machine, progress from before the end may arrive after it.
        timer = gr.Timer(active=True) if tab.visitor.adding else gr.skip()
        report = {self.report: ""} if gone else {}  # the report of an upload disappears with its photos
        return self._line(tab, controls) | report | {self.remove: gr.Button(interactive=False), self.timer: timer}

    def _line(self, tab: Tab, controls: Controls) -> Updates:
        """Show how many photos there are, or the progress of adding, and the buttons beside it."""
        visitor, removed, scope = tab.visitor, len(tab.visitor.removed), controls.scope
        (photos, _), library = self.context.photos(tab, controls), self.context.library(tab, controls)
        found = 0 if library is None else len(library)
        back = (texts.TAKE_BACK_ONE if removed == 1 else texts.TAKE_BACK).format(n=removed)
        return {
            self.fill: page_html.gallery_line(visitor, len(photos) if scope.samples else 0, scope.library, found),
            self.clear: gr.Button(visible=bool(visitor.photos) and not visitor.adding),
            self.take_back: gr.Button(back, visible=removed > 0 and not visitor.adding),
            self.stop: gr.Button(visible=visitor.adding and not visitor.stopped),
        }

    def _thumbnails(self, tab: Tab, _: Controls) -> Updates:
        return {self.gallery: gr.Gallery(value=tab.visitor.thumbnails(), selected_index=None, visible=True)}

    def _look(self, tab: Tab, controls: Controls) -> Updates:
        """Show the progress of photos that are being added and the first ones, and all of them in the end."""
        visitor, line = tab.visitor, self._line(tab, controls)
        if not visitor.adding:  # the line comes together with all that new photos change
            return {self.timer: gr.Timer(active=False)} | (line if tab.listed is visitor.photos else self.context.all_again())
        if tab.comparison is not None:
            return line
        return line | {self.context.answer: results_html.waiting(visitor.photos, visitor.files, adding=True)}

    def _begin(self, tab: Tab, controls: Controls) -> Updates:
        tab.visitor.stopped = False
        tab.visitor.await_photos()
        return self._line(tab, controls) | {self.timer: gr.Timer(active=True)}

    def _stop(self, tab: Tab, _: Controls) -> Updates:
        tab.visitor.stopped = True
        return {self.stop: gr.Button(visible=False)}

    def _add(self, paths: list[str] | None, tab: Tab, _: Controls) -> Updates:
        visitor = tab.visitor
        try:
            done = answering.add_uploads(self.context.engine(tab), tab, paths or [], lambda: visitor.deserted)
        except GalleryError as error:  # they are being indexed again, or added by another tab; the box is emptied
            done = Added(None, remarks=(error.message,))
        finally:
            visitor.await_photos(False)
        self.context.visitors.make_room_on_disk(visitor)
        return {self.upload: None} | self._changed(page_html.report(done.remarks, done.report, done.failed))

    def _changed(self, report: str = "") -> Updates:
        return {self.report: report} | self.context.all_again()

    def _clear(self, tab: Tab, _: Controls) -> Updates:
        tab.visitor.remove([photo.id for photo in tab.visitor.photos])
        return self._changed()

    def _take_back(self, tab: Tab, _: Controls) -> Updates:
        tab.visitor.take_back()
        return self._changed()

    def _remove(self, picked: str | None, tab: Tab, _: Controls) -> Updates:
        tab.visitor.remove([picked] if picked is not None else [])
        return self._changed()

    def _caption(self, typed: str, tab: Tab, _: Controls) -> Updates:
        return self._captioned(tab, parse_typed(typed or ""))

    def _caption_by_names(self, tab: Tab, _: Controls) -> Updates:
        return self._captioned(tab, captions_from_names([photo.name for photo in tab.visitor.photos]))

    def _captioned(self, tab: Tab, captions: Mapping[str, Sequence[str]]) -> Updates:
        return self._changed(page_html.report([answering.set_captions(self.context.engine(tab), tab, captions)]))

    def _select(self, tab: Tab, event: gr.SelectData, _: Controls) -> Updates:
        return {self.context.picked: chosen(tab.visitor.photos, event.index).id}

    def _picked(self, photo: str | None, tab: Tab, _: Controls) -> Updates:
        return {self.remove: gr.Button(interactive=any(own.id == photo for own in tab.visitor.photos))}
