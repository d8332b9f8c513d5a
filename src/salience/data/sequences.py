"""Series made by known processes: what matters at each step is known."""

import torch
from torch import Tensor

from ..errors import WrongInput, nearest
from ..modality import Series
from ..randomness import Streams
from .arguments import require_whole
from .base import Classification, Data, Regression, split_rows, splits, take

SIDE = 50
"""Features and steps of the rare-feature and rare-time series."""
HALF = slice(12, 37)
DYNAMASK = "Crabbe and van der Schaar (2021), Dynamask, ICML"


def rare(seed: int = 0, examples: int = 10, kind: str = "feature") -> Data:
    """Rare feature or rare time: 50 noise series over 50 steps, of which a known few make up the output.

    `kind=feature`: 5 of the features, in steps 12 to 36; `kind=time`: 5 steps in a row of features 12 to 36. Which,
    is drawn for each example. The output is the sum of squares over them, which `model=squared_sum` computes
    (`training=none`): the features that matter are its context. Integrated gradients are then the squares.
    """
    require_whole("examples", examples, 1)
    if kind not in ("feature", "time"):
        raise WrongInput(f"data.kind={kind}: feature or time.{nearest(kind, ('feature', 'time'))}")
    generator = Streams(seed).generator("rare")
    inputs = autoregressive(3 * examples, generator)
    salient = torch.zeros(3 * examples, SIDE, SIDE, dtype=torch.bool)
    for one in salient:
        if kind == "feature":
            one[torch.randperm(SIDE, generator=generator)[:5], HALF] = True
        else:
            start = int(torch.randint(SIDE - 5, (), generator=generator))
            one[HALF, start : start + 5] = True
    labels = (inputs * salient).square().sum((1, 2))[:, None]
    rows = torch.arange(3 * examples).split(examples)
    relevant = salient.flatten(1)
    parts = [take(r, (inputs,), labels, relevant=relevant, context=(salient,)) for r in rows]
    names = tuple(f"feature {i}" for i in range(SIDE))
    return Data(
        (Series((SIDE, SIDE), "series", channels=names),),
        Regression(("sum of squares",)),
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        title=f"Rare {kind}",
        source=f"{DYNAMASK}; made by salience",
    )


def autoregressive(examples: int, generator: torch.Generator) -> Tensor:
    """Independent series 2 x_t = 2 e_t - 0.5 x_(t-1) - 0.2 x_(t-2) - 0.1 x_(t-3) [examples, features, steps]."""
    noise = torch.randn(examples, SIDE, SIDE, generator=generator)
    steps: list[Tensor] = []
    for t in range(SIDE):
        past = sum(
            (w * steps[t - lag] for lag, w in ((1, 0.5), (2, 0.2), (3, 0.1)) if t >= lag), torch.zeros(())
        )
        steps.append(noise[..., t] - past / 2)
    return torch.stack(steps, 2)


MEANS = torch.tensor([[0.1, 1.6, 0.5], [-0.1, -0.4, -1.5]])
CHANNELS = 3


def state(
    seed: int = 0,
    examples: int = 1000,
    steps: int = 50,
    drawn: bool = True,
    validation: float = 0.1,
    test: float = 0.2,
) -> Data:
    """State: a hidden Markov chain of two states decides which of three series tells the label of the last step.

    In state 0 it is the second series, in state 1 the third; the first never tells. `drawn`: the label is drawn with
    probability sigmoid(2 x) as published, so that no network can be right always; false: the likelier label.
    `relevant` is that one number at the last step: earlier steps only help to know the state. The published benchmark
    has a label at each of 200 steps and explains each from the steps before it; here each example is one such question.
    Crabbe and van der Schaar (2021), after Tonekaboni et al. (2020).
    """
    require_whole("examples", examples, 1)
    require_whole("steps", steps, 2)
    generator = Streams(seed).generator("state")
    states = markov_chain(examples, steps, generator)
    inputs = _observed(states, generator)
    telling = 1 + states[:, -1]
    values = inputs[torch.arange(examples), telling, -1]
    chance = torch.rand(examples, generator=generator) if drawn else torch.tensor(0.5)
    labels = (torch.sigmoid(2 * values) > chance).long()
    relevant = torch.zeros(examples, CHANNELS, steps, dtype=torch.bool)
    relevant[torch.arange(examples), telling, -1] = True
    task = Classification(("off", "on"))
    return Data(
        (Series((CHANNELS, steps), "series", channels=("never", "in state 0", "in state 1")),),
        task,
        **splits(
            split_rows(labels, task, seed, validation, test), (inputs,), labels, relevant=relevant.flatten(1)
        ),
        title="State of a hidden Markov chain",
        source=f"{DYNAMASK}; made by salience",
    )


def markov_chain(examples: int, steps: int, generator: torch.Generator) -> Tensor:
    """States 0 and 1 [examples, steps]: 1 is left ever more readily, with each step that was spent in it."""
    uniform = torch.rand(examples, steps, generator=generator)
    states = torch.empty(examples, steps, dtype=torch.long)
    states[:, 0] = (uniform[:, 0] < 0.5).long()
    spent = torch.zeros(examples)
    for t in range(1, steps):
        stay = (0.95 - spent / 500).clamp(min=0.8)
        chance = torch.where(states[:, t - 1] == 1, stay, 0.05)
        states[:, t] = (uniform[:, t] < chance).long()
        spent = torch.where(states[:, t] == states[:, t - 1], spent + 1, torch.zeros(()))
    return states


def _observed(states: Tensor, generator: torch.Generator) -> Tensor:
    """What is seen of the states [examples, channels, steps]: normal, with a covariance of the state's own."""
    covariance = 0.801 * torch.eye(CHANNELS).repeat(2, 1, 1)
    for which in (0, 1):
        covariance[which, 0, 1 + which] = covariance[which, 1 + which, 0] = 0.01
    factors = torch.linalg.cholesky(covariance)[states]
    noise = torch.randn(*states.shape, CHANNELS, generator=generator)
    return (MEANS[states] + (factors @ noise[..., None])[..., 0]).transpose(1, 2).contiguous()
