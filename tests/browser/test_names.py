"""Teaching a name on the page, as a visitor does."""

from page_state import answered, ask, back_at, box, choose, downloaded, labels, settles, submit, teach
from playwright.sync_api import Locator, Page, expect

from app.languages import texts
from app.photos.samples import sample_questions
from core.data.sample_photos import EVERYDAY, sample_photos, sample_sets
from core.names.file import KIND
from core.retrieval.line import MOST_ASKED

FIRST = sample_questions()[0]


def open_everyday(page: Page) -> None:
    """Open the everyday samples, and wait for the answer to their first question."""
    choose(page, "where", sample_sets()[EVERYDAY].title)
    answered(page, sample_questions(EVERYDAY)[0].query, len(sample_photos()))


def chosen(page: Page) -> Locator:
    """The photos that are chosen for the next name."""
    return page.locator("#names-strip [aria-pressed=true]")


def thumbnail(page: Page, name: str) -> Locator:
    return page.locator("#names-strip button").filter(has=page.get_by_alt_text(name, exact=True))


def test_a_word_for_three_ticked_photos(page: Page) -> None:
    open_everyday(page)
    names = set(labels(page, texts.ZERO_SHOT)[:3])

    def tick(place: int) -> str:
        hit = page.locator(f'#results section[aria-label="{texts.ZERO_SHOT}"] .sg-hit').nth(place)
        hit.hover()
        hit.locator('[data-mark="up"]').click()
        return hit.locator("img").get_attribute("alt") or ""

    for place in range(3):
        tick(place)
    expect(page.locator("#marked")).to_contain_text("marked as right (3)")  # none is lost, however fast they come

    page.click("#names > button")
    expect(chosen(page)).to_have_count(3)
    box(page, "names-name").fill("blicket")
    page.mouse.wheel(0, -5_000)
    settles(lambda: page.evaluate("scrollY"), 0)
    page.click("#names-teach")
    expect(page.locator("#names-taught")).to_contain_text("blicket (3 photos)")
    expect(page.locator("#names-chips button")).to_have_text(["blicket (3 photos)"])
    page.wait_for_timeout(1_000)  # long enough for scrolling to begin
    assert page.evaluate("scrollY") == 0
    submit(page, "query", "a photo of a blicket")
    expect(page.locator("#results .sg-taught")).to_contain_text("blicket")
    settles(lambda: set(labels(page, texts.SG_LORA)[:3]), names)

    page.reload()  # names and question come back
    expect(page.locator("#results .sg-taught")).to_contain_text("blicket")
    settles(lambda: set(labels(page, texts.SG_LORA)[:3]), names)
    page.click("#names > button")
    assert KIND.encode() in downloaded(page, "#names-save").read_bytes()

    # A selected name stays selected, and photos chosen by hand stay chosen, when another photo is ticked.
    ticked = tick(5)
    expect(chosen(page)).to_have_count(1)  # those that taught a name are used up
    expect(chosen(page).locator("img")).to_have_attribute("alt", ticked)
    teach(page, "dax")
    expect(page.locator("#names-chips button")).to_have_text(["blicket (3 photos)", "dax (1 photo)"])
    page.locator("#names-taught").get_by_text("blicket").click()
    expect(box(page, "names-name")).to_have_value("blicket")
    page.click("#names-marks")  # above the results
    expect(page.locator("#names-chips button")).to_have_text(["blicket (4 photos)", "dax (1 photo)"])
    expect(box(page, "names-name")).to_have_value("")
    thumbnail(page, "horse.png").click()
    tick(7)
    expect(chosen(page)).to_have_count(2)
    expect(thumbnail(page, "horse.png")).to_have_attribute("aria-pressed", "true")
    box(page, "names-name").fill("zorp")
    page.click("#names-rename")
    expect(page.locator("#names-chips button")).to_have_text(["zorp (4 photos)", "dax (1 photo)"])
    page.click("#names-remove")
    expect(page.locator("#names-chips button")).to_have_text(["dax (1 photo)"])
    expect(box(page, "names-name")).to_have_value("")
    page.click("#names-remove")
    expect(page.locator("#names-taught")).to_be_hidden()
    expect(page.locator("#results .sg-taught")).to_have_count(0)
    for _ in range(2):
        chosen(page).first.click()
    teach(page, "nothing")
    expect(page.get_by_text("“nothing” has no photo")).to_be_visible()


