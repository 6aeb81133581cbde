"""The inputs of benchmarks."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import torch
from PIL import Image

from core.common.lazy import lazy
from core.common.progress import Log
from core.common.runtime import compute_dtype
from core.experts.load import load_engine
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest


@dataclass(frozen=True)
class BenchmarkContext:
    """The models and the size of measurements; the benchmarks of one run share it."""

    data: Path | None = None  # a data folder, whose photos some benchmarks use instead of the sample photos
    largest: int = 1_000_000  # most photos or vectors of a gallery or index
    rounds: int = 5  # repetitions of each measurement
    log: Log = print

    @lazy
    def engine(self) -> SGLora:
        """The shipped engine, with both towers loaded."""
        engine = load_engine()
        engine.adapt(AdapterRequest("a photo"))
        engine.backbone.prefix(engine.backbone.pixels(Image.new("RGB", (8, 8)))[None])
        return engine


def machine() -> dict[str, Any]:
    """Facts that figures depend on: the processor, library versions, and the machine's load when measuring begins."""
    return {
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "bfloat16": compute_dtype() == torch.bfloat16,
        "torch": torch.__version__,
        "faiss": faiss.__version__,
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }
