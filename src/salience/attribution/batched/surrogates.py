"""KernelShap and Lime: linear surrogates around each row, all rows solved at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import captum.attr
import torch
from torch import Tensor

from ..explanation import feature_totals
from ..planner import Call
from .coalitions import Game
from .sampling import coin_tosses, random_sizes, smallest, strata, uniform_draws
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

        `paired`: every coalition comes with its complement, and sizes for which the samples suffice are taken whole,
        which both lower the variance (Covert & Lee 2021; Lundberg & Lee 2017).
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
        found = []
        for rows, part in [(slice(None), game)] if shared else game.parts(n_samples):
            own = None if generators is None else generators[rows]
            found.append(constrained_fit(part, *coalitions(part, n_samples - 2, paired, shared, own)))
        per_feature = torch.cat(found)
        return game.call.result(game.spread(per_feature)) if return_input_shape else per_feature


def coalitions(
    game: Game, count: int, paired: bool, shared: bool, generators: Sequence[torch.Generator] | None
) -> tuple[Tensor, Tensor | None]:
    """Coalitions of each row's players by the Shapley kernel [rows, count, features], and what each weighs.

    One row for all where they are shared and all rows have the same players. Weights [rows or 1, count] are None
    where all are equal. At most `count`: fewer where that is all there are.
    """
    device, everyone = game.players.device, bool(game.players.all())
    alike = everyone or bool((game.players == game.players[:1]).all())
    rows = 1 if shared else len(game.call)
    noise = uniform_draws(
        generators, rows, (-(-count // 2) if paired else count, game.num_features + 1), device
    )
    if shared and not alike:
        noise = noise.expand(len(game.call), -1, -1)  # rows with other players need coalitions of their own
    if alike:
        return _drawn(noise, game.players[: len(noise)], count, paired)
    players = game.players.sum(1)
    shown = torch.ones(len(noise), count, game.num_features, dtype=torch.bool, device=device)
    weight = torch.zeros(len(noise), count, dtype=torch.float64, device=device)
    for number in players.unique():
        at = (players == number).nonzero()[:, 0]
        own, weighs = _drawn(noise[at], game.players[at], count, paired)
        shown[at, : own.shape[1]] = own
        weight[at, : own.shape[1]] = 1.0 if weighs is None else weighs
    return shown, weight


def _drawn(noise: Tensor, players: Tensor, count: int, paired: bool) -> tuple[Tensor, Tensor | None]:
    """The same for rows that have equally many players each."""
    number, everyone = int(players[0].sum()), bool(players.all())
    if number < 2:  # no coalition is left between nobody and everybody
        return ~players[:, None], None
    plan = strata(number, count) if paired else None
    drawn, whole = (count, 0) if plan is None else (plan.drawn, plan.whole)
    noise = noise[:, : -(-drawn // 2) if paired else drawn]
    sizes = random_sizes(noise[..., 0], number, whole)
    chances = noise[..., 1:] if everyone else torch.where(players[:, None], noise[..., 1:], 2.0)
    shown = smallest(chances, sizes)
    if plan is None:
        return shown if everyone else shown | ~players[:, None], None
    shown = torch.stack([shown, ~shown], 2).flatten(1, 2)[:, :drawn]
    if whole:
        taken = plan.taken.to(noise.device)
        places = players.nonzero()[:, 1].reshape(len(players), 1, number).expand(-1, len(taken), -1)
        block = torch.zeros(len(players), len(taken), players.shape[1], dtype=torch.bool, device=noise.device)
        shown = torch.cat([block.scatter_(2, places, taken.expand(len(players), -1, -1)), shown], 1)
    weight = plan.weight.to(noise.device)[None] if whole else None
    return shown if everyone else shown | ~players[:, None], weight


def constrained_fit(game: Game, shown: Tensor, weight: Tensor | None = None) -> Tensor:
    """Least squares of the values on the coalitions under the end-point constraint [rows, features].

    Minimises sum_S w_S (v(S) - v(0) - sum_{i in S} a_i)^2 subject to sum a = v(all) - v(0): the deviation from an even
    share lies in the space of vectors that sum to 0, where the problem has no constraint. Of all minimisers (too few
    coalitions) the one closest to even shares is taken. `shown` and `weight` (None: all equal) may have one row for
    all, which then share one matrix.
    """
    full, empty = game.call.all_scores().double(), game.call.baseline_scores().double()
    same = len(shown) == 1
    players = (game.players[:1] if same else game.players).double()
    count = players.sum(1, keepdim=True).clamp(min=1)
    even = (full - empty)[:, None] / count
    everyone = bool(game.players.all())
    member = shown if everyone else shown & (game.players[:1] if same else game.players)[:, None]
    residual = game.values(shown).double() - empty[:, None] - member.sum(2) * even
    fit = _few if shown.shape[1] < game.num_features else _many
    deviation = fit(member.float(), weight, residual, players)
    deviation = (deviation - deviation.mul(players).sum(1, keepdim=True) / count) * players
    return _like_inputs(game, even * players + deviation)


def _many(member: Tensor, weight: Tensor | None, residual: Tensor, players: Tensor) -> Tensor:
    """The deviation from even shares by the normal equations of the features [rows, features]."""
    if weight is None:
        gram = (member.transpose(1, 2) @ member).double()  # whole numbers, exact in float32
        member = member.double()
    else:
        member, residual = member.double(), residual * weight
        gram = (member * weight[..., None]).transpose(1, 2) @ member
    right = residual @ member[0] if len(member) == 1 else (residual[:, None] @ member)[:, 0]
    # Coalitions are taken relative to their mean over the players, m - (|m| / M) p; the moments of those follow from
    # the moments of m: sum |m| m is a row sum of the matrix, sum |m| r a sum over the players of the right side.
    count = players.sum(1, keepdim=True).clamp(min=1)
    sums = gram.sum(2) / count
    outer = (sums - sums.sum(1, keepdim=True) / (2 * count) * players)[:, :, None] * players[:, None]
    gram = gram - outer - outer.transpose(1, 2)
    right = right - players * (right.sum(1, keepdim=True) / count)
    # The even direction is missing from the space on purpose: filling it in makes the matrix regular without
    # changing the solution, which has no part in it; so does the diagonal of those that are no players.
    scale = gram.diagonal(dim1=1, dim2=2).amax(1).clamp(min=1e-300)[:, None, None]
    even = players[:, :, None] * players[:, None] / count[..., None]
    return _solve(gram + scale * (even + torch.diag_embed(1 - players)), right)


def _few(member: Tensor, weight: Tensor | None, residual: Tensor, players: Tensor) -> Tensor:
    """The same where there are fewer coalitions than features, by a matrix of the coalitions: the least deviation."""
    root = torch.ones_like(residual[:1]) if weight is None else weight.sqrt()
    share = member.sum(2).double() / players.sum(1, keepdim=True).clamp(min=1)
    relative = (member.double() - share[..., None] * players[:, None]) * root[..., None]
    gram = relative @ relative.transpose(1, 2)
    inverse = torch.linalg.pinv(gram, hermitian=True, rtol=1e-10)
    if len(member) == 1:
        return residual * root @ inverse[0] @ relative[0]
    return ((residual * root)[:, None] @ inverse @ relative)[:, 0]


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Symmetric solve [rows or 1, n, n] x [rows, n]; the least-norm solution where a matrix is singular."""
    if len(matrix) == 1 < len(right):  # one matrix for all rows: their right sides are its columns
        return _solved(matrix, right.T[None])[0].T
    return _solved(matrix, right[..., None])[..., 0]


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(matrix)
    diagonal = factor.diagonal(dim1=-2, dim2=-1).abs()
    if not bool(failed.any()) and bool((diagonal.amin(-1) > 1e-6 * diagonal.amax(-1)).all()):
        return torch.cholesky_solve(right, factor)
    return torch.linalg.pinv(matrix, hermitian=True, rtol=1e-10) @ right


