"""The page in a real browser, with the real app in its own process. No other host is in their network."""

import json
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import network_isolation
import pytest
import torch
from app_process import START_SECONDS, blank, chromium, serve
from made_up_photos import blurred
from network_isolation import ELSEWHERE, NO_NAMESPACES, asked, elsewhere, listening, nowhere
from page_state import ask, box, choose, close_message, column, downloaded, settles, submit
from playwright.sync_api import Browser, Error, Page, Playwright, expect
from recalls import ranked, recalls

from app.languages import texts
from app.page.views.evidence import shipped
from app.visitors.tab import SHOWN
from core.backbones.peft_format import load_peft
from core.data.sample_photos import sample_photos
from core.experts.adapter_files import routed_experts
from core.retrieval.gallery import ZERO_SHOT, Adapter, Gallery, Ranking
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

SENTENCE = "photos of wild animals"
QUERY = "an animal that runs fast"
HINTS = "link[rel~=preconnect], link[rel~=dns-prefetch]"


@pytest.fixture(scope="module")
def network() -> Iterator[list[str]]:
    """The start of a command that runs in a network without other hosts; empty if this machine does not permit this."""
    with nowhere() as start:
        yield start


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of the app's network requests."""
    return tmp_path_factory.mktemp("notes") / "notes.txt"


