"""One file of a run to give away, and one of its network for programs that know nothing of salience.

`python scripts/export.py <run> [to=FILE.zip] [onnx=true]`
"""

import atexit
import json
import logging
import shutil
import stat
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import artifacts, files
from ..errors import WrongInput

if TYPE_CHECKING:
    import torch

    from ..results import RunResult

MOST_FILES, MOST_BYTES, RATIO = 20_000, 4 << 30, 200
"""What an archive may hold at most: files, bytes altogether, and bytes of content for each byte of archive."""
PROGRAM, ONNX, CARD = "network.pt2", "network.onnx", "MODEL_CARD.md"
EXTRAS = (PROGRAM, ONNX, CARD, "exported.json")
USAGE = "usage: python scripts/export.py <run folder|latest> [to=FILE.zip] [onnx=true]"


def command(typed: Sequence[str]) -> int:
    """What `scripts/export.py` does; its exit code, as for `scripts/run.py`."""
    from ..edge.commandline import exit_code

    if {"-h", "--help"} & set(typed):
        print(USAGE)
        return 0
    return exit_code(lambda: _export(typed))


def _export(typed: Sequence[str]) -> None:
    settings = dict(word.split("=", 1) for word in typed if "=" in word)
    folders = [word for word in typed if "=" not in word]
    unknown = [*sorted(set(settings) - {"to", "onnx"}), *(w for w in folders if w.startswith("-"))]
    if unknown or len(folders) != 1 or settings.get("onnx", "false") not in ("true", "false"):
        raise WrongInput(f"{unknown[0]}: no such setting. {USAGE}" if unknown else USAGE)
    source = "outputs/latest" if folders[0] == "latest" else folders[0]
    print(f"exported  {export(source, settings.get('to'), settings.get('onnx') == 'true')}")


def export(run: Path | str, to: Path | str | None = None, onnx: bool = False) -> Path:
    """Pack a finished run into one zip: its files and manifest, a model card, the network as a torch.export program.

    The program (and with `onnx` the ONNX file) gives the outputs of the network on rows of the run, to 1e-4, or it is
    not packed, with a warning. `load_run` opens the zip. WrongInput where the run is damaged or did not finish, and
    where there can be no ONNX file.
    """
    from ..report.model_card import model_card
    from ..results import load_run

    result = load_run(run)
    if not (result.path / artifacts.MANIFEST).is_file():
        raise WrongInput(
            f"{result.path}: did not finish; python scripts/resume.py {result.path} goes on with it"
        )
    target = Path(to) if to else result.path.resolve().parent / f"{result.path.resolve().name}.zip"
    if not target.parent.is_dir():
        raise WrongInput(f"to={target}: the folder {target.parent} does not exist")
    with tempfile.TemporaryDirectory() as work:
        extras = [files.atomic_write(Path(work) / CARD, model_card(result))]
        try:
            extras.append(program(result, Path(work) / PROGRAM))
        except WrongInput as error:  # a network of one's own may be nothing that a program can be made of
            warnings.warn(f"{error}; the run is packed without it", stacklevel=2)
        if onnx:
            extras.append(onnx_file(result, Path(work) / ONNX))
        vouched = {p.name: {"size": p.stat().st_size, "sha256": files.sha256(p)} for p in extras}
        extras.append(files.write_json(Path(work) / "exported.json", {"files": vouched}))
        files.atomic_write(target, lambda temporary: _pack(temporary, result, extras))
    return target


def _pack(archive: Path, result: "RunResult", extras: Sequence[Path]) -> None:
    """What the manifest lists, manifest, status and page: in order and without times, so equal files pack equal."""
    listed = [*result.folder.json(artifacts.MANIFEST)["files"], artifacts.MANIFEST, artifacts.STATUS]
    listed += [name for name in (artifacts.PAGE,) if (result.path / name).is_file()]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, path in [
            *((n, result.folder.file(n)) for n in sorted(listed)),
            *((p.name, p) for p in extras),
        ]:
            entry = zipfile.ZipInfo(f"run/{name}")
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with packed.open(entry, "w", force_zip64=True) as into, open(path, "rb") as source:
                shutil.copyfileobj(source, into, 1 << 20)


# -- the network alone -------------------------------------------------------------------------------------------------


def program(result: "RunResult", path: Path) -> Path:
    """The network as a torch.export program that reads any number of rows; checked against the network."""
    import torch

    rows, more, model = _rows(result, 3), _rows(result, 5), _whole(result)
    with _quiet(PROGRAM):
        exported = torch.export.export(model, rows, dynamic_shapes=_dynamic(rows), strict=False)
        torch.export.save(exported, path)
    with torch.no_grad():
        _same(exported.module()(*more), model(*more), PROGRAM)
    return path


