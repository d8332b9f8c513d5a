"""Methods that Captum lacks, each a `captum.attr.Attribution` that drops into Captum code elsewhere too."""

from collections.abc import Sequence
from typing import Any

import captum.attr
import torch
import torch.nn.functional as F
from torch import Tensor

from . import guards
from .batched.coalitions import Game
from .planner import Call, chunks, summed_gradients


class Random(captum.attr.Attribution):
    """A control: independent standard normal numbers. What does not beat it explains nothing."""

    def attribute(self, inputs: Any, generators: Sequence[torch.Generator] | None = None) -> Any:  # type: ignore[override]
        """Noise in the shape of the inputs; row i from `generators[i]`, else from the global stream."""
        call = Call(self.forward_func, inputs)
        rows = []
        for i in range(len(call)):
            generator = None if generators is None else generators[i]
            rows.append([torch.randn(x.shape[1:], generator=generator) for x in call.inputs])
        return call.result(
            tuple(
                torch.stack(r).to(x.device) for r, x in zip(zip(*rows, strict=True), call.inputs, strict=True)
            )
        )


class Input(captum.attr.Attribution):
    """A control: the input itself, as the network reads it. It knows nothing of the network."""

    def attribute(self, inputs: Any) -> Any:  # type: ignore[override]
        """The inputs."""
        call = Call(self.forward_func, inputs)
        return call.result(tuple(x.clone() for x in call.inputs))


class AbsoluteInput(captum.attr.Attribution):
    """A control: the size of the input, |x|, as the network reads it."""

    def attribute(self, inputs: Any) -> Any:  # type: ignore[override]
        """The absolute inputs."""
        call = Call(self.forward_func, inputs)
        return call.result(tuple(x.abs() for x in call.inputs))


class Constant(captum.attr.Attribution):
    """A control: every element gets the same."""

    def attribute(self, inputs: Any) -> Any:  # type: ignore[override]
        """Ones in the shape of the inputs."""
        call = Call(self.forward_func, inputs)
        return call.result(tuple(torch.ones_like(x) for x in call.inputs))


class PositionPrior(captum.attr.Attribution):
    """A control for text: the earlier, the more, 1 / (1 + position). It knows neither words nor network."""

    def attribute(self, inputs: Any) -> Any:  # type: ignore[override]
        """The prior along the first axis of an example, shared by what lies at one position."""
        call = Call(self.forward_func, inputs)
        return call.result(tuple(self._prior(x) for x in call.inputs))

    @staticmethod
    def _prior(x: Tensor) -> Tensor:
        prior = 1 / (1 + torch.arange(x.shape[1], device=x.device, dtype=torch.get_default_dtype()))
        at_each = x[0, 0].numel()
        return prior.reshape(1, -1, *(1,) * (x.dim() - 2)).expand_as(x) / at_each


class Oracle(captum.attr.Attribution):
    """A control where the truth is known: weight x (input - baseline), with the weights of the data's own function.

    It explains what should have been learned, which the network need not have learned. `weights` [outputs, elements]
    are the data set's; Refused where it has none. A network with a single unit gets the last of them.
    """

    def __init__(self, forward_func: Any, weights: Tensor | None = None):
        super().__init__(forward_func)
        if weights is None:
            raise guards.Refused("attribution=oracle: needs known weights, and this data set has none")
        self.weights = weights

    def attribute(self, inputs: Any, baselines: Any = None, target: Any = None) -> Any:  # type: ignore[override]
        """What each element contributes to the output `target`; baselines of None are zeros."""
        call = Call(self.forward_func, inputs, baselines, target)
        weights = self.weights.to(call.inputs[0])
        chosen = torch.zeros(len(call), dtype=torch.long) if call.target is None else call.target
        with torch.no_grad():
            outputs = call.forward(*(x[:1] for x in call.inputs))
        single = outputs.dim() == 1 or outputs.shape[1] == 1
        rows = weights[torch.full_like(chosen, -1) if single else chosen]
        pieces = rows.split([x[0].numel() for x in call.inputs], 1)
        moved = (x - b for x, b in zip(call.inputs, call.baselines, strict=True))
        return call.result(tuple(p.reshape(m.shape) * m for p, m in zip(pieces, moved, strict=True)))


