"""The store of trained networks: a network is trained once, whoever asks for it."""

import hashlib
import inspect
import json
import logging
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import files, history, optimizers, parallel, stacked, training
from .data.base import Data, Examples
from .errors import WrongInput, nearest
from .history import History
from .parallel import Workers
from .settings import Training
from .storage.checkpoints import Checkpoints
from .storage.formats import read_tensors, write_tensors

WEIGHTS, DESCRIPTION = "network.safetensors", "network.json"

log = logging.getLogger(__name__)


class Networks:
    """Trained networks in `folder`, each in a folder named by its recipe: all that decides what training gives."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)

    def recipe(
        self,
        data_config: Mapping[str, Any],
        data: Data,
        model_config: Mapping[str, Any],
        model: nn.Module,
        settings: Training,
        seed: int,
        device: torch.device | str,
    ) -> str:
        """A digest of data, network (with its initial weights), training, their source code, seed and machine kind.

        `model` is the network before training. A `weights` file counts by its content, not by its name.
        """
        parts = {
            "data": data_config,
            "examples": {
                "train": examples_digest(data.train),
                "validation": examples_digest(data.validation),
            },
            "model": {k: v for k, v in model_config.items() if k != "weights"},
            "weights": weights_digest(model),
            "source": _sources(model, data),
            "training": settings.model_dump(mode="json"),
            "seed": seed,
            "device": torch.device(device).type,
            "dtype": str(torch.get_default_dtype()),
            "torch": torch.__version__,
            "workers": int(os.environ.get("WORLD_SIZE", "1")),
        }
        return files.sha256(json.dumps(parts, sort_keys=True, default=str).encode())

    def trained(self, recipe: str, model: nn.Module, train: Callable[[], History]) -> tuple[History, bool]:
        """Give `model` the weights of `recipe`: from the store, or by `train()`, which trains it in place.

        Also whether it was trained now. A stored network that is damaged is trained again, with a warning. While
        another process trains the same network this one waits. Under torchrun the first process keeps the store.
        """
        if not re.fullmatch("[0-9a-f]{64}", recipe):
            raise ValueError(f"not a recipe: {recipe!r}")
        workers = Workers.join()
        if workers.rank > 0:
            return self._following(workers, model, train)
        history = self._load(recipe, model)
        if history is not None:
            return self._leading(workers, model, history), False
        with self._alone(recipe):
            history = self._load(recipe, model)  # another process may have kept it a moment ago
            if history is not None:
                return self._leading(workers, model, history), False
            self._leading(workers, model, None)
            history = train()
            return self._store(recipe, model, history), bool(history.rows)

    def holds(self, recipe: str) -> bool:
        """Whether a network of this recipe is stored (it may turn out to be damaged)."""
        return (self.folder / recipe).is_dir()

    def checkpoints(self, recipe: str) -> Checkpoints | None:
        """Where the training of `recipe` keeps how far it is; None under torchrun, where nobody could agree on it."""
        alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
        return Checkpoints(self.folder / f".{recipe[:16]}.checkpoints") if alone else None

    def _leading(self, workers: Workers, model: nn.Module, history: History | None) -> History:
        """Tell the processes that train together whether there is a stored network, and give them its weights."""
        workers.agree(torch.tensor(float(history is not None)))
        if history is not None:
            _spread(workers, model)
        return history or History()

    def _following(
        self, workers: Workers, model: nn.Module, train: Callable[[], History]
    ) -> tuple[History, bool]:
        """What the processes other than the first do: train together with it, or take its weights."""
        if workers.agree(torch.tensor(0.0)).item():
            _spread(workers, model)
            model.eval()
            return History(stopped="trained before"), False
        history = train()
        return history, bool(history.rows)

    def _load(self, recipe: str, model: nn.Module) -> History | None:
        """The history of a stored network, whose weights `model` now has; None: none is there, or a damaged one."""
        folder = self.folder / recipe
        if not folder.exists():
            return None
        try:
            described = files.read_json(folder / DESCRIPTION)
            if described["recipe"] != recipe or described["sha256"] != files.sha256(folder / WEIGHTS):
                raise ValueError("it is not what was stored")
            history = History(**described["history"])
            _fill(model, read_tensors(folder / WEIGHTS)[0], str(folder))
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("the stored network %s is damaged (%s); training again", folder, error)
            files.discard(folder)
            return None
        model.eval()
        return history

    def _store(self, recipe: str, model: nn.Module, history: History) -> History:
        """Keep a trained network. A store that cannot be written costs a training next time, not this run."""
        if not history.rows:
            return history
        try:
            folder = files.make_new_folder(self.folder, lambda: f".{recipe[:16]}-{secrets.token_hex(4)}")
            write_tensors(folder / WEIGHTS, dict(model.state_dict()))
            described = {
                "recipe": recipe,
                "sha256": files.sha256(folder / WEIGHTS),
                "history": asdict(history),
            }
            files.write_json(folder / DESCRIPTION, described)
            published = files.publish(folder, self.folder / recipe)
            if (kept := self.checkpoints(recipe)) is not None:
                kept.discard()
        except OSError as error:
            log.warning("the trained network cannot be kept in %s: %s", self.folder, error)
            return history
        # Another process was first: on a GPU its weights differ in the last bits, and all runs should agree.
        return history if published else self._load(recipe, model) or history

    @contextmanager
    def _alone(self, recipe: str) -> Iterator[None]:
        """Hold the lock of one recipe. Where locks do not work nobody waits."""
        try:
            import fcntl

            self.folder.mkdir(parents=True, exist_ok=True)
            opened = open(self.folder / f".{recipe[:16]}.lock", "w")  # noqa: SIM115 (closed below)
        except (ImportError, OSError):
            yield
            return
        with opened:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("another process trains this network; waiting for it")
                fcntl.flock(opened, fcntl.LOCK_EX)
            except OSError:
                pass
            yield


def load_weights(model: nn.Module, path: Path | str) -> None:
    """Give `model` the weights of a .safetensors file; WrongInput names the first tensor that does not fit."""
    path = Path(path)
    if not path.is_file():
        raise WrongInput(f"model.weights={path}: no such file; give a .safetensors file")
    if path.suffix != ".safetensors":
        raise WrongInput(
            f"model.weights={path}: only .safetensors files are read (others can run code when opened); "
            "write one with safetensors.torch.save_file(model.state_dict(), path)"
        )
    try:
        stored = read_tensors(path)[0]
    except (WrongInput, OSError) as error:
        raise WrongInput(f"model.weights={path}: cannot be read: {error}") from error
    _fill(model, stored, f"model.weights={path}")


def weights_digest(model: nn.Module) -> str:
    """sha256 over names, types, shapes and bytes of a network's weights, the same on every device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        _add(digest, tensor)
    return digest.hexdigest()


