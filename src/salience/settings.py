"""What the framework itself reads from a config, with types, ranges and choices. Imports no torch."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Count = Annotated[StrictInt, Field(ge=1)]
Target = dict[str, Any]
"""A node that builds an object: `_target_` and its arguments."""


class Strict(BaseModel):
    """Unknown keys are mistakes, and nothing changes after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Training(Strict):
    """How a network is trained. `training=none` has 0 epochs."""

    epochs: Annotated[StrictInt, Field(ge=0, description="passes over the training split")] = 30
    batch_size: Count = 32
    learning_rate: Positive = 3e-3
    optimizer: Literal["adamw", "adam", "sgd"] | Target = "adamw"
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    momentum: Share = 0.9
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    warmup: Share = 0.1
    """Share of all steps over which the learning rate rises from 0."""
    patience: Annotated[StrictInt, Field(ge=1)] | None = 8
    """Epochs without a better validation loss after which training stops; the best weights are kept."""
    stop_at: Annotated[float, Field(gt=0, le=1)] | None = None
    """Stop as soon as the validation score (accuracy, or R2) reaches this."""
    clip: Positive | None = None
    """Largest norm of the gradient."""
    class_weights: StrictBool = False
    """Make every class count the same."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Mixed precision while training; weights stay float32."""
    stacked: StrictBool = False
    """Train the seeds of a sweep at once, as one network with a stack of weights: for small networks."""


class Method(Strict):
    """One entry of `attribution` or `controls`."""

    method: Target
    arguments: dict[str, Any] = {}
    layer: StrictStr | None = None
    baseline: Target | None = None


class Run(Strict):
    """One run."""

    data: Target
    model: dict[str, Any]
    training: Training
    baseline: Target
    attribution: dict[str, Method]
    controls: dict[str, Method] = {}
    metric: dict[str, Target] = {}
    tracker: dict[str, Target] = {}
    explained: Count | list[Annotated[StrictInt, Field(ge=0)]] | Literal["all"] = 100
    split: Literal["train", "validation", "test"] = "test"
    only: StrictInt | StrictStr = "all"
    target: StrictInt | StrictStr = "predicted"
    output: Literal["logit", "probability"] = "logit"
    gate: Annotated[float, Field(ge=0, le=1)] | None = None
    """Least main score (accuracy, R2) of a network whose explanations count; None: clearly above chance."""
    guards: Literal["error", "warn", "off"] = "error"
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Count = 1
    """Threads of one run; results are only promised to repeat to the bit for the same number."""
    figures: StrictBool = True
    """Draw figures and write the page; without, a small run takes half the time, and `compare` draws what it needs."""
    keep_memory: StrictBool = True
    """Keep freed memory for the next pass where glibc allows: the same results, faster."""
    outputs: StrictStr = "outputs"
    dry: StrictBool = False
