"""A library beside two other ways to search a folder: rclip, and a plain script with open_clip and FAISS.

No weights are downloaded: open_clip's model has random ones, which costs the same, and rclip runs without its model, where
the environment variable SG_LORA_RCLIP names a Python that has it (it needs another NumPy).
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import faiss
import torch
from PIL import Image

from core.common import markdown
from core.experiments.bench.context import BenchmarkContext
from core.experiments.bench.sample_jpegs import jpegs
from core.experiments.bench.timing import in_turn
from core.retrieval.index import Index
from core.retrieval.indexing import index_folders
from core.retrieval.library import PhotoLibrary

MODEL = "ViT-B-32-256"  # the one that rclip 3 has
PHOTOS, ROWS, BATCH, TOP = 300, 20_000, 8, 10
RCLIP = """
import json, sys, time
import numpy as np
from rclip import db, main, model

random = np.random.default_rng(0)
def unit(count):
    rows = random.standard_normal((count, model.Model.VECTOR_SIZE)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)

class NoModel(model.Model):
    def compute_preprocessed_image_features(self, images, for_indexing=False):
        return unit(len(images))
    def compute_features_for_queries(self, queries):
        return unit(1)[0] if queries else np.zeros(model.Model.VECTOR_SIZE, np.float32)

folder, file, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = db.DB(file)
rclip = main.RClip(NoModel(), store, 8, None)
started = time.process_time()
rclip.ensure_index(folder)
indexing = time.process_time() - started
for number, vector in enumerate(unit(rows)):
    store.upsert_image(db.NewImage(filepath=f"/many/photos/of/somebody/{number}.jpg", modified_at=0.0, size=1,
                                   vector=vector.tobytes(), hash=f"{number:064x}"), commit=False)
store.commit()
laps = []
for _ in range(5):
    started = time.process_time()
    rclip.search("a dog", "/many")
    laps.append(time.process_time() - started)
print(json.dumps({"seconds": indexing, "question": min(laps)}))
"""


def run(context: BenchmarkContext) -> dict[str, Any]:
    """{"photos", "rows", "model", "ways": [{"way", "ms a photo", "bytes a photo", "question ms"}, …]}."""
    backbone: Any = context.engine.backbone
    number, rows = min(PHOTOS, context.largest), min(ROWS, context.largest)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "photos")
        folder.mkdir()
        for name, content in jpegs(number):
            (folder / name).write_bytes(content)
        files = sorted(folder.iterdir())
        script, dim = _script()
        lap = iter(range(1_000))
        ways = {
            "library": lambda: _library(Path(temporary, f"library-{next(lap)}"), folder, backbone),
            "script": lambda: script(files),
        }
        context.log(f"others: indexing {number} photos")
        times = in_turn(ways, min(context.rounds, 3))
        size = sum(path.stat().st_size for path in Path(temporary, "library-0").rglob("*") if path.is_file())
        asked = _asked({"library": backbone.dim, "script": dim}, rows, context.rounds)
        found = [
            {"way": "library", "ms a photo": times["library"].best(number)["cpu"], "bytes a photo": round(size / number)},
            {"way": f"open_clip {MODEL} + FAISS", "ms a photo": times["script"].best(number)["cpu"], "bytes a photo": 4 * dim},
        ]
        for each, way in zip(found, ("library", "script"), strict=True):
            each["question ms"] = asked[way]
        if (python := os.environ.get("SG_LORA_RCLIP")) is not None:
            context.log("others: rclip without its model")
            found.append(_rclip(python, folder, Path(temporary, "rclip.sqlite3"), number, rows))
    return {"photos": number, "rows": rows, "model": MODEL, "ways": found}


def _library(library: Path, folder: Path, backbone: Any) -> None:
    index_folders(PhotoLibrary.create(library, backbone), [folder], backbone)


def _script() -> tuple[Callable[[Sequence[Path]], faiss.Index], int]:
    """What a first script does: photos in batches, one after the other; and the width of its vectors."""
    import open_clip

    made: Any = open_clip.create_model_and_transforms(MODEL)
    model, preprocess = made[0].eval(), made[2]
    dim = int(model.visual.output_dim)

    @torch.no_grad()
    def index(files: Sequence[Path]) -> faiss.Index:
        made = faiss.IndexFlatIP(dim)
        for start in range(0, len(files), BATCH):
            batch = torch.stack([preprocess(Image.open(file)) for file in files[start : start + BATCH]])
            made.add(torch.nn.functional.normalize(model.encode_image(batch), dim=-1).numpy())
        return made

    return index, dim


def _asked(dims: Mapping[str, int], rows: int, rounds: int) -> dict[str, float]:
    """Milliseconds of processor time for the ten best of ``rows`` made-up vectors, the sentence being read already."""
    ways, random = {}, torch.Generator().manual_seed(0)
    for way, dim in dims.items():
        vectors = torch.nn.functional.normalize(torch.randn(rows, dim, generator=random), dim=-1)
        index = Index(vectors)
        ways[way] = lambda index=index, query=vectors[0]: index.search(query, TOP)
    return {way: taken.best()["cpu"] for way, taken in in_turn(ways, rounds).items()}


def _rclip(python: str, folder: Path, file: Path, number: int, rows: int) -> dict[str, Any]:
    command = [python, "-c", RCLIP, str(folder), str(file), str(rows)]
    done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return {
        "way": "rclip without its model",
        "ms a photo": round(1000 * done["seconds"] / number, 2),
        "bytes a photo": round(file.stat().st_size / (number + rows)),
        "question ms": round(1000 * done["question"], 2),
    }


def findings(result: Mapping[str, Any]) -> list[str]:
    """What a library costs beside the others."""
    ours, script = result["ways"][:2]
    return [
        f"A library takes {ours['ms a photo']:.0f} ms of processor time and {ours['bytes a photo'] / 1000:.0f} kB a photo, the "
        f"script with open_clip {script['ms a photo']:.0f} ms and {script['bytes a photo'] / 1000:.1f} kB: what is kept beside "
        "vectors is a thumbnail, and the activations that a sentence's adapter needs."
    ]


def table(result: Mapping[str, Any]) -> str:
    """Costs of each way."""
    head = ["way", "processor ms a photo", "kB a photo", f"processor ms, ten best of {result['rows']:,}"]
    rows = [
        [w["way"], f"{w['ms a photo']:.1f}", f"{w['bytes a photo'] / 1000:.1f}", f"{w['question ms']:.2f}"]
        for w in result["ways"]
    ]
    return markdown.table(head, rows)
