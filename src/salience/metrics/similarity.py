"""How alike are two maps of the same examples, over the features that are present?"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import WrongInput, listed, nearest
from .correlation import spearman


def ssim(a: Tensor, b: Tensor, present: Tensor) -> Tensor:
    """Structural similarity of each row over its present features, as one window [rows]; nan where one is constant.

    Each map is divided by its largest size first. One window for the whole map, so that it needs no layout (Wang et
    al. 2004, with their constants for values of range 2).
    """
    count = present.sum(-1)

    def scaled(x: Tensor) -> Tensor:
        x = x.double().masked_fill(~present, 0.0)
        return x / x.abs().amax(-1, keepdim=True)

    def mean(x: Tensor) -> Tensor:
        return x.masked_fill(~present, 0.0).sum(-1) / count

    a, b = scaled(a), scaled(b)
    first, second = mean(a), mean(b)
    spread_a, spread_b = mean((a - first[:, None]).square()), mean((b - second[:, None]).square())
    together = mean((a - first[:, None]) * (b - second[:, None]))
    light, contrast = 0.02**2, 0.06**2
    alike = (2 * first * second + light) / (first.square() + second.square() + light)
    alike = alike * (2 * together + contrast) / (spread_a + spread_b + contrast)
    constant = (spread_a <= 1e-14) | (spread_b <= 1e-14)
    return alike.masked_fill(constant | (count < 2), torch.nan)


SIMILARITIES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"spearman": spearman, "ssim": ssim}


def similar(metric: Any, a: Tensor, b: Tensor, present: Tensor) -> Tensor:
    """The similarity that the metric's options ask for [examples]: of |attributions| where `absolute`."""
    if metric.absolute:
        a, b = a.abs(), b.abs()
    return SIMILARITIES[metric.similarity](a, b, present)


def check_similarity(metric: Any) -> None:
    """WrongInput unless the option `similarity` names one."""
    name = metric.similarity
    if name not in SIMILARITIES:
        raise WrongInput(
            f"metric.{metric.key}.similarity={name}: unknown; choose from {listed(SIMILARITIES)}."
            f"{nearest(str(name), SIMILARITIES)}"
        )
