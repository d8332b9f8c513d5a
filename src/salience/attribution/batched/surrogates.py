"""KernelShap and Lime: linear surrogates around each row, all rows solved at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import captum.attr
import torch
from torch import Tensor

from ..explanation import feature_totals
from ..planner import Call
from .coalitions import Game, smallest, uniform_draws
from .shapley import enumerable, exact_values


class KernelShap(captum.attr.KernelShap):
    """Shapley values by weighted regression on sampled coalitions (Lundberg & Lee 2017).

    The end points hold exactly: attributions sum to f(x) - f(baseline). Solved in float64 for all rows at once.
    Features that equal their baseline are no players and get 0. Each row draws from its own generator in
    `generators`, else from the global stream.
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        n_samples: int = 25,
        perturbations_per_eval: int = 1,
        return_input_shape: bool = True,
        show_progress: bool = False,
        paired: bool = True,
        shared: bool = False,
        exact: bool | str = "auto",
        generators: Sequence[torch.Generator] | None = None,
    ) -> Any:
        """As Captum's; 2 of `n_samples` are the end points, as there.

        `paired`: every coalition comes with its complement, which lowers the variance (Covert & Lee 2021).
        `shared`: all rows use the coalitions of the first, which is cheaper; errors of different rows then depend on
        one another. `exact`: "auto" enumerates all coalitions where that takes less than five times `n_samples` rows,
        which is cheaper than it sounds and has no sampling error. ValueError for fewer than 3 samples.
        """
        if n_samples < 3:
            raise ValueError(f"n_samples={n_samples}: must be 3 or more (two are the end points)")
        game = Game(Call(self.forward_func, inputs, baselines, target, additional_forward_args), feature_mask)
        if enumerable(game, n_samples, exact):
            per_feature = exact_values(game)
            return game.call.result(game.spread(per_feature)) if return_input_shape else per_feature
        per_feature = constrained_fit(game, self._coalitions(game, n_samples - 2, paired, shared, generators))
        return game.call.result(game.spread(per_feature)) if return_input_shape else per_feature

    @staticmethod
    def _coalitions(
        game: Game, count: int, paired: bool, shared: bool, generators: Sequence[torch.Generator] | None
    ) -> Tensor:
        """Bool [rows, count, features]: sizes by the Shapley kernel over each row's players, members at random.

        One row for all ([1, count, features]) where they are shared and all rows have the same players.
        """
        drawn = -(-count // 2) if paired else count
        rows = 1 if shared else len(game.call)
        device = game.players.device
        noise = uniform_draws(generators, rows, (drawn, game.num_features + 1), device)
        if not bool((game.players == game.players[:1]).all()):
            noise = noise.expand(
                len(game.call), -1, -1
            )  # rows with other players need coalitions of their own
        players = game.players.sum(1)[: len(noise)]
        sizes = coalition_sizes(noise[..., 0].contiguous(), players)
        everyone = bool(game.players.all())
        chances = (
            noise[..., 1:] if everyone else torch.where(game.players[: len(noise), None], noise[..., 1:], 2.0)
        )
        shown = smallest(chances, sizes)
        if paired:
            shown = torch.stack([shown, ~shown], 2).flatten(1, 2)[:, :count]
        return shown if everyone else shown | ~game.players[: len(shown), None]


def coalition_sizes(uniform: Tensor, players: Tensor) -> Tensor:
    """Sizes 1..M-1 with probability proportional to 1 / (k (M - k)) by inverting the distribution; `players` is M."""
    most = max(int(players.max()), 2)
    k = torch.arange(1, most, device=uniform.device, dtype=torch.float64)
    weight = 1 / (k * (players[:, None] - k))
    weight = torch.where(k < players[:, None], weight, 0.0)
    cumulative = (weight / weight.sum(1, keepdim=True).clamp(min=1e-300)).cumsum(1)
    return (
        1 + (uniform[..., None] > cumulative[:, None, :-1]).sum(-1)
        if most > 2
        else torch.ones_like(uniform).long()
    )


def constrained_fit(game: Game, shown: Tensor) -> Tensor:
    """Least squares of the values on the coalitions under the end-point constraint [rows, features].

    Minimises sum_S (v(S) - v(0) - sum_{i in S} a_i)^2 subject to sum a = v(all) - v(0): the deviation from an even
    share lies in the space of vectors that sum to 0, where the problem has no constraint. Of all minimisers (too few
    coalitions) the one closest to even shares is taken.
    """
    full, empty = game.call.all_scores().double(), game.call.baseline_scores().double()
    players = game.players.double()
    count = players.sum(1, keepdim=True).clamp(min=1)
    share = (full - empty)[:, None] / count * players
    gram, sums, squares, member = _moments(game, shown)
    values = game.values(shown).double() - empty[:, None]
    sizes = member.sum(2).double()
    residual = values - sizes * ((full - empty)[:, None] / count)
    # Deviations sum to 0, so coalitions are taken relative to their mean over the players: m - (|m| / M) p. Their
    # second moments follow from those of m, which are whole numbers and exact in float32.
    outer = players[:, :, None] * sums[:, None]
    n = count[:, None]
    gram = (
        gram
        - (outer + outer.transpose(1, 2)) / n
        + squares[:, None, None] * players[:, :, None] * players[:, None] / n**2
    )
    right = torch.einsum("nsf,ns->nf", member.double().expand(len(values), -1, -1), residual)
    right = right - players * ((sizes * residual).sum(1, keepdim=True) / count)
    # The even direction is missing from the space on purpose: filling it in makes the matrix regular without
    # changing the solution, which has no part in it; so does 1 on the diagonal for those that are no players.
    filled = gram + players[:, :, None] * players[:, None] / n + torch.diag_embed(1 - players)
    deviation = _solve(filled, right[..., None])[..., 0] * players
    deviation = deviation - (deviation.sum(1, keepdim=True) / count) * players
    return (share + deviation).to(
        game.call.inputs[0].dtype if game.call.inputs[0].is_floating_point() else torch.float32
    )


def _moments(game: Game, shown: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum of m m^T, of |m| m and of |m|^2 over the coalitions m [rows or 1, coalitions, features], and m itself."""
    member = shown.float() if len(shown) == 1 else shown & game.players[:, None]
    member = (member * game.players[:1, None] if len(shown) == 1 else member).float()
    sizes = member.sum(2)
    gram = (member.transpose(1, 2) @ member).double()
    sums = torch.einsum("nsf,ns->nf", member.double(), sizes.double())
    return gram, sums, (sizes.double() ** 2).sum(1), member


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Symmetric solve; the least-norm solution where a matrix is singular (fewer samples than features)."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    smallest = factor.diagonal(dim1=-2, dim2=-1).abs().amin(-1)
    if not bool(failed.any()) and bool((smallest > 1e-6).all()):
        return torch.cholesky_solve(right, factor)
    return torch.linalg.pinv(matrix, hermitian=True, rtol=1e-10) @ right


class Lime(captum.attr.Lime):
    """A local linear surrogate (Ribeiro 2016), by default a ridge fit that zeroes nothing.

    Masks are fair coins per feature, weights the exponential kernel of the cosine distance in the input, as Captum
    has them; its default Lasso (alpha 0.01) sets most coefficients to 0. Given an `interpretable_model`,
    `similarity_func` or `perturb_func`, it is Captum's own. After a call `details` say for each row how well the
    surrogate fits (`surrogate_r2`, 1 is best) and which share of its coefficients is exactly 0 (`zero_fraction`).
    """

    def __init__(
        self,
        forward_func: Any,
        interpretable_model: Any = None,
        similarity_func: Any = None,
        perturb_func: Any = None,
    ):
        super().__init__(forward_func, interpretable_model, similarity_func, perturb_func)
        self.is_captums = any(a is not None for a in (interpretable_model, similarity_func, perturb_func))
        self.details: Mapping[str, Tensor] = {}

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        n_samples: int = 25,
        perturbations_per_eval: int = 1,
        return_input_shape: bool = True,
        show_progress: bool = False,
        alpha: float = 0.01,
        kernel_width: float = 1.0,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Any:
        """As Captum's; `alpha` is the ridge penalty per sample, `kernel_width` that of the cosine distance."""
        if n_samples < 2:
            raise ValueError(f"n_samples={n_samples}: must be 2 or more")
        if self.is_captums:
            return super().attribute(
                inputs, baselines, target, additional_forward_args, feature_mask, n_samples, perturbations_per_eval,
                return_input_shape, show_progress,
            )  # fmt: skip
        game = Game(Call(self.forward_func, inputs, baselines, target, additional_forward_args), feature_mask)
        noise = uniform_draws(generators, len(game.call), (n_samples, game.num_features), game.players.device)
        shown = (noise < 0.5) | ~game.players[:, None]
        coefficients = self._fit(game, shown, alpha, kernel_width)
        return game.call.result(game.spread(coefficients)) if return_input_shape else coefficients

    def _fit(self, game: Game, shown: Tensor, alpha: float, kernel_width: float) -> Tensor:
        """Weighted ridge regression with an intercept [rows, features]."""
        value = game.values(shown).double()
        member = (shown & game.players[:, None]).double()
        weight = torch.exp(-(cosine_distance(game, member) ** 2) / (2 * kernel_width**2))
        weight = weight / weight.sum(1, keepdim=True)
        weighted = weight[..., None] * member
        mean, centre = weighted.sum(1), (weight * value).sum(1, keepdim=True)
        gram = weighted.transpose(1, 2) @ member - mean[:, :, None] * mean[:, None]
        right = torch.einsum("nsf,ns->nf", weighted, value) - mean * centre
        penalty = (
            alpha / shown.shape[1] * torch.eye(game.num_features, dtype=torch.float64, device=value.device)
        )
        penalty = penalty + torch.diag_embed((~game.players).double())
        coefficients = torch.linalg.solve(gram + penalty, right[..., None])[..., 0] * game.players
        spread = (weight * (value - centre) ** 2).sum(1)
        fitted = (coefficients * (2 * right - (gram @ coefficients[..., None])[..., 0])).sum(1)
        flat = spread <= 1e-24  # nothing varies, so nothing is left to fit
        zero = (coefficients == 0) & game.players
        self.details = {
            "surrogate_r2": torch.where(flat, 1.0, fitted / spread.clamp(min=1e-24)),
            "zero_fraction": zero.sum(1) / game.players.sum(1).clamp(min=1),
        }
        first = game.call.inputs[0]
        return coefficients.to(first.dtype if first.is_floating_point() else torch.float32)


def cosine_distance(game: Game, member: Tensor) -> Tensor:
    """1 - cosine between the row and the row with only the players of `member` shown, in the input's own space.

    `member` is 0 or 1 [rows, samples, features]. Computed from per-feature sums of products, so that no perturbed
    input has to be built; what is no player is the same in both and falls out.
    """

    def totals(products: list[Tensor]) -> Tensor:
        return feature_totals(tuple(products), game.masks, game.num_features)

    pairs = [
        (x.double(), b.double().expand_as(x))
        for x, b in zip(game.call.inputs, game.call.baselines, strict=True)
    ]
    own = totals([x * x for x, _ in pairs])
    cross = totals([x * b for x, b in pairs])
    other = totals([b * b for _, b in pairs])
    dot = torch.einsum("nsf,nf->ns", member, own - cross) + cross.sum(1, keepdim=True)
    length = torch.einsum("nsf,nf->ns", member, own - other) + other.sum(1, keepdim=True)
    norm = (own.sum(1, keepdim=True).sqrt() * length.clamp(min=0).sqrt()).clamp(min=1e-8)
    return 1 - dot / norm
