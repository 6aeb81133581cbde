"""What a visitor sees without a click: the samples and one answered question; and how own photos take over."""

import re
import threading
from pathlib import Path

import pytest
from app_process import visit
from app_visitors import launched
from made_up_photos import blurred
from make_images import png, zeros
from page_state import (
    PHONE,
    add,
    answered,
    ask,
    asked_of,
    back_at,
    box,
    choose,
    expect_fit,
    expect_photos,
    labels,
    settles,
    submit,
)
from playwright.sync_api import Browser, Page, Route, expect
from recalls import labels_of

from app.actions import answering
from app.languages import texts
from app.photos.samples import OPENING, sample_questions
from core.data.sample_photos import EVERYDAY, sample_photos, sample_sets
from core.retrieval.gallery import Gallery
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

SAMPLES = len(sample_photos(OPENING))
TITLE = sample_sets()[OPENING].title
(FIRST, SECOND, *_), ANOTHER, ALIKE = sample_questions(), "photos of people surfing", "aerial photos of towns"
MANY = 300  # photos that take long enough to be stopped
SLOW = 400  # photos that take long to decode


def opens(page: Page) -> None:
    """Wait for the answer that the page opens on."""
    answered(page, FIRST.query, SAMPLES)
    expect(box(page, "where")).to_have_value(TITLE)


def slow_photos(folder: Path, count: int, width: int, height: int, more: int) -> list[Path]:
    """Different black photos. ``more``: bytes after the end of each."""
    content, files = png(width, height, zeros(height * (width + 1)), colour=0), [folder / f"slow {i}.png" for i in range(count)]
    for i, file in enumerate(files):
        file.write_bytes(content + i.to_bytes(more))
    return files


def gallery_order(page: Page) -> list[str]:
    return page.locator("#gallery .thumbnail-item img").evaluate_all("all => all.map(image => image.src.split('/').at(-1))")


def test_a_phone_opens_at_the_top_follows_a_question_to_its_answer_and_folds_the_sentence(browser: Browser, url: str) -> None:
    page, _ = visit(browser, url, **PHONE)
    opens(page)
    page.wait_for_timeout(1_000)  # long enough for scrolling to begin
    assert page.evaluate("scrollY") == 0
    # What adaptation did, without scrolling.
    expect(page.locator("#recall .sg-verdict b").last).to_be_in_viewport(ratio=1)
    expect(page.locator("#results .sg-right-places")).to_be_in_viewport(ratio=1)
    expect(page.locator("#results .sg-hit").first).to_be_in_viewport()

    # The chosen set and example are marked.
    pressed = page.locator("#sets button[aria-pressed=true], #examples button[aria-pressed=true]")
    title, clothes = sample_sets()["clothes"].title, sample_questions("clothes")
    expect(pressed).to_have_text([TITLE, FIRST.query])
    page.locator("#sets button", has_text=title).click()
    expect(pressed).to_have_text([title, clothes[0].query])
    page.locator("#examples button", has_text=clothes[1].query).first.click()
    expect(pressed).to_have_text([title, clothes[1].query])
    ask(page, "something else")
    expect(page.locator("#results .sg-hit").first).to_be_in_viewport()
    expect(pressed).to_have_text([title])
    expect_fit(page)
    page.locator("#sets button", has_text=TITLE).click()
    opens(page)

    # The page folds the sentence once it is applied.
    line, sentence = page.locator("#folded button"), box(page, "description")
    expect(line).to_have_text(texts.ADAPTED_TO.format(description=FIRST.description))
    expect(sentence).to_be_hidden()
    line.press("Enter")
    expect(line).to_have_attribute("aria-expanded", "true")
    expect(page.locator("#routing .sg-experts")).to_be_visible()

    # Another sentence that fits folds again, and the keyboard goes on at the line.
    submit(page, "description", ALIKE)
    expect(line).to_have_text(texts.ADAPTED_TO.format(description=ALIKE))
    expect(sentence).to_be_hidden()
    expect(line).to_be_focused()

    # What researchers see fits, too.
    page.tap("#more > button")
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        for panel in ("#chart", "#facts"):
            expect(page.locator(f"{panel} .sg-panel").first).to_be_visible()
            assert page.locator(panel).evaluate("e => e.clientWidth > 0.9 * e.parentElement.clientWidth"), panel

    # A remark about the sentence stays in sight, and so does one about the photos.
    line.press("Enter")
    for odd, remark in ((ANOTHER, texts.PHOTOS_DIFFER), ("quarterly tax forms of a bank", texts.ONLY_SHARED)):
        submit(page, "description", odd)
        expect(line).to_have_count(0)
        expect(page.locator("#routing .sg-fit.sg-low")).to_contain_text(remark)


