"""axe-core finds no serious problem on any unfolded tab, wide in light and dark, nor on a phone; with and without results.

npm installs axe-core.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from app_process import visit
from npm_packages import npm_installed
from page_state import PHONE, choose
from playwright.sync_api import Browser, Page, expect

from app.languages import texts

SERIOUS = {"serious", "critical"}
# Problems in the HTML of Gradio 6.31 that no option changes: (rule, class of the element).
OF_GRADIO = (("label-content-name-mismatch", "thumbnail-item"), ("aria-prohibited-attr", "empty"))
CHECKS = {  # light: axe-core's default rules (WCAG 2 A and AA, good practice); dark: only colours change
    "light": "axe.run({resultTypes: ['violations']})",
    "dark": "axe.run({resultTypes: ['violations'], runOnly: ['color-contrast', 'link-in-text-block']})",
}
# Colours fade. In a folded result, a change that is finished may stay.
FADED = "document.getAnimations().every(c => !(c instanceof CSSTransition) || c.playState === 'finished')"

# An element that each tab shows when it is ready.
TABS = {
    texts.TAB_STUDIO: "#results section",
    texts.TAB_EXPERTS: "#experts [role=gridcell]",
    texts.TAB_EVIDENCE: ".sg-exhibit",
    texts.TAB_ABOUT: ".sg-how svg",
}


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return npm_installed("axe-core@4.14.1", tmp_path_factory.mktemp("npm")) / "axe-core" / "axe.min.js"


def violations(page: Page, where: str, schemes: Sequence[str]) -> list[str]:
    """The serious problems that axe-core finds, one line for each element."""
    found = []
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("body.dark")).to_have_count(int(scheme == "dark"))
        page.wait_for_function(FADED)
        found += [
            f"{where}, {scheme}: {v['id']} ({v['impact']}): {' '.join(map(str, node['target']))}: {node['failureSummary']}"
            for v in page.evaluate(CHECKS[scheme])["violations"]
            if v["impact"] in SERIOUS
            for node in v["nodes"]
            if not any(v["id"] == rule and f'class="{name} ' in node["html"] for rule, name in OF_GRADIO)
        ]
    return found


@pytest.mark.parametrize(
    ("device", "schemes", "tabs"),
    [({}, ("light", "dark"), list(TABS)), (PHONE, ("light",), [texts.TAB_STUDIO, texts.TAB_ABOUT])],
    ids=["wide", "phone"],
)
def test_axe_finds_nothing_serious(
    browser: Browser, url: str, axe: Path, device: dict[str, Any], schemes: Sequence[str], tabs: list[str]
) -> None:
    page, _ = visit(browser, url, **device)
    page.add_script_tag(path=axe)
    expect(page.get_by_role("tablist").first.get_by_role("tab")).to_have_text(list(TABS))
    expect(page.locator("#results .sg-hit").first).to_be_visible()
    choose(page, "where", texts.WITHIN_OWN)
    expect(page.locator("#results")).to_contain_text(texts.COMPARE_NO_PHOTOS)
    found = violations(page, "no photos", schemes)
    page.click("#try-it")
    expect(page.locator("#results .sg-hit").first).to_be_visible()
    # The questions' texts appear a moment after the questions.
    expect(page.locator("#examples button").first).to_have_text(re.compile("[a-z]"))
    unfold(page)
    page.locator("#with-merge input").check()
    expect(page.locator("#results section")).to_have_count(4)  # samples have a random sentence, too
    expect(page.locator("#recall .sg-figures")).to_be_visible()
    for name in sorted(tabs, key=lambda name: name == texts.TAB_EVIDENCE):  # last, for axe-core would read it again in each tab
        page.get_by_role("tab", name=name, exact=True).click()
        expect(page.locator(TABS[name]).first).to_be_visible()
        unfold(page)
        found += violations(page, name, schemes)
    assert found == [], "\n\n".join(found)


def unfold(page: Page) -> None:
    """Open all folded parts, also nested ones; of the results on the Evidence tab, which are made alike, the first two."""
    details = "details:not([open], .sg-answer ~ .sg-answer ~ .sg-answer > .sg-exhibit)"
    kinds = "button.label-wrap:not(.open)", f"{details} > summary", "#folded [aria-expanded=false]"
    folded = page.locator(", ".join(f"{kind}:visible" for kind in kinds))
    while folded.count():
        folded.first.click()
