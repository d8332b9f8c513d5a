"""Everything that a run consists of, built and tried out before anything is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .attribution.baselines import Baseline
from .attribution.explainer import Explainer
from .attribution.explanation import Explained, Explicand, explicand
from .attribution.guards import Refused
from .attribution.inner import explainer_of
from .attribution.preflight import Plan, preflight
from .config import build, options, shipped
from .data.base import Data, Examples, Task
from .errors import WrongInput, listed
from .finite import check_data, check_outputs
from .metrics.base import Metric, Reference
from .models.base import predict
from .networks import load_weights
from .randomness import Streams
from .retraining import Retraining
from .settings import Method, Run
from .stacked import unstackable
from .training import initialised

if TYPE_CHECKING:
    from .config import Composed


@dataclass
class Study:
    """The parts of one run: data, network, methods and metrics, all for one device and one seed."""

    settings: Run
    choices: Mapping[str, Any]
    data: Data
    model: nn.Module
    explained: Explained
    baseline: Baseline
    streams: Streams
    device: torch.device
    explainers: dict[str, Explainer] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    controls: tuple[str, ...] = ()

    # -- names ---------------------------------------------------------------------------------------------------

    @property
    def model_name(self) -> str:
        return model_node(self.settings.model)[0]

    @property
    def data_name(self) -> str:
        return str(self.choices.get("data", "data"))

    @property
    def ruler(self) -> dict[str, str]:
        """What scores may only be compared under: what hides features, the output space, what a feature is."""
        node = {k: v for k, v in self.settings.baseline.items() if k != "_target_"}
        details = "".join(f", {k}={v}" for k, v in node.items() if v is not None)
        features = ", ".join(f"{m.num_features} of {m.name}" for m in self.data.modalities)
        return {
            "reference": self.baseline.name + details,
            "output": self.settings.output,
            "features": features,
        }

    # -- what is explained ---------------------------------------------------------------------------------------

    def explicand(self, examples: Examples) -> Explicand:
        """Examples on the run's device, with the target of each."""
        moved = examples.to(self.device)
        return explicand(self.explained, self.data.modalities, self.data.task, moved, self.settings.target)

    def reference(self, x: Explicand) -> Reference:
        """What replaces hidden features: the run's baseline, averaged where it is a distribution."""
        raw = self.baseline.of(self.data.modalities, self.data.train, x, self.streams)
        with torch.no_grad():
            values = self.explained.embed(*(b.to(r.device) for b, r in zip(raw, x.raw, strict=True)))
        if self.baseline.is_distribution:
            values = tuple(v.mean(0, keepdim=True) for v in values)
        return Reference(tuple(v.to(i.dtype) for v, i in zip(values, x.inputs, strict=True)))

    def outputs(self, examples: Examples, name: str = "test") -> Tensor:
        """The network's outputs for the split called `name`, on the CPU; NotFinite where there are none."""
        moved = examples.to(self.device)
        return check_outputs(predict(self.model, moved.inputs, moved.context).cpu(), name)

    def chosen(self, outputs: Tensor) -> Examples:
        """The examples that are explained, given the network's outputs for the whole split."""
        examples = self.data.split(self.settings.split)
        rows = torch.arange(len(examples))
        if isinstance(self.settings.explained, list):
            rows = torch.tensor(self.settings.explained)
        rows = rows[self._wanted(examples, outputs)[rows]]
        if isinstance(self.settings.explained, int):
            rows = rows[: self.settings.explained]
        if not len(rows):
            raise WrongInput(
                f"only={self.settings.only}: no example of the {self.settings.split} split is left"
            )
        return examples[rows]

    def _wanted(self, examples: Examples, outputs: Tensor) -> Tensor:
        task, only = self.data.task, self.settings.only
        if only == "all":
            return torch.ones(len(examples), dtype=torch.bool)
        if only in ("correct", "wrong"):
            return task.right(outputs, examples.labels) == (only == "correct")
        return examples.labels == task.class_number(only)

    # -- trying it out -------------------------------------------------------------------------------------------

    def preflight(self) -> dict[str, Plan]:
        """Two training examples through every method and the untrained network; what each method needs for one."""
        self.check_choice()
        x = self._two()
        plans, lines = {}, []
        for name, explainer in self.explainers.items():
            try:
                plans[name] = preflight(explainer, x)
            except Refused as refused:
                lines.append(str(refused))
        if lines:
            raise WrongInput("\n".join([*lines[:-1], f"{lines[-1]}. {self._those_that_can(x)}"]))
        self.explained.counter.forward_rows = self.explained.counter.backward_rows = 0
        return plans

    def check_choice(self) -> None:
        """WrongInput where `explained`, `only` or a metric asks for what the data does not have."""
        split, asked = self.data.split(self.settings.split), self.settings.explained
        where = f"the {self.settings.split} split of {self.data_name} has {len(split)} examples"
        if isinstance(asked, int) and asked > len(split):
            raise WrongInput(f"explained={asked}: {where}; use a number up to that, or all")
        if isinstance(asked, list) and (not asked or max(asked) >= len(split)):
            raise WrongInput(f"explained={asked}: {where}, numbered from 0")
        if self.settings.only not in ("all", "correct", "wrong"):
            self.data.task.class_number(self.settings.only)
        for name, metric in self.metrics.items():
            if getattr(metric, "retrain", None) is not None and not self.settings.training.epochs:
                raise WrongInput(f"metric={name}: trains networks anew, which training=none does not say how")
            if metric.needs_places and any(m.places != metric.needs_places for m in self.data.modalities):
                raise WrongInput(f"metric={name}: needs images, and {self.data_name} is something else")
            for needed, what in (("relevant", "known relevant features"), ("ratings", "human ratings")):
                if getattr(metric, f"needs_{needed}") and getattr(split, needed) is None:
                    usable = [n for n, m in self.metrics.items() if not (m.needs_relevant or m.needs_ratings)]
                    rest = (
                        f"usable: {listed(usable)}"
                        if usable
                        else "use others, such as deletion or infidelity"
                    )
                    raise WrongInput(f"metric={name}: needs {what}, and {self.data_name} has none; {rest}")

    def _two(self) -> Explicand:
        try:
            return self.explicand(self.data.train[:2])
        except WrongInput:
            raise
        except ValueError as error:  # the task says which targets there are
            raise WrongInput(str(error)) from error
        except RuntimeError as error:
            raise WrongInput(
                f"model={self.model_name} does not read data={self.data_name} (inputs "
                f"{', '.join(str(m.shape) for m in self.data.modalities)}): {str(error).splitlines()[0]}"
            ) from error

    def _those_that_can(self, x: Explicand) -> str:
        able = []
        for name in options("attribution"):
            try:
                spec = Method.model_validate(shipped("attribution", name)[name])
                preflight(make_explainer(self, name, spec), x)
            except WrongInput:
                continue
            able.append(name)
        return f"Methods that can: {listed(able, 400)}"


