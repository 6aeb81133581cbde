"""One page searches own photos, a library and the samples. Also: the enlarged photo, more results, and each width."""

import shutil
import zipfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest
from app_process import running, visit
from page_state import add, ask, asked_of, box, choose, downloaded, expect_fit, settles, submit
from PIL import Image
from playwright.sync_api import Page, expect

from app.languages import texts
from app.photos.samples import OPENING
from core.backbones.embedded import EmbeddedBackbone
from core.data.sample_photos import sample_photos
from core.data.xmp import SUBJECT, keywords
from core.retrieval.indexing import index_folders
from core.retrieval.library import PhotoLibrary

HEIGHT = 800
QUERY = "a lion -water"
DAYS = ("2023-05-01", "2024-05-01", "2024-05-02")  # the days of the library's first photos


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app") / "photos"


@pytest.fixture(scope="module")
def url(photos: Path, backbone: EmbeddedBackbone) -> Iterator[str]:
    """The address of an app with a library of all sample photos but the first."""
    where, library = photos.parent, photos.parent / "pictures"
    photos.mkdir()
    (photos / "dated").mkdir()
    for sample, day in zip_longest(sample_photos()[1:], DAYS):
        if day is None:
            shutil.copy(sample.path, photos / sample.name)
            continue
        exif = Image.Exif()
        exif[0x0132] = f"{day.replace('-', ':')} 12:00:00"
        Image.open(sample.path).convert("RGB").save((photos / "dated" / sample.name).with_suffix(".jpg"), exif=exif)
    index_folders(PhotoLibrary.create(library, backbone), [photos], backbone)
    with running(where, "--library", str(library), "--index-from-page") as (address, _):
        yield address
        assert "Traceback" not in (where / "log.txt").read_text()


def hits(page: Page):
    return page.locator("#results section").last.locator(".sg-hit")


def test_own_photos_a_library_and_both(page: Page) -> None:
    both = texts.WITHIN_BOTH.format(name="pictures")
    # The visitor added no photos: the library answers, and suggests sentences.
    expect(box(page, "where")).to_have_value(both)
    expect(page.locator("#look-like")).to_contain_text("rooms in a house")
    expect(page.locator("#results .sg-waiting img")).to_have_count(12)
    ask(page, QUERY)
    expect(page.locator("#results section")).to_have_count(2)
    expect(page.locator("#results h3")).to_contain_text(f"{len(sample_photos()) - 1} ranked")
    add(page, [sample_photos()[0].path])
    expect(page.locator("#results h3")).to_contain_text(f"{len(sample_photos())} ranked")
    expect(page.locator("#look-like", has_text="rooms in a house")).to_have_count(0)  # this photo shows none
    choose(page, "where", "pictures")
    expect(page.locator("#results h3")).to_contain_text(f"{len(sample_photos()) - 1} ranked")
    expect(page.locator("#look-like")).to_contain_text("rooms in a house")

    # More results appear until all are shown. A single column uses the whole page.
    expect(hits(page)).to_have_count(12)
    page.locator("#show-more").press("Enter")
    expect(hits(page)).to_have_count(len(sample_photos()) - 1)
    expect(page.locator("#show-more")).to_be_hidden()
    expect(hits(page).last.locator(".sg-open")).to_be_focused()
    page.locator("#with-zero-shot input").uncheck()
    expect(page.locator("#results section")).to_have_count(1)

    # Mark a photo of the library, teach a name from it and from another one, and find similar photos.
    hits(page).first.locator('[data-mark="up"]').click()
    expect(page.locator("#marked")).to_contain_text(texts.MARKED.partition("{question}")[2].format(total=1))
    name, second = (hits(page).nth(place).locator(".sg-label").text_content() for place in (0, 1))
    place = str(hits(page).nth(1).locator(".sg-label").get_attribute("title"))
    hits(page).nth(1).locator(".sg-open").click()
    # The user of this machine sees the photo itself, and where it is.
    expect(page.locator("dialog p")).to_have_text(f"2. {place}")
    assert Path(place).name == second
    with Image.open(place) as original:
        wanted = [original.width, original.height]
    settles(lambda: page.locator("dialog img").evaluate("image => [image.naturalWidth, image.naturalHeight]"), wanted)
    # Teach opens the names with only this photo, ready for its name.
    page.locator("dialog [data-teach]").click()
    expect(page.locator("dialog.sg-view")).to_be_hidden()
    expect(box(page, "names-name")).to_be_focused()
    expect(box(page, "names-name")).to_be_in_viewport()
    chosen = page.locator("#names-strip [aria-pressed=true]")
    expect(chosen.locator("img")).to_have_attribute("alt", str(second))
    hits(page).first.locator('[data-mark="up"]').click()
    hits(page).first.locator('[data-mark="up"]').click()  # ticked again, it joins
    settles(lambda: {image.get_attribute("alt") for image in chosen.locator("img").all()}, {name, second})
    submit(page, "names-name", "wug")
    expect(page.locator("#names-chips button")).to_have_text(["wug (2 photos)"])
    show = "(names, display) => { names.style.display = display; }"
    for display, milliseconds in (("", 0), ("none", 3_000)):  # the panel is open now, or takes a while
        hits(page).first.locator(".sg-open").click()
        page.locator("#names").evaluate(show, display)
        page.locator("dialog [data-teach]").click()
        page.wait_for_timeout(milliseconds)
        page.locator("#names").evaluate(show, "")
        expect(box(page, "names-name")).to_be_focused()
    hits(page).first.locator(".sg-open").click()
    page.locator("dialog [data-similar]").click()
    expect(page.locator("#results h3")).to_contain_text(f"Photos like {name}")
    expect(page.locator("dialog.sg-view")).to_be_hidden()
    page.go_back()
    expect(page.locator("#results h3")).to_contain_text(QUERY)

    # A reload and the link ask the same question about the same photos.
    page.reload()
    expect(page.locator("#results h3")).to_contain_text(QUERY)
    expect(page.locator("#results h3")).to_contain_text(f"{len(sample_photos()) - 1} ranked")
    expect(box(page, "where")).to_have_value("pictures")
    settles(lambda: asked_of(page).get("in"), "library:pictures")
    page.click("#library-folders > button")
    expect(page.locator("#library-index")).to_be_visible()
    choose(page, "where", "Everyday photos")
    expect(page.locator("#results h3")).to_contain_text(f"{len(sample_photos())} ranked")
    settles(lambda: asked_of(page).get("in"), "samples")