def test_several_photos_at_once_by_mouse_and_keyboard(page: Page) -> None:
    open_everyday(page)
    page.click("#names > button")
    photos = page.locator("#names-strip button")

    def expect_chosen(*places: int) -> None:
        pressed = "all => all.flatMap((button, place) => (button.ariaPressed === 'true' ? [place] : []))"
        settles(lambda: photos.evaluate_all(pressed), [*places])

    photos.nth(1).click()
    photos.nth(3).click(modifiers=["Shift"])
    expect_chosen(1, 2, 3)
    for key in ("Space", "ArrowLeft", "ArrowLeft", "ArrowLeft", "Enter", "Shift+ArrowRight"):
        page.keyboard.press(key)
    expect_chosen(0, 1, 2)
    expect(photos.nth(1)).to_be_focused()
    expect(page.locator("#names-strip [role=status]")).to_have_text(texts.NAMES_CHOSEN.format(n=3))
    photos.nth(3).hover()  # a drag
    page.mouse.down()
    photos.nth(4).hover()
    page.mouse.up()
    expect_chosen(0, 1, 2, 3, 4)
    names = [photos.nth(place).locator("img").get_attribute("alt") for place in range(5)]

    # They stay chosen under another question, and all of them teach.
    ask(page, "an empty street")
    settles(lambda: {image.get_attribute("alt") for image in chosen(page).locator("img").all()}, {*names})
    submit(page, "names-name", "blicket")
    expect(page.locator("#names-chips button")).to_have_text(["blicket (5 photos)"])
    expect(chosen(page)).to_have_count(0)


def test_ten_answers_by_keyboard_draw_a_line(page: Page) -> None:
    open_everyday(page)
    page.click("#names > button")
    for name in ("cheetah1.jpg", "lion.jpg"):
        thumbnail(page, name).click()
    teach(page, "blicket")
    expect(page.locator("#names-chips button")).to_have_text(["blicket (2 photos)"])
    page.locator("#names-chips button").click()
    question = page.get_by_role("group", name=texts.LINE_ASK.format(name="blicket"))
    expect(question).to_be_visible()
    yes, no = (page.locator(f'#line [data-mark="{value}"]') for value in ("up", "down"))
    yes.focus()
    right = 0
    for n in range(MOST_ASKED):
        expect(question).to_contain_text(texts.LINE_COUNT.format(n=n + 1, most=MOST_ASKED))
        photo = question.locator("img").get_attribute("alt")
        shows = photo in ("cheetah2.jpg", "horse.png")
        right += shows
        (yes if shows else no).focus()
        page.keyboard.press("Enter")
        if n + 1 < MOST_ASKED:
            expect(yes if shows else no).to_be_focused()  # also once the next photo is there
    expect(page.locator("#line [role=status]")).to_be_focused()
    expect(page.locator("#names-chips button")).to_have_text([f"blicket ({2 + right} photos)"])
    expect(page.locator("#results [data-mark=up][aria-pressed=true]").first).to_be_visible()
    column = page.locator("#results section").last
    line = column.locator(".sg-line")
    expect(line).to_have_text(texts.LINE_BELOW.format(name="blicket"))
    above = int(page.locator("#line [data-line]").get_attribute("data-line") or 0)
    assert right and above == 2 + right
    assert line.evaluate("line => line.previousElementSibling.dataset.rank") == str(above)
    page.click("#take-home > button")
    crossed = column.locator(f".sg-hit:nth-child(-n + {above}) [data-mark=down][aria-pressed=true]").count()
    expect(page.locator("#tag")).to_have_text(texts.TAG_ABOVE.format(n=above - crossed, word="blicket"))
    page.click("#with-zero-shot")  # other columns
    expect(page.locator("#results section")).to_have_count(1)
    expect(line).to_have_count(1)
    box(page, "names-name").fill("modi")  # the question, its marks and its answers follow the name
    page.click("#names-rename")
    answered(page, "modi")
    expect(line).to_have_text(texts.LINE_BELOW.format(name="modi"))
    assert page.locator("#line [data-line]").get_attribute("data-line") == str(above)


def test_a_tab_that_is_looked_at_again_answers_with_the_names_of_now(page: Page, url: str) -> None:
    answered(page, FIRST.query)
    other = page.context.new_page()
    other.goto(url)
    other.click("#names > button")
    other.locator("#names-strip button").first.click()
    teach(other, FIRST.query)
    expect(other.locator("#names-chips button")).to_have_text([f"{FIRST.query} (1 photo)"])

    back_at(page)
    expect(page.locator("#names-chips button")).to_have_text([f"{FIRST.query} (1 photo)"])
    expect(page.locator("#results .sg-taught")).to_contain_text(FIRST.query)
    other.click("#names-remove")
    expect(other.locator("#names-chips")).to_have_count(0)
    back_at(page)
    expect(page.locator("#names-chips")).to_have_count(0)
    expect(page.locator("#results .sg-taught")).to_have_count(0)
