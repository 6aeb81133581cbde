"""How long a move of a weight takes until the page shows its results: alone, and beside visitors who think and call.

    python benchmarks/drag.py

It starts the app, opens the page in Chromium, and moves the first expert's bar. A move ends when the results are drawn. Then
many moves come at once: only some are computed, the last one always. The other visitors are those of `load.py`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from pathlib import Path

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests/helpers"), str(Path(__file__).parent)]

import load
import numpy as np
from app_process import chromium, running
from app_process import visit as opened
from playwright.sync_api import Page, expect

from core.common import markdown
from core.experts.load import load_engine

MOVES, PAUSE_MS, FLOOD = 100, 300, 60
MOVE = """([percent, part]) => new Promise((done) => {
  const begin = performance.now();
  const drawn = ({ target }) => {
    if (!target.closest(part)) return;
    document.removeEventListener("drawn", drawn, true);
    requestAnimationFrame(() => done(performance.now() - begin));
  };
  document.addEventListener("drawn", drawn, true);
  const range = document.querySelector("#routing [type=range]");
  range.value = percent;
  range.dispatchEvent(new Event("input", { bubbles: true }));
})"""
FLOODED = """async ([moves]) => {
  let answers = 0;
  document.addEventListener("drawn", ({ target }) => (answers += Boolean(target.closest("#results"))), true);
  for (let i = 0; i < moves; i++) {
    const range = document.querySelector("#routing [type=range]");
    range.value = 30 + (i % 50);
    range.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise((then) => setTimeout(then, 16));
  }
  await new Promise((then) => setTimeout(then, 3000));
  return [answers, document.querySelector("#routing [type=range]").value];
}"""


def moves(page: Page, name: str) -> list[str]:
    """The row of a table: how long moves take."""
    page.evaluate(MOVE, [50, "#results"])  # the first one makes the weights
    times = []
    for i in range(MOVES):
        page.wait_for_timeout(PAUSE_MS)
        times.append(page.evaluate(MOVE, [20 + 37 * (i + 1) % 60, "#results"]))
    return [name, str(MOVES), *(f"{figure:.0f} ms" for figure in (*np.percentile(times, [50, 95]), max(times)))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=30)
    visitors, rows, log = parser.parse_args().visitors, list[list[str]](), load.Log()
    engine = load_engine()
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as (address, _), chromium() as browser:
        page, errors = opened(browser, f"{address}?in=aerial&q=harbor&about=satellite+pictures")
        expect(page.locator("#results .sg-hit").first).to_be_visible()
        expect(page.locator("#recall .sg-figures")).to_be_visible()
        rows.append(moves(page, "alone"))
        answers, last = page.evaluate(FLOODED, [FLOOD])
        print(
            f"{FLOOD} moves in {FLOOD * 16} ms: {answers} answers; the last move is shown: {int(last) == 30 + (FLOOD - 1) % 50}"
        )
        visits = [*load.prepared(engine, Path(name), address, visitors)]
        threads = [threading.Thread(target=load.visit, args=[*each, log], daemon=True) for each in visits]
        for thread in threads:
            thread.start()
        rows.append(moves(page, f"beside {visitors} visitors"))
        for thread in threads:
            thread.join()
    print(markdown.table(["a move", "moves", "median", "95 %", "longest"], rows))
    print(f"Errors: {len(log.errors) + len(errors)} {[*log.errors, *errors][:3] or ''}")
    return min(1, len(log.errors) + len(errors))


if __name__ == "__main__":
    sys.exit(main())
