"""The digest that tells tensors apart."""

from __future__ import annotations

import hashlib

import torch

from core.common.digest import tensors_digest


def test_the_digest_is_sha256_over_names_shapes_and_bytes_in_order_of_names() -> None:
    """Whatever their layout in memory."""
    b, a = torch.tensor([[1.0, 3.0], [2.0, 4.0]]).T.requires_grad_(), torch.tensor([3.0], dtype=torch.float16)
    content = b"a (1,) " + a.numpy().tobytes() + b"b (2, 2) " + torch.tensor([1.0, 2.0, 3.0, 4.0]).numpy().tobytes()
    assert tensors_digest({"b": b, "a": a}) == hashlib.sha256(content).hexdigest()