def _fill(model: nn.Module, stored: dict[str, Tensor], where: str) -> None:
    """Copy stored tensors into `model`; WrongInput at the first that is missing, surplus, misshapen or not finite.

    Of tensors that share memory in the network, one suffices.
    """
    own, parameters = model.state_dict(), dict(model.named_parameters())
    given = {tensor.data_ptr() for name, tensor in own.items() if name in stored and tensor.numel()}
    for name, tensor in own.items():
        if name not in stored and tensor.data_ptr() not in given:
            raise WrongInput(
                f"{where}: tensor {name} of the network is missing there.{nearest(name, stored)}"
            )
    for name, tensor in stored.items():
        if name not in own:
            raise WrongInput(f"{where}: the network has no tensor {name}.{nearest(name, own)}")
        if tensor.shape != own[name].shape:
            shapes = f"{tuple(tensor.shape)} there and {tuple(own[name].shape)} in the network"
            raise WrongInput(f"{where}: tensor {name} is {shapes}")
        if name in parameters and not tensor.isfinite().all():
            raise WrongInput(f"{where}: tensor {name} holds values that are not finite")
    model.load_state_dict(stored, strict=False)


def _spread(workers: Workers, model: nn.Module) -> None:
    """Copy the first process's weights into the others' networks."""
    for value in model.state_dict().values():
        value.copy_(workers.agree(value.detach().cpu().contiguous()))


def examples_digest(examples: Examples) -> str:
    digest = hashlib.sha256()
    for tensor in (*examples.inputs, examples.labels, *examples.context):
        _add(digest, tensor)
    return digest.hexdigest()


def _add(digest: Any, tensor: Tensor) -> None:
    """Type, shape and bytes of a tensor."""
    raw = tensor.detach().cpu().contiguous()
    digest.update(f"{raw.dtype}{tuple(raw.shape)}".encode())
    digest.update(raw.reshape(-1).view(torch.uint8).numpy() if raw.numel() else b"")


def _sources(model: nn.Module, data: Data) -> dict[str, str]:
    """Digests of the source files that decide what training gives, except torch's own."""
    things = [*model.modules(), data.task, *data.modalities]
    names = {cls.__module__ for thing in things for cls in type(thing).__mro__}
    own = {name for name in names if name.split(".")[0] not in ("torch", "builtins", "abc", "typing")}
    known = own | {m.__name__ for m in (training, stacked, history, optimizers, parallel)}
    return {name: _source_digest(name) for name in sorted(known)}


def _source_digest(module: str) -> str:
    """The digest of a module's file; empty for what has none (code typed into a notebook)."""
    try:
        return files.sha256(Path(inspect.getsourcefile(sys.modules[module]) or ""))
    except (KeyError, TypeError, OSError):
        return ""
