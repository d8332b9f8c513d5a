"""The page: one file, no network, nothing that a name could run."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
import runs
import torch

from salience import files
from salience.artifacts import RunFolder
from salience.models.mlp import MLP
from salience.report import page
from salience.report.network import flow

FIGURES = 8
"""Cost, agreement, examples, features, curves, training, a beeswarm, predictions."""
FIRST_SHARD = 8
NASTY = [
    "<script>alert(1)</script>",
    '"onerror="alert(1)',
    "'><img src=x onerror=alert(1)>",
    "{{ 7 * 191 * 8191 }}",
    "x" * 200,
]


class Reader(HTMLParser):
    """Tags with attributes, and the text that a reader sees."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def read(folder) -> tuple[str, Reader]:
    html = page(folder.path).read_text(encoding="utf-8")
    return html, Reader(html)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return runs.write(tmp_path_factory.mktemp("outputs"), warning="look twice", draw=True)[0]


@pytest.fixture(scope="module")
def shown(drawn):
    return read(drawn)


@pytest.fixture
def folder(drawn, tmp_path):
    """A copy that a test may damage."""
    return RunFolder(shutil.copytree(drawn.path, tmp_path / drawn.path.name))


def test_it_says_what_was_run_and_what_came_out(shown):
    _, seen = shown
    assert "mlp on synthetic" in seen.text and "accuracy" in seen.text and "0.9583" in seen.text
    assert "deletion ↓" in seen.text and "insertion ↑" in seen.text
    assert "0.300 ±0.020" in seen.text and "2 undefined" in seen.text
    assert "random control" in seen.text and "saliency: look twice" in seen.text
    assert "reference: blank" in seen.text
    assert "python scripts/run.py model=mlp seed=0" in seen.text
    assert "torch" in seen.text and "seed 0" in seen.text
    assert "missing or damaged" not in seen.text