def onnx_file(result: "RunResult", path: Path) -> Path:
    """The network as ONNX; checked with onnxruntime. WrongInput where the extra is not installed."""
    import torch

    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (torch.onnx needs it)
    except ImportError:
        raise WrongInput('onnx=true needs: pip install "salience[onnx]"') from None
    rows, more, model = _rows(result, 3), _rows(result, 5), _whole(result)
    with _quiet(ONNX):
        exported: Any = torch.onnx.export(
            model, rows, dynamo=True, dynamic_shapes=_dynamic(rows), verbose=False
        )
        exported.save(str(path), external_data=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = {i.name: r.numpy() for i, r in zip(session.get_inputs(), more, strict=True)}
    with torch.no_grad():
        _same(torch.from_numpy(session.run(None, given)[0]), model(*more), ONNX)
    return path


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Without what exporters say of themselves; WrongInput with one line where they fail."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # of any kind, with pages of advice on compilers
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise WrongInput(f"{name}: the network cannot be exported: {lines[0][:160]}") from error
    finally:
        logging.disable(before)


def _rows(result: "RunResult", count: int) -> "tuple[torch.Tensor, ...]":
    """`count` of the rows that the run explained, over and over, as the network reads them; and what it reads beside.

    A program is made with some and checked with others: what it learnt of the number of rows would show.
    """
    import torch

    x, _ = result.folder.read_examples(0)
    which = torch.arange(count) % len(x)
    return tuple(t[which] for t in (*x.raw, *x.context))


def _dynamic(rows: Sequence[Any]) -> tuple:
    import torch

    batch = torch.export.Dim("rows", min=1)
    return (tuple({0: batch} for _ in rows),)


def _same(ours: Any, theirs: Any, name: str) -> None:
    import torch

    if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4):
        raise WrongInput(f"{name}: its outputs differ from those of the network, so it is not packed")


def _whole(result: "RunResult") -> Any:
    """The network as one function of raw inputs and context, embedding included."""
    from torch import nn

    from ..models.base import outputs_of

    count = len(result.preprocessing[0])

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = result.model

        def forward(self, *rows: Any) -> Any:
            return outputs_of(self.network, rows[:count], rows[count:])

    return Whole().eval()


# -- opening what somebody else packed ---------------------------------------------------------------------------------


def opened(archive: Path) -> Path:
    """The run folder in a zip, unpacked into a temporary folder that goes when the program ends.

    WrongInput for what could harm: names that leave the folder, links, devices, too many or too large files, or content
    that is far larger than the archive. Whatever it says of itself, at most MOST_BYTES are written.
    """
    folder = Path(tempfile.mkdtemp(prefix="salience-"))
    try:
        with zipfile.ZipFile(archive) as packed:
            _check(packed.infolist(), archive)
            left = MOST_BYTES
            for entry in packed.infolist():
                left = _unpack(packed, entry, folder, left, archive)
        _check_extras(folder / "run", archive)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, zipfile.LargeZipFile) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise WrongInput(f"{archive} is damaged or no zip of a run: {str(error)[:80]}") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder / "run"


def _check(entries: Sequence[zipfile.ZipInfo], archive: Path) -> None:
    if len(entries) > MOST_FILES:
        raise WrongInput(f"{archive}: {len(entries)} files; at most {MOST_FILES} are unpacked")
    total = sum(entry.file_size for entry in entries)
    if total > min(MOST_BYTES, RATIO * max(1 << 20, archive.stat().st_size)):
        raise WrongInput(
            f"{archive}: unpacks to {total >> 20} MB, which is more than an archive of its size may"
        )
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise WrongInput(f"{archive}: holds two files of one name")
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        parts = entry.filename.split("/")
        right = parts[0] == "run" and len(parts) > 1 and all(files.SLUG.fullmatch(p) for p in parts[1:])
        if not right or kind not in (0, stat.S_IFREG) or entry.is_dir() or entry.flag_bits & 1:
            raise WrongInput(f"{archive}: {entry.filename[:80]!r} is no file of a run")


def _unpack(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, left: int, archive: Path) -> int:
    path = files.inside(folder, entry.filename)
    path.parent.mkdir(parents=True, exist_ok=True)
    with packed.open(entry) as source, open(path, "wb") as into:
        while block := source.read(1 << 20):
            left -= len(block)
            if left < 0:
                raise WrongInput(f"{archive}: is larger than it says")
            into.write(block)
    return left


def _check_extras(folder: Path, archive: Path) -> None:
    """The files that an export adds are vouched for by a list of their own, and moved out of the run's way."""
    path = folder / "exported.json"
    if not path.is_file():
        return
    try:
        listed: Mapping[str, Any] = files.read_json(path, limit=1 << 20)["files"]
        for name, entry in listed.items():
            if name not in EXTRAS or files.sha256(files.inside(folder, name)) != entry["sha256"]:
                raise ValueError(name)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, json.JSONDecodeError) as error:
        raise WrongInput(f"{archive} is damaged: {str(error)[:80]}") from None
