"""Training in plain torch: one permutation per epoch, in-memory tensors, a history."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from . import interrupts
from .data.base import Data
from .errors import WrongInput
from .history import Diverged, History, Progress, Row, Watch, judged, snapshot
from .models.base import outputs_of, predict
from .optimizers import flattened, optimizer, restore, state_tensors
from .parallel import Workers
from .randomness import Streams, restore_state, stored_state
from .settings import Training
from .storage.checkpoints import Checkpoints

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}


def initialised(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """`build()` with the global random streams seeded for it, and restored afterwards."""
    with Streams(seed).seeded("initialisation"):
        return build()


def fit(
    model: nn.Module,
    data: Data,
    training: Training,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> History:
    """Train `model` in place, on `device`; it is left there in eval mode.

    With `checkpoints` a training of the same arguments that was cut short goes on from its last one, to the same bits.

    The same arguments on the same machine give the same weights to the bit on a CPU. Under torchrun the processes
    share every batch and end with the same weights. Raises `Diverged`; WrongInput where there is nothing to train,
    or no such optimiser.
    """
    workers = Workers.join()
    device = workers.device(device)
    model.to(device)
    if not training.epochs:
        model.eval()
        return History()
    if training.stacked:
        if workers.size > 1:
            raise WrongInput("training.stacked=true: not for several processes that share a training")
        from .stacked import fit_stacked

        history = fit_stacked([model], [data], training, [seed], device, progress)[0]
        if isinstance(history, Diverged):
            raise history
        return history
    with Streams(seed).seeded("training", workers.rank), flattened(model) as flat:
        return _Fit(model, data, training, flat, workers, seed, device, checkpoints).run(progress)


class _Fit:
    """One training: what its epochs share."""

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        training: Training,
        flat: Tensor,
        workers: Workers,
        seed: int,
        device: torch.device,
        checkpoints: Checkpoints | None = None,
    ):
        self.checkpoints = checkpoints
        self.model, self.task, self.training = model, data.task, training
        self.flat, self.workers = flat, workers
        self.train, self.validation = data.train.to(device), data.validation.to(device)
        self.streams, self.device = Streams(seed), device
        self.batches = batch_bounds(len(self.train), training.batch_size)
        self.optimizer = optimizer(training, flat, model)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.weight = data.task.class_weights(self.train.labels) if training.class_weights else None
        self.scaler = torch.amp.GradScaler(device.type) if training.precision == "float16" else None
        self.steps = 0
        self.watch = Watch(training, data.task)
        for value in (flat, *model.buffers()):
            workers.agree(value)

    def run(self, progress: Progress | None) -> History:
        """All epochs, or as many as it takes."""
        losses, history = self.restored(), self.watch.history
        for number in range(len(history.rows) + 1, self.training.epochs + 1):
            row = self.epoch(number, losses)
            losses = []
            if progress is not None:
                progress(number, self.training.epochs, row)
            if not self.watch.goes_on(row, lambda: snapshot(self.model)):
                break
        self.watch.finish(self.model)
        for buffer in self.model.buffers():
            self.workers.agree(buffer)
        return history

    def epoch(self, number: int, done: list[Tensor]) -> Row:
        """One pass over the training split, in an order that depends on the seed and the epoch alone.

        `done` are the losses of the batches that were done before a checkpoint.
        """
        started = time.perf_counter()
        generator = self.streams.generator("batches", number)
        order = torch.randperm(len(self.train), generator=generator).to(self.device)
        self.model.train()
        each = list(done)
        for start, end in self.batches[len(each) :]:
            each.append(self.step(order[start:end]))
            self.between(each)
        losses = self.workers.add_up(torch.stack(each))
        self.check(losses, number)
        sizes = losses.new_tensor([end - start for start, end in self.batches])
        row: Row = {
            "epoch": number,
            "seconds": 0.0,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "train_loss": ((losses * sizes).sum() / sizes.sum()).item(),
        }
        if len(self.validation):
            row |= self.validate(number)
        row["seconds"] = time.perf_counter() - started
        return row

    def between(self, losses: list[Tensor]) -> None:
        """After each batch: a checkpoint where it is time for one, and an end where that was asked for."""
        if self.checkpoints is not None and (interrupts.requested() or self.checkpoints.due()):
            self.checkpoints.save(self.steps, self.state(losses))
        interrupts.poll()

    def state(self, losses: list[Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the next batch depends on, and the losses of this epoch so far."""
        random, words = stored_state()
        groups = {
            "random": random,
            "optimizer": state_tensors(self.optimizer),
            "buffer": dict(self.model.named_buffers()),
            "best": self.watch.kept or {},
            "own": {"flat": self.flat, "losses": torch.stack(losses)},
        }
        tensors = {f"{group}/{name}": t for group, own in groups.items() for name, t in own.items()}
        known = {"steps": self.steps, "history": asdict(self.watch.history), "random": words}
        scaler = {} if self.scaler is None else self.scaler.state_dict()
        best = None if math.isinf(self.watch.best) else self.watch.best
        return tensors, {**known, "best": best, "has_best": self.watch.kept is not None, "scaler": scaler}

    def restored(self) -> list[Tensor]:
        """Take up the last checkpoint, where there is one; the losses of its unfinished epoch."""
        kept = None if self.checkpoints is None else self.checkpoints.last()
        if kept is None:
            return []
        tensors, words = kept
        groups: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            group, _, name = key.partition("/")
            groups.setdefault(group, {})[name] = tensor if group == "random" else tensor.to(self.device)
        with torch.no_grad():
            self.flat.copy_(groups["own"]["flat"])
            for name, buffer in self.model.named_buffers():
                buffer.copy_(groups["buffer"][name])
        restore(self.optimizer, groups.get("optimizer", {}))
        if self.scaler is not None and words["scaler"]:
            self.scaler.load_state_dict(words["scaler"])
        self.steps, self.watch.history = words["steps"], History(**words["history"])
        self.watch.best = math.inf if words["best"] is None else words["best"]
        self.watch.kept = groups["best"] if words["has_best"] else None
        restore_state(groups["random"], words["random"])
        return list(groups["own"]["losses"])

    def step(self, rows: Tensor) -> Tensor:
        """One batch: gradients, and a step of the optimiser. The loss, not yet read, so that a GPU need not wait."""
        self.set_rate()
        self.flat.grad.zero_()  # type: ignore[union-attr]
        share = self.workers.share(rows)
        loss = self.loss(share, len(share) / len(rows)) if len(share) else self.flat.new_zeros(())
        if len(share):
            (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        self.workers.add_up(self.flat.grad)  # type: ignore[arg-type]
        self.update()
        return loss.detach()

    def loss(self, rows: Tensor, share: float) -> Tensor:
        """The loss of some rows, as the `share` of the batch that they are."""
        inputs = tuple(x[rows] for x in self.train.inputs)
        context = tuple(c[rows] for c in self.train.context)
        with self.casting():
            outputs = outputs_of(self.model, inputs, context)
        loss = self.task.loss(outputs.to(self.flat.dtype), self.train.labels[rows], self.weight)
        return loss if share == 1.0 else loss * share

    def casting(self) -> AbstractContextManager[Any]:
        """Mixed precision where it is asked for."""
        if self.training.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.training.precision))

    def update(self) -> None:
        """Clip the gradient and step."""
        gradient = self.flat.grad
        assert gradient is not None
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)  # type: ignore[arg-type]
        if self.training.clip is not None:
            gradient.mul_((self.training.clip / (gradient.norm() + 1e-6)).clamp(max=1.0))
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)  # type: ignore[arg-type]
            self.scaler.update()

    def set_rate(self) -> None:
        """The learning rate of this step."""
        share = rate(self.training, self.steps, self.training.epochs * len(self.batches))
        for group, start in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = start * share
        self.steps += 1

    def check(self, losses: Tensor, number: int) -> None:
        """`Diverged` at the first batch whose loss is not finite."""
        finite = losses.isfinite()
        if finite.all() and self.flat.isfinite().all():
            return
        if finite.all():
            raise Diverged("network's weights", number, None, self.optimizer.param_groups[0]["lr"])
        batch = int((~finite).nonzero()[0])
        step, total = (number - 1) * len(self.batches) + batch, self.training.epochs * len(self.batches)
        raise Diverged("loss", number, batch + 1, self.rates[0] * rate(self.training, step, total))

    def validate(self, number: int) -> Row:
        """Loss and scores on the validation split, the same in every process."""
        outputs = self.workers.agree(
            predict(self.model, self.validation.inputs, self.validation.context).float()
        )
        return judged(
            self.task, outputs, self.validation.labels, number, self.optimizer.param_groups[0]["lr"]
        )


def rate(training: Training, step: int, total: int) -> float:
    """The share of the learning rate at `step` (from 0) of `total`: a rise over the warm-up, then the schedule."""
    warm = round(training.warmup * total)
    if step < warm:
        return (step + 1) / warm
    return SCHEDULES[training.schedule]((step - warm) / max(1, total - warm))


def batch_bounds(rows: int, size: int) -> list[tuple[int, int]]:
    """Where batches of `size` rows start and end; a last row that would be alone joins the batch before it.

    (Networks with batch normalisation cannot be trained on one row.)
    """
    starts = list(range(0, rows, size))
    if len(starts) > 1 and size > 1 and rows - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], rows], strict=True))