def test_keywords_are_written_beside_the_photos_after_a_yes(page: Page, photos: Path) -> None:
    choose(page, "where", "pictures")
    ask(page, "a cat/dog")
    names = {name for hit in hits(page).all() if (name := hit.locator("img").get_attribute("alt"))}
    page.click("#take-home > button")
    expect(page.locator("#tag")).to_be_hidden()
    expect(page.locator("#tag-here")).to_have_text(texts.TAG_FIRST.format(n=12, word="a cat dog"))
    wrong = hits(page).nth(1)  # it gets no keyword
    names.discard(wrong.locator("img").get_attribute("alt"))
    wrong.locator('[data-mark="down"]').click()
    page.get_by_role("button", name=texts.TAG_SOME.format(n=11, first=12, word="a cat dog")).click()
    assert not list(photos.rglob("*.xmp"))
    for changed in (11, 0):
        page.locator("#tag-here").click()
        page.locator("#tag-sure").click()
        expect(page.locator("#take-said")).to_have_text(texts.TAGGED.format(changed=changed, same=11 - changed, failed=0))
        expect(page.locator("#tag-sure")).to_be_hidden()
    written = list(photos.rglob("*.xmp"))
    assert {file.stem for file in written} == names
    assert all(keywords(file.read_bytes())[SUBJECT] == ["a cat dog"] for file in written)

    # A photo of both is in the visitor's own ones: its sidecar comes as a ZIP, the others' are written.
    add(page, [sample_photos()[0].path])
    choose(page, "where", texts.WITHIN_BOTH.format(name="pictures"))
    ask(page, sample_photos()[0].subject)
    expect(page.locator("#tag")).to_contain_text("(ZIP)")
    expect(page.locator("#tag-here")).to_be_visible()

    # Own photos and samples are not on this machine: their sidecars come as a ZIP.
    choose(page, "where", "Everyday photos")
    expect(page.locator("#tag-here")).to_be_hidden()
    names = zipfile.ZipFile(downloaded(page, "#tag")).namelist()
    assert names == [f"{hit.locator('img').get_attribute('alt')}.xmp" for hit in hits(page).all()]


