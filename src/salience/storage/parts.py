"""Finished pieces of unfinished work, kept so that it can go on: each is believed only where its digest is right."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import files

KEY = "key.json"
Piece = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors by name, and what else there is to say, in terms of JSON."""

log = logging.getLogger(__name__)


class Parts:
    """Pieces in a folder: one file each, whose name ends with the digest of its content, so that one rename seals it.

    Neither a flipped bit nor half a file passes; what does not is removed and counts as never done.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)

    def belong_to(self, key: str) -> None:
        """Throw away what was kept for another `key`: the work has changed since."""
        path = self.folder / KEY
        try:
            known = files.read_json(path, limit=1 << 12) if path.is_file() else None
        except (OSError, ValueError):
            known = None
        if known == key:
            return
        if known is not None:
            log.warning("what %s holds was made from something else; all of it is done again", self.folder)
        self.discard()
        self.folder.mkdir(parents=True, exist_ok=True)
        files.write_json(path, key)

    def write(self, name: str, tensors: Mapping[str, Tensor], words: Any) -> Path:
        """Keep one piece in place of what was called `name` before; `name` may have slashes."""
        from safetensors.torch import save

        own = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
        content = save(own, {"words": json.dumps(words)})
        before = self._files(name)
        path = self.folder / f"{name}-{files.sha256(content)[:16]}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        files.atomic_write(path, content, sync=False)  # the digest tells whether a power cut lost it
        for old in before:
            if old != path:
                files.clear(old)
        return path

    def read(self, name: str) -> Piece | None:
        """What `write` kept, or None where there is nothing, or nothing whole."""
        for path in self._files(name):
            try:
                return self._read(path)
            except (OSError, ValueError, KeyError) as error:
                log.warning("%s is damaged (%s); it is done again", path, error)
                files.clear(path)
        return None

    def names(self) -> list[str]:
        """The names of what is kept, sorted."""
        found = self.folder.rglob("*-*.safetensors")
        return sorted(
            p.relative_to(self.folder).as_posix().rpartition("-")[0]
            for p in found
            if not p.name.startswith(".")
        )

    def remove(self, name: str) -> None:
        """Forget one piece."""
        for path in self._files(name):
            files.clear(path)

    def discard(self) -> None:
        """Forget everything."""
        files.clear(self.folder)

    def _files(self, name: str) -> list[Path]:
        path = self.folder / name
        return sorted(path.parent.glob(f"{path.name}-{'[0-9a-f]' * 16}.safetensors"))

    def _read(self, path: Path) -> Piece:
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import load

        content = path.read_bytes()
        if files.sha256(content)[:16] != path.stem.rpartition("-")[2]:
            raise ValueError("its sha256 is not the one in its name")
        try:
            with safe_open(path, framework="pt") as opened:
                words = json.loads((opened.metadata() or {})["words"])
            return load(content), words
        except SafetensorError as error:
            raise ValueError(str(error)) from None