@pytest.fixture(scope="module")
def url(network: list[str], notes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(tmp_path_factory.mktemp("app"), network, **listening(notes.parent / "listen", notes)) as address:
        yield address


@pytest.fixture(scope="module")
def browser(network: list[str], playwright: Playwright) -> Iterator[Browser]:
    with chromium(network, playwright) as started:
        yield started


@pytest.fixture
def page(browser: Browser, url: str, notes: Path) -> Iterator[Page]:
    """A visitor's page with loaded models. The test fails if page or app contact other hosts, or if the page has errors."""
    (page, errors), outside = blank(browser, url), list[str]()
    local = (url, url.replace("http", "ws", 1), "data:", "blob:")
    for event in ("request", "websocket"):
        page.on(event, lambda r: None if r.url.startswith(local) else outside.append(r.url))
    page.on("response", lambda r: errors.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    page.on("dialog", lambda d: (errors.append(f"dialog: {d.message}"), d.dismiss()))
    page.goto(url)
    expect(page.locator("#status .sg-ready")).to_be_visible(timeout=START_SECONDS * 1000)
    yield page
    # Links that make the browser look up or call other hosts do not count as requests.
    outside += [link.get_attribute("href") or "" for link in page.locator(HINTS).all()]
    page.close()
    assert outside == []
    assert elsewhere(asked(notes)) == []
    assert errors == []


def expect_ranks(page: Page, title: str, ranking: Ranking) -> None:
    """Wait until the page shows these first."""
    expected = [(hit.rank, hit.label) for hit in ranking.hits]
    settles(lambda: [hit[:2] for hit in column(page, title)][: len(expected)], expected)


def test_from_a_sentence_to_two_rankings(page: Page, engine: SGLora, tmp_path: Path) -> None:
    samples = sample_photos()

    # A question before any photo gives a message, and nothing is lost.
    box(page, "description").fill(SENTENCE)
    box(page, "query").fill(QUERY)
    page.click("#search")
    expect(page.get_by_test_id("toast-body")).to_contain_text("no photos yet")
    expect(box(page, "query")).to_have_value(QUERY)
    close_message(page)

    # The page shows the experts that core routes to.
    routed = routed_experts(engine, engine.route(SENTENCE))
    chosen = page.locator("#routing .sg-experts li")
    expect(chosen).to_have_count(len(routed))
    for item, expert in zip(chosen.all(), routed, strict=True):
        expect(item).to_have_attribute("title", f"{expert['name']}: {expert['description']}")
    weight, shown = 100 * routed[0]["weight"], re.search(r"(\d+) %", chosen.first.inner_text())
    assert shown and abs(int(shown[1]) - weight) < 1

    # The visitor's own photos and their captions. One file is broken.
    page.click("#captions button")
    own, captions = blurred(tmp_path, ["red blot.png", "stripes <b>.jpg", "noise.webp"], 4), tmp_path / "captions.jsonl"
    captions.write_text("\n".join(json.dumps({"image": s.name, "captions": s.captions}) for s in samples))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(own[1].read_bytes()[:200])
    page.set_input_files("#upload input[type=file]", [*(s.path for s in samples), *own, broken, captions])
    report = page.locator("#report")
    expect(report).to_contain_text(texts.ADDED.format(n=len(samples) + 3))
    expect(report).to_contain_text("broken.jpg")
    expect(page.locator("#gallery .thumbnail-item")).to_have_count(len(samples) + 3)

    # Without a sentence, only the shared part is applied. Typing makes the results stale, and Enter asks again.
    ask(page, QUERY, "")
    expect(page.locator(f'#results section[aria-label="{texts.SHARED}"]')).to_be_visible()
    expect(page.locator("#results section")).to_have_count(2)
    box(page, "description").fill(SENTENCE)
    expect(page.locator("#results .sg-stale-note")).to_be_visible()
    box(page, "description").press("Enter")
    expect(page.locator(f'#results section[aria-label="{texts.SG_LORA}"]')).to_be_visible()
    expect(page.locator("#results section")).to_have_count(2)
    expect(page.locator("#results .sg-stale-note")).to_be_hidden()
    adaptation = engine.adapt(AdapterRequest(SENTENCE))
    page.click("#more button")
    for fact in (f"{adaptation.lora.parameters:,}", f"{adaptation.lora.rank}"):
        expect(page.locator("#facts dd").get_by_text(fact, exact=True)).to_be_visible()

    # Words -> photos: the results equal core's for the same photos. The experts' average is shown on demand.
    page.locator("#with-merge input").check()
    expect(page.locator("#results section")).to_have_count(3)
    gallery = Gallery(engine.backbone)
    gallery.add([s.path for s in samples])
    gallery.set_captions({s.name: s.captions for s in samples})
    gallery.add([page_name(path) for path in own])
    generated = Adapter.of(adaptation.lora, adaptation.weight)
    expect_ranks(page, texts.ZERO_SHOT, ranked(gallery, QUERY, ZERO_SHOT, SHOWN))
    expect_ranks(page, texts.SG_LORA, ranked(gallery, QUERY, generated, SHOWN))
    merge = engine.repository.merged(adaptation.routing.chosen, adaptation.routing.weights)
    merged = Adapter.of(*engine.applied(merge, adaptation.strength))
    expect_ranks(page, texts.MERGE, ranked(gallery, QUERY, merged, SHOWN))
    found = recalls(gallery, generated)
    page.click("#recall .sg-figures summary")
    row = page.locator("#recall .sg-recall tbody tr:not(.sg-lead)", has_text=texts.SG_LORA)
    recalled = pytest.approx([found[way][k] for way in ("t2i", "i2t") for k in ("R@1", "R@5", "R@10")], abs=0.51)
    settles(lambda: [float(cell.rstrip("%")) for cell in row.locator("td b").all_inner_texts()], recalled)

    # A photo -> captions. The thumbnail is chosen with the keyboard.
    page.locator("#gallery .thumbnail-item").nth(2).focus()
    page.keyboard.press("Enter")
    page.click("#photo-words > button")
    expect(page.locator("#pick input")).to_have_value(samples[2].name)
    page.click("#find")
    expect(page.locator("#results h3")).to_contain_text(samples[2].name)
    picked = gallery.contents.prefixes([2])
    # The photo's own captions are shown even if they rank lower.
    expect_ranks(page, texts.ZERO_SHOT, gallery.contents.image_to_text(picked, ZERO_SHOT, SHOWN))
    expect_ranks(page, texts.SG_LORA, gallery.contents.image_to_text(picked, generated, SHOWN))

    # The download contains the generated adapter.
    shutil.unpack_archive(downloaded(page, "#download"), tmp_path / "adapter", "zip")
    linears = engine.backbone.linears.values()
    lora, provenance = load_peft(tmp_path / "adapter", linears, engine.backbone.fingerprint)
    assert lora.factors.keys() == adaptation.lora.factors.keys()
    for name, factors in lora.factors.items():
        torch.testing.assert_close(factors.delta, adaptation.lora.factors[name].delta)
    assert (provenance["description"], provenance["seed"]) == (SENTENCE, 0)


def captioned_zip(folder: Path) -> Path:
    path, names = folder / "blots.zip", [f"{colour}-{i}.png" for i in range(6) for colour in ("red", "green", "blue", "grey")]
    with zipfile.ZipFile(path, "w") as archive:
        for photo in blurred(folder / "blots", names, 8):
            archive.write(photo, f"photos/{photo.name}")
        lines = [f"{name},a {name.partition('-')[0]} blot number {i}" for i, name in enumerate(names)]
        archive.writestr("captions.csv", "\n".join(["image,caption", *lines]))
    return path


def test_experts_of_ones_own(page: Page, engine: SGLora, tmp_path: Path) -> None:
    # A ZIP with captions, three columns, another variant.
    page.set_input_files("#upload input[type=file]", [captioned_zip(tmp_path)])
    expect(page.locator("#fill")).to_contain_text("24 with captions")
    box(page, "description").fill("photos of red and blue blots")
    box(page, "query").fill("a red blot")
    page.click("#search")
    expect(page.locator("#results section")).to_have_count(2)
    page.click("#more button")
    page.locator("#with-merge input").check()
    expect(page.locator("#recall .sg-lead")).to_have_count(4)
    expect(page.locator("#search-command textarea")).to_have_value(re.compile("core search 'a red blot'.*\n.*core evaluate"))
    page.click("#resample")
    expect(page.locator("#command textarea")).to_have_value(re.compile(r"--seed \d+"))
    adapter = shutil.copy(downloaded(page, "#download"), tmp_path / "adapter.zip")

    # Training takes a second, and routing uses the new expert at once. test_learn.py stops a longer one.
    page.get_by_role("tab", name=texts.TAB_EXPERTS).click()
    page.click("#train-own button")
    box(page, "own-name").fill("my blots")
    box(page, "own-description").fill("photos of red and blue blots")
    expect(page.locator("#own")).to_contain_text(texts.OWN_NONE)
    page.click("#train")
    # What is asked during a training is still there after it.
    other, trained = "photos of people surfing", page.locator("#trained")
    page.get_by_role("tab", name=texts.TAB_STUDIO).click()
    submit(page, "description", other)
    expect(page.locator("#command textarea")).to_have_value(re.compile(other))
    page.get_by_role("tab", name=texts.TAB_EXPERTS).click()
    expect(trained).to_contain_text("measured on 6 held-out photos")
    expect(trained).to_contain_text(re.compile(r"gain [+-]\d+\.\d R@1"))
    expect(page.locator("#own")).to_contain_text("my blots")
    page.get_by_role("tab", name=texts.TAB_STUDIO).click()
    expect(page.locator("#command textarea")).to_have_value(re.compile(other))
    submit(page, "description", "photos of red and blue blots")
    first = page.locator("#routing .sg-experts li").first
    expect(first).to_have_attribute("title", re.compile("^my blots:"))  # its description equals the page's sentence
    expect(page.locator("#recall")).to_contain_text(texts.LEFT_OUT.format(n=18))  # 18 photos trained the routed expert
    expect(page.locator("#status")).to_contain_text(f"{len(engine.repository)} experts")

    page.get_by_role("tab", name=texts.TAB_EXPERTS).click()
    # The downloaded adapter is imported as an expert. A file that is not an adapter is rejected, and nothing is lost.
    page.click("#import-own button")
    box(page, "import-description").fill("photos of coloured spots")
    page.set_input_files("#adapter input[type=file]", [captioned_zip(tmp_path)])
    page.click("#import")
    expect(page.get_by_test_id("toast-body")).to_contain_text("adapter_config.json")
    close_message(page)
    expect(box(page, "import-description")).to_have_value("photos of coloured spots")
    page.locator("#adapter").get_by_label("Clear").click()
    page.set_input_files("#adapter input[type=file]", [adapter])
    page.click("#import")
    expect(page.locator("#own")).to_contain_text("coloured spots")
    expect(page.locator("#own")).to_contain_text(texts.NOT_MEASURED)

    page.locator("#experts [role=gridcell]:visible", has_text="my blots").first.click()
    expect(page.locator("#details h3")).to_contain_text("my blots")

    # Own experts survive a reload. One is removed, and comes back from the download.
    experts = shutil.copy(downloaded(page, "#experts-download"), tmp_path / "experts.zip")
    page.reload()
    page.get_by_role("tab", name=texts.TAB_EXPERTS).click()
    mine = page.locator("#own li")
    expect(mine).to_have_count(2)
    choose(page, "own-pick", "my blots")
    page.click("#own-remove")
    expect(mine).to_have_count(1)
    load_experts(page, adapter)
    expect(page.get_by_test_id("toast-body")).to_contain_text(texts.IS_ADAPTER.format(place=texts.IMPORT))
    expect(mine).to_have_count(1)
    load_experts(page, experts)
    expect(mine).to_have_count(2)


def load_experts(page: Page, file: str) -> None:
    with page.expect_file_chooser() as chooser:
        page.click("#experts-load")
    chooser.value.set_files(file)


def page_name(path: Path) -> tuple[str, bytes]:
    """Name and content of a file as the page sends them: Gradio removes a few characters from the names of uploads."""
    return re.sub(r"[<>]", "", path.name), path.read_bytes()


def test_nothing_typed_is_run_and_every_result_that_ships_is_shown(page: Page) -> None:
    sentence = "photos of dogs that run on the beach <img src=x onerror=alert(1)> ${alert(2)}"
    box(page, "description").fill(sentence)
    page.click("#generate")
    expect(page.locator("#lora")).to_contain_text(sentence)

    page.get_by_role("tab", name=texts.TAB_EVIDENCE).click()
    shown = page.locator(".sg-exhibit:visible")
    expect(shown).to_have_count(len(shipped()))
    settles(lambda: page.evaluate("document.documentElement.scrollHeight < 3500"), True)
    for verdict, sign in {"Yes": "✓", "Not significant": "≈", "Figures": "#"}.items():  # a word and a sign, not colour alone
        number = sum(report["verdict"] == verdict for report in shipped())
        assert number
        expect(page.locator(f".sg-decided:has-text('{sign} {verdict}')")).to_have_count(number)
    page.mouse.wheel(0, 9_000)
    expect(page.locator(".sg-answer").last).to_be_in_viewport()  # the wheel reaches the end of a long tab
    last = shipped()[-1]
    shown.last.locator("summary").click()
    expect(shown.last.locator(".sg-unfolded")).to_contain_text(last["command"])
    with page.expect_download() as waiting:
        shown.last.locator(".sg-csv a").first.click()
    assert waiting.value.suggested_filename.endswith(".csv")
    # A link to a folded part unfolds it.
    page.locator(".sg-opening a").first.click()
    expect(page.locator(".sg-exhibit[open]")).to_have_count(2)


def test_app_and_browser_had_no_network(browser: Browser, url: str, network: list[str]) -> None:
    """App and browser of all tests here had no network. The log of their requests is checked after each test."""
    if not network:
        pytest.skip(f"{NO_NAMESPACES}: app and browser were watched, but could have reached others")
    probe = "import network_isolation; print(network_isolation.has_route())"
    helpers = Path(network_isolation.__file__).parent
    seen = subprocess.run([*network, sys.executable, "-c", probe], cwd=helpers, capture_output=True, text=True)
    assert seen.stdout == "False\n", seen.stderr
    with pytest.raises(ConnectionRefusedError):  # the app is in that network, this test is not
        socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=5).close()
    page = browser.new_page()
    page.goto(f"{url}theme.css")  # the browser is in that network, too
    with pytest.raises(Error, match=r"ERR_INTERNET_DISCONNECTED|ERR_ADDRESS_UNREACHABLE"):
        page.goto(f"http://{ELSEWHERE}/")
    page.close()
