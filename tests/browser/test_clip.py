"""open_clip models on the page: one by a flag, without experts; and CLIP, downloaded with a click from a stand-in hub."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import open_clip
import pytest
import torch
from app_process import PATIENCE_SECONDS, serve, visit
from hub_stand_in import Hub, stand_in
from page_state import add, ask, box, choose, labels, settles
from playwright.sync_api import Browser, Page, expect
from recalls import labels_of, ranked
from repositories import make_model
from safetensors.torch import save_file
from strangers import wait
from tiny_models import random_lora

from app.languages import texts
from app.models.engines import OFFERED, OFFERED_AT, OFFERED_MB
from app.page.steps.switch import COSTS
from core.backbones import load_backbone
from core.backbones.peft_format import CONFIG_FILE, WEIGHTS_FILE, save_peft
from core.retrieval.gallery import Adapter, Gallery
from core.sglora.router import NO_EXPERTS

QUERY, SENTENCE = "something red", "photos of boats"
GIVEN = texts.BACKBONE_NO_EXPERTS.format(name="my-clip")
OFFERED_LABEL = texts.BACKBONE_COSTS.format(label=texts.BACKBONE_DOWNLOAD.format(mb=OFFERED_MB), **COSTS[OFFERED["spec"]])
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with CLIP ViT-B/32, whose weights are random, and half as large."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = open_clip.create_model(OFFERED["spec"]).half().state_dict()
    save_file(state, file := tmp_path_factory.mktemp("hub") / WEIGHTS)
    with stand_in() as hub:
        hub.files[OFFERED_AT] = {WEIGHTS: file, "open_clip_config.json": json.dumps({}).encode()}
        yield hub


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model in a folder."""
    return f"local-dir:{make_model(tmp_path_factory.mktemp('model') / 'my-clip', 0)}"


@pytest.fixture(scope="module")
def url(hub: Hub, spec: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an app with this model, which may download CLIP."""
    folder = tmp_path_factory.mktemp("app")
    caches = {"HF_HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "cache")}
    with serve(folder, flags=("--empty", "--hub", "--backbone", spec), HF_ENDPOINT=hub.endpoint, **caches) as address:
        yield address


def test_a_model_without_experts_searches_teaches_and_learns(page: Page, spec: str, photos: list[Path], tmp_path: Path) -> None:
    page.get_by_role("tab", name=texts.TAB_EXPERTS).click()
    expect(box(page, "backbone")).to_have_value(GIVEN)
    page.get_by_role("tab", name=texts.TAB_STUDIO).click()
    add(page, photos, len(photos))
    ask(page, QUERY)
    backbone = load_backbone(spec, adapt="texts")
    gallery = Gallery(backbone)
    gallery.add(photos)
    settles(lambda: labels(page, texts.ZERO_SHOT), labels_of(gallery, QUERY))
    expect(page.locator("#results section")).to_have_count(1)

    ask(page, QUERY, SENTENCE)
    expect(page.locator("#routing")).to_contain_text(NO_EXPERTS)
    expect(page.locator("#results section")).to_have_count(1)

    # An adapter from elsewhere becomes the first expert: it is applied as it came.
    lora = random_lora(backbone.layout, 3)
    save_peft(lora, tmp_path, backbone.fingerprint, "my-clip", {})
    page.get_by_role("tab", name=texts.TAB_EXPERTS).click()
    page.click("#import-own button")
    page.set_input_files("#adapter input[type=file]", [tmp_path / CONFIG_FILE, tmp_path / WEIGHTS_FILE])
    box(page, "import-description").fill(SENTENCE)
    page.click("#import")
    expect(page.locator("#own-report")).to_contain_text("boats")
    page.get_by_role("tab", name=texts.TAB_STUDIO).click()
    expect(page.locator("#lora")).to_contain_text("the exact merge of your experts, since this model has no generator yet")
    adapted = [hit.label for hit in ranked(gallery, QUERY, Adapter.of(lora)).hits]
    settles(lambda: labels(page, texts.SG_LORA), adapted)
    page.click("#more > button")
    expect(page.locator("#facts")).to_contain_text("rank")


def test_a_click_downloads_clip_once_for_all_visitors(
    page: Page, browser: Browser, url: str, hub: Hub, photos: list[Path]
) -> None:
    hub.pause = 0.2  # a minute in all: a slow machine has time to stop it
    size, other = Path(str(hub.files[OFFERED_AT][WEIGHTS])).stat().st_size, visit(browser, url)[0]
    assert hub.starts == [], "nothing is downloaded without a click"
    add(page, photos, len(photos))
    for each in (page, other):
        each.get_by_role("tab", name=texts.TAB_EXPERTS).click()
        choose(each, "backbone", OFFERED_LABEL)
        expect(each.locator("#switched")).to_contain_text(f"of {size / 1e6:.0f} MB")
    other.click("#stop-download")
    expect(other.locator("#switched")).to_contain_text(texts.DOWNLOAD_STOPPED)
    expect(box(other, "backbone")).to_have_value(GIVEN)
    page.click("#stop-download")
    expect(page.locator("#switched")).to_contain_text(texts.DOWNLOAD_STOPPED)
    expect(box(page, "backbone")).to_have_value(GIVEN)
    wait(lambda: hub.ends == 1, time.monotonic() + PATIENCE_SECONDS)  # who asks before waits for the same download

    hub.pause = 0.0
    choose(page, "backbone", OFFERED_LABEL)
    expect(page.locator("#switched")).to_contain_text(f"{len(photos)} photos indexed again")
    assert hub.starts[0] == 0 and len(hub.starts) == 2 and hub.starts[1] > 0, "it went on where it was stopped"
    page.get_by_role("tab", name=texts.TAB_STUDIO).click()
    ask(page, QUERY)
    expect(page.locator("#results .sg-hit")).to_have_count(len(photos))
