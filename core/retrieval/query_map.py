"""An adapter of photos as a linear map: what it does to photos is done to the question instead.

From the zero-shot embeddings z and the adapted embeddings a of a few hundred photos, ridge regression gives W and b with
``a ~ z + z W + b``. A question q then scores a photo ``q a ~ (q + W q) z + q b``: the query q + W q asks the *unchanged*
zero-shot index, however many photos it holds. Related: Drift-Adapter (arXiv 2509.23471); docs/design.md has what it finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.common.errors import AdapterError, brief
from core.common.tensor_files import write_tensors

SAMPLE = 500  # photos to fit on: more of them find no more
RIDGE = 1.0  # lambda
MAX_MAP_BYTES = 64 * 2**20


@dataclass(frozen=True)
class QueryMap:
    """A linear map that stands for an adapter of photos.

    Attributes:
        weight: W [d, d]. bias: b [d].
        closeness: mean cosine similarity between the two embeddings of a photo; a map stands less well for what changes more.
    """

    weight: Tensor
    bias: Tensor
    closeness: float = 1.0

    @staticmethod
    def fit(zero_shot: Tensor, adapted: Tensor, ridge: float = RIDGE) -> QueryMap:
        """The map from zero-shot embeddings [n, d] to adapted ones [n, d]; the bias is not penalised."""
        z, change = zero_shot.double(), (adapted - zero_shot).double()  # [n, d] both
        mean_z, mean_change = z.mean(0), change.mean(0)
        z, change = z - mean_z, change - mean_change
        gram = z.T @ z + ridge * torch.eye(z.shape[1], dtype=z.dtype)  # [d, d]
        weight = torch.linalg.solve(gram, z.T @ change)
        closeness = torch.cosine_similarity(zero_shot, adapted, dim=-1).mean()
        return QueryMap(weight.float(), (mean_change - mean_z @ weight).float(), float(closeness))

    @staticmethod
    def identity(dim: int) -> QueryMap:
        """The map of no adapter."""
        return QueryMap(torch.zeros(dim, dim), torch.zeros(dim))

    def query(self, query: Tensor) -> Tensor:
        """What to ask the zero-shot index with, q + W q [d], for a query [d]."""
        return query + self.weight @ query

    def offset(self, query: Tensor) -> float:
        """What the score of every photo is then short of: q b."""
        return float(query @ self.bias)

    def save(self, path: Path, fingerprint: str, provenance: str) -> None:
        """Write it as safetensors, with the backbone's fingerprint and where it comes from (JSON) in the header."""
        path.parent.mkdir(parents=True, exist_ok=True)
        header = {"backbone_fingerprint": fingerprint, "sg_lora": provenance}
        write_tensors(path, {"weight": self.weight, "bias": self.bias}, header)

    @staticmethod
    def load(path: Path, fingerprint: str, dim: int) -> QueryMap:
        """Read what ``save`` wrote.

        Raises:
            AdapterError: missing, damaged, not finite, or of another backbone.
        """
        label = f"The map {path.name}"
        if not path.is_file():
            raise AdapterError(f"{label} is not there: `python -m core adapt TEXT --library DIR --map FILE` writes one.")
        if path.stat().st_size > MAX_MAP_BYTES:
            raise AdapterError(f"{label} is larger than {MAX_MAP_BYTES // 2**20} MB: it is not a map.")
        try:
            with safe_open(path, framework="pt") as file:
                made_for = (file.metadata() or {}).get("backbone_fingerprint", "")
                weight, bias = file.get_tensor("weight"), file.get_tensor("bias")
        except (SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError):
            raise AdapterError(f"{label} is damaged or not a map: `adapt --library DIR --map FILE` writes one.") from None
        if made_for != fingerprint:
            raise AdapterError(
                f"{label} was made for another backbone (fingerprint {brief(made_for)}, this one is {fingerprint}): "
                "choose that backbone, or write the map again."
            )
        if weight.shape != (dim, dim) or bias.shape != (dim,):
            raise AdapterError(f"{label} has shapes {tuple(weight.shape)} and {tuple(bias.shape)}, not of {dim} numbers.")
        if not bool(torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            raise AdapterError(f"{label} holds NaN or infinite numbers: write it again.")
        return QueryMap(weight.float(), bias.float())
