"""The pages in a real browser: nothing complains, nothing leaves, filters and sorting work, names stay text."""

from pathlib import Path

import pytest
import runs
import torch
import yaml

from salience.artifacts import RunFolder
from salience.attribution.explanation import Explained, Explanation, explicand
from salience.comparison import compare
from salience.data.base import Classification, Data, Examples
from salience.metrics.base import Reference
from salience.modality import Image
from salience.models.mlp import MLP
from salience.report import page

pytestmark = pytest.mark.slow
NASTY = ("<script>alert(1)</script>", '"onerror="alert(1)', "y" * 200)
METHODS = ("saliency", "lrp", "random")


def images() -> Data:
    """Small pictures, of which the first pixel decides the class."""
    inputs = torch.rand(3 * runs.ROWS, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    labels = (inputs[:, 0, 0, 0] > 0.5).long()
    splits = [Examples((inputs[i::3],), labels[i::3], torch.arange(runs.ROWS)) for i in range(3)]
    return Data((Image((1, 6, 6), "pixels"),), Classification(("low", "high")), *splits)


def write(root, given=None, methods=METHODS, **more):
    config = runs.CONFIG | {"target": "predicted", "split": "test", "only": "all", "metric": {}}
    return runs.write(root, given, methods, shard=64, config=config, **more)[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = runs.data()
    folder = write(tmp_path_factory.mktemp("run"), data, draw=True)
    return page(folder.path, data)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for number in range(2):
        write(root / str(number))
    failed = write(root / "2")
    failed.set_status("failed", "train", RuntimeError("it broke"))
    return compare(root).save_page(root / "page.html")


def shown(opened) -> list[int]:
    """The rows of the examples that are to be seen, in order."""
    articles = opened.page.locator(".examples article:visible")
    return [int(a.get_attribute("data-order")) for a in articles.all()]


def test_the_gallery_filters_and_sorts(visit, run):
    opened = visit(run)
    every = shown(opened)
    assert every == list(range(runs.ROWS))
    right = {
        a.get_attribute("data-order"): a.get_attribute("data-right")
        for a in opened.page.locator("article").all()
    }
    for choice, wanted in (("right", "true"), ("wrong", "false")):
        opened.page.select_option("select[name=show]", choice)
        assert shown(opened) == [i for i in every if right[str(i)] == wanted] != every
    opened.page.select_option("select[name=show]", "disagreement")
    assert len(shown(opened)) == runs.ROWS // 3
    assert f"{runs.ROWS // 3} of {runs.ROWS} examples" in opened.page.locator("output").inner_text()
    opened.page.select_option("select[name=show]", "all")
    opened.page.select_option("select[name=by]", "disagreement")
    by_place = sorted(opened.page.locator("article").all(), key=lambda a: int(a.get_attribute("data-place")))
    assert shown(opened) == [int(a.get_attribute("data-order")) for a in by_place]


def test_examples_are_sorted_by_the_score_of_a_method(visit, run):
    opened = visit(run)
    opened.page.select_option("select[name=by]", "deletion")
    opened.page.select_option("select[name=method]", "lrp")
    read = "a => JSON.parse(a.dataset.scores).deletion.lrp"
    scores = [a.evaluate(read) for a in opened.page.locator("article").all()]
    assert scores == sorted(scores)  # lower is better
    opened.page.select_option("select[name=by]", "insertion")
    scores = [a.evaluate(read.replace("deletion", "insertion")) for a in opened.page.locator("article").all()]
    assert scores == sorted(scores, reverse=True)


def test_tables_sort_by_mouse_and_by_keyboard(visit, run):
    opened = visit(run)
    names = lambda: [c.inner_text().split()[0] for c in opened.page.locator("#leaderboard tbody th").all()]  # noqa: E731
    assert names() == list(METHODS)
    button = opened.page.locator("#leaderboard thead button").first
    button.click()
    assert names() == ["lrp", "random", "saliency"]
    assert opened.page.locator("#leaderboard th[aria-sort=ascending]").count() == 1
    button.focus()
    opened.page.keyboard.press("Enter")
    assert names() == ["saliency", "random", "lrp"]


def test_tables_and_pictures_are_saved(visit, run):
    opened = visit(run)
    with opened.page.expect_download() as saved:
        opened.page.locator("button[data-table=leaderboard]").click()
    lines = Path(saved.value.path()).read_text(encoding="utf-8").splitlines()
    assert saved.value.suggested_filename == "leaderboard.csv" and len(lines) == 1 + len(METHODS)
    assert lines[1].split(",")[1] == '"0.3"'
    opened.page.locator("figure summary").first.click()
    with opened.page.expect_download() as saved:
        opened.page.locator("button[data-picture]").first.click()
    assert Path(saved.value.path()).read_bytes().startswith(b"\x89PNG")


def write_images(root, data: Data):
    """A run with attributions of pictures, and no more than the gallery reads."""
    folder = RunFolder.create(root, "mlp", "pictures")
    folder.save_config(yaml.safe_dump(runs.CONFIG), [], {"model": "mlp", "data": "pictures"})
    model = MLP(data.modalities, 2, hidden=[4]).eval()
    with torch.no_grad():
        folder.save_predictions(data.test, model(*data.test.inputs), data.task)
    whole = explicand(Explained(model), data.modalities, data.task, data.test)
    reference = Reference((torch.zeros(1, 1, 6, 6),))
    folder.save_examples(0, whole, reference)
    for method in METHODS:
        known = {"baselines": reference.values, "method": method}
        explanation = Explanation(**vars(whole), attributions=(torch.randn(runs.ROWS, 1, 6, 6),), **known)
        folder.save_attributions(method, 0, explanation, reference)
        folder.add_scores(method, "deletion", whole.index, torch.rand(runs.ROWS))
    entry = {"metrics": {"deletion": runs.entry(0.3, higher=False)}, "cost": {}, "warnings": []}
    folder.save_summary({"network": {}, "ruler": {}, "methods": dict.fromkeys(METHODS, entry)})
    folder.finish()
    return folder


def test_the_slider_changes_the_strength_of_colours(visit, tmp_path):
    data = images()
    opened = visit(page(write_images(tmp_path, data).path, data))
    top = opened.page.locator(".stack img + img").first
    assert top.evaluate("i => getComputedStyle(i).opacity") == "0.75"
    slider = opened.page.locator("input[type=range]")
    slider.focus()
    opened.page.keyboard.press("Home")
    assert top.evaluate("i => getComputedStyle(i).opacity") == "0"


def test_runs_are_filtered_by_words(visit, comparison):
    opened = visit(comparison)
    rows = opened.page.locator("#table-runs tbody tr:visible")
    assert rows.count() == 3
    opened.page.fill("input[type=search]", "FAILED broke")
    assert rows.count() == 1
    opened.page.fill("input[type=search]", "")
    assert rows.count() == 3


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_phones_and_both_schemes(visit, run, comparison, width, scheme):
    for path in (run, comparison):
        opened = visit(path)
        opened.page.set_viewport_size({"width": width, "height": 800})
        opened.page.emulate_media(color_scheme=scheme)
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        back = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert back == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[scheme]


def test_paper_shows_what_the_screen_folds_away_but_for_the_numbers_behind_figures(visit, run, tmp_path):
    opened = visit(run)
    folded = opened.page.locator("details:not([open])").count()
    assert folded > 5
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    closed = opened.page.locator("details:not([open])")
    numbers = opened.page.locator("figure details, details.bulk")
    assert 0 < closed.count() == numbers.count() < folded
    opened.page.emulate_media(media="print")
    assert not any(d.is_visible() for d in numbers.all())
    assert not opened.page.locator("nav, .controls, .save").first.is_visible()
    opened.page.emulate_media(media="screen")
    opened.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.page.locator("details:not([open])").count() == folded
    opened.page.pdf(path=str(tmp_path / "page.pdf"))
    assert (tmp_path / "page.pdf").stat().st_size > 10_000


@pytest.mark.parametrize("nasty", NASTY)
def test_names_are_text_in_both_pages(visit, tmp_path, nasty):
    data = runs.data((nasty, "b", "c"), (nasty, "other"))
    config = {"model": nasty, "data": nasty}
    folder = write(tmp_path / "a", data, (nasty, "saliency", "random"), warning=nasty, draw=True)
    folder.save_config((folder.path / "config.yaml").read_text(), [f"note={nasty}"], config)
    for path in (page(folder.path, data), compare(tmp_path).save_page(tmp_path / "page.html")):
        opened = visit(path)
        assert nasty in opened.page.inner_text("body")
        assert opened.page.locator("script").count() == 1
        assert opened.page.evaluate(
            "[...document.querySelectorAll('*')].every(e => !e.getAttribute('onerror'))"
        )
        opened.page.select_option("select[name=by]", "deletion")
        opened.page.select_option("select[name=method]", index=0)
