"""Weights by hand on the page: a click, a drag, the keyboard, one more expert, a link and Back, each compared with core."""

import threading
from pathlib import Path

import pytest
from app_process import visit
from app_visitors import launched
from page_state import answered, asked_of, box, labels, settles, submit
from playwright.sync_api import Browser, Locator, Page, expect
from recalls import labels_of

from app.actions import answering
from app.languages import texts
from app.photos.samples import sample_questions
from core.retrieval.gallery import Gallery
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest, read_weights

FIRST = sample_questions()[0]


def bars(page: Page) -> Locator:
    return page.locator("#routing [data-expert]")


def shown(page: Page) -> dict[str, int]:
    """The percents of the bars, by expert."""
    return dict(
        bars(page).evaluate_all("all => all.map(bar => [bar.dataset.expert, parseInt(bar.querySelector('b').textContent)])")
    )


def in_address(page: Page) -> dict[str, float]:
    return read_weights(asked_of(page).get("weights", "").splitlines())


def drag(page: Page, bar: Locator, start: float, end: float) -> None:
    place = bar.bounding_box()
    assert place is not None
    x, width, y = place["x"], place["width"], place["y"] + place["height"] / 2
    page.mouse.move(x + start * width, y)
    page.mouse.down()
    page.mouse.move(x + end * width, y, steps=25)
    page.mouse.up()


def test_each_control_changes_the_weights_and_the_results_are_those_of_core(
    page: Page, browser: Browser, url: str, engine: SGLora, opening: Gallery
) -> None:
    routing = engine.route(FIRST.description)
    expect(page.locator("#results .sg-hit").first).to_be_visible()
    names = [engine.repository.experts[i].name for i in routing.chosen]
    routed = dict(zip(names, routing.weights.tolist(), strict=True))
    settles(lambda: list(shown(page)), names)

    def found(weights: dict[str, float]) -> list[str]:
        return labels_of(opening, FIRST.query, engine.adapt(AdapterRequest(FIRST.description, weights=weights)))

    def changed(weights: dict[str, float], tolerance: float) -> None:
        """Wait until the page shows the answer with about these weights."""
        whole = {name: round(100 * weight) for name, weight in weights.items()}
        settles(lambda: all(abs(shown(page).get(name, -9) - p) <= 100 * tolerance for name, p in whole.items()), True)
        settles(lambda: in_address(page).keys() == {name for name, weight in weights.items() if weight}, True)
        settles(lambda: all(abs(weight - weights[name]) <= tolerance for name, weight in in_address(page).items()), True)
        settles(lambda: labels(page, texts.SG_LORA)[:12] == found(in_address(page)), True)

    # A click leaves the first expert out; the others share what it had. A second click brings it back.
    bars(page).first.click()
    rest = sum(weight for name, weight in routed.items() if name != names[0])
    changed({names[0]: 0, **{name: weight / rest for name, weight in routed.items() if name != names[0]}}, 0.01)
    expect(page.locator("#routing .sg-left-out input")).to_be_focused()
    page.locator("#routing .sg-left-out").click()
    changed({names[0]: 0.25, **{name: 0.75 * weight / rest for name, weight in routed.items() if name != names[0]}}, 0.01)

    # A drag, past results that are drawn meanwhile; only its last place counts.
    before = in_address(page)
    drag(page, page.locator(f"#routing [data-expert='{names[1]}']"), 0.1, 0.6)
    others = sum(before.values()) - before[names[1]]
    changed({name: 0.6 if name == names[1] else 0.4 * weight / others for name, weight in before.items()}, 0.015)
    assert page.evaluate("history.length") < 10

    # The keyboard goes on at its expert.
    slider = page.get_by_role("slider", name=page.locator(f"#routing [data-expert='{names[1]}'] span").inner_text())
    value = int(slider.input_value())
    for step in (1, 2):
        slider.press("ArrowRight")
        settles(lambda step=step: round(100 * in_address(page)[names[1]]), value + step)
        expect(slider).to_be_focused()

    # One more expert, from the list.
    field = page.locator("#routing .sg-add input")
    field.focus()
    expect(page.locator("#experts-to-add option")).to_have_count(len(engine.repository))
    field.fill("zebrafish")
    field.press("Enter")
    settles(lambda: field.evaluate("field => field.validationMessage"), texts.EXPERTS_NONE.format(words="zebrafish"))
    expect(field).to_be_focused()
    field.fill("boy")
    field.blur()
    settles(lambda: in_address(page).get("boy"), 0.2)
    settles(lambda: labels(page, texts.SG_LORA)[:12] == found(in_address(page)), True)

    # A link shows the same hits. One with an unknown expert says so.
    address, hits = page.url, labels(page, texts.SG_LORA)
    other, errors = visit(browser, address)
    settles(lambda: labels(other, texts.SG_LORA), hits)
    settles(lambda: shown(other), shown(page))
    assert in_address(other) == in_address(page)
    other.goto(f"{url}?in=aerial&q=harbor&about=satellite+pictures&weights=no-one%3D1")
    expect(other.locator("#routing")).to_contain_text("There is no expert “no-one”: the closest are")
    expect(other.locator("#results .sg-hit").first).to_be_visible()
    assert errors == []

    # Another sentence has its own weights; "as routed" brings those of this one back.
    submit(page, "description", "photos of clothes")
    settles(lambda: "weights" in asked_of(page), False)
    submit(page, "description", FIRST.description)
    settles(lambda: in_address(page).get("boy"), 0.2)
    page.locator("#routing [data-reset]").click()
    settles(lambda: "weights" in asked_of(page), False)
    settles(lambda: labels(page, texts.SG_LORA)[:12], found({}))
    values = page.locator("#routing [type=range]").evaluate_all("all => all.map(range => Number(range.value))")
    assert values == list(shown(page).values())


def test_a_click_on_a_bar_counts_though_an_answer_on_its_way_sets_other_weights(
    browser: Browser, engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow machine, a visitor leaves an expert out before the path to another sentence is answered."""
    monkeypatch.setattr(answering, "COMPUTING", threading.BoundedSemaphore(1))
    with launched(engine, tmp_path, samples=True) as app:
        page, errors = visit(browser, app.url)
        answered(page, FIRST.query)
        page.get_by_role("tab", name=texts.TAB_ABOUT).click()
        left_out, *kept = [engine.repository.experts[i].name for i in engine.route(FIRST.description).chosen]
        box(page, "other-sentence").fill("photos of horses")
        with answering.COMPUTING:
            page.locator("#path input[type=range]").press("PageUp")
            settles(lambda: any(tab.turn.locked() for tab in app.visitors._tabs.values()), True)
            page.locator(f"#how-experts [data-expert='{left_out}']").click()
            page.wait_for_timeout(1_000)  # long enough for the event to reach the server
        app.idle()
        settles(lambda: in_address(page).keys(), set(kept))
        page.close()
    assert errors == []
