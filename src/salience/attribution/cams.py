"""Class activation maps that Captum lacks, laid over the input like `methods.LayerGradCam`."""

from collections.abc import Callable
from typing import Any

import captum.attr
import torch
from torch import Tensor, nn

from .inside import activations, layer_gradient, row_parts
from .methods import lay_over
from .planner import Call, chunks


class GradCamPlusPlus(captum.attr.GradientAttribution):
    """Grad-CAM++ (Chattopadhay 2018): channels weighted by their positive gradients, place by place.

    With the paper's assumption that the score enters through an exponential: weight_k = sum_ij alpha_ij relu(g_ij),
    alpha = g^2 / (2 g^2 + sum_ab A_ab g^3), and the map is relu(sum_k weight_k A_k), at least 0. The layer gives
    [rows, channels, *spatial] with the input's layout; ValueError where it does not.
    """

    def __init__(self, forward_func: Callable, layer: nn.Module):
        super().__init__(forward_func)
        self.layer = layer

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        interpolate_mode: str = "bilinear",
    ) -> Any:
        """In the shape of the inputs, each channel an equal share of the map; `nearest` or `bilinear` upsampling."""
        call = Call(self.forward_func, inputs, None, target, additional_forward_args)
        cam = torch.cat([self._cam(*layer_gradient(call, self.layer, rows)) for rows in row_parts(call)])
        return call.result(tuple(lay_over(cam, x, interpolate_mode) for x in call.inputs))

    @staticmethod
    def _cam(given: Tensor, gradient: Tensor) -> Tensor:
        places = tuple(range(2, given.dim()))
        if not places:
            raise ValueError(f"the layer gives {tuple(given.shape[1:])}, which has no place in the input")
        squared = gradient**2
        below = 2 * squared + given.sum(places, keepdim=True) * squared * gradient
        alpha = torch.where(
            gradient != 0, squared / torch.where(below == 0, torch.ones_like(below), below), 0.0
        )
        weight = (alpha * gradient.relu()).sum(places, keepdim=True)
        return (weight * given).sum(1, keepdim=True).relu()


class ScoreCam(captum.attr.Attribution):
    """Score-CAM (Wang 2020): each channel weighted by the score of the input seen through it; no gradients.

    A channel's activations, upsampled and scaled to [0, 1], are the mask M; what it hides is replaced by the baseline.
    The weights are a softmax over the channels of f(masked) - f(baseline), and the map is relu(sum_k weight_k A_k), at
    least 0. A channel that is the same everywhere has no mask and gets no weight. The layer gives
    [rows, channels, *spatial] with the input's layout; ValueError where it does not. One pass per channel.
    """

    def __init__(self, forward_func: Callable, layer: nn.Module):
        super().__init__(forward_func)
        self.layer = layer

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        interpolate_mode: str = "bilinear",
    ) -> Any:
        """In the shape of the inputs, each channel an equal share of the map; `baselines` as Captum takes them."""
        call = Call(self.forward_func, inputs, baselines, target, additional_forward_args)
        given = activations(call, self.layer)
        if given.dim() < 3:
            raise ValueError(f"the layer gives {tuple(given.shape[1:])}, which has no place in the input")
        flat = given.flatten(2)
        low, high = (
            v.reshape(*given.shape[:2], *(1,) * (given.dim() - 2)) for v in (flat.amin(2), flat.amax(2))
        )
        varied = (high > low).flatten(1)
        masks = (given - low) / torch.where(high > low, high - low, torch.ones_like(high))
        gain = self._scores(call, masks, varied, interpolate_mode) - call.baseline_scores()[:, None]
        weight = torch.softmax(gain.masked_fill(~varied, -torch.inf), 1).nan_to_num(0.0)
        cam = torch.einsum("nk,nk...->n...", weight, given)[:, None].relu()
        return call.result(tuple(lay_over(cam, x, interpolate_mode) for x in call.inputs))

    @staticmethod
    def _scores(call: Call, masks: Tensor, varied: Tensor, mode: str) -> Tensor:
        """The score of each row through each of its channels [rows, channels]."""
        scores = masks.new_zeros(varied.shape)
        pairs = varied.nonzero()
        for part in chunks(len(pairs), call.rows):
            row, channel = pairs[part].unbind(1)
            inputs, target, context = call.at(row)
            small = masks[row, channel][:, None]
            seen = tuple(
                b + lay_over(small, x, mode) * x.shape[1] * (x - b)
                for x, b in zip(inputs, call.baselines_at(row), strict=True)
            )
            scores[row, channel] = call.scores(seen, target, context).to(scores.dtype)
        return scores
