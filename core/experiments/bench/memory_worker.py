"""The process that ``bench.memory`` measures: it starts the engine, perhaps takes photos or visitors, and prints JSON."""

from __future__ import annotations

import argparse
import json
import math
import time
from typing import TYPE_CHECKING, Any

from core.sglora.request import AdapterRequest

if TYPE_CHECKING:
    from core.sglora.engine import SGLora


def main() -> None:
    """Seconds since ``--began`` and resident megabytes, once the models are there and after what was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--began", type=float, required=True)
    parser.add_argument("--photos", type=int, default=0)
    parser.add_argument("--visits", type=int, default=0)
    arguments = parser.parse_args()

    from core.common.runtime import set_up_heap
    from core.experiments.bench.context import BenchmarkContext

    set_up_heap()  # as the app does
    imported = time.time() - arguments.began
    engine = BenchmarkContext().engine
    ready = time.time() - arguments.began
    engine.adapt(AdapterRequest("photos of people surfing"))
    adapted = time.time() - arguments.began
    said: dict[str, Any] = {
        "imported": round(imported, 2),
        "ready": round(ready, 2),
        "adapted": round(adapted, 2),
        "megabytes": _resident(),
    }
    if arguments.visits:
        said["visits"] = _visits(engine, arguments.visits, arguments.photos)
    elif arguments.photos:
        said["gallery"] = _gallery(engine, arguments.photos)
    print(json.dumps(said))


def _gallery(engine: SGLora, count: int) -> dict[str, Any]:
    """A gallery of ``count`` photos, searched with the frozen model and with an adapter."""
    from core.experiments.bench.sample_jpegs import jpegs
    from core.retrieval.gallery import ZERO_SHOT, Adapter, Gallery

    gallery = Gallery(engine.backbone, count)
    # As uploads do: a few files at a time, which go when they are in.
    for start in range(0, count, 100):
        gallery.add(jpegs(min(100, count - start), first=start))
    adapters = ZERO_SHOT, Adapter.of(engine.adapt(AdapterRequest("photos of buildings")).lora)
    for adapter in adapters:
        gallery.text_to_image("a tower", adapter)
    thumbnails = sum(len(photo.thumbnail) for photo in gallery.photos) / count
    activations = 2 * math.prod(engine.backbone.prefix_shape)
    kept = activations + thumbnails + len(adapters) * 4 * engine.backbone.dim
    return {"photos": count, "megabytes": _resident(), "kilobytes a photo": round(kept / 1000, 1)}


def _visits(engine: SGLora, visits: int, photos: int) -> dict[str, Any]:
    """Visitors who come, add photos of their own, adapt, search and go; resident memory after each."""
    from core.experiments.bench.sample_jpegs import jpegs
    from core.retrieval.gallery import Adapter, Gallery

    seen = []
    for visit in range(visits):
        gallery = Gallery(engine.backbone, photos)
        gallery.add(jpegs(photos, first=visit * photos))
        gallery.text_to_image("a tower", Adapter.of(engine.adapt(AdapterRequest(f"photos of buildings, album {visit}")).lora))
        del gallery
        seen.append(_resident())
    return {"visits": visits, "photos": photos, "megabytes": seen}


def _resident() -> float:
    """Resident memory of this process in megabytes (10^6 bytes)."""
    import psutil

    return round(psutil.Process().memory_info().rss / 1e6, 1)


if __name__ == "__main__":
    main()
