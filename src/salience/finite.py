"""Numbers that are none: what is not finite stops at the first boundary, with stage and example named."""

import torch
from torch import Tensor

from .data.base import Data
from .errors import WrongInput


class NotFinite(FloatingPointError):  # noqa: N818 (it names what happened)
    """A number is nan or infinite where nothing can be made of it; says where."""


def first_bad(values: Tensor) -> int | None:
    """The first row of `values` [rows, ...] that holds a nan or an infinity; None where all is finite."""
    if not values.is_floating_point() or bool(values.isfinite().all()):
        return None
    return int((~values.reshape(len(values), -1).isfinite().all(1)).nonzero()[0])


def check_data(data: Data) -> None:
    """WrongInput at the first input or label that is not finite: split, example, and what it is of."""
    for name in ("train", "validation", "test"):
        examples = data.split(name)
        for modality, values in zip(data.modalities, examples.inputs, strict=True):
            row = first_bad(values)
            if row is not None:
                place = int((~values[row].reshape(-1).isfinite()).nonzero()[0])
                names = modality.feature_names
                what = (
                    names[place] if len(names) == values[row].numel() else f"{modality.name} element {place}"
                )
                raise WrongInput(
                    f"data: example {row} of the {name} split, {what}: nan or infinite; clean the data"
                )
        row = first_bad(examples.labels)
        if row is not None:
            raise WrongInput(f"data: the label of example {row} of the {name} split is nan or infinite")


def check_outputs(outputs: Tensor, split: str) -> Tensor:
    """`outputs` [examples, outputs] of the network; NotFinite names the first example without a number."""
    row = first_bad(outputs)
    if row is not None:
        raise NotFinite(f"network: its outputs for example {row} of the {split} split are not finite")
    return outputs


def infinite_scores(metric: str, scores: Tensor, index: Tensor | None) -> tuple[str, ...]:
    """A warning where scores are infinite: they count as undefined, and no mean contains them."""
    infinite = torch.as_tensor(scores).isinf().reshape(-1)
    if not bool(infinite.any()):
        return ()
    where = "the data set" if index is None else f"example {int(index[infinite.to(index.device)][0])}"
    return (
        f"{metric}: infinite for {int(infinite.sum())} examples (first: {where}), which count as undefined",
    )
