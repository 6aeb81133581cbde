"""Another backbone on the page: photos are indexed again, and what others see stays."""

import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from app_process import PATIENCE_SECONDS, visit
from app_visitors import launched
from page_state import add, answered, ask, box, choose, column, draw_again, settles, submit
from playwright.sync_api import Browser, Page, expect
from recalls import ranked
from tiny_models import tiny_backbone

from app.languages import texts
from app.models.engines import DEFAULT, Models, found_repositories
from app.page.steps.switch import COSTS
from app.photos.samples import sample_questions
from core.backbones.base import Backbone
from core.experts.load import NamedBackbone, load_engine
from core.retrieval.gallery import Adapter, Gallery
from core.sglora.engine import SGLora
from core.sglora.request import DEFAULT_WEIGHT, AdapterRequest

SENTENCE, QUERY = "photos of boats", "something red"
SHIPPED = texts.BACKBONE_COSTS.format(label=texts.BACKBONE_SHIPPED.format(name=DEFAULT), **COSTS[DEFAULT])


def alike(hits: Iterable[tuple[int, str, float]]) -> list[tuple[int, str, Any]]:
    """The same photos in the same order. Scores may differ by rounding, because photos were indexed in other batches."""
    return [(rank, label, pytest.approx(score, abs=0.002)) for rank, label, score in hits]


def switch(page: Page, words: str) -> None:
    """Choose other experts on their tab, and go back to the results."""
    page.get_by_role("tab", name=texts.TAB_EXPERTS).click()
    choose(page, "backbone", words)
    page.get_by_role("tab", name=texts.TAB_STUDIO).click()


def test_a_switch_answers_with_the_chosen_experts_and_changes_no_other_page(
    browser: Browser, url: str, photos: list[Path]
) -> None:
    page, other = (visit(browser, url)[0] for _ in range(2))
    repository = next(each for each in found_repositories([]))
    name = texts.BACKBONE_CHOICE.format(name=repository.name, experts=repository.experts)
    # The page opened on the samples: another backbone answers about them, too.
    first = sample_questions()[0].query
    answered(page, first)
    samples = column(page, texts.SG_LORA)
    switch(page, name)
    expect(page.locator("#switched")).to_contain_text(texts.SWITCHED.format(name=repository.name))
    settles(lambda: column(page, texts.SG_LORA) != samples, True)
    answered(page, first)
    switch(page, SHIPPED)
    settles(lambda: column(page, texts.SG_LORA), alike(samples))

    add(page, photos, len(photos))
    ask(page, QUERY, SENTENCE)
    expect(page.locator("#results .sg-hit")).to_have_count(12)
    shipped = column(page, texts.SG_LORA)
    switch(page, name)
    expect(page.locator("#switched")).to_contain_text("6 photos indexed again")
    expect(page.locator("#status")).to_contain_text(f"{repository.experts} experts")
    engine = repository.load()
    gallery, adaptation = Gallery(engine.backbone), engine.adapt(AdapterRequest(SENTENCE))
    gallery.add(photos)
    adapter = Adapter.of(*engine.applied(adaptation.lora, adaptation.strength))
    expected = alike((h.rank, h.label, h.score) for h in ranked(gallery, QUERY, adapter, 10).hits)
    assert shipped != expected
    settles(lambda: column(page, texts.SG_LORA), expected)
    page.click("#more > button")
    command, strength = page.locator("#command textarea"), page.locator("#strength input[type=number]")
    expect(command).to_have_value(re.compile(" --strength 1 --experts experts/embedded-photos"))
    expect(strength).to_have_value("1")

    # The other visitor still has the shipped experts. A reload keeps each visitor's choice, and answers with it.
    ask(other, QUERY, SENTENCE)
    expect(other.locator("#status")).not_to_contain_text(f"{repository.experts} experts")
    other.close()
    page.reload()
    expect(page.locator("#status")).to_contain_text(f"{repository.experts} experts")
    page.get_by_role("tab", name=texts.TAB_EXPERTS).click()
    expect(box(page, "backbone")).to_have_value(name)
    page.get_by_role("tab", name=texts.TAB_STUDIO).click()
    settles(lambda: column(page, texts.SG_LORA), expected)
    expect(page.get_by_test_id("toast-body")).to_have_count(0)

    # Without a sentence, too, the slider shows the usual strength of the chosen experts.
    submit(page, "description", "")
    expect(command).to_be_hidden()
    page.reload()
    expect(page.locator("#status .sg-ready")).to_be_visible()
    page.click("#more > button")
    expect(strength).to_have_value("1")
    switch(page, SHIPPED)
    expect(page.locator("#switched")).to_contain_text("6 photos indexed again")
    expect(strength).to_have_value(f"{DEFAULT_WEIGHT:g}")
    ask(page, QUERY, SENTENCE)
    settles(lambda: column(page, texts.SG_LORA), alike(shipped))


class Held(NamedBackbone):
    """A backbone that loads once ``go`` is set."""

    go: ClassVar[threading.Event] = threading.Event()

    def load(self, backbone: Backbone | None = None) -> SGLora:
        assert self.go.wait(PATIENCE_SECONDS)
        return load_engine(tiny_backbone(adapt="texts"))


def test_a_page_that_is_drawn_again_keeps_the_choice_that_still_loads(browser: Browser, engine: SGLora, tmp_path: Path) -> None:
    label = texts.BACKBONE_NO_EXPERTS.format(name="held")
    with launched(engine, tmp_path, models=Models(lambda: engine, [Held({"spec": "held"})])) as app:
        page, errors = visit(browser, app.url)
        page.get_by_role("tab", name=texts.TAB_EXPERTS).click()
        choose(page, "backbone", label)
        expect(page.locator("#switched")).to_contain_text(texts.BACKBONE_LOADING.format(name="held"))
        (tab,) = app.visitors._tabs.values()
        draw_again(page, tab)
        expect(box(page, "backbone")).to_have_value(label)
        Held.go.set()
        expect(page.locator("#switched")).to_contain_text(texts.SWITCHED.format(name="held"))
        expect(box(page, "backbone")).to_have_value(label)
        page.close()
    assert errors == []