def test_it_is_one_file_that_asks_for_nothing(shown):
    html, seen = shown
    policy = [
        attrs["content"] for tag, attrs in seen.tags if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy[0].startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy[0]
    assert len(html) < 5_000_000
    assert not re.search(r"https?://", html)
    for tag, attrs in seen.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        assert "style" not in attrs
        assert not any(name.startswith("on") for name in attrs)
        for name in ("src", "href"):
            assert name not in attrs or attrs[name].startswith(("data:image/png", "#"))


def test_only_its_own_style_and_script_may_run(shown):
    html, seen = shown
    assert [tag for tag, _ in seen.tags].count("script") == 1
    for tag in ("style", "script"):
        inner = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in html


def test_every_figure_is_described(shown):
    _, seen = shown
    images = [attrs for tag, attrs in seen.tags if tag == "img"]
    assert len(images) == FIGURES and all(len(i["alt"]) > 20 for i in images)
    assert any("saliency, random" in i["alt"] and "Label" in i["alt"] for i in images)


def test_figures_have_their_numbers_as_a_table(shown):
    html, seen = shown
    ids = {attrs.get("id") for tag, attrs in seen.tags if tag == "table"}
    offered = [attrs["data-table"] for tag, attrs in seen.tags if "data-table" in attrs]
    assert len(offered) >= 6 and set(offered) <= ids
    assert "share of features" in seen.text and "calibration" not in seen.text.split("Network")[0]


def test_the_gallery_has_what_its_filters_need(shown):
    _, seen = shown
    articles = [attrs for tag, attrs in seen.tags if tag == "article"]
    assert len(articles) == FIRST_SHARD
    assert {a["data-right"] for a in articles} == {"true", "false"}
    assert sorted(int(a["data-place"]) for a in articles) == list(range(FIRST_SHARD))
    scores = json.loads(articles[0]["data-scores"])
    assert set(scores) == {"deletion", "insertion"} and set(scores["deletion"]) == {"saliency", "random"}


def test_the_network_is_shown_layer_by_layer(drawn):
    data = runs.data()
    torch.manual_seed(1)
    model = MLP(data.modalities, 2, hidden=[4]).eval()
    seen = Reader(page(drawn.path, data, model).read_text(encoding="utf-8"))
    assert "Linear" in seen.text and "ReLU" in seen.text and "3 layers, 26 parameters" in seen.text
    assert "input 3 Linear layers.0 4" in seen.text
    assert "radius = " in seen.text and "radius = " not in read(drawn)[1].text


def test_the_drawing_of_the_network_has_blocks_and_leaves_out_what_changes_nothing():
    kinds = {
        "stem": "Linear",
        "blocks.0.norm": "LayerNorm",
        "blocks.0.drop": "Dropout",
        "blocks.0.ff.0": "Linear",
    }
    kinds |= {"blocks.1.norm": "LayerNorm", "blocks.1.out": "Identity", "layers.0": "ReLU", "head": "Linear"}
    drawn = flow((name, kind, "4", 0) for name, kind in kinds.items())
    assert [(block, [layer[0] for layer in inner]) for block, inner in drawn] == [
        ("", ["stem"]),
        ("blocks.0", ["norm", "ff.0"]),
        ("blocks.1", ["norm"]),
        ("", ["layers.0", "head"]),
    ]


def test_links_lead_somewhere_and_ids_are_unique(shown):
    _, seen = shown
    ids = [attrs["id"] for _, attrs in seen.tags if "id" in attrs]
    links = [attrs["href"][1:] for tag, attrs in seen.tags if tag == "a"]
    assert links and set(links) <= set(ids) and len(ids) == len(set(ids))


def test_it_has_light_dark_and_print(shown):
    html, _ = shown
    assert "prefers-color-scheme: dark" in html and "@media print" in html


@pytest.mark.parametrize("nasty", NASTY)
def test_names_are_shown_as_text(tmp_path, nasty):
    given = runs.data((nasty, "b", "c"), (nasty, "other"))
    config = runs.CONFIG | {"controls": {}, "note": nasty}
    folder = runs.write(tmp_path, given, (nasty, "saliency"), nasty, config=config, draw=True)[0]
    folder.save_config("note: 'x'\n# " + nasty, [f"note={nasty}"], {"model": nasty, "data": nasty})
    folder.set_status("failed", nasty, RuntimeError(nasty))
    html, seen = read(folder)
    assert nasty in seen.text
    assert [tag for tag, _ in seen.tags].count("script") == 1
    assert len([tag for tag, _ in seen.tags if tag == "img"]) == FIGURES
    assert not any(name.startswith("on") for _, attrs in seen.tags for name in attrs)
    assert str(7 * 191 * 8191) not in html


def test_missing_controls_are_said(tmp_path):
    folder = runs.write(tmp_path, methods=("saliency",), config=runs.CONFIG | {"controls": {}})[0]
    assert "no controls" in read(folder)[1].text


@pytest.mark.parametrize(
    "name",
    ["summary.json", "config.yaml", "status.json", "environment.json", "choices.json", "figures/index.json"],
)
@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"\xff\x00garbage")])
def test_what_is_missing_or_damaged_is_said(folder, name, damage):
    damage(folder.path / name)
    _, seen = read(folder)
    assert "mlp" in seen.text or name == "choices.json"
    if name != "figures/index.json" or (folder.path / name).exists():
        assert "missing or damaged" in seen.text


def test_a_run_that_failed_at_once_has_a_page(tmp_path):
    folder = RunFolder.create(tmp_path, "mlp", "digits")
    folder.set_status("failed", "check", ValueError("no such layer"))
    _, seen = read(folder)
    assert "Stopped while: check. ValueError: no such layer" in seen.text
    assert "No method was measured" in seen.text


def test_figures_that_are_too_large_are_named_instead(folder, monkeypatch):
    import salience.report.build as build
    from salience.report import pictures

    size = (folder.figures / "examples.png").stat().st_size
    monkeypatch.setattr(build._Run, "judged", lambda run, metric: [])
    monkeypatch.setattr(build._Run, "agreement", lambda run: [])
    monkeypatch.setattr(build, "Album", lambda: pictures.Album(size))
    html, seen = read(folder)
    assert html.count("data:image/png") == 1
    assert "Too large for this page: see figures/curves.png in the run folder." in seen.text


def test_only_pictures_are_embedded(folder):
    files.atomic_write(folder.figures / "examples.png", "<svg onload=alert(1)>")
    html, seen = read(folder)
    assert "examples.png is no PNG file" in seen.text and html.count("data:image/png") == FIGURES - 1
