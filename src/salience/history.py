"""What happens in a training, epoch by epoch, and when it ends."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

from .data.base import Task
from .settings import Training

Row = dict[str, float | None]
Progress = Callable[[int, int, Row], None]
"""Called after each epoch with its number (from 1), the number of epochs at most, and its row of the history."""


class Diverged(FloatingPointError):  # noqa: N818 (it names what happened)
    """The loss or the weights became infinite or undefined; says where."""

    def __init__(self, what: str, epoch: int, batch: int | None, learning_rate: float):
        at = f"epoch {epoch}" if batch is None else f"epoch {epoch}, batch {batch}"
        super().__init__(
            f"training diverged: the {what} is not finite in {at}, at learning rate {learning_rate:.3g}; "
            "try a smaller training.learning_rate, or training.clip=1"
        )
        self.epoch, self.batch, self.learning_rate = epoch, batch, learning_rate


@dataclass
class History:
    """What happened in each epoch, and why training ended."""

    rows: list[Row] = field(default_factory=list)
    """Per epoch: `epoch` (from 1), `seconds`, `learning_rate` (of its last batch), `train_loss`, `validation_loss` and
    `validation_<score>`; None where a score is undefined."""
    kept_epoch: int | None = None
    """The epoch whose weights the network has: the best where training watched for it, else the last."""
    stopped: str = "not trained"
    """`epochs` (all were done), `patience` or `stop_at`; `not trained` where there were no epochs."""


class Watch:
    """When a training ends, and which epoch's weights it keeps."""

    def __init__(self, training: Training, task: Task):
        self.training, self.score = training, f"validation_{task.main_score}"
        self.history = History(stopped="epochs")
        self.best, self.kept = math.inf, None  # type: float, dict[str, Tensor] | None

    def goes_on(self, row: Row, weights: Callable[[], dict[str, Tensor]]) -> bool:
        """Take note of an epoch, and of its `weights()` where they are the best so far; whether another one follows."""
        history, training = self.history, self.training
        history.rows.append(row)
        number, score, loss = len(history.rows), row.get(self.score), row.get("validation_loss")
        if training.stop_at is not None and score is not None and score >= training.stop_at:
            history.stopped, self.kept = "stop_at", None
            return False
        if training.patience is None or loss is None:
            return True
        if loss < self.best:
            self.best, history.kept_epoch, self.kept = loss, number, weights()
            return True
        if number - (history.kept_epoch or 0) < training.patience:
            return True
        history.stopped = "patience"
        return False

    def finish(self, model: nn.Module) -> History:
        """Give the network the weights of the epoch that is kept: the best, or as it stands the last."""
        if self.kept is None:
            self.history.kept_epoch = len(self.history.rows)
        else:
            model.load_state_dict(self.kept)
        model.eval()
        return self.history


def judged(task: Task, outputs: Tensor, labels: Tensor, epoch: int, learning_rate: float) -> Row:
    """Loss and scores on the validation split, for the history; `Diverged` where the loss is not finite."""
    loss = task.loss(outputs, labels).item()
    if not math.isfinite(loss):
        raise Diverged("validation loss", epoch, None, learning_rate)
    scores = task.scores(outputs, labels)
    kept = {f"validation_{k}": v if math.isfinite(v) else None for k, v in scores.items()}
    return {"validation_loss": loss, **kept}


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
