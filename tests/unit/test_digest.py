"""The digest that tells tensors apart."""

from __future__ import annotations

import hashlib

import pytest
import torch

from core.common.digest import tensors_digest

ONE = {"a": torch.ones(3, 2), "b": torch.zeros(1)}


def test_the_digest_is_sha256_over_names_shapes_and_bytes_in_order_of_names() -> None:
    b, a = torch.tensor([[1.0, 2.0]]), torch.tensor([3.0], dtype=torch.float16)
    content = b"a (1,) " + a.numpy().tobytes() + b"b (1, 2) " + b.numpy().tobytes()
    assert tensors_digest({"b": b, "a": a}) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("part", [{"a": torch.ones(2, 3)}, {"b": torch.full((1,), 1e-9)}, {"c": torch.empty(0)}])
def test_any_difference_changes_it(part: dict[str, torch.Tensor]) -> None:
    assert tensors_digest(ONE | part) != tensors_digest(ONE)


def test_memory_layout_does_not_change_the_digest() -> None:
    rows = torch.arange(6.0).view(2, 3)
    assert tensors_digest({"a": rows.T.requires_grad_()}) == tensors_digest({"a": rows.T.contiguous()})
