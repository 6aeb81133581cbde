"""What names mean in the space of photos: one ridge regression for all of them.

    X [m, d]  unit-length embeddings of the photos of all names,   Z [m, n]  1 where a photo has the name, else 0
    M [d, d]  second moment of the background: photos without a name (``core.names.everyday``)

    W = (X^T X + BACKGROUND M + RIDGE s I)^-1 X^T Z,   s: mean of the diagonal of X^T X + BACKGROUND M

Column i of W, at unit length, is the direction of name i. Photos of other names and of the background have the answer 0, so it
leaves out what all of them share. It is linear discriminant analysis with few photos of many classes (Hastie, Tibshirani and
Friedman, The Elements of Statistical Learning, section 4.2); a class mean would also find what is common.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# Chosen on validation photos (docs/design.md, section 2); from a third to three times as much makes little difference.
BACKGROUND = 1_000  # the background weighs as much as so many photos
RIDGE = 0.1


def ridge_directions(photos: Tensor, named: Tensor, moment: Tensor | None) -> Tensor:
    """The unit-length direction of each name, [n, d]. ``photos``: X; ``named``: Z; ``moment``: M; None: no background."""
    x, z = photos.double(), named.double()
    gram = x.T @ x + (0 if moment is None else BACKGROUND * moment.double())
    gram = gram + RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return F.normalize(torch.linalg.solve(gram, x.T @ z).T, dim=-1).float()
