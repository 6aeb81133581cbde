"""Learning keywords and training an expert on the page, as a visitor does."""

import io
import re
import threading
import time
import zipfile
from pathlib import Path, PurePath
from typing import Any

import pytest
from app_process import visit
from app_visitors import Running
from made_up_photos import blurred, drawn
from make_images import encode, picture
from page_state import box, choose, downloaded, expect_photos, labels, settles
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from app.actions import own_experts
from app.languages import texts
from core.data.sample_photos import sample_sets
from core.data.xmp import EMPTY, keywords, with_keyword
from core.training.own_expert import MIN_PHOTOS, OwnRecipe


def class_folders(folder: Path) -> Path:
    """A ZIP with photos of two made-up kinds: one has a folder, the other one a keyword inside each photo, or beside it. Four
    new ones of the first kind have no keyword."""
    path = folder / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(9):
            archive.write(drawn(folder, "wug", 2 * number), f"pictures/wug/{number}.png")
            dax, out = drawn(folder, "dax", 2 * number), io.BytesIO()
            Image.open(dax).convert("RGB").save(out, "JPEG", quality=95, xmp=with_keyword(EMPTY, "shapes|dax"))
            archive.writestr(f"pictures/2024/{number}.jpg", out.getvalue())
            if number < 4:
                archive.write(drawn(folder, "wug", 5 + 2 * number), f"pictures/new/wug {number}.png")
                archive.write(drawn(folder, "dax", 5 + 2 * number), f"pictures/inbox/dax {number}.png")
                archive.writestr(f"pictures/inbox/dax {number}.xmp", with_keyword(EMPTY, "dax"))
        for number in range(24):
            archive.writestr(f"pictures/export/{number}.jpg", encode(picture(number, (160, 120)), "JPEG"))
    return path


def test_one_click_learns_folders_and_keywords(page: Page, tmp_path: Path) -> None:
    expect(page.locator("#learn")).to_be_hidden()  # the photos that the page opens on show what a sentence does
    page.locator("#upload input[type=file]").set_input_files(class_folders(tmp_path))
    expect(page.locator("#keywords")).to_contain_text(texts.LEARN_FOUND.format(n=3, photos=22))
    page.click("#learn")
    expect(page.locator("#keywords")).to_contain_text("keywords were learned")
    expect(page.locator("#keywords")).to_contain_text("photos that did not teach")
    expect(page.locator("#learn")).to_be_hidden()
    gaps = page.locator("#gaps details").filter(has=page.locator("summary b", has_text=re.compile("^wug$")))
    gaps.locator("summary").click()
    photos = gaps.locator("[data-key]")
    expect(photos.last).to_have_attribute("title", re.compile(r"^wug \d\.png: (100|[6-9]\d) of 100"))
    shares = [int(re.findall(r"(\d+) of 100", title)[0]) for title in photos.evaluate_all("all => all.map(each => each.title)")]
    assert shares == sorted(shares), "the least sure come first"
    surest = photos.last
    expect(surest).to_have_attribute("aria-pressed", "true")
    surest.click()
    left_out = str(surest.get_attribute("title")).partition(":")[0]
    chosen = page.locator('#gaps [data-key][aria-pressed="true"]')
    names = chosen.evaluate_all("all => all.map(each => each.title.split(':')[0])")
    expect(page.locator("#gaps [data-write]")).to_have_text(texts.GAPS_WRITE.format(n=len(names)))
    with zipfile.ZipFile(downloaded(page, "#gaps [data-write]")) as archive:
        words = {name: keywords(archive.read(name))["dc:subject"] for name in archive.namelist()}
    assert {PurePath(name).name.removesuffix(".xmp") for name in words} == set(names) and left_out not in names
    tagged = {name: words[f"pictures/pictures/new/{name}.xmp"] for name in names if name.startswith("wug ")}
    assert len(tagged) == 3 and set(map(tuple, tagged.values())) == {("wug",)}

    page.reload()  # the proposals stay, and which photos were left out
    expect(page.locator("#keywords")).to_contain_text("keywords were learned")
    expect(gaps.locator("summary")).to_be_visible()
    expect(chosen).to_have_count(len(names))
    expect(surest).to_have_attribute("aria-pressed", "false")
    page.locator("#names-chips button").filter(has_text="wug").click()
    right = {f"{number}.png" for number in range(9)} | {f"wug {number}.png" for number in range(4)}
    settles(lambda: len(right & set(labels(page, texts.SHARED)[:9])) >= 8, True)

    choose(page, "where", sample_sets()["clothes"].title)
    expect(page.locator("#keywords")).to_contain_text(texts.LEARN_FOUND.format(n=9, photos=46))
    expect(page.locator("#learn")).to_be_visible()


def test_closing_the_browser_ends_its_training(
    browser: Browser, app: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, train = threading.Event(), own_experts.train_own_expert

    def training(*given: Any, recipe: OwnRecipe) -> object:
        *given, progress, stop = given
        try:  # slowly: the test waits for the page, and needs no steps meanwhile
            return train(*given, lambda *step: (time.sleep(0.2), progress(*step)), stop, recipe=recipe)
        finally:
            ended.set()

    monkeypatch.setattr(own_experts, "train_own_expert", training)
    monkeypatch.setattr(own_experts, "RECIPE", OwnRecipe(fixed_steps=100_000))  # longer than the test needs to stop it
    names = [f"number {i}.png" for i in range(MIN_PHOTOS)]
    (captions := tmp_path / "captions.csv").write_text("\n".join(["image,caption", *(f"{n},the photo {n}" for n in names)]))
    files = [*blurred(tmp_path, names, 5), captions]
    pages = [visit(browser, app.url)[0] for _ in range(2)]
    for number, page in enumerate(pages):
        page.locator("#upload input[type=file]").set_input_files(files)
        expect(page.locator("#fill")).to_contain_text(f"{MIN_PHOTOS} with captions")  # the captions come after the photos
        page.get_by_role("tab", name=texts.TAB_EXPERTS).click()
        page.click("#train-own button")
        box(page, "own-name").fill(f"mine {number}")
        box(page, "own-description").fill("photos of everything")
    closing, waiting = pages
    closing.click("#train")
    expect(closing.locator("#trained")).to_contain_text("steps")  # Gradio counts seconds before it has its turn
    waiting.click("#train")
    expect(waiting.locator("#trained")).to_contain_text(texts.WAITS)
    assert not ended.is_set()
    closing.close()
    assert ended.wait(120)
    expect(waiting.locator("#trained")).to_contain_text("steps")
    waiting.click("#stop")
    expect(waiting.locator("#trained")).to_contain_text("The training was stopped")
    expect(waiting.locator("#own")).to_contain_text(texts.OWN_NONE)
    expect_photos(waiting, MIN_PHOTOS)
