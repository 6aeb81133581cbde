"""What is compared, and the count over the visitor's captions above the results: without and with a question."""

import json
from pathlib import Path

from made_up_photos import blurred
from page_state import add, ask, box, labels, settles
from playwright.sync_api import Page, expect
from recalls import headline, labels_of, ranked

from app.languages import texts
from app.photos.samples import sample_questions
from core.experts.random_sentence import random_sentence
from core.retrieval.gallery import ZERO_SHOT, Adapter, Gallery
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

SENTENCE, QUERY = "photos of coloured spots", "something red"
PHOTOS, EACH = 24, 2  # photos; captions of each


def captions_file(folder: Path, photos: list[Path]) -> Path:
    path = folder / "captions.jsonl"
    lines = [
        {"image": p.name, "captions": [f"a spot of kind {i} number {n}" for n in range(EACH)]} for i, p in enumerate(photos)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def among_ten(gallery: Gallery, photos: list[Path], **adapters: Adapter) -> dict[str, int]:
    """For how many captions of ``captions_file`` the photo is among the first ten: one caption is asked after the other."""
    names = {f"a spot of kind {i} number {n}": p.name for i, p in enumerate(photos) for n in range(EACH)}
    return {
        which: sum(name in [hit.label for hit in ranked(gallery, text, adapter).hits] for text, name in names.items())
        for which, adapter in adapters.items()
    }


def test_ticks_say_which_columns_are_compared_and_captions_are_counted(page: Page, engine: SGLora, tmp_path: Path) -> None:
    chance = texts.RANDOM_RANGE.format(n=8, mean="", low="", high="").split(":")[0]
    columns, recall = page.locator("#results section"), page.locator("#recall .html-container")
    before, random = page.locator("#with-zero-shot input"), page.locator("#with-random input")
    expect(page.locator("#results h3")).to_contain_text(sample_questions()[0].query)
    expect(columns).to_have_count(3)
    page.click("#more > button")
    expect(random).to_be_checked()  # samples are compared with a random sentence
    random.uncheck()
    expect(columns).to_have_count(2)
    expect(recall).not_to_contain_text(chance)
    before.uncheck()
    expect(columns).to_have_count(1)
    expect(recall).not_to_contain_text(texts.COUNT_ZERO_SHOT.format(n=""))
    before.check()
    expect(columns).to_have_count(3)
    expect(random).to_be_checked()
    expect(recall).to_contain_text(chance)
    before.uncheck()
    expect(columns).to_have_count(1)
    expect(random).not_to_be_checked()
    random.check()
    expect(columns).to_have_count(3)
    expect(before).to_be_checked()

    # Captions are counted without a question, and with one.
    photos = blurred(tmp_path, [f"{i}.png" for i in range(PHOTOS)], 2)
    add(page, [*photos, captions_file(tmp_path, photos)], PHOTOS)
    box(page, "description").fill(SENTENCE)
    page.click("#generate")
    gallery = Gallery(engine.backbone)
    gallery.add(photos)
    adaptation = engine.adapt(AdapterRequest(SENTENCE))
    other = random_sentence(engine, adaptation.request)
    shared = Adapter.of(*engine.applied(engine.backbone.shared, engine.usual_strength))
    adapters = {"ZERO_SHOT": ZERO_SHOT, "SHARED": shared, "SG_LORA": Adapter.of(adaptation.lora, adaptation.weight)}
    found = among_ten(gallery, photos, **adapters)
    verdict, words = page.locator("#recall .sg-verdict"), headline(texts.FIRST_TEN.format(total=EACH * PHOTOS), **found)
    expect(verdict).to_have_text(words)
    expect(page.locator("#without-sentence")).to_be_visible(visible=found["SG_LORA"] < found["SHARED"])
    expect(page.locator("#results")).to_contain_text(texts.COMPARE_EMPTY)

    ask(page, QUERY)
    expect(columns).to_have_count(2)
    expect(verdict).to_have_text(words)
    above, results = page.evaluate("['recall', 'results'].map(id => document.getElementById(id).getBoundingClientRect().y)")
    assert above < results
    expect(page.locator("#recall .sg-recall")).to_be_hidden()
    page.click("#recall summary")
    expect(page.locator("#recall .sg-recall")).to_be_visible()

    random.check()
    expect(columns.nth(1)).to_contain_text(other.request.description)
    settles(lambda: labels(page, texts.RANDOM), labels_of(gallery, QUERY, other))
