"""A method whose process dies: the first two that are made draw lots in the folder LOTS, later ones are whole."""

import os
import signal
from pathlib import Path

from captum.attr import Saliency


class Fragile(Saliency):
    """Saliency, where no lot is left."""

    def __init__(self, forward_func):
        super().__init__(forward_func)
        for lot, end in (
            ("exit", lambda: os._exit(9)),
            ("kill", lambda: os.kill(os.getpid(), signal.SIGKILL)),
        ):
            try:
                (Path(os.environ["LOTS"]) / lot).unlink()
            except OSError:
                continue
            end()
