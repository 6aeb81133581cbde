"""axe-core finds nothing serious on any tab, all unfolded, wide and on a phone, light and dark, empty and with results.

It comes from npm (`npm install axe-core`); AXE_CORE is the path of its axe.min.js.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_process import CHROMIUM, START_SECONDS
from playwright.sync_api import Browser, Page, expect

AXE = os.environ.get("AXE_CORE")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here"),
    pytest.mark.skipif(not AXE, reason="AXE_CORE, the path of axe.min.js, is not set; it comes with `npm install axe-core`"),
]

WIDE = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 800}, "is_mobile": True, "has_touch": True}
SERIOUS = {"serious", "critical"}
# What Gradio 6.31 writes itself and takes no option for: (rule, class of the element).
OF_GRADIO = (
    ("label-content-name-mismatch", "upload-container"),
    ("label-content-name-mismatch", "thumbnail-item"),
    ("aria-prohibited-attr", "empty"),
)
CHECKS = {  # its own choice of rules: WCAG 2 A and AA, and good practice; dark, nothing else than colours changes
    "light": "axe.run({resultTypes: ['violations']})",
    "dark": "axe.run({resultTypes: ['violations'], runOnly: ['color-contrast', 'link-in-text-block']})",
}


@pytest.fixture
def opened(browser: Browser, url: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    # Without motion, so that no text is looked at while it fades in.
    context = browser.new_context(**request.param, reduced_motion="reduce")
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#status .sg-ready")).to_be_visible(timeout=START_SECONDS * 1000)
    page.add_script_tag(path=Path(AXE or ""))
    yield page
    context.close()


def violations(page: Page, where: str) -> list[str]:
    """What axe-core calls serious, light and dark, a line for each element at fault."""
    found = []
    for scheme, check in CHECKS.items():
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("body.dark")).to_have_count(int(scheme == "dark"))
        page.wait_for_timeout(300)  # colours change over a moment
        found += [
            f"{where}, {scheme}: {v['id']} ({v['impact']}): {' '.join(map(str, node['target']))}: {node['failureSummary']}"
            for v in page.evaluate(check)["violations"]
            if v["impact"] in SERIOUS
            for node in v["nodes"]
            if not any(v["id"] == rule and f'class="{name} ' in node["html"] for rule, name in OF_GRADIO)
        ]
    return found


@pytest.mark.parametrize("opened", [WIDE, PHONE], ids=["wide", "phone"], indirect=True)
def test_axe_finds_nothing_serious(opened: Page) -> None:
    outer = [tab.inner_text() for tab in opened.get_by_role("tablist").first.get_by_role("tab").all()]
    found = violations(opened, "at first")
    unfold(opened)
    found += violations(opened, "unfolded")
    opened.click("#try-it")
    expect(opened.locator("#results .sg-hit").first).to_be_visible(timeout=60_000)
    # The questions' texts come a moment after the questions themselves.
    expect(opened.locator("#examples button").first).to_have_text(re.compile("[a-z]"), timeout=60_000)
    unfold(opened)
    opened.locator("#with-merge input").check()
    expect(opened.locator("#results section")).to_have_count(3)
    expect(opened.locator("#recall .sg-figures")).to_be_visible()
    for name in outer:
        opened.get_by_role("tab", name=name, exact=True).click()
        unfold(opened)
        found += violations(opened, name)
    assert found == [], "\n\n".join(found)


def unfold(page: Page) -> None:
    """Open all that is folded, and what that holds."""
    page.wait_for_timeout(300)
    folded = page.locator("button.label-wrap:not(.open):visible, details:not([open]) > summary:visible")
    while folded.count():
        folded.first.click()
