"""TensorBoard: one folder of event files per run, under the outputs."""

from pathlib import Path

from .base import Tracked, Tracker


class TensorBoard(Tracker):
    """Scalars of training and the means of all scores, and the config as text.

    Look at it by `tensorboard --logdir outputs/tensorboard`.
    """

    package = "tensorboard"

    def __init__(self, folder: str | None = None):
        self.folder = folder

    def track(self, run: Tracked) -> None:
        from torch.utils.tensorboard import SummaryWriter

        root = Path(self.folder) if self.folder else run.outputs / "tensorboard"
        with SummaryWriter(str(root / run.name)) as writer:
            for epoch, name, value in run.epochs():
                writer.add_scalar(name, value, epoch)
            for name, value in run.scores():
                writer.add_scalar(name, value, 0)
            rows = "\n".join(f"| {key} | `{value}` |" for key, value in run.settings().items())
            writer.add_text("config", f"| key | value |\n|---|---|\n{rows}")
