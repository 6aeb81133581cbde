"""Indexing on many machines: a Ray Data job reads and encodes photos with the same code; this process writes them.

Ray (https://docs.ray.io) starts the actors, distributes the files, and repeats the work of a machine that is lost. Only one
process writes, which keeps a library safe. A photo's row is 15 kB: one process writes faster than dozens of machines encode.
"""

import logging
import os
import pickle
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from core.backbones.base import Backbone
from core.common.errors import LibraryError, brief
from core.data.read_ahead import BATCH
from core.retrieval.encoding import Outcome, encode
from core.retrieval.indexing import Engine, read_file

FILES_A_TASK = 256  # the work lost with a machine, and the unit of distribution


class RayEncoder:
    """A Ray actor with one core or one GPU, and its own backbone."""

    def __init__(self, choice: Mapping[str, Any], fingerprint: str, known: Set[str]) -> None:
        from core.backbones import load_backbone

        self._backbone, self._known = load_backbone(**choice), known
        if self._backbone.fingerprint != fingerprint:
            raise RuntimeError(f"this machine's backbone has the fingerprint {self._backbone.fingerprint}, not {fingerprint}")

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        read = [(path, read_file(path, self._known, self._backbone)) for path in map(os.fsdecode, batch["path"])]
        return {"outcome": [pickle.dumps(pair) for pair in encode(read, self._backbone)]}


def ray_engine(backbone: Backbone, address: str | None = None) -> Engine:
    """An engine that encodes on a Ray cluster. Its machines need this program, and the photos under the same paths.

    Args:
        backbone: the library's backbone; each actor loads it again.
        address: the cluster's head: host:port, or "auto" for the cluster of this machine. None: a new cluster of this
            machine's cores.

    Raises LibraryError: when Ray is not installed, or no cluster is at the address.
    """
    try:
        import ray
        import ray.data
        from ray.exceptions import RayError
    except ImportError:
        raise LibraryError("--engine ray needs Ray: `pip install -r requirements-scale.txt` on every machine.") from None
    try:
        ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise LibraryError(f"No Ray cluster is at {address} ({brief(str(error))}): `ray start --head` starts one.") from None
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False

    def run(paths: Sequence[str], known: Set[str]) -> Iterator[list[tuple[str, Outcome]]]:
        if not paths:
            return
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        actors = gpus or int(resources.get("CPU", 1))
        rows = [{"path": os.fsencode(path)} for path in paths]
        encoded = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // FILES_A_TASK)).map_batches(
            RayEncoder,
            fn_constructor_args=(dict(backbone.choice), backbone.fingerprint, frozenset(known)),
            batch_size=BATCH,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors),
            num_gpus=1 if gpus else None,
        )
        try:
            for batch in encoded.iter_batches(batch_size=BATCH, batch_format="numpy"):
                yield [pickle.loads(outcome) for outcome in batch["outcome"]]
        except RayError as error:
            raise LibraryError(f"The Ray cluster failed ({brief(str(error))}): run the command again, to go on.") from None

    return run
