"""The README's pictures, made from the running page: its first screen, and what happens when the sentence changes.

    python benchmarks/pictures.py

It starts the app on loopback, and writes to assets/screenshots.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests/helpers")]

from app_process import chromium, serve, visit
from page_state import ask, box
from PIL import Image
from playwright.sync_api import Page, expect

from app.photos.samples import sample_questions
from core.common.paths import ASSETS

OUT, SIZE = ASSETS / "screenshots", {"width": 1240, "height": 1040}
OTHER = "quarterly tax returns and invoices"
FIRST, *_ = sample_questions()
WIDTH, STILL, TYPED, MOVED = 960, 2_000, 150, 60  # pixels; milliseconds of a frame
SLIDES = "document.getAnimations().filter(each => each.effect.target.matches('.sg-hit'))"
LETTERS, MOVES, SLIDE = 4, 14, 800  # letters of a frame; frames of a slide, and how long it takes on the page


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder), flags=()) as address, chromium() as browser:
        page, _ = visit(browser, address, viewport=SIZE, reduced_motion="no-preference", locale="en")
        for sentence, figures in ((OTHER, 2), (FIRST.description, 3)):  # the first adapter takes longer than all others
            ask(page, FIRST.query, sentence)
            counted(page, sentence, figures)
        page.mouse.move(0, 0)
        page.evaluate("scrollTo(0, 0)")
        Image.open(io.BytesIO(page.screenshot())).quantize(256).save(OUT / "search.png", optimize=True)
        ask(page, FIRST.query, OTHER)
        counted(page, OTHER, 2)  # it is not applied
        frames = list(changed(page))
    first, *others = [frame for frame, _ in frames]
    durations = [duration for _, duration in frames]
    first.save(OUT / "sentence.webp", save_all=True, append_images=others, duration=durations, loop=0, quality=55, method=6)


def counted(page: Page, sentence: str, figures: int = 3) -> None:
    """Wait until the answer to a sentence is shown and counted, and all photos have come to rest."""
    expect(page.locator("#results .sg-panel")).to_have_attribute("data-description", sentence)
    expect(page.locator("#recall .sg-verdict b")).to_have_count(figures)
    page.wait_for_function(f"{SLIDES}.length === 0")


def changed(page: Page) -> Iterator[tuple[Image.Image, int]]:
    """Frames (picture, milliseconds): another sentence is typed, and photos slide to their new places."""
    yield frame(page), STILL
    box(page, "description").fill("")
    for end in range(LETTERS, len(FIRST.description) + LETTERS, LETTERS):
        box(page, "description").press_sequentially(FIRST.description[end - LETTERS : end])
        page.wait_for_timeout(500)  # the experts appear while one types
        yield frame(page), TYPED
    # Time stands still, and each frame sets it.
    page.context.new_cdp_session(page).send("Animation.setPlaybackRate", {"playbackRate": 0})
    box(page, "description").press("Enter")
    expect(page.locator("#results .sg-panel")).to_have_attribute("data-description", FIRST.description)
    page.wait_for_function(f"{SLIDES}.length > 5")
    for move in range(MOVES):
        page.evaluate(f"time => {SLIDES}.forEach(each => each.currentTime = time)", SLIDE * move / MOVES)
        yield frame(page), MOVED
    page.evaluate(f"{SLIDES}.forEach(each => each.finish())")
    counted(page, FIRST.description)
    yield frame(page), 2 * STILL


def frame(page: Page) -> Image.Image:
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