def assemble(composed: "Composed", settings: Run) -> Study:
    """Build data, network, methods and metrics; nothing is trained. WrongInput says what cannot be built."""
    streams, device = Streams(settings.seed), find_device(settings.device)
    data = build(settings.data, seed=settings.seed, downloads=Path(settings.outputs) / "downloads")
    check_data(data)
    fresh = partial(fresh_network, settings, data, device)
    model = fresh()
    if settings.training.stacked and (reason := unstackable(model, settings.training)):
        raise WrongInput(f"training.stacked=true: {reason}")
    study = Study(
        settings=settings,
        choices=composed.choices,
        data=data,
        model=model,
        explained=Explained(model, link(data, settings.output)),
        baseline=build(settings.baseline),
        streams=streams,
        device=device,
    )
    methods = {**settings.attribution, **settings.controls}
    lines = []
    for key, spec in methods.items():
        try:
            study.explainers[key] = make_explainer(study, key, spec)
        except Refused as refused:
            lines.append(str(refused))
    if lines:
        raise WrongInput("\n".join([*lines[:-1], f"{lines[-1]}. {study._those_that_can(study._two())}"]))
    retrain = Retraining(data, settings, fresh, recipe_node(settings), device)
    known: dict[str, Any] = {"streams": streams, "retrain": retrain, "weights": data.weights}
    study.metrics = {key: build(node, **known) for key, node in settings.metric.items()}
    study.controls = tuple(settings.controls)
    return study


def fresh_network(settings: Run, data: Data, device: torch.device) -> nn.Module:
    """The network before training, with the weights that the config names."""
    node = model_node(settings.model)[1]
    known: dict[str, Any] = {"modalities": data.modalities, "num_outputs": data.task.num_outputs}
    known["downloads"] = Path(settings.outputs) / "downloads"  # where a pretrained network is kept
    model = initialised(partial(build, node, **known), settings.seed)
    if settings.model.get("weights"):
        load_weights(model, settings.model["weights"])
    return model.to(device)


def make_explainer(study: Study, key: str, spec: Method) -> Explainer:
    """One entry of `attribution` or `controls` as an explainer."""
    factory = build({**spec.method, "_partial_": True}, weights=study.data.weights)
    return explainer_of(factory)(
        key,
        factory,
        study.explained,
        study.data.modalities,
        study.data.task,
        study.data.train,
        build(spec.baseline) if spec.baseline else study.baseline,
        study.streams,
        spec.arguments,
        spec.layer,
        study.settings.guards,
    )


def model_node(model: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and node of the chosen network."""
    return next((str(k), dict(v)) for k, v in model.items() if isinstance(v, Mapping) and "_target_" in v)


def recipe_node(settings: Run) -> dict[str, Any]:
    """What the recipe of the network says of its config."""
    return {**model_node(settings.model)[1], "weights": settings.model.get("weights")}


def link(data: Data, output: str) -> Any:
    """What turns the network's outputs into the space that is explained; None for logits."""
    return link_of(data.task, output)


def link_of(task: Task, output: str) -> Any:
    """The same for a task."""
    return None if output == "logit" else partial(task.explained, space=output)


def find_device(name: str) -> torch.device:
    """The device called `auto`, `cpu` or `cuda`; WrongInput where there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise WrongInput(f"device=cuda: no CUDA device (torch {torch.__version__}); use device=cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