def test_the_page_opens_on_samples_with_one_comparison(page: Page, engine: SGLora, opening: Gallery) -> None:
    opens(page)
    expect(box(page, "description")).to_have_value(FIRST.description)
    expect(page.locator("#fill")).to_have_text(texts.SAMPLES_NOW.format(n=SAMPLES))
    for title, made in ((texts.ZERO_SHOT, None), (texts.SG_LORA, engine.adapt(AdapterRequest(FIRST.description)))):
        settles(lambda title=title: labels(page, title)[:12], labels_of(opening, FIRST.query, made))
    expect(page.locator("#results section")).to_have_count(3)
    verdict, counts = page.locator("#recall .sg-verdict"), page.locator("#recall .sg-verdict b")
    expect(verdict).to_contain_text(texts.FIRST_NAME.format(total=SAMPLES))
    before, without, yours = map(int, counts.all_inner_texts())
    assert before < without and yours >= without + 0.15 * SAMPLES
    expect(page.locator("#credits")).to_contain_text("public domain")
    expect(page.locator("#examples")).to_be_visible()
    # What is folded takes most bytes: it is sent once it is opened.
    folded = page.locator("#chart, #facts, #how-sentence h3, #how-prior svg, #experts [role=gridcell], .sg-evidence")
    settles(lambda: [text for text in folded.all_text_contents() if text.strip()], [])
    page.click("#more > button")
    expect(page.locator("#chart .sg-bar-head")).to_be_visible()
    expect(page.locator("#look-like, #no-special, #clear, #take-back, #try-it").filter(visible=True)).to_have_count(0)

    # Without a question, the samples wait for one. One of the questions about them is a click away.
    choose(page, "where", texts.WITHIN_OWN)
    expect(page.locator("#results")).to_contain_text(texts.COMPARE_NO_PHOTOS)
    expect(page.locator("#fill")).to_have_text(texts.GALLERY_EMPTY)
    page.click("#try-it")
    opens(page)
    page.locator("#examples button").nth(1).click()
    answered(page, SECOND.query, SAMPLES)
    expect(box(page, "description")).to_have_value(SECOND.description)

    # Captions of everyday photos are counted in another way.
    choose(page, "where", sample_sets()[EVERYDAY].title)
    answered(page, sample_questions(EVERYDAY)[0].query, len(sample_photos()))
    expect(verdict).to_contain_text(texts.FIRST_TEN.partition("}")[2])
    expect(page.locator("#examples")).to_contain_text(texts.EVERYDAY)


def test_a_sentence_that_the_page_sets_is_not_taken_for_a_typed_one(page: Page) -> None:
    """Events of its box that come late do not bring back the sentence before."""
    late = list[Route]()
    opens(page)
    sentence = page.evaluate("gradio_config.components.find(each => each.props.elem_id === 'description').id")

    def hold(route: Route) -> None:
        ours = (route.request.post_data_json or {}).get("trigger_id") == sentence
        late.append(route) if ours and not late else route.continue_()

    page.route("**/queue/join*", hold)
    for name in ("clothes", "seedlings"):
        page.locator("#sets button", has_text=sample_sets()[name].title).click()
        shown = sample_questions(name)[0]
        answered(page, shown.query)
        expect(box(page, "description")).to_have_value(shown.description)
    for route in late:
        route.continue_()
    ask(page, "a red blot")
    settles(lambda: asked_of(page).get("about"), shown.description)
    expect(box(page, "description")).to_have_value(shown.description)


