"""Methods that hide parts of the input in ways Captum does not: random masks, and conditional means."""

from collections.abc import Sequence
from typing import Any

import captum.attr
import torch
import torch.nn.functional as F
from torch import Tensor

from .batched.ablation import FeatureAblation
from .batched.coalitions import Game
from .batched.sampling import uniform_draws
from .planner import Call, chunks


class Rise(captum.attr.PerturbationAttribution):
    """RISE (Petsiuk 2018): the average score of randomly masked inputs, weighted by what each mask shows.

    Inputs with two spatial axes [rows, channels, height, width] are seen through soft masks, coarse random grids that
    are enlarged and shifted, one for all channels; of all other inputs each feature is shown or not by a coin. What is
    hidden is replaced by the baseline. `centred` (the default) takes the mean score off before weighting and divides by
    P(hidden): the map is signed, has less noise, and estimates E[f | shown] - E[f | hidden]. `centred=False` is the
    paper's map, E[f | shown]. Of features hidden by coins, those that equal their baseline get 0. Row i draws from
    `generators[i]`, else from the global stream.
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        n_samples: int = 500,
        probability: float = 0.5,
        cells: int = 7,
        centred: bool = True,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Any:
        """`n_samples` masks per row, each part shown with `probability`; `cells`: of the grid along each axis."""
        if n_samples < 2 or not 0 < probability < 1 or cells < 1:
            raise ValueError("n_samples must be 2 or more, probability between 0 and 1, cells 1 or more")
        call = Call(self.forward_func, inputs, baselines, target, additional_forward_args)
        settings = n_samples, probability, cells
        if all(x.dim() == 4 for x in call.inputs):
            return call.result(self._through_grids(call, settings, centred, generators))
        game = Game(call, feature_mask)
        return call.result(game.spread(self._by_coins(game, settings, centred, generators)))

    @staticmethod
    def _by_coins(
        game: Game, settings: tuple, centred: bool, generators: Sequence[torch.Generator] | None
    ) -> Tensor:
        """Per feature [rows, features]."""
        count, probability, _ = settings
        found = []
        for row in range(len(game.call)):
            own = None if generators is None else generators[row : row + 1]
            shown = uniform_draws(own, 1, (count, game.num_features), game.players.device)[0] < probability
            every = torch.full((count,), row, device=shown.device)
            scores = game._evaluate(every, lambda at, _, shown=shown: shown[at])
            found.append(weights(scores, probability, centred) @ shown.to(scores.dtype))
        return torch.stack(found) * game.players

    @staticmethod
    def _through_grids(
        call: Call, settings: tuple, centred: bool, generators: Sequence[torch.Generator] | None
    ) -> tuple[Tensor, ...]:
        count, probability, cells = settings
        totals = []
        for row in range(len(call)):
            generator = None if generators is None else generators[row]
            draws = [grids(x.shape[2:], count, probability, cells, generator) for x in call.inputs]
            every = torch.full((count,), row, device=call.inputs[0].device)
            scores = []
            for part in chunks(count, call.rows):
                own, target, context = call.at(every[part])
                seen = tuple(
                    b + enlarged(d, part, x) * (x - b)
                    for d, x, b in zip(draws, own, call.baselines_at(every[part]), strict=True)
                )
                scores.append(call.scores(seen, target, context))
            weight = weights(torch.cat(scores), probability, centred)
            totals.append(
                [weighted(d, weight, x, call.rows) for d, x in zip(draws, call.inputs, strict=True)]
            )
        return tuple(
            torch.stack(t)[:, None].expand_as(x).clone()
            for t, x in zip(zip(*totals, strict=True), call.inputs, strict=True)
        )


def weights(scores: Tensor, probability: float, centred: bool) -> Tensor:
    """What each mask counts [masks], from the scores of what it shows."""
    if not centred:
        return scores / (probability * len(scores))
    return (scores - scores.mean()) / (probability * (1 - probability) * len(scores))


Grids = tuple[Tensor, Tensor]
"""Coarse masks [masks, rows, columns] and how far each is shifted [masks, 2]."""


def grids(
    size: tuple[int, ...], count: int, probability: float, cells: int, generator: torch.Generator | None
) -> Grids:
    """The random part of RISE's masks: one cell more than `cells` along each axis, so that they can be shifted."""
    steps = [-(-s // min(cells, s)) for s in size]
    shape = [min(cells, s) + 1 for s in size]
    coarse = (torch.rand(count, *shape, generator=generator) < probability).float()
    return coarse, torch.stack([torch.randint(step, (count,), generator=generator) for step in steps], 1)


def enlarged(drawn: Grids, part: slice, like: Tensor) -> Tensor:
    """Soft masks [masks, 1, height, width] in [0, 1] of a slice of the draws."""
    coarse, shift = drawn[0][part].to(like), drawn[1][part].to(like.device)
    height, width = like.shape[-2:]
    cells = [n - 1 for n in coarse.shape[1:]]
    size = [-(-s // c) * (c + 1) for s, c in zip((height, width), cells, strict=True)]
    smooth = F.interpolate(coarse[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    rows = shift[:, :1] + torch.arange(height, device=like.device)
    columns = shift[:, 1:] + torch.arange(width, device=like.device)
    which = torch.arange(len(smooth), device=like.device)[:, None, None]
    return smooth[which, rows[:, :, None], columns[:, None]][:, None]


def weighted(drawn: Grids, weight: Tensor, like: Tensor, rows: int) -> Tensor:
    """The masks summed with their weights [height, width]."""
    total = like.new_zeros(like.shape[-2:])
    for part in chunks(len(weight), rows):
        total += torch.einsum("m,mhw->hw", weight[part].to(like.dtype), enlarged(drawn, part, like)[:, 0])
    return total


class ConditionalOcclusion(captum.attr.PerturbationAttribution):
    """f(x) minus f with a feature replaced by its conditional mean given all others, for tables.

    Removing a feature "as the data would fill it in" (the conditional removal of Covert, Lundberg & Lee 2021, for one
    feature at a time): a column that the others determine changes nothing when it is hidden. The mean is that of a
    Gaussian fitted to the rows of `baselines`. Elements of a group hold the group's value.
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        shrinkage: float = 0.01,
    ) -> Any:
        """`baselines` [rows of a distribution, columns]; `shrinkage` in (0, 1] takes correlations towards 0.

        ValueError for inputs that are no table [rows, columns], or fewer than 2 rows to learn from.
        """
        call = Call(self.forward_func, inputs, None, target, additional_forward_args)
        pool = baselines if isinstance(baselines, tuple) else (baselines,)
        if any(x.dim() != 2 or not x.is_floating_point() for x in call.inputs):
            raise ValueError(
                "conditional means are estimated for tables (columns of numbers): use feature_ablation"
            )
        if len(pool[0]) < 2 or not 0 < shrinkage <= 1:
            raise ValueError("conditional means need 2 or more rows to learn from and a shrinkage in (0, 1]")
        masks = call.mask(feature_mask)
        if any(len(m) > 1 for m in masks):
            raise ValueError("feature_mask: one for all rows")
        expected = conditional_means(
            torch.cat(call.inputs, 1), torch.cat(pool, 1), torch.cat(masks, 1)[0], shrinkage
        )
        parts = tuple(expected.split([x.shape[1] for x in call.inputs], 1))
        return FeatureAblation(self.forward_func).attribute(
            inputs, parts if call.is_tuple else parts[0], target, additional_forward_args, feature_mask
        )


def conditional_means(x: Tensor, train: Tensor, groups: Tensor, shrinkage: float) -> Tensor:
    """E[group | all other columns] for the group of each column [rows, columns], under a Gaussian fitted to `train`.

    With the precision matrix P: E[x_G | rest] = x_G - P_GG^-1 (P (x - mean))_G. Constant columns keep their mean.
    """
    data = train.double()
    mean, covariance = data.mean(0), torch.atleast_2d(torch.cov(data.T))
    variance = covariance.diagonal().clone()
    variance[variance == 0] = variance.mean().clamp(min=1e-12)
    precision = torch.linalg.inv((1 - shrinkage) * covariance + shrinkage * torch.diag(variance))
    pull = (x.double() - mean) @ precision
    expected = x.double().clone()
    for group in groups.unique():
        at = (groups == group).nonzero()[:, 0]
        own = precision[at[:, None], at]
        expected[:, at] -= torch.linalg.solve(own, pull[:, at].T).T
    return expected.to(x.dtype)