class EdgeFilter(captum.attr.Attribution):
    """A control for images: the size of the Sobel gradient. It knows nothing of the network (Adebayo 2018)."""

    def attribute(self, inputs: Any) -> Any:  # type: ignore[override]
        """Edge strength [rows, channels, height, width]; ValueError for other shapes."""
        call = Call(self.forward_func, inputs)
        return call.result(tuple(self._edges(x) for x in call.inputs))

    @staticmethod
    def _edges(x: Tensor) -> Tensor:
        if x.dim() != 4:
            raise ValueError(
                f"edges are found in images (channels, height, width), not in {tuple(x.shape[1:])}"
            )
        kernel = x.new_tensor([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
        both = torch.stack([kernel, kernel.T])[:, None]
        padded = F.pad(x.reshape(-1, 1, *x.shape[2:]), (1, 1, 1, 1), mode="replicate")
        return F.conv2d(padded, both).square().sum(1).sqrt().reshape(x.shape)


class LayerGradCam(captum.attr.LayerGradCam):
    """Captum's LayerGradCam (Selvaraju 2017) laid over the input: one map per input, upsampled to its size.

    The layer must keep the input's layout, [rows, channels, *spatial]; ValueError where it does not. Each channel of
    the input gets an equal share, so that a pixel's features sum to the map.
    """

    laid_over_inputs = True
    """What it gives has the shape of the inputs, unlike what other layer methods give."""

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        relu_attributions: bool = False,
        interpolate_mode: str = "bilinear",
    ) -> Any:
        """As Captum's, but in the shape of the inputs."""
        self.gradient_func = getattr(self, "gradient_func", summed_gradients)
        call = Call(self.forward_func, inputs)
        cam = super().attribute(inputs, target, additional_forward_args, relu_attributions=relu_attributions)
        cam = cam[0] if isinstance(cam, tuple) else cam
        return call.result(tuple(lay_over(cam.detach(), x, interpolate_mode) for x in call.inputs))


def lay_over(cam: Tensor, x: Tensor, mode: str = "bilinear") -> Tensor:
    """A map [rows, 1, *spatial] upsampled to the input [rows, channels, *spatial] and shared by its channels."""
    if cam.dim() != x.dim() or cam.dim() < 3:
        raise ValueError(
            f"the layer gives a map of {tuple(cam.shape[1:])}, with no place in an input of {tuple(x.shape[1:])}"
        )
    smooth = {3: "linear", 4: "bilinear", 5: "trilinear"}[x.dim()] if mode == "bilinear" else mode
    aligned = {} if smooth == "nearest" else {"align_corners": False}
    return F.interpolate(cam, x.shape[2:], mode=smooth, **aligned).expand_as(x) / x.shape[1]


class FeaturePermutation(captum.attr.PerturbationAttribution):
    """Permutation feature importance (Fisher 2019), per row: f(x) minus the average of f with one feature replaced.

    Replacements come from rows of `baselines` (training rows), drawn per example and feature, so that a row's result
    does not depend on the others in its batch, as Captum's does. Elements hold their whole feature's value.
    """

    def __init__(self, forward_func: Any):
        super().__init__(forward_func)

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        n_samples: int = 10,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Any:
        """`baselines` [rows of a distribution, ...]; `n_samples` replacements for each feature of each row."""
        if n_samples < 1:
            raise ValueError(f"n_samples={n_samples}: must be 1 or more")
        pool = baselines if isinstance(baselines, tuple) else (baselines,)
        call = Call(self.forward_func, inputs, None, target, additional_forward_args)
        game = Game(call, feature_mask)
        picks = self._picks(len(call), game.num_features, n_samples, len(pool[0]), generators).to(
            pool[0].device
        )
        full = call.all_scores()
        totals = full.new_zeros(len(call), game.num_features)
        jobs = torch.cartesian_prod(
            torch.arange(len(call)), torch.arange(game.num_features), torch.arange(n_samples)
        ).to(totals.device)
        for part in chunks(len(jobs), call.rows):
            row, feature, sample = jobs[part].reshape(-1, 3).unbind(1)
            own, chosen, context = call.at(row)
            replaced = tuple(
                torch.where(
                    m[row if len(m) > 1 else torch.zeros_like(row)]
                    == feature.reshape(-1, *(1,) * (x.dim() - 1)),
                    p,
                    x,
                )
                for m, x, p in zip(
                    game.masks, own, (q[picks[row, feature, sample]] for q in pool), strict=True
                )
            )
            change = full[row] - call.scores(replaced, chosen, context)
            totals.index_put_((row, feature), change / n_samples, accumulate=True)
        return call.result(game.spread(totals))

    @staticmethod
    def _picks(
        rows: int, features: int, count: int, pool: int, generators: Sequence[torch.Generator] | None
    ) -> Tensor:
        return torch.stack(
            [
                torch.randint(
                    pool, (features, count), generator=None if generators is None else generators[i]
                )
                for i in range(rows)
            ]
        )


class GuidedGradCam(captum.attr.GuidedGradCam):
    """Captum's GuidedGradCam; ValueError instead of an empty result where the layer has no place in the input."""

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        interpolate_mode: str = "nearest",
        attribute_to_layer_input: bool = False,
    ) -> Any:
        """As Captum's."""
        got = super().attribute(
            inputs, target, additional_forward_args, interpolate_mode, attribute_to_layer_input
        )
        if any(a.numel() == 0 for a in (got if isinstance(got, tuple) else (got,))):
            raise ValueError(
                "the layer has no place in the input: guided Grad-CAM needs [rows, channels, *spatial]"
            )
        return got
