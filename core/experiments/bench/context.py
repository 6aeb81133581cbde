"""What a benchmark may use."""

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
    """The models and how thoroughly to measure; shared by the benchmarks of one run."""

    data: Path | None = None  # a data folder, whose photos some benchmarks take instead of the sample photos
    largest: int = 1_000_000  # no gallery or index gets more photos or vectors
    rounds: int = 5  # how often everything is measured
    log: Log = print
    work: Path | None = None  # where photos and libraries that take long to make are kept, for a run that goes on

    @lazy
    def engine(self) -> SGLora:
        """The shipped engine, warm: both towers are loaded."""
        engine = load_engine()
        engine.adapt(AdapterRequest("a photo"))
        engine.backbone.prefix(engine.backbone.pixels(Image.new("RGB", (8, 8)))[None])
        return engine


def machine() -> dict[str, Any]:
    """What figures depend on beside the code: the processor, and how busy it was with other things when measuring began."""
    return {
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "bfloat16": compute_dtype() == torch.bfloat16,
        "torch": torch.__version__,
        "faiss": faiss.__version__,
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }
