"""Learning the keywords of photos on the page, as a visitor does."""

import io
import zipfile
from pathlib import Path

from app_process import visit
from made_up_photos import drawn
from make_images import encode, picture
from page_state import choose, labels, settles
from PIL import Image
from playwright.sync_api import Browser, expect

from app.languages import texts
from core.data.sample_photos import sample_sets
from core.data.xmp import EMPTY, with_keyword


def class_folders(folder: Path) -> Path:
    """A ZIP with photos of two made-up kinds: one has a folder, the other one a keyword inside each photo."""
    path = folder / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(9):
            archive.write(drawn(folder, "wug", number), f"pictures/wug/{number}.png")
            dax, out = drawn(folder, "dax", number), io.BytesIO()
            Image.open(dax).convert("RGB").save(out, "JPEG", quality=95, xmp=with_keyword(EMPTY, "shapes|dax"))
            archive.writestr(f"pictures/2024/{number}.jpg", out.getvalue())
        for number in range(24):
            archive.writestr(f"pictures/export/{number}.jpg", encode(picture(number, (160, 120)), "JPEG"))
    return path


def test_one_click_learns_folders_and_keywords(browser: Browser, url: str, tmp_path: Path) -> None:
    page, _ = visit(browser, url)
    expect(page.locator("#learn")).to_be_hidden()  # the photos that the page opens on show what a sentence does
    page.locator("#upload input[type=file]").set_input_files(class_folders(tmp_path))
    expect(page.locator("#keywords")).to_contain_text(texts.LEARN_FOUND.format(n=3, photos=18), timeout=60_000)
    page.click("#learn")
    expect(page.locator("#keywords")).to_contain_text("keywords were learned")
    expect(page.locator("#keywords")).to_contain_text("photos that did not teach")
    expect(page.locator("#learn")).to_be_hidden()
    page.locator("#names-chips button").filter(has_text="wug").click()
    right = {f"{number}.png" for number in range(9)}
    settles(lambda: len(right & set(labels(page, texts.SHARED)[:9])) >= 8, True)

    choose(page, "where", sample_sets()["clothes"].title)
    expect(page.locator("#keywords")).to_contain_text(texts.LEARN_FOUND.format(n=9, photos=46))
    expect(page.locator("#learn")).to_be_visible()