def _like_inputs(game: Game, values: Tensor) -> Tensor:
    """In the type of the inputs; float32 where those are ids."""
    first = game.call.inputs[0]
    return values.to(first.dtype if first.is_floating_point() else torch.float32)


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
        found, said = [], []
        for rows, part in game.parts(n_samples):
            own = None if generators is None else generators[rows]
            coins = coin_tosses(own, len(part.call), (n_samples, part.num_features), part.players.device)
            shown = coins if bool(part.players.all()) else coins | ~part.players[:, None]
            found.append(self._fit(part, shown, alpha, kernel_width))
            said.append(self.details)
        coefficients = torch.cat(found)
        self.details = {name: torch.cat([own[name] for own in said]) for name in said[0]}
        return game.call.result(game.spread(coefficients)) if return_input_shape else coefficients

    def _fit(self, game: Game, shown: Tensor, alpha: float, kernel_width: float) -> Tensor:
        """Weighted ridge regression with an intercept [rows, features]."""
        value = game.values(shown).double()
        member = (shown & game.players[:, None]).double()
        weight = torch.exp(-(cosine_distance(game, member) ** 2) / (2 * kernel_width**2))
        weight = weight / weight.sum(1, keepdim=True)
        centre = (weight * value).sum(1, keepdim=True)
        ridge = _ridge_of_few if shown.shape[1] < game.num_features else _ridge_of_many
        coefficients, fitted = ridge(member, weight, value - centre, alpha / shown.shape[1])
        coefficients = coefficients * game.players
        spread = (weight * (value - centre) ** 2).sum(1)
        flat = spread <= 1e-24  # nothing varies, so nothing is left to fit
        zero = (coefficients == 0) & game.players
        self.details = {
            "surrogate_r2": torch.where(flat, 1.0, fitted / spread.clamp(min=1e-24)),
            "zero_fraction": zero.sum(1) / game.players.sum(1).clamp(min=1),
        }
        return _like_inputs(game, coefficients)


