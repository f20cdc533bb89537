"""SVDiff's cheaper forms have the gradient of the materialised weight."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from memcontrol.adapters.layer import LeafLayer
from memcontrol.adapters.svdiff import SVDiffConfig, SVDiffLayer

LAYERS = {
    "factored linear": (lambda: nn.Linear(128, 256), (2, 10, 128)),
    "materialised linear": (lambda: nn.Linear(64, 64), (4, 200, 64)),
    "factored convolution": (lambda: nn.Conv2d(64, 96, 3, padding=1), (1, 64, 5, 5)),
    "strided convolution": (lambda: nn.Conv2d(64, 96, 3, stride=2, padding=1), (1, 64, 10, 10)),
    "materialised convolution": (lambda: nn.Conv2d(16, 16, 3, padding=1), (4, 16, 20, 20)),
    "pointwise convolution": (lambda: nn.Conv2d(64, 64, 1), (1, 64, 4, 4)),
    "norm": (lambda: nn.GroupNorm(4, 32), (2, 32, 6, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradient_is_that_of_the_materialised_weight(name):
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer = SVDiffLayer(make(), "default", SVDiffConfig(), name)
    shift = layer.svdiff_shift["default"]
    shift.data.normal_(0, 0.05)
    x = torch.randn(shape, requires_grad=True)
    output = layer(x)
    seed = torch.randn_like(output)
    found = torch.autograd.grad(output, (shift, x), seed)
    plain = LeafLayer.adapted_forward(layer, "default", x)
    expected = torch.autograd.grad(plain, (shift, x), seed)
    for a, b in zip((output, *found), (plain, *expected), strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm()
