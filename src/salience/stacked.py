"""The seeds of one small network trained at once: a batch of each passes through one stack of their weights.

A small network spends its time on starting kernels; one kernel for ten networks costs little more than for one.
"""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from . import interrupts
from .data.base import Data, Examples
from .history import Diverged, History, Progress, Row, Watch, judged, snapshot
from .models.base import outputs_of, predict
from .optimizers import detach, layout, optimizer, trainable
from .randomness import Streams
from .settings import Training
from .training import batch_bounds, rate


def unstackable(model: nn.Module, training: Training) -> str | None:
    """Why this training cannot be stacked; None where it can."""
    if isinstance(training.optimizer, dict):
        return "needs optimizer adamw, adam or sgd"
    if training.precision != "float32":
        return "needs precision float32"
    for module in model.modules():
        if isinstance(module, _DropoutNd) and module.p > 0:
            return "dropout would draw other numbers in a stack; set the network's dropout to 0"
        if isinstance(module, _NormBase):
            return "batch normalisation keeps statistics of its own"
        if isinstance(module, nn.RNNBase):
            return "recurrent layers cannot be stacked"
    return None


def fit_stacked(
    models: Sequence[nn.Module],
    datas: Sequence[Data],
    training: Training,
    seeds: Sequence[int],
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> list[History | Diverged]:
    """Train networks of one shape, each in place, on its own data, by its own seed; they are left in eval mode.

    Each goes through the batches that `fit` would give it alone, and ends by its own validation loss; weights differ
    from those of `training.stacked=false` by rounding (of which Adam makes whole steps where a gradient is nothing
    else). A training that diverges is returned, and leaves the others
    alone. ValueError where networks or numbers of rows differ, or where `unstackable` says why not.
    """
    stack = _Stack(models, datas, training, seeds, torch.device(device))
    try:
        return stack.run(progress)
    finally:
        stack.dissolve()


class _Whole(nn.Module):
    """A network from its raw inputs on, so that one call swaps the weights of its embeddings too."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs: tuple[Tensor, ...], context: tuple[Tensor, ...]) -> Tensor:
        return outputs_of(self.network, inputs, context)


class _Stack:
    """Several trainings in step: row s of every tensor belongs to network s."""

    def __init__(
        self,
        models: Sequence[nn.Module],
        datas: Sequence[Data],
        training: Training,
        seeds: Sequence[int],
        device: torch.device,
    ):
        if reason := unstackable(models[0], training):
            raise ValueError(f"training.stacked=true: {reason}")
        self.models = [model.to(device) for model in models]
        self.task, self.training, self.device = datas[0].task, training, device
        self.train = _stacked([data.train.to(device) for data in datas])
        self.validation = [data.validation.to(device) for data in datas]
        self.batches = batch_bounds(self.train.labels.shape[1], training.batch_size)
        self.streams = [Streams(seed) for seed in seeds]
        self.watches = [Watch(training, self.task) for _ in seeds]
        self.going = list(range(len(models)))
        self.diverged: dict[int, Diverged] = {}
        if len({tuple((n, v.shape) for n, v in model.state_dict().items()) for model in self.models}) > 1:
            raise ValueError("training.stacked=true: the networks differ in shape")
        self.parameters = [trainable(model) for model in self.models]
        starts, size = layout(self.parameters[0], len(models))
        self.flat = self.parameters[0][0].new_zeros(size).detach()
        self.flat.grad = torch.zeros_like(self.flat)
        self.leaves = [
            self._leaf(own, start)
            for own, start in zip(zip(*self.parameters, strict=True), starts, strict=True)
        ]
        self.weights = self._weights()
        self.optimizer = optimizer(training, self.flat, self.models[0])
        self.rate = self.optimizer.param_groups[0]["lr"]
        weights = [self.task.class_weights(own) for own in self.train.labels if training.class_weights]
        known = [w for w in weights if w is not None]  # a regression has none
        self.class_weights = torch.stack(known) if known else None
        self.loss = self._loss()

    def _leaf(self, own: tuple[nn.Parameter, ...], start: int) -> Tensor:
        """One parameter of all networks [networks, ...], in the flat vector, which the networks' own now look into."""
        assert self.flat.grad is not None
        part, shape = slice(start, start + len(own) * own[0].numel()), (len(own), *own[0].shape)
        leaf = self.flat[part].view(shape)
        for p, mine in zip(own, leaf, strict=True):
            mine.copy_(p.detach())
            p.data = mine
        leaf = leaf.detach().requires_grad_()
        leaf.grad = self.flat.grad[part].view(shape)
        return leaf

    def _weights(self) -> dict[str, Tensor]:
        """What the networks hold by name, each [networks, ...]; what is not trained as it is."""
        named = [name for name, p in self.models[0].named_parameters() if p.requires_grad]
        held = [dict(model.named_buffers()) | dict(model.named_parameters()) for model in self.models]
        fixed = {
            name: torch.stack([own[name].detach() for own in held]) for name in held[0] if name not in named
        }
        known = dict(zip(named, self.leaves, strict=True)) | fixed
        return {f"network.{name}": value for name, value in known.items()}

    def _loss(self) -> Callable[..., Tensor]:
        from torch.func import functional_call, vmap

        whole, task = _Whole(self.models[0]), self.task

        def one(weights, inputs, context, labels, class_weights):  # type: ignore[no-untyped-def]
            return task.loss(functional_call(whole, weights, (inputs, context)), labels, class_weights)

        balanced = None if self.class_weights is None else 0
        return vmap(one, in_dims=(0, 0, 0, 0, balanced))

    def run(self, progress: Progress | None) -> list[History | Diverged]:
        """All epochs, or as many as the last of the networks takes."""
        for number in range(1, self.training.epochs + 1):
            started, sharing = time.perf_counter(), len(self.going)
            losses = self.epoch(number)
            rows = [self.ended(number, s, losses[s]) for s in list(self.going)]
            for row in rows:
                row["seconds"] = (time.perf_counter() - started) / sharing
            if progress is not None:
                progress(number, self.training.epochs, rows[0])
            if not self.going:
                break
        return [
            self.diverged.get(s) or watch.finish(model)
            for s, (watch, model) in enumerate(zip(self.watches, self.models, strict=True))
        ]

    def epoch(self, number: int) -> Tensor:
        """One pass of every network over its training split, in the order of its seed; losses [networks, batches]."""
        rows = self.train.labels.shape[1]
        orders = torch.stack(
            [torch.randperm(rows, generator=own.generator("batches", number)) for own in self.streams]
        ).to(self.device)
        for model in self.models:
            model.train()
        losses = []
        for batch, (start, end) in enumerate(self.batches, (number - 1) * len(self.batches)):
            share = rate(self.training, batch, self.training.epochs * len(self.batches))
            self.optimizer.param_groups[0]["lr"] = self.rate * share
            losses.append(self.step(orders[:, start:end]))
            interrupts.poll()
        return torch.stack(losses, 1)

    def step(self, rows: Tensor) -> Tensor:
        """One batch of every network [networks, batch]; the losses."""
        gradient, at = self.flat.grad, torch.arange(len(rows), device=self.device)[:, None]
        assert gradient is not None
        gradient.zero_()
        train = self.train
        losses = self.loss(
            self.weights,
            tuple(x[at, rows] for x in train.inputs),
            tuple(c[at, rows] for c in train.context),
            train.labels[at, rows],
            self.class_weights,
        )
        losses.sum().backward()
        if self.training.clip is not None:
            self.clip(self.training.clip)
        self.optimizer.step()
        return losses.detach()

    def clip(self, most: float) -> None:
        """No network's gradient is longer than `most`."""
        gradients = [leaf.grad for leaf in self.leaves if leaf.grad is not None]
        norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()
        scale = (most / (norms + 1e-6)).clamp(max=1.0)
        for g in gradients:
            g.mul_(scale.reshape(-1, *(1,) * (g.dim() - 1)))

    def ended(self, number: int, s: int, losses: Tensor) -> Row:
        """An epoch of network `s` is over: what it was like, and whether this network goes on."""
        try:
            row = self.row(number, s, losses)
        except Diverged as diverged:
            self.diverged[s] = diverged
            self.going.remove(s)
            return {}
        watch = self.watches[s]
        if not watch.goes_on(row, lambda: snapshot(self.models[s])):
            self.going.remove(s)
            if watch.kept is None:  # the others go on, and its weights with them
                watch.kept, watch.history.kept_epoch = snapshot(self.models[s]), number
        return row

    def row(self, number: int, s: int, losses: Tensor) -> Row:
        """What an epoch of network `s` was like; `Diverged` where its loss or weights are not finite."""
        lr = self.optimizer.param_groups[0]["lr"]
        if not losses.isfinite().all():
            raise Diverged("loss", number, int((~losses.isfinite()).nonzero()[0]) + 1, lr)
        if not all(bool(p.isfinite().all()) for p in self.parameters[s]):
            raise Diverged("network's weights", number, None, lr)
        sizes = losses.new_tensor([end - start for start, end in self.batches])
        row: Row = {"epoch": number, "seconds": 0.0, "learning_rate": lr}
        row["train_loss"] = ((losses * sizes).sum() / sizes.sum()).item()
        split = self.validation[s]
        if len(split):
            outputs = predict(self.models[s], split.inputs, split.context).float()
            row |= judged(self.task, outputs, split.labels, number, lr)
        return row

    def dissolve(self) -> None:
        """Give every network tensors of its own again."""
        for own in self.parameters:
            detach(own)


def _stacked(splits: Sequence[Examples]) -> Examples:
    """Splits of the same size as one, whose tensors have the network as their first axis.

    Where all networks read the same rows these are not copied. ValueError where shapes differ.
    """
    first = splits[0]

    def joined(parts: list[Tensor]) -> Tensor:
        if any(part.shape != parts[0].shape for part in parts):
            raise ValueError("training.stacked=true: the seeds' training splits differ in shape")
        same = all(part is parts[0] or torch.equal(part, parts[0]) for part in parts)
        return parts[0].expand(len(parts), *parts[0].shape) if same else torch.stack(parts)

    return Examples(
        tuple(joined([own.inputs[i] for own in splits]) for i in range(len(first.inputs))),
        joined([own.labels for own in splits]),
        first.index,
        context=tuple(joined([own.context[i] for own in splits]) for i in range(len(first.context))),
    )