def _ridge_of_many(member: Tensor, weight: Tensor, value: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Ridge coefficients [rows, features] by the normal equations, and how much of the variance they fit [rows].

    `value` is relative to its weighted mean; so are the masks, by the moments.
    """
    gram = (member * weight[..., None]).transpose(1, 2) @ member
    right = ((weight * value)[:, None] @ member)[:, 0]
    mean = gram.diagonal(dim1=1, dim2=2)  # of 0 and 1: their squares are themselves
    absent = (mean == 0).double()  # no players, or never shown: anything on the diagonal leaves them 0
    gram = gram - mean[:, :, None] * mean[:, None]
    coefficients = _solve(gram + torch.diag_embed(penalty + absent), right)
    return coefficients, (coefficients * (2 * right - (gram @ coefficients[..., None])[..., 0])).sum(1)


def _ridge_of_few(member: Tensor, weight: Tensor, value: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """The same by a matrix of the samples, where there are fewer of them than features."""
    root = weight.sqrt()
    relative = (member - weight[:, None] @ member) * root[..., None]
    gram = relative @ relative.transpose(1, 2)
    eye = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    solved = _solve(gram + penalty * eye, root * value)
    coefficients = (solved[:, None] @ relative)[:, 0]
    there = (relative @ coefficients[..., None])[..., 0]
    return coefficients, (there * (2 * root * value - there)).sum(1)


def cosine_distance(game: Game, member: Tensor) -> Tensor:
    """1 - cosine between the row and the row with only the players of `member` shown, in the input's own space.

    `member` is 0 or 1 [rows, samples, features]. Computed from per-feature sums of products, so that no perturbed
    input has to be built; what is no player is the same in both and falls out.
    """

    def totals(products: list[Tensor]) -> Tensor:
        return feature_totals(tuple(products), game.masks, game.num_features)

    pairs = [
        (x.to(member.dtype), b.to(member.dtype).expand_as(x))
        for x, b in zip(game.call.inputs, game.call.baselines, strict=True)
    ]
    own = totals([x * x for x, _ in pairs])
    cross = totals([x * b for x, b in pairs])
    other = totals([b * b for _, b in pairs])
    both = member @ torch.stack([own - cross, own - other], 2)
    dot, length = (both + torch.stack([cross.sum(1), other.sum(1)], 1)[:, None]).unbind(2)
    norm = (own.sum(1, keepdim=True).sqrt() * length.clamp(min=0).sqrt()).clamp(min=1e-8)
    return 1 - dot / norm
