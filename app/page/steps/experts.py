"""The experts: find and look at them; train, import and save own ones."""

import threading
from functools import reduce
from typing import Any

import gradio as gr

from app.actions import own_experts
from app.calls import HEAVY, TRAINING
from app.languages import texts
from app.page.step import Step, clicked, dropped, textbox
from app.page.view import Event, Now, Same, Updates
from app.page.views import experts_html, page_html
from core.common.errors import AdapterError, RepositoryError
from core.experts.own import OwnExperts, save_zip
from core.training.own_expert import MIN_PHOTOS, TrainingStopped


class Experts(Step):
    def layout(self) -> None:
        self.lead = self.part("experts-lead", page_html.note(self.t("LOADING")))
        gr.HTML(self.t.html("OWN_SECTION", lambda: page_html.section(texts.OWN, texts.OWN_LEAD)))
        self.mine = self.part("own", page_html.note(self.t("OWN_NONE")))
        with gr.Row(elem_classes="sg-ask"):
            download = gr.Button(self.t("EXPERTS_DOWNLOAD"), min_width=180, elem_id="experts-download")
            self.download = self.sight(download, lambda now: now.visitor.own_names)
            self.load = gr.UploadButton(self.t("EXPERTS_LOAD"), file_types=[".zip"], min_width=180, elem_id="experts-load")
            several: dict[str, Any] = {"choices": [], "multiselect": True, "visible": False, "min_width": 180}
            self.pick = gr.Dropdown(label=self.t("OWN_REMOVE_PICK"), elem_id="own-pick", **several)
            self.remove = gr.Button(self.t("OWN_REMOVE"), min_width=120, elem_id="own-remove")
            self.sight(self.remove, lambda now: now.visitor.own_names)
        self.report, about = self.reports("own-report"), (self.t("OWN_DESCRIPTION"), self.t("OWN_DESCRIPTION_HINT"))
        with gr.Accordion(self.t("TRAIN"), open=False, elem_id="train-own"):
            first, more = page_html.one_more()
            gr.HTML(page_html.note(self.t("TRAIN_LEAD", least=MIN_PHOTOS, first=first, more=more)))
            with gr.Row():
                self.name = textbox("own-name", self.t("TRAIN_NAME"), self.t("TRAIN_NAME_HINT"), min_width=200)
                self.description = textbox("own-description", *about, 3, min_width=240)
            with gr.Row():
                self.train = gr.Button(self.t("TRAIN_BUTTON"), variant="primary", min_width=140, elem_id="train")
                self.stop = gr.Button(self.t("STOP"), min_width=100, elem_id="stop")
            self.trained = self.reports("trained")
        with gr.Accordion(self.t("IMPORT"), open=False, elem_id="import-own"):
            gr.HTML(page_html.note(self.t("IMPORT_LEAD")))
            with gr.Row():
                kinds = [".zip", ".json", ".safetensors"]
                self.adapter = dropped("adapter", self.t("IMPORT_FILES"), file_count="multiple", file_types=kinds)
                self.about = textbox("import-description", *about, 3)
            self.imports = gr.Button(self.t("IMPORT_BUTTON"), variant="primary", min_width=140, elem_id="import")
        gr.HTML(self.t.html("EXPERTS_SECTION", lambda: page_html.section(texts.EXPERTS_LABEL, texts.EXPERTS_TABLE_LEAD)))
        self.find = gr.Textbox("", label=self.t("EXPERTS_FIND"), placeholder=self.t("EXPERTS_FIND_HINT"), elem_id="find-expert")
        self.count = self.part("experts-found")
        self.table = gr.Dataframe(
            headers=experts_html.headers(),
            label=self.t("EXPERTS_LABEL"),
            show_label=False,
            datatype=["str", "str", "str", "str", "number", "number", "number", "number", "number"],
            interactive=False,
            wrap=True,
            # Without widths, the table measures itself while its tab is hidden, and shows only two columns.
            column_widths=[140, 270, 110, 170, 80, 90, 90, 90, 90],
            max_height=420,
            buttons=[],
            visible=False,  # so that a browser does not load its code before the tab is opened
            elem_id="experts",
        )
        self.details = self.reports("details", lambda: page_html.note(texts.DETAILS_EMPTY))
        self.view([self.lead, self.mine, self.pick], lambda now: Same(now.engine.repository), self._draw, when="experts")
        found = [self.table, self.count]
        self.view(found, lambda now: (Same(now.engine.repository), now.tab.found), self._draw_found, when="experts")

    def wire(self) -> None:
        self.on(self.find.change, self._find, [self.find], trigger_mode="always_last")
        self.on(self.table.select, self._details)
        self.on(self.stop.click, self._stop)
        self.downloads(self.download.click, self._write, self.mine)
        boxes, given = [self.name, self.description], [self.adapter, self.about]
        self.on(self.train.click, self._train, boxes, (), self.trained, TRAINING, waits=True)
        self.on(self.imports.click, self._import, given, given, self.mine, HEAVY)
        self.on(self.load.upload, self._load, [self.load], (), self.mine, HEAVY)
        self.on(self.remove.click, self._remove, [self.pick], (), self.mine, HEAVY)

    def _draw(self, now: Now) -> Updates:
        engine = now.engine
        own, names = now.visitor.own_experts(engine), list(now.visitor.own_names)
        return {
            self.lead: page_html.note(texts.EXPERTS_LEAD.format(rank=engine.repository.layout.rank)),
            self.mine: experts_html.own_list(own),
            self.pick: gr.Dropdown(choices=names, value=[], visible=bool(names)),
        }

    # All experts

    def _draw_found(self, now: Now) -> Updates:
        own = now.visitor.own_experts(now.engine)
        experts = [*(entry.expert for entry in own.entries), *own.shipped.experts]
        table = experts_html.table(experts, now.tab.found)
        count = experts_html.count(len(table["data"]), len(experts), now.tab.found)
        return {self.table: gr.Dataframe(table, visible=True), self.count: count}

    def _find(self, event: Event, words: str | None) -> None:
        event.tab.found = words or ""

    def _details(self, event: Event) -> None:
        """Show the clicked expert. The browser may have sorted or filtered the rows, so it sends the row."""
        row, experts = event.data.get("row_value"), event.engine.repository.experts
        expert = clicked(experts, lambda expert: expert.name, row[:1] if isinstance(row, list) else None)
        event.tab.reports["details"] = experts_html.details(expert)

    # Own experts

    def _train(self, event: Event, name: str, description: str) -> None:
        tab, progress, stop = event.tab, gr.Progress(), threading.Event()
        tab.training = stop

        def show(step: int, steps: int, left: float) -> None:
            if tab.closed:
                stop.set()
            progress((step, steps), desc=texts.TRAINING.format(left=left), unit=texts.UNIT_STEPS)

        try:
            trained = own_experts.train(event.engine, tab, name, description, show, stop)
            tab.reports["trained"] = experts_html.trained(trained)
        except TrainingStopped as stopped:
            tab.reports["trained"] = page_html.note(texts.of(stopped))
        finally:
            tab.training = None

    def _stop(self, event: Event) -> None:
        """Stop the training, which reports by itself that it stopped."""
        if (training := event.tab.training) is not None:
            training.set()

    def _import(self, event: Event, paths: list[str] | None, description: str) -> Updates:
        if not paths:
            raise AdapterError(texts.IMPORT_NOTHING)
        entry = own_experts.import_files(event.engine, event.tab, paths, description)
        _report(event, texts.IMPORTED.format(name=entry.name))
        return {self.adapter: None, self.about: ""}

    def _load(self, event: Event, path: str) -> None:
        count = own_experts.load_own_experts(event.engine, event.tab, path)
        _report(event, texts.EXPERTS_LOADED.format(n=count))

    def _write(self, event: Event) -> str:
        content = save_zip(event.visitor.own_experts(event.engine))
        return str(event.visitor.files.write("sg-lora-experts.zip", content))

    def _remove(self, event: Event, names: list[str] | None) -> None:
        if not names:
            raise RepositoryError(texts.OWN_REMOVE_NOTHING)
        event.visitor.change_own_experts(event.engine, lambda experts: reduce(OwnExperts.remove, names, experts))
        _report(event, texts.OWN_REMOVED.format(name=", ".join(names)))


def _report(event: Event, words: str) -> None:
    event.tab.reports["own-report"] = page_html.report([words])
