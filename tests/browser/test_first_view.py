"""What a visitor sees without a click: the samples and one answered question; and what replaces them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from app_process import visit
from made_up_photos import blurred
from page_state import box, labels, settles
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from app import texts
from core.data.sample_photos import examples, sample_photos
from core.retrieval.gallery import ZERO_SHOT, Adapter, Gallery
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

SAMPLES = len(sample_photos())
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
FIRST, ANOTHER = examples().shown[0], "photos of people surfing"


@pytest.fixture(scope="module")
def url(samples_url: str) -> str:
    return samples_url


def opened(browser: Browser, address: str) -> Page:
    return visit(browser, address)[0]


def with_own_photos(browser: Browser, address: str, folder: Path, count: int) -> Page:
    """A page that opened on the samples and then got ``count`` photos of the visitor."""
    page = opened(browser, address)
    answered(page, FIRST.query)
    page.set_input_files("#upload input[type=file]", blurred(folder, [f"{i}.png" for i in range(count)], 2))
    expect(page.locator("#fill")).to_contain_text(f"Photos: {count} of")
    return page


def answered(page: Page, query: str, photos: int = SAMPLES) -> None:
    expect(page.locator("#results h3")).to_contain_text(query)
    expect(page.locator("#results h3")).to_contain_text(f"{photos} ranked")
    expect(box(page, "query")).to_have_value(query)


def gallery_order(page: Page) -> list[str]:
    return page.locator("#gallery .thumbnail-item img").evaluate_all("all => all.map(image => image.src.split('/').at(-1))")


def test_a_phone_opens_at_the_top_follows_a_question_to_its_answer_and_folds_the_sentence(browser: Browser, url: str) -> None:
    page, _ = visit(browser, url, **PHONE)
    answered(page, FIRST.query)
    page.wait_for_timeout(1_000)  # long enough for scrolling to begin
    assert page.evaluate("scrollY") == 0
    # What adaptation did, without scrolling.
    expect(page.locator("#recall .sg-verdict b").last).to_be_in_viewport(ratio=1)
    expect(page.locator("#results .sg-right-places")).to_be_in_viewport(ratio=1)
    expect(page.locator("#results .sg-hit").first).to_be_in_viewport()
    box(page, "query").fill("a cup of coffee")
    page.tap("#search")
    answered(page, "a cup of coffee")
    expect(page.locator("#results .sg-hit").first).to_be_in_viewport()

    # The page folds the sentence once it is applied.
    line, sentence = page.locator("#folded button"), box(page, "description")
    expect(line).to_have_text(texts.ADAPTED_TO.format(description=FIRST.description))
    expect(sentence).to_be_hidden()
    line.press("Enter")
    expect(line).to_have_attribute("aria-expanded", "true")
    expect(page.locator("#routing .sg-experts")).to_be_visible()

    # Another sentence that fits folds again, and the keyboard goes on at the line.
    sentence.fill(ANOTHER)
    sentence.press("Enter")
    expect(line).to_have_text(texts.ADAPTED_TO.format(description=ANOTHER))
    expect(sentence).to_be_hidden()
    expect(line).to_be_focused()

    # A remark about the sentence stays in sight.
    line.press("Enter")
    sentence.fill("quarterly tax forms of a bank")
    sentence.press("Enter")
    expect(line).to_have_count(0)
    expect(page.locator("#routing .sg-fit.sg-low")).to_be_visible()
    page.context.close()


def test_after_a_switch_and_a_reload_the_page_answers_with_the_chosen_experts(browser: Browser, url: str) -> None:
    page = opened(browser, url)
    answered(page, FIRST.query)
    shipped = labels(page, texts.SG_LORA)
    page.locator("#backbone input").click()
    page.get_by_role("option", name="embedded, photos").click()
    expect(page.locator("#switched")).to_contain_text("embedded, photos")
    settles(lambda: labels(page, texts.SG_LORA) != shipped, True)
    before = labels(page, texts.SG_LORA)
    page.reload()
    expect(page.locator("#status .sg-ready")).to_be_visible()
    answered(page, FIRST.query)
    settles(lambda: labels(page, texts.SG_LORA), before)
    expect(page.get_by_test_id("toast-body")).to_have_count(0)

    # Without a sentence, too, the slider shows the usual strength of the chosen experts.
    box(page, "description").fill("")
    box(page, "query").press("Enter")
    expect(page.locator("#command")).to_be_hidden()
    page.reload()
    expect(page.locator("#status .sg-ready")).to_be_visible()
    page.click("#more button")
    expect(page.locator("#strength input[type=number]")).to_have_value("1")


def test_what_is_folded_is_sent_once_it_is_opened(browser: Browser, url: str) -> None:
    context = browser.new_context(locale="en")
    page, streams, received = context.new_page(), set(), [0]
    network = context.new_cdp_session(page)
    network.send("Network.enable")

    def sent(event: dict[str, Any]) -> None:
        if "queue/data" in event["request"]["url"]:
            streams.add(event["requestId"])

    def arrived(event: dict[str, Any]) -> None:
        received[0] += event["dataLength"] if event["requestId"] in streams else 0

    network.on("Network.requestWillBeSent", sent)
    network.on("Network.dataReceived", arrived)
    page.goto(url)
    answered(page, FIRST.query)
    expect(page.locator("#recall .sg-verdict")).to_contain_text("Right photo")
    assert 10_000 < received[0] < 100_000  # 50,000; with the maps, the table and the thumbnails 450,000
    for opens, shown, least in (
        ("#more > button", "#map .sg-dot-here", 100_000),
        ("#captions > button", "#gallery .thumbnail-item", 1_000),
        (f"role=tab[name='{texts.TAB_EXPERTS}']", "#experts [role=gridcell]", 20_000),
        (f"role=tab[name='{texts.TAB_EVIDENCE}']", ".sg-evidence", 100_000),
    ):
        before = received[0]
        page.click(opens)
        expect(page.locator(shown).first).to_be_visible()
        page.wait_for_timeout(300)  # until the last event is counted
        assert received[0] - before > least
    context.close()


def test_what_researchers_see_fits_a_phone(browser: Browser, url: str) -> None:
    page, _ = visit(browser, url, **PHONE)
    answered(page, FIRST.query)
    page.tap("#more > button")
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        for panel in ("#chart", "#map", "#facts", "#latent"):
            expect(page.locator(f"{panel} .sg-panel").first).to_be_visible()
            assert page.locator(panel).evaluate("e => e.clientWidth > 0.9 * e.parentElement.clientWidth"), panel
    page.context.close()


def test_the_page_opens_on_samples_with_one_comparison(browser: Browser, url: str, engine: SGLora, tmp_path: Path) -> None:
    page = opened(browser, url)
    answered(page, FIRST.query)
    expect(box(page, "description")).to_have_value(FIRST.description)
    gallery = Gallery(engine.backbone)
    gallery.add([sample.path for sample in sample_photos()])
    adaptation = engine.adapt(AdapterRequest(FIRST.description))
    for title, adapter in ((texts.ZERO_SHOT, ZERO_SHOT), (texts.SG_LORA, Adapter.of(adaptation.lora, adaptation.weight))):
        ranking = gallery.text_to_image(FIRST.query, adapter, 12).hits
        settles(lambda title=title: labels(page, title)[:12], [hit.label for hit in ranking])
    expect(page.locator("#examples")).to_be_visible()
    page.locator("#results .sg-open").first.click()
    expect(page.locator("dialog.sg-view img")).to_be_visible()
    page.keyboard.press("Escape")

    # Back leads from the visitor's question to the first one. A reload keeps the visitor's question.
    box(page, "query").fill("a cup of coffee")
    page.click("#search")
    answered(page, "a cup of coffee")
    page.go_back()
    answered(page, FIRST.query)
    page.go_forward()
    answered(page, "a cup of coffee")
    page.reload()
    answered(page, "a cup of coffee")

    # A link with a question asks that question.
    other = opened(browser, f"{url}?q=the+moon")
    answered(other, "the moon")
    expect(box(other, "description")).to_have_value("")
    other.context.close()

    # Another visitor does not see what this visitor removes or types, and starts with the first view.
    page.click("#clear")
    expect(page.locator("#fill")).to_contain_text(texts.GALLERY_EMPTY)
    page.reload()
    expect(page.locator("#status .sg-ready")).to_be_visible()
    expect(page.locator("#fill")).to_contain_text(texts.GALLERY_EMPTY)
    other = opened(browser, url)
    answered(other, FIRST.query)
    other.context.close()
    page.context.close()


def test_own_photos_take_the_samples_place_and_do_not_go_without_a_question(browser: Browser, url: str, tmp_path: Path) -> None:
    page = with_own_photos(browser, url, tmp_path, 3)
    expect(page.locator("#report")).to_contain_text(texts.SAMPLES_GONE)
    expect(page.locator("#take-back")).to_be_hidden()
    # The page forgets the question, because it was about the samples.
    expect(page.locator("#results")).to_contain_text(texts.COMPARE_EMPTY)
    expect(box(page, "query")).to_have_value("")
    expect(box(page, "description")).to_have_value("")

    # Nothing can be counted, and the verdict has no room.
    page.reload()
    expect(page.locator("#status .sg-ready")).to_be_visible()
    expect(page.locator("#results .sg-waiting img")).to_have_count(3)
    expect(page.locator("#recall .sg-verdict")).to_have_count(0)
    expect(page.locator("#with-zero-shot")).to_be_hidden()

    page.click("#try-it")
    expect(page.locator("#try-asks")).to_contain_text("3 photos")
    page.click("#try-no")
    expect(page.locator("#try-asks")).to_be_hidden()
    expect(page.locator("#fill")).to_contain_text("Photos: 3 of")
    page.click("#try-it")
    expect(page.locator("#try-asks")).to_be_visible()
    page.click("#clear")
    expect(page.locator("#try-asks")).to_be_hidden()
    page.click("#take-back")
    expect(page.locator("#fill")).to_contain_text("Photos: 3 of")
    page.click("#try-it")
    page.click("#try-yes")
    answered(page, FIRST.query)
    expect(page.locator("#try-asks")).to_be_hidden()
    page.click("#take-back")
    expect(page.locator("#fill")).to_contain_text("Photos: 3 of")
    expect(page.locator("#results")).to_contain_text(texts.COMPARE_EMPTY)
    expect(box(page, "query")).to_have_value("")
    expect(box(page, "description")).to_have_value("")
    page.reload()
    expect(page.locator("#fill")).to_contain_text("Photos: 3 of")

    # A question that Back shows without photos is asked once they are there again.
    for query in ("a lake", "a red blot"):
        box(page, "query").fill(query)
        page.click("#search")
        answered(page, query, 3)
    page.click("#clear")
    expect(page.locator("#results h3")).to_have_count(0)
    page.go_back()
    expect(box(page, "query")).to_have_value("a lake")
    page.click("#take-back")
    answered(page, "a lake", 3)
    page.context.close()


def test_a_chip_asks_what_it_says(browser: Browser, url: str, tmp_path: Path) -> None:
    """Photos that another tab added change the suggestions, but not what a shown one means."""
    bedrooms = [sample.path for sample in sample_photos() if sample.subject == "photos of bedrooms"]
    page = opened(browser, url)
    answered(page, FIRST.query)
    page.set_input_files("#upload input[type=file]", bedrooms)
    shown = page.locator("#look-like .gallery-item").first
    expect(shown).to_have_text("rooms in a house")
    other = page.context.new_page()
    other.goto(url)
    expect(other.locator("#fill")).to_contain_text(f"Photos: {len(bedrooms)} of")
    animals = [sample.path for sample in sample_photos() if "animals" in sample.subject]
    other.set_input_files("#upload input[type=file]", animals)
    expect(other.locator("#look-like")).to_contain_text("lions")
    shown.click()
    expect(box(page, "description")).to_have_value("photos of rooms in a house")
    page.context.close()


def test_own_photos_suggest_a_sentence(browser: Browser, url: str, engine: SGLora) -> None:
    """One click on what the photos seem to show adapts the answer. The samples, which have questions, suggest nothing."""
    bedrooms = [sample.path for sample in sample_photos() if sample.subject == "photos of bedrooms"]
    page, suggested, query = opened(browser, url), ".gallery-item", "a lamp"
    answered(page, FIRST.query)
    expect(page.locator("#look-like")).to_be_hidden()
    page.set_input_files("#upload input[type=file]", bedrooms)
    first = page.locator("#look-like").locator(suggested).first
    expect(first).to_have_text("rooms in a house")
    box(page, "query").fill(query)
    first.click()
    sentence = "photos of rooms in a house"
    expect(box(page, "description")).to_have_value(sentence)
    answered(page, query, len(bedrooms))
    gallery, adaptation = Gallery(engine.backbone), engine.adapt(AdapterRequest(sentence))
    gallery.add(bedrooms)
    ranking = gallery.text_to_image(query, Adapter.of(adaptation.lora, adaptation.weight), None).hits
    settles(lambda: labels(page, texts.SG_LORA), [hit.label for hit in ranking])
    page.reload()
    expect(first).to_have_text("rooms in a house")
    page.click("#clear")
    expect(page.locator("#look-like")).to_be_hidden()
    page.context.close()


def test_an_upload_without_a_photo_leaves_the_samples(browser: Browser, url: str, tmp_path: Path) -> None:
    page = opened(browser, url)
    answered(page, FIRST.query)
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    page.set_input_files("#upload input[type=file]", tmp_path / "broken.jpg")
    expect(page.locator("#report")).to_contain_text("broken.jpg")
    expect(page.locator("#report")).not_to_contain_text(texts.SAMPLES_GONE)
    answered(page, FIRST.query)
    expect(page.locator("#fill")).to_contain_text(f"Photos: {SAMPLES} of")
    page.context.close()


def test_captions_of_samples_can_be_brought_back(browser: Browser, url: str, tmp_path: Path) -> None:
    page = opened(browser, url)
    answered(page, FIRST.query)
    page.click("#captions > button")
    box(page, "typed").fill("moon.png: a bright stone")
    page.click("#use-typed")
    expect(page.locator("#report")).to_contain_text(texts.CAPTIONS_SET.format(n=1, total=SAMPLES))
    page.set_input_files("#upload input[type=file]", blurred(tmp_path, ["0.png"], 2))
    expect(page.locator("#fill")).to_contain_text("Photos: 1 of")
    page.click("#take-back")
    expect(page.locator("#fill")).to_contain_text(f"Photos: {SAMPLES} of")
    page.context.close()


def test_a_removed_photo_can_be_brought_back(browser: Browser, url: str, tmp_path: Path) -> None:
    page = with_own_photos(browser, url, tmp_path, 3)
    page.click("#captions > button")
    names = page.locator("#gallery .thumbnail-item img")
    expect(names).to_have_count(3)
    before = gallery_order(page)
    for left in (2, 1):
        expect(page.locator("#remove")).to_be_disabled()
        page.locator("#gallery .thumbnail-item").nth(left - 1).click()
        expect(page.locator("#remove")).to_be_enabled()
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # as when the tab is looked at again
        page.wait_for_timeout(500)
        page.click("#remove")
        expect(page.locator("#fill")).to_contain_text(f"Photos: {left} of")
        expect(names).to_have_count(left)
    for button in ("#take-back", "#take-back-here"):
        expect(page.locator(button)).to_have_text(texts.TAKE_BACK.format(n=2))
    page.click("#take-back-here")
    expect(page.locator("#fill")).to_contain_text("Photos: 3 of")
    settles(lambda: gallery_order(page), before)
    expect(page.locator("#take-back")).to_be_hidden()
    page.context.close()


def test_adding_can_be_stopped_and_moves_nothing(browser: Browser, url: str, tmp_path: Path) -> None:
    page, many = opened(browser, url), 300
    answered(page, FIRST.query)
    expect(page.locator("#clear")).to_be_visible()
    expect(page.locator("#recall .sg-figures")).to_be_visible()  # this part appears last
    before = page.locator("#query").bounding_box()
    page.set_input_files("#upload input[type=file]", blurred(tmp_path, [f"{i}.png" for i in range(many)], 2))
    expect(page.locator("#fill")).to_contain_text(f"of {many} photos indexed")
    expect(page.locator("#fill progress")).to_be_visible()
    settles(lambda: page.locator("#query").bounding_box(), before)
    expect(page.locator('#upload [aria-label="common.upload"]')).to_have_count(1)  # Gradio's button for more files
    expect(page.locator('#upload [aria-label="common.upload"]')).to_be_hidden()
    page.click("#stop-adding")
    expect(page.locator("#report")).to_contain_text(texts.ADDING_STOPPED)
    expect(page.locator("#stop-adding")).to_be_hidden()
    fill = page.locator("#fill .sg-note")  # Gradio also shows "processing" in #fill for a moment
    expect(fill).to_have_text(re.compile(r"^Photos: \d"))
    assert 0 < int(fill.inner_text().split()[1]) < many
    page.context.close()


def test_a_reload_does_not_end_the_adding_of_photos(browser: Browser, url: str, tmp_path: Path) -> None:
    """The new page answers with the photos so far, then with all."""
    page, query, many = opened(browser, url), "a red blot", 300
    box(page, "query").fill(query)
    page.click("#search")
    answered(page, query)
    page.set_input_files("#upload input[type=file]", blurred(tmp_path, [f"{i}.png" for i in range(many)], 2))
    expect(page.locator("#fill")).to_contain_text(f"of {many} photos indexed")
    page.reload()
    expect(page.locator("#fill")).to_contain_text(f"Photos: {many} of")
    answered(page, query, many)
    page.context.close()


def test_a_sentence_typed_on_the_samples_is_kept_and_their_question_is_not(browser: Browser, url: str, tmp_path: Path) -> None:
    page, sentence = opened(browser, url), "photos of people surfing"
    answered(page, FIRST.query)
    box(page, "description").fill(sentence)
    page.set_input_files("#upload input[type=file]", blurred(tmp_path, ["0.png", "1.png"], 2))
    expect(page.locator("#fill")).to_contain_text("Photos: 2 of")
    expect(box(page, "query")).to_have_value("")
    expect(page.locator("#results")).to_contain_text(texts.COMPARE_EMPTY)
    expect(box(page, "description")).to_have_value(sentence)
    page.context.close()


def test_what_fails_changes_nothing(browser: Browser, url: str) -> None:
    """After a question without words, columns and adapter still have the sentence before."""
    page, command = opened(browser, url), "#command textarea"
    answered(page, FIRST.query)
    page.click("#more > button")
    before = page.locator(command).input_value()
    box(page, "description").fill("photos of people surfing")
    box(page, "query").fill("")
    page.click("#search")
    expect(page.get_by_test_id("toast-body")).to_contain_text("The query is empty")
    page.locator("#only-changed input").check()
    expect(page.locator("#results .sg-panel")).to_have_attribute("data-filtered", "1")
    expect(page.locator("#results .sg-panel")).to_have_attribute("data-description", FIRST.description)
    expect(page.locator(command)).to_have_value(before)
    page.context.close()


def test_a_question_before_the_first_photo_is_answered_once_it_is_there(browser: Browser, url: str, tmp_path: Path) -> None:
    page, slow = opened(browser, url), [tmp_path / f"{shade}.png" for shade in range(6)]
    answered(page, FIRST.query)
    for shade, file in enumerate(slow):
        Image.new("L", (8000, 6000), shade).save(file)  # takes longer to decode than to ask a question
    page.set_input_files("#upload input[type=file]", slow)
    expect(page.locator("#stop-adding")).to_be_visible()
    box(page, "description").fill("photos of people surfing")
    box(page, "query").fill("a grey wall")
    page.click("#search")
    answered(page, "a grey wall", len(slow))
    expect(page.locator("#routing")).to_contain_text("riding a wave")
    expect(box(page, "description")).to_have_value("photos of people surfing")
    settles(lambda: page.locator("#results section").last.get_attribute("aria-label"), texts.SG_LORA)
    page.context.close()


def test_a_session_without_a_sentence_does_not_keep_the_one_that_is_there(browser: Browser, url: str) -> None:
    page = opened(browser, url)
    answered(page, FIRST.query)
    box(page, "description").fill("")
    box(page, "query").fill("a cup of coffee")
    page.click("#search")
    answered(page, "a cup of coffee")
    expect(page.locator("#results section")).to_have_count(2)
    settles(lambda: page.locator("#results section").last.get_attribute("aria-label"), texts.SHARED)
    page.click("#take-home > button")
    with page.expect_download() as waiting:
        page.click("#session-save")
    saved = {"name": "session.json", "mimeType": "application/json", "buffer": waiting.value.path().read_bytes()}
    page.context.close()

    page = opened(browser, url)
    answered(page, FIRST.query)
    page.click("#take-home > button")
    page.set_input_files("input[type=file][accept*=json]:not([accept*=zip])", saved)
    expect(page.locator("#take-said")).to_contain_text(texts.SESSION_LOADED)
    answered(page, "a cup of coffee")
    expect(box(page, "description")).to_have_value("")
    settles(lambda: page.locator("#results section").last.get_attribute("aria-label"), texts.SHARED)

    # A session without a question: the last one is asked with its sentence.
    settings = {"description": "photos of waves", "k": 4, "tau": 0.1, "seed": 0, "strength": 0.8}
    content = json.loads(saved["buffer"]) | {"settings": settings, "questions": []}
    saved |= {"buffer": json.dumps(content).encode()}
    page.set_input_files("input[type=file][accept*=json]:not([accept*=zip])", saved)
    expect(box(page, "description")).to_have_value("photos of waves")
    expect(page.locator("#results .sg-panel")).to_have_attribute("data-description", "photos of waves")
    answered(page, "a cup of coffee")
    settles(lambda: page.locator("#results section").last.get_attribute("aria-label"), texts.SG_LORA)
    page.context.close()