def test_filters_stay_with_the_question(page: Page) -> None:
    asked, ranked = {}, page.locator("#results h3 small")

    def expect_filtered(photos: int, **filters: str) -> None:
        expect(ranked).to_have_text(f"{texts.RANKED.format(total=photos)}; {texts.MOVES}")
        asked.update(filters)
        for name, value in asked.items():
            expect(box(page, name)).to_have_value(value or (texts.FOLDER_ALL if name == "folder" else ""))
        settles(lambda: {name: asked_of(page).get(name, "") for name in asked}, asked)

    ask(page, QUERY)
    expect_filtered(len(sample_photos()) - 1, folder="", since="", until="")
    choose(page, "folder", "photos/dated")
    expect_filtered(len(DAYS), folder="photos/dated")
    submit(page, "since", DAYS[1])
    expect_filtered(len(DAYS) - 1, since=DAYS[1])
    page.reload()
    expect_filtered(len(DAYS) - 1)
    box(page, "until").fill(DAYS[1])
    page.locator("#results h3").click()  # leave the box
    expect_filtered(1, until=DAYS[1])
    page.go_back()
    expect_filtered(len(DAYS) - 1, until="")
    # A day that is cleared while an answer comes stays cleared.
    submit(page, "query", "a lion")
    submit(page, "since", "")
    expect_filtered(len(DAYS), since="")
    ask(page, QUERY)
    submit(page, "since", DAYS[1])
    expect_filtered(len(DAYS) - 1, since=DAYS[1])
    other, _ = visit(page.context.browser, f"{page.url.partition('?')[0]}?q=a+lion&in=library:pictures&since=2031-01-01")
    expect(box(other, "since")).to_have_value("2031-01-01")  # a filter that leaves no photo can be changed
    expect(other.locator("#results")).to_contain_text("No photo matches this folder")
    # An invalid day, or one that leaves no photo, goes back to the one that is applied.
    for day, why in (("in spring", texts.DAY_UNUSABLE.format(text="in spring")), ("2031-01-01", "No photo matches")):
        submit(page, "since", day)
        expect(page.locator(".toast-body").filter(has_text=why).first).to_be_visible()
        expect_filtered(len(DAYS) - 1)
    box(page, "since").fill("")

    # A question whose words trained nothing says so.
    remark = page.locator("#results").get_by_text(texts.UNKNOWN_WORDS.format(words="unicorn, spaceship"))
    for query, times in (("unicorn eating a spaceship", 1), ("a lion", 0)):
        ask(page, query)
        expect(remark).to_have_count(times)


def test_nothing_hides_at_any_width_and_an_enlarged_photo_closes_with_back(page: Page) -> None:
    view = page.locator("dialog.sg-view")
    page.click("#try-it")
    expect(hits(page).nth(2)).to_be_visible()
    for width in (390, 768, 1280):  # 768: the narrowest with columns as on a wide page
        expect_all_in_sight(page, width)
    address, names = page.url, [hit.locator("img").get_attribute("alt") for hit in hits(page).all()]
    hits(page).nth(1).locator(".sg-open").click()
    expect(view.locator("img")).to_have_attribute("alt", names[1])
    view.get_by_role("button", name=texts.VIEW_NEXT).click()
    expect(view.locator("img")).to_have_attribute("alt", names[2])
    page.keyboard.press("ArrowLeft")
    view.get_by_role("button", name=texts.VIEW_PREVIOUS).click()
    expect(view.locator("img")).to_have_attribute("alt", names[0])
    expect(view.get_by_role("button", name=texts.VIEW_PREVIOUS)).to_have_attribute("aria-disabled", "true")
    with page.expect_download() as waiting:
        view.get_by_role("button", name=texts.VIEW_DOWNLOAD).click()
    assert waiting.value.suggested_filename == names[0]
    original = next(s.path for s in sample_photos(OPENING) if s.name == names[0])
    assert Path(waiting.value.path()).read_bytes() == original.read_bytes()
    for close in (page.go_back, lambda: page.keyboard.press("Escape"), view.get_by_role("button", name=texts.VIEW_CLOSE).click):
        if not view.is_visible():
            hits(page).first.locator(".sg-open").click()
        expect(view).to_be_visible()
        close()
        expect(view).to_be_hidden()
        expect(hits(page).first.locator(".sg-open")).to_be_focused()
        expect(page.locator("#results h3")).to_be_visible()
        expect(page).to_have_url(address)


def expect_all_in_sight(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": HEIGHT})
    expect_fit(page)
    shown = "#query", "#where", "#search", "#names > button", "#photo-words > button", "#with-zero-shot"
    for name in (*shown, "#show-more", "#more > button"):
        expect(page.locator(name)).to_be_visible()
        edges = page.locator(name).bounding_box()
        assert edges["x"] >= 0 and edges["x"] + edges["width"] <= width, (name, edges)
    expect(page.locator(".overflow-menu:visible button")).to_have_count(0)
    hits(page).first.locator(".sg-open").click()
    expect(page.locator("dialog.sg-view img")).to_be_visible()
    for button in page.locator("dialog.sg-view button").all():
        edges = button.evaluate("e => e.getBoundingClientRect().toJSON()")
        assert edges["left"] >= 0 and edges["right"] <= width and edges["bottom"] <= HEIGHT and edges["height"] >= 44
    page.keyboard.press("Escape")
    expect(page.locator("dialog.sg-view")).to_be_hidden()
