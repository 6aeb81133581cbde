"""The experts: find and look at them; train, import and save own ones."""

from __future__ import annotations

import threading
from typing import Any, Literal

import gradio as gr

from app.actions import own_experts
from app.api import HEAVY, TRAINING
from app.languages import texts
from app.page.steps.context import Controls, Part, Updates
from app.page.steps.step import ON_SIGHT, Step, clicked, dropped, textbox
from app.page.views import experts_html, page_html
from app.visitors.tab import Tab
from core.common.errors import AdapterError, RepositoryError
from core.experts.own import OwnExperts, save_zip
from core.sglora.repository import Expert
from core.training.own_expert import MIN_PHOTOS, TrainingStopped

EXPERT_COLUMNS: list[Literal["str", "number"]] = ["str", "str", "str", "str", "number", "number", "number", "number", "number"]


class Experts(Step):
    def layout(self) -> None:
        self.lead = gr.HTML(page_html.note(self.t("LOADING")), js_on_load=ON_SIGHT)
        gr.HTML(self.t.html("OWN_SECTION", lambda: page_html.section(texts.OWN, texts.OWN_LEAD)))
        self.mine = gr.HTML(page_html.note(self.t("OWN_NONE")), elem_id="own")
        with gr.Row(elem_classes="sg-ask"):
            self.download = gr.Button(self.t("EXPERTS_DOWNLOAD"), min_width=180, elem_id="experts-download")
            self.load = gr.UploadButton(self.t("EXPERTS_LOAD"), file_types=[".zip"], min_width=180, elem_id="experts-load")
            self.pick = gr.Dropdown(
                label=self.t("OWN_REMOVE_PICK"),
                choices=[],
                multiselect=True,
                visible=False,
                min_width=180,
                elem_id="own-pick",
            )
            self.remove = gr.Button(self.t("OWN_REMOVE"), min_width=120, visible=False, elem_id="own-remove")
        self.report, about = gr.HTML(elem_id="own-report"), (self.t("OWN_DESCRIPTION"), self.t("OWN_DESCRIPTION_HINT"))
        with gr.Accordion(self.t("TRAIN"), open=False, elem_id="train-own"):
            first, more = page_html.one_more()
            gr.HTML(page_html.note(self.t("TRAIN_LEAD", least=MIN_PHOTOS, first=first, more=more)))
            with gr.Row():
                self.name = textbox("own-name", self.t("TRAIN_NAME"), self.t("TRAIN_NAME_HINT"), min_width=200)
                self.description = textbox("own-description", *about, 3, min_width=240)
            with gr.Row():
                self.train = gr.Button(self.t("TRAIN_BUTTON"), variant="primary", min_width=140, elem_id="train")
                self.stop = gr.Button(self.t("STOP"), min_width=100, elem_id="stop")
            self.trained = gr.HTML(elem_id="trained")
        with gr.Accordion(self.t("IMPORT"), open=False, elem_id="import-own"):
            gr.HTML(page_html.note(self.t("IMPORT_LEAD")))
            with gr.Row():
                kinds = [".zip", ".json", ".safetensors"]
                self.adapter = dropped("adapter", self.t("IMPORT_FILES"), file_count="multiple", file_types=kinds)
                self.about = textbox("import-description", *about, 3)
            self.imports = gr.Button(self.t("IMPORT_BUTTON"), variant="primary", min_width=140, elem_id="import")
        gr.HTML(self.t.html("EXPERTS_SECTION", lambda: page_html.section(texts.EXPERTS_LABEL, texts.EXPERTS_TABLE_LEAD)))
        self.find = gr.Textbox("", label=self.t("EXPERTS_FIND"), placeholder=self.t("EXPERTS_FIND_HINT"), elem_id="find-expert")
        self.count = gr.HTML(elem_id="experts-found")
        self.table = gr.Dataframe(
            headers=experts_html.headers(),
            label=self.t("EXPERTS_LABEL"),
            show_label=False,
            datatype=EXPERT_COLUMNS,
            interactive=False,
            wrap=True,
            # Without widths, the table measures itself while its tab is hidden, and shows only two columns.
            column_widths=[140, 270, 110, 170, 80, 90, 90, 90, 90],
            max_height=420,
            buttons=[],
            visible=False,  # so that a browser does not load its code before the tab is opened
            elem_id="experts",
        )
        self.details = gr.HTML(page_html.note(self.t("DETAILS_EMPTY")), elem_id="details")

        self.context.shows(Part.EXPERTS, [self.lead, self.mine, self.pick, self.remove], self.show)
        found = [self.find, self.count, self.table, self.details]
        self.context.shows_once_open(self.lead.focus, found, self._table, Part.EXPERTS)

    def wire(self) -> None:
        self.on(self.find.change, self._find, [self.find], [self.table, self.count], trigger_mode="always_last")
        self.on(self.table.select, self._details, (), [self.details])
        self.on(self.stop.click, self._stop)
        self.downloads(self.download, self._write, self.mine)
        boxes, given = [self.name, self.description], [self.adapter, self.about]
        self.on(self.train.click, self._train, boxes, [self.trained], (), self.trained, TRAINING)
        self.on(self.imports.click, self._import, given, [*given, self.report], (), self.mine, HEAVY)
        self.on(self.load.upload, self._load, [self.load], [self.report], (), self.mine, HEAVY)
        self.on(self.remove.click, self._remove, [self.pick], [self.report], (), self.mine, HEAVY)

    def show(self, tab: Tab, _: Controls) -> Updates:
        engine = self.context.engine(tab)
        own_experts = tab.visitor.own_experts(engine)
        mine = [e.name for e in own_experts.entries]
        return {
            self.lead: page_html.note(texts.EXPERTS_LEAD.format(rank=engine.repository.layout.rank)),
            self.mine: experts_html.own_list(own_experts),
            self.pick: gr.Dropdown(choices=mine, value=[], visible=bool(mine)),
            self.remove: gr.Button(visible=bool(mine)),
        }

    def _table(self, tab: Tab, _: Controls) -> Updates:
        experts = _own_first(tab.visitor.own_experts(self.context.engine(tab)))
        return {
            self.find: "",
            self.count: "",
            self.table: gr.Dataframe(experts_html.table(experts), visible=True),
            self.details: page_html.note(texts.DETAILS_EMPTY),
        }

    # All experts

    def _find(self, words: str | None, tab: Tab, _: Controls) -> tuple[dict[str, Any], str]:
        experts = _own_first(tab.visitor.own_experts(self.context.engine(tab)))
        table = experts_html.table(experts, words or "")
        return table, experts_html.count(len(table["data"]), len(experts), words or "")

    def _details(self, tab: Tab, event: gr.SelectData, _: Controls) -> Updates:
        """Show the clicked expert. The browser may have sorted or filtered the rows, so it sends the row."""
        row, experts = event.row_value, self.context.engine(tab).repository.experts
        expert = clicked(experts, lambda expert: expert.name, row[:1] if isinstance(row, list) else None)
        return {self.details: experts_html.details(expert)}

    # Own experts

    def _train(self, name: str, description: str, tab: Tab, _: Controls) -> Updates:
        progress, stop = gr.Progress(), threading.Event()
        tab.training = stop

        def show(step: int, steps: int, left: float) -> None:
            if tab.closed:
                stop.set()
            progress((step, steps), desc=texts.TRAINING.format(left=left), unit=texts.UNIT_STEPS)

        try:
            trained = own_experts.train(self.context.engine(tab), tab, name, description, show, stop)
        except TrainingStopped as stopped:
            return {self.trained: page_html.note(texts.of(stopped))}
        finally:
            tab.training = None
        return {self.trained: experts_html.trained(trained)} | self.context.all_again()

    def _stop(self, tab: Tab, _: Controls) -> Updates:
        """Stop the training, which reports by itself that it stopped."""
        if (training := tab.training) is not None:
            training.set()
        return {}

    def _import(self, paths: list[str] | None, description: str, tab: Tab, _: Controls) -> Updates:
        if not paths:
            raise AdapterError(texts.IMPORT_NOTHING)
        entry = own_experts.import_files(self.context.engine(tab), tab, paths, description)
        return {self.adapter: None, self.about: ""} | self._changed(texts.IMPORTED.format(name=entry.name))

    def _load(self, path: str, tab: Tab, _: Controls) -> Updates:
        count = own_experts.load_own_experts(self.context.engine(tab), tab, path)
        return self._changed(texts.EXPERTS_LOADED.format(n=count))

    def _write(self, tab: Tab, _: Controls) -> str:
        own_experts = tab.visitor.own_experts(self.context.engine(tab))
        return str(tab.visitor.files.write("sg-lora-experts.zip", save_zip(own_experts)))

    def _remove(self, names: list[str] | None, tab: Tab, _: Controls) -> Updates:
        if not names:
            raise RepositoryError(texts.OWN_REMOVE_NOTHING)
        for name in names:
            tab.visitor.change_own_experts(self.context.engine(tab), lambda experts, name=name: experts.remove(name))
        return self._changed(texts.OWN_REMOVED.format(name=", ".join(names)))

    def _changed(self, report: str) -> Updates:
        return {self.report: page_html.report([report])} | self.context.all_again()


def _own_first(own_experts: OwnExperts) -> tuple[Expert, ...]:
    """All experts in the order of the list: the visitor's own, then the shipped ones."""
    return (*(entry.expert for entry in own_experts.entries), *own_experts.shipped.experts)
