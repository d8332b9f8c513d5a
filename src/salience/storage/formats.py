"""JSON, CSV, YAML and tensors as runs write and read them: strict, bounded, safe to open from a stranger."""

import csv
import errno
import io
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from .. import files
from ..errors import WrongInput

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader, ten times faster where libyaml is there: comparing reads hundreds of configs."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make a spreadsheet take text for a formula."""


def write_json(path: Path, value: Any) -> None:
    """Strict JSON: nan becomes null; tuples, dataclasses, paths, numbers of numpy and torch become plain."""
    files.write_json(path, plain(value))


def plain(value: Any) -> Any:
    """`value` in terms of dict, list, str, int, float, bool and None, without nan."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def read_json(path: Path) -> Any:
    """The content of a JSON file; WrongInput where it is none."""
    try:
        return files.read_json(path)
    except (ValueError, RecursionError) as mistake:
        raise WrongInput(f"{path} cannot be read: {mistake}") from None


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table, written row by row."""

    def write(temporary: Path) -> None:
        with open(temporary, "w", newline="", encoding="utf-8") as opened:
            csv.writer(opened, lineterminator="\n").writerows(map(_cells, itertools.chain([header], rows)))

    files.atomic_write(path, write)


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Some rows of a table as text."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(_cells, rows))
    return text.getvalue()


def csv_rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a table as text, one at a time, without the quotes that `write_csv` adds."""
    with open(path, newline="", encoding="utf-8") as opened:
        for row in csv.DictReader(opened):
            yield {unquoted(name): unquoted(value) for name, value in row.items()}


def _cells(row: Sequence[Any]) -> list[Any]:
    return [_cell(value) for value in row]


def _cell(value: Any) -> Any:
    """Nine digits bring a float32 back exactly; text that spreadsheets would take for a formula is quoted."""
    if isinstance(value, float):
        return f"{value:.9g}"
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def unquoted(text: Any) -> Any:
    """A cell as it was before the quote that keeps spreadsheets from running it."""
    return text[1:] if isinstance(text, str) and text[:1] == "'" and text[1:].startswith(FORMULA) else text


def read_yaml(path: Path) -> Any:
    """The content of a YAML file of at most 1 MB without aliases (bombs need them); else WrongInput."""
    if path.stat().st_size > 1 << 20:
        raise WrongInput(f"{path} is larger than 1 MB")
    try:
        text = path.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=LOADER)):
            raise WrongInput(f"{path} has YAML aliases, which no run writes")
        loader = LOADER(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as mistake:
        raise WrongInput(f"{path} is not YAML: {str(mistake).splitlines()[0]}") from None


def write_tensors(path: Path, tensors: dict[str, Any], metadata: dict[str, str] | None = None) -> None:
    """Tensors by name as a safetensors file; those that share memory are stored once each."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    def write(temporary: Path) -> None:
        try:
            save_file(flat, temporary, metadata or {})
        except SafetensorError as error:
            needed = sum(t.numel() * t.element_size() for t in flat.values()) / 1e6
            raise OSError(errno.ENOSPC, f"cannot write {path} ({needed:.1f} MB): {error}") from error
        _sort_metadata(temporary)

    seen: set[int] = set()
    flat = {}
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        storage = own.untyped_storage().data_ptr()
        flat[name] = own.clone() if storage in seen else own  # safetensors refuses tensors that share memory
        seen.add(storage)
    files.atomic_write(path, write)


def _sort_metadata(path: Path) -> None:
    """Put the metadata in order: the library writes it in another one each time, and equal runs are equal files."""
    with open(path, "r+b") as opened:
        size = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(size))
        if len(header.get("__metadata__", {})) < 2:
            return
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:
            opened.seek(8)
            opened.write(text.ljust(size))


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The tensors and the metadata of a safetensors file; WrongInput where it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            names = list(opened.keys())
            return {name: opened.get_tensor(name) for name in names}, opened.metadata() or {}
    except SafetensorError as mistake:
        raise WrongInput(f"{path} is damaged: {mistake}") from None


def tensor_length(path: Path, name: str) -> int:
    """The first axis of one tensor, from the header alone."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            return opened.get_slice(name).get_shape()[0]
    except SafetensorError as mistake:
        raise WrongInput(f"{path} is damaged: {mistake}") from None
