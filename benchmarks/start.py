"""Measure a start three times: until the server is up, and from there until Chromium shows the first comparison.

python benchmarks/start.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests/helpers")]

from app_process import chromium, running

ROUNDS = 3
DRAWN = """() => {
  const photos = [...document.querySelectorAll("#results img")];
  return photos.length > 8 && photos.slice(0, 8).every((photo) => photo.complete && photo.naturalWidth > 0);
}"""


def main() -> None:
    """Print both times for each start. The browser runs already."""
    with chromium() as browser:
        for _ in range(ROUNDS):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            begin = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as (address, _process):
                up = time.perf_counter()
                page.goto(address)
                page.wait_for_function(DRAWN, timeout=120_000)
                print(f"server {up - begin:.1f} s, first comparison {time.perf_counter() - up:.1f} s later")


if __name__ == "__main__":
    main()
