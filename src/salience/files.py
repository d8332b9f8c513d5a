"""Writing to disk so that nothing is ever half there: every write of the framework goes through this module."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
"""What the system says where there is no more room."""
SLUG = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


def atomic_write(path: Path | str, content: bytes | str | Callable[[Path], None], sync: bool = True) -> Path:
    """Write `content` so that `path` holds either what it held before or all of the new content.

    A callable receives a temporary path in the same folder and writes there (for libraries that insist on a
    file name). OSError is raised with the name of the file, never swallowed, and the temporary file is removed.
    Without `sync` a power cut may take the file with it.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem[:40]}-{os.getpid()}-{secrets.token_hex(4)}.part{path.suffix}")
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        if sync:
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in FULL:
            raise OSError(
                error.errno, f"no space left to write {path} ({os.strerror(error.errno)})"
            ) from error
        raise
    if sync:
        _sync_folder(path.parent)
    return path


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; file systems that cannot sync a folder are left alone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def append(path: Path | str, text: str) -> None:
    """Add text to the end of a file: for logs, the only files that may be read while they grow."""
    with open(path, "a", encoding="utf-8") as opened:
        opened.write(text)


class Growing:
    """A text file that is written piece by piece and appears under its name only when it is complete."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.part = self.path.with_name(f".{self.path.stem[:40]}-{os.getpid()}-{secrets.token_hex(4)}.part")

    def write(self, text: str) -> None:
        """Add text; nobody sees it yet."""
        append(self.part, text)

    def finish(self) -> Path:
        """Give the file its name."""
        with open(self.part, "rb") as written:
            os.fsync(written.fileno())
        os.replace(self.part, self.path)
        _sync_folder(self.path.parent)
        return self.path


def write_json(path: Path | str, value: Any) -> Path:
    """Strict JSON (no NaN), indented, keys in the order given."""
    return atomic_write(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path | str, limit: int = 64 << 20) -> Any:
    """Parse a JSON file; ValueError where it is larger than `limit` bytes or not JSON."""
    path = Path(path)
    if path.stat().st_size > limit:
        raise ValueError(f"{path} is larger than {limit >> 20} MiB")
    return json.loads(path.read_text(encoding="utf-8"))


def make_new_folder(parent: Path | str, name: Callable[[], str]) -> Path:
    """Create a folder that did not exist a moment ago and is ours alone; `name` is asked again while it is taken."""
    parent = Path(parent)
    parent.mkdir(parents=True, exist_ok=True)
    for _ in range(100):
        folder = parent / name()
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"no free name for a new folder in {parent}")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, which a process that ends lets go of; BlockingIOError where another holds it.

    Where the file system knows no locks, nobody is kept out.
    """
    try:
        import fcntl

        opened = open(path, "w")  # noqa: SIM115 (closed below)
    except (ImportError, OSError):
        yield
        return
    with opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass
        yield
        path.unlink(missing_ok=True)


def publish(folder: Path, final: Path) -> bool:
    """Give a finished folder its final name, at once; False (and `folder` is gone) where that name is taken."""
    try:
        os.rename(folder, final)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        if final.exists():
            return False
        raise
    _sync_folder(final.parent)
    return True


def discard(folder: Path) -> None:
    """Remove a folder so that nobody ever sees it half removed; one that is not there is left alone."""
    doomed = folder.with_name(f".{folder.name[:40]}-{secrets.token_hex(4)}")
    try:
        os.rename(folder, doomed)
    except FileNotFoundError:
        return
    clear(doomed)


def clear(path: Path) -> None:
    """Remove what lies at `path`, be it a file, a folder or nothing, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()


def point_to(link: Path, folder: Path) -> None:
    """Make `link` a relative symbolic link to `folder`, replaced atomically (a text file where links fail)."""
    temporary = link.with_name(f".{link.name}-{secrets.token_hex(4)}")
    target = os.path.relpath(folder, link.parent)
    try:
        os.symlink(target, temporary)
    except OSError:
        temporary.write_text(target, encoding="utf-8")
    os.replace(temporary, link)


def slug(text: str, length: int = 60) -> str:
    """`text` as a file name: letters, digits, dots, dashes and underscores, at most `length` of them."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", text).strip("-.")[:length].strip("-.") or "run"


def inside(root: Path | str, *parts: str) -> Path:
    """The path of `parts` below `root`; ValueError where it would lie outside, also through a link."""
    root = Path(root).resolve()
    path = root.joinpath(*parts).resolve()
    if not path.is_relative_to(root):
        raise ValueError(f"{'/'.join(parts)} lies outside {root}")
    return path


def sha256(content: bytes | Path) -> str:
    """Hex digest of bytes, or of a file read in blocks."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    digest = hashlib.sha256()
    with open(content, "rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