def test_own_photos_are_searched_instead_of_the_samples(page: Page, photos: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    opens(page)
    broken.write_bytes(b"no photo")
    add(page, [broken])
    expect(page.locator("#report")).to_contain_text("broken.jpg")
    opens(page)

    # The page's own question and sentence were about the samples. What the visitor typed stays.
    box(page, "description").fill(ANOTHER)
    add(page, photos[:3], 3)
    expect(box(page, "where")).to_have_value(texts.WITHIN_OWN)
    expect(page.locator("#results")).to_contain_text(texts.COMPARE_EMPTY)
    expect(box(page, "query")).to_have_value("")
    expect(box(page, "description")).to_have_value(ANOTHER)
    expect(page.locator("#results .sg-waiting img")).to_have_count(3)
    expect(page.locator("#recall .sg-verdict")).to_have_count(0)  # nothing can be counted
    page.reload()
    expect_photos(page, 3)
    expect(box(page, "where")).to_have_value(texts.WITHIN_OWN)
    expect(page.locator("#results .sg-waiting img")).to_have_count(3)
    expect(page.locator("#recall .sg-verdict, #examples button").filter(visible=True)).to_have_count(0)

    # The samples are one choice away, and the photos stay. A question asks either of them.
    page.click("#try-it")
    opens(page)
    expect_photos(page, 3)
    ask(page, "a red blot")
    add(page, photos[3:4], 4)
    answered(page, "a red blot", 4)
    expect(box(page, "description")).to_have_value("")
    settles(lambda: asked_of(page).get("in"), None)  # the answer is a step of its own
    choose(page, "where", TITLE)
    answered(page, "a red blot", SAMPLES)
    settles(lambda: asked_of(page).get("in"), OPENING)
    page.go_back()
    answered(page, "a red blot", 4)
    expect(box(page, "where")).to_have_value(texts.WITHIN_OWN)

    # A question that Back shows without photos is asked once they are there again.
    ask(page, "a lake")
    page.click("#clear")
    expect(page.locator("#results h3")).to_have_count(0)
    page.go_back()
    expect(box(page, "query")).to_have_value("a red blot")
    page.click("#take-back")
    answered(page, "a red blot", 4)

    # Photos that were removed last can be brought back.
    page.click("#captions > button")
    names = page.locator("#gallery .thumbnail-item img")
    expect(names).to_have_count(4)
    box(page, "typed").fill(f"{photos[0].name}: a red blot")
    page.click("#use-typed")
    expect(page.locator("#captioned")).to_have_text(texts.CAPTIONS_SET.format(n=1, total=4))
    before = gallery_order(page)
    for left in (3, 2):
        expect(page.locator("#remove")).to_be_disabled()
        names.nth(left - 2).click()
        expect(page.locator("#remove")).to_be_enabled()
        back_at(page)
        page.wait_for_timeout(500)
        page.click("#remove")
        expect_photos(page, left)
        expect(names).to_have_count(left)
    expect(page.locator("#take-back")).to_have_text(texts.TAKE_BACK_ONE)
    page.click("#take-back")
    expect_photos(page, 3)
    settles(lambda: gallery_order(page), [before[0], *before[2:]])
    expect(page.locator("#take-back")).to_be_hidden()


def test_own_photos_are_compared_with_the_sentence_and_suggest_one(page: Page, engine: SGLora) -> None:
    """Everyday photos: the page says that search is adapted to them. Bedrooms: a click on what they seem to show adapts the
    answer. Photos that another tab added change the suggestions, but not what a shown one means."""
    query, sentence = "a lamp", "photos of rooms in a house"
    bedrooms = [sample.path for sample in sample_photos() if sample.subject == "photos of bedrooms"]
    aerial = [sample.path for sample in sample_photos("aerial")][:20]
    people = [sample.path for sample in sample_photos() if "people" in sample.subject or "children" in sample.subject]
    opens(page)
    add(page, people, len(people))
    expect(page.locator("#no-special")).to_have_text(texts.EVERYDAY)
    expect(page.locator("#look-like .gallery-item")).to_have_count(0)

    page.click("#clear")
    add(page, bedrooms, len(bedrooms))
    first = page.locator("#look-like .gallery-item").first
    expect(first).to_have_text("rooms in a house")
    expect(page.locator("#no-special")).to_be_hidden()
    notice, offer = page.locator("#routing .sg-fit.sg-low"), page.locator("#suggestion")
    ask(page, query, "a photo of a dog")
    expect(notice).to_contain_text(texts.PHOTOS_DIFFER)
    expect(page.locator("#folded button")).to_have_count(0)
    offer.click()
    expect(box(page, "description")).to_have_value(sentence)
    expect(notice).to_have_count(0)
    expect(offer).to_be_hidden()

    box(page, "description").fill("")
    first.click()
    expect(box(page, "description")).to_have_value(sentence)
    (gallery := Gallery(engine.backbone)).add(bedrooms)
    expected = labels_of(gallery, query, engine.adapt(AdapterRequest(sentence)), None)
    settles(lambda: labels(page, texts.SG_LORA), expected)
    # Without its closest expert, the sentence is not offered instead of itself. A click on it routes it again.
    page.locator("#routing .sg-experts li").first.click()
    expect(page.locator("#routing [data-reset]")).to_be_visible()
    expect(notice).to_contain_text(texts.PHOTOS_DIFFER)
    expect(offer).to_be_hidden()
    first.click()
    expect(page.locator("#routing [data-reset]")).to_have_count(0)
    settles(lambda: labels(page, texts.SG_LORA), expected)
    box(page, "description").fill("")
    other = page.context.new_page()
    other.goto(page.url)
    expect_photos(other, len(bedrooms))
    add(other, aerial)
    expect(other.locator("#look-like")).to_contain_text("aerial")
    other.close()
    # The tab may have asked for the new ones by now: what it shows in the moment of the click counts. Texts appear a moment
    # after their buttons, also if they are drawn again.
    click = "() => { const one = document.querySelector('#look-like .gallery-item'); if (one?.textContent.trim()) one.click();"
    shown = page.wait_for_function(click + " return one?.textContent.trim(); }").json_value()
    expect(box(page, "description")).to_have_value(re.compile(f"{re.escape(shown)}$"))


def test_adding_survives_a_reload_can_be_stopped_and_moves_nothing(page: Page, photos: list[Path], tmp_path: Path) -> None:
    query = "a red blot"
    opens(page)
    add(page, photos[:1], 1)
    ask(page, query)
    add(page, blurred(tmp_path, [f"{i}.png" for i in range(MANY)], 5))
    expect(page.locator("#fill")).to_contain_text(f"of {MANY} photos indexed")
    expect(page.locator('#upload [aria-label="common.upload"]')).to_have_count(1)  # Gradio's button for more files
    expect(page.locator('#upload [aria-label="common.upload"]')).to_be_hidden()
    page.reload()  # the new page answers with the photos so far, then with all
    expect_photos(page, 1 + MANY)
    answered(page, query, 1 + MANY)

    before = page.locator("#query").bounding_box()
    # They take long to decode: a slow browser still stops in time. Each has as many bytes as photos with so many pixels have,
    # else most would be rejected at once.
    add(page, slow_photos(tmp_path, SLOW, 4_000, 3_000, more=300_000))
    expect(page.locator("#fill progress")).to_be_visible()
    settles(lambda: page.locator("#query").bounding_box(), before)
    expect(page.locator("#fill")).to_contain_text(re.compile(rf"\b[1-9]\d* of {SLOW} photos indexed"))
    page.click("#stop-adding")
    expect(page.locator("#report")).to_contain_text(texts.ADDING_STOPPED)
    expect(page.locator("#stop-adding")).to_be_hidden()
    fill = page.locator("#fill .sg-note")  # Gradio also shows "processing" in #fill for a moment
    expect(fill).to_have_text(re.compile(r"^Photos: \d"))
    assert 1 + MANY < int(fill.inner_text().split()[1]) < 1 + MANY + SLOW


def test_a_question_before_the_first_photo_is_answered_once_it_is_there(page: Page, tmp_path: Path) -> None:
    opens(page)
    # What fails changes nothing: columns and adapter still have the sentence before.
    command = page.locator("#command textarea")
    page.click("#more > button")
    before = command.input_value()
    box(page, "description").fill(ANOTHER)
    box(page, "query").fill("")
    page.click("#search")
    expect(page.get_by_test_id("toast-body")).to_contain_text("The query is empty")
    page.locator("#with-zero-shot input").uncheck()
    expect(page.locator(f'#results section[aria-label="{texts.ZERO_SHOT}"]')).to_have_count(0)
    expect(page.locator("#results .sg-panel")).to_have_attribute("data-description", FIRST.description)
    expect(command).to_have_value(before)
    page.locator("#with-zero-shot input").check()

    add(page, slow_photos(tmp_path, 6, 8_000, 6_000, more=1))  # it takes longer to decode them than to ask a question
    expect(page.locator("#stop-adding")).to_be_visible()
    ask(page, "a grey wall")
    answered(page, "a grey wall", 6)
    expect(page.locator("#routing")).to_contain_text("riding a wave")
    expect(box(page, "description")).to_have_value(ANOTHER)
    settles(lambda: page.locator("#results section").last.get_attribute("aria-label"), texts.SG_LORA)


def test_a_question_typed_before_a_chosen_set_is_there_is_asked_of_that_set(
    browser: Browser, engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow machine, the example of the set comes after the next question was typed and asked."""
    typed, clothes = "something yellow", sample_sets()["clothes"].title
    monkeypatch.setattr(answering, "COMPUTING", threading.BoundedSemaphore(1))
    with launched(engine, tmp_path, samples=True) as app:
        page, errors = visit(browser, app.url)
        opens(page)
        with answering.COMPUTING:
            page.locator("#sets").get_by_text(clothes).click()
            settles(lambda: any(tab.turn.locked() for tab in [*app.visitors._tabs.values()]), True)  # the example is answered
            box(page, "query").fill(typed)
            page.click("#search")
            page.wait_for_timeout(1_000)  # long enough for the event to reach the server
        answered(page, typed, len(sample_photos("clothes")))
        expect(box(page, "where")).to_have_value(clothes)
        app.idle()
        answered(page, typed, len(sample_photos("clothes")))
        page.close()
    assert errors == []
