"""“How it works”: each control changes what it says, what the boxes show is core's, and the tour can be left at any step."""

import re
from collections.abc import Sequence

from page_state import ask, asked_of, box, expect_fit, labels, settles, submit
from playwright.sync_api import Page, expect
from recalls import labels_of

from app.languages import texts
from app.photos.samples import sample_questions
from core.retrieval.gallery import Gallery
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest, read_weights
from core.sglora.sketch import Sketch

FIRST, OTHER, SHOWN = sample_questions()[0], "photos of clothes", 6


def found(page: Page, row: int = -1) -> Sequence[str]:
    """The six photos of a row in the last box."""
    return page.locator("#how-search .sg-found").nth(row).locator("img").evaluate_all("all => all.map(image => image.alt)")


def test_each_control_changes_its_step_and_the_tour_ends_at_any(page: Page, engine: SGLora, opening: Gallery) -> None:
    expect(page.locator("#results .sg-hit").first).to_be_visible()
    page.get_by_role("tab", name=texts.TAB_ABOUT).click()
    expect(page.locator("#how-search img").first).to_be_visible()

    def of(request: AdapterRequest) -> list[str]:
        return labels_of(opening, FIRST.query, engine.adapt(request), SHOWN)

    def shows(request: AdapterRequest) -> None:
        """The boxes show the adapter of a request."""
        made = engine.adapt(request)
        sketch = Sketch.of(engine, made)
        settles(lambda: found(page), of(request))
        words = texts.HOW_DRAW_LEAD.format(seed=request.seed, n=len(made.z), apart=sketch.apart)
        expect(page.locator("#how-draw")).to_contain_text(words)
        expect(page.locator("#how-decoder")).to_contain_text(texts.HOW_LORA_LEAD.format(added=sketch.added))
        expect(page.locator("#how-sentence")).to_contain_text(f"“{request.description}”")
        expect(page.locator("#how-prior svg circle")).to_have_count(8 * len(made.routing.chosen))
        numbers = page.locator("#how-prior svg").get_attribute("aria-label") or ""
        assert re.findall(r"-?\d+\.\d\d(?= ±)", numbers) == [f"{mean:.2f}" for mean in sketch.mean]

    request = AdapterRequest(FIRST.description)
    shows(request)
    assert list(found(page, 0)) == labels_of(opening, FIRST.query, top=SHOWN)
    expect(page.locator("#how-experts [data-expert]")).to_have_count(4 + 5)
    expect(page.locator("#how-search .sg-up")).to_have_text(re.compile(r"\d+"))  # what is counted over all captions

    page.click("#draw-again")
    shows(AdapterRequest(FIRST.description, seed=1))
    assert asked_of(page)["seed"] == "1"

    # A path to a second sentence, half way.
    box(page, "other-sentence").fill(OTHER)
    slider = page.locator("#path input[type=range]")
    slider.focus()
    for _ in range(5):
        slider.press("PageUp")
    a, b = (engine.route(sentence) for sentence in (FIRST.description, OTHER))
    half = {engine.repository.experts[i].name: weight for i, weight in a.between(b, float(slider.input_value())).items()}
    assert slider.input_value() == "0.5" and len(half) > 4

    def asked() -> dict[str, float]:
        return read_weights(asked_of(page).get("weights", "").splitlines())

    settles(lambda: asked().keys() == half.keys() and all(abs(half[n] - w) < 1e-4 for n, w in asked().items()), True)
    given = asked()
    shows(AdapterRequest(FIRST.description, seed=1, weights=given))

    # Leaving the first expert out.
    first = page.locator("#how-experts [data-expert]").first
    name = first.get_attribute("data-expert")
    first.click()
    settles(lambda: name in asked(), False)
    shows(AdapterRequest(FIRST.description, seed=1, weights=asked()))

    # Another sentence is routed again.
    submit(page, "sentence", "photos of boats")
    shows(AdapterRequest("photos of boats", seed=1))
    assert "weights" not in asked_of(page)
    page.get_by_role("tab", name=texts.TAB_STUDIO).click()
    expect(box(page, "description")).to_have_value("photos of boats")
    assert list(labels(page, texts.SG_LORA)[:SHOWN]) == of(AdapterRequest("photos of boats", seed=1))

    # The tour begins on the opening set.
    ask(page, "a cup of coffee", "photos of food")
    page.get_by_role("tab", name=texts.TAB_ABOUT).click()
    start, here = page.get_by_role("button", name=texts.TOUR), page.locator(".sg-here")
    start.click()
    settles(lambda: (asked_of(page)["q"], asked_of(page)["about"]), (FIRST.query, FIRST.description))
    steps = (texts.TOUR_SENTENCE, texts.TOUR_EXPERT, texts.TOUR_DRAW, texts.TOUR_RANDOM, texts.TOUR_SEARCH)
    for number, (words, place) in enumerate(zip(steps, ("sentence", "experts", "draw", "search", "search"), strict=True), 1):
        expect(page.locator("#tour")).to_contain_text(f"{number}/5 {words}")
        expect(here).to_have_id(f"box-{place}")
        following = page.get_by_role("button", name=texts.TOUR_NEXT)
        expect(following).to_have_count(int(number < 5))
        if number < 5:
            expect(following).to_be_focused()
            page.keyboard.press("Enter")
    page.get_by_role("button", name=texts.TOUR_LEAVE).click()
    expect(here).to_have_count(0)
    expect(start).to_be_focused()
    for steps_taken in range(3):
        start.click()
        for _ in range(steps_taken):
            page.get_by_role("button", name=texts.TOUR_NEXT).click()
        page.keyboard.press("Escape")
        expect(here).to_have_count(0)
    expect(page.locator("#how-search .sg-found b")).to_have_text([texts.ZERO_SHOT, texts.RANDOM, texts.SG_LORA])
    page.set_viewport_size({"width": 390, "height": 800})
    expect_fit(page)
