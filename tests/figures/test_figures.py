"""Figures: the right numbers, in the right order, with what a reader needs to believe them."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from salience.attribution.explanation import Explanation, feature_masks
from salience.data.base import Classification, Regression
from salience.figures import as_html, compare, curves_figure, draw, means, summary_figure, training_figure
from salience.figures.canvas import number, plain, png
from salience.figures.compare import baseline_text, caption
from salience.figures.curves import Band, Moments
from salience.figures.images import Overlay
from salience.figures.panels import cells, flaw, panel_for, scale
from salience.figures.tables import BARS, feature_labels
from salience.figures.text import Words
from salience.modality import Audio, Image, Modality, Series, Tabular, Tokens

pytestmark = pytest.mark.filterwarnings("ignore:Glyph .* missing")
TASK = Classification(("benign", "malignant"))
VOCABULARY = ("<pad>", "<start>", "good", "$bad$", "<b>", "电影", "😀")


def make(modalities, raw, embedded=None, attributions=None, **own) -> Explanation:
    """An explanation of a few examples."""
    embedded = embedded or tuple(x.float() for x in raw)
    rows = len(raw[0])
    known = {
        "raw": raw,
        "inputs": embedded,
        "context": (),
        "feature_mask": feature_masks(modalities, embedded),
        "present": torch.cat([m.present(x) for m, x in zip(modalities, raw, strict=True)], 1),
        "target": torch.zeros(rows, dtype=torch.long),
        "score": torch.linspace(1.0, 3.0, rows),
        "index": torch.arange(rows) + 17,
        "labels": torch.zeros(rows, dtype=torch.long),
        "num_outputs": 2,
        "attributions": attributions or tuple(torch.randn_like(x) for x in embedded),
        "modalities": modalities,
        "task": TASK,
        "method": "saliency",
    }
    return Explanation(**known | own)


def table(rows: int = 2, columns: int = 4, **own) -> Explanation:
    names = tuple(f"column {i}" for i in range(columns))
    modality = Tabular(
        (columns,),
        "table",
        columns=names,
        units=("mm",) * columns,
        mean=(10.0,) * columns,
        scale=(2.0,) * columns,
    )
    return make((modality,), (torch.ones(rows, columns),), **own)


def tokens() -> Explanation:
    raw = torch.tensor([[1, 2, 3, 4, 5, 6, 0, 0], [1, 2, 0, 0, 0, 0, 0, 0]])
    modality = Tokens((8,), "words", vocabulary=VOCABULARY, padding_id=0, special_ids=(1,))
    return make((modality,), (raw,), (torch.randn(2, 8, 3),))


EVERY = {
    "table": table,
    "plain": lambda: make((Modality((5,)),), (torch.randn(2, 5),)),
    "plain grid": lambda: make((Modality((2, 3)),), (torch.randn(2, 2, 3),)),
    "image": lambda: make((Image((1, 8, 8)),), (torch.rand(2, 1, 8, 8),)),
    "colours": lambda: make((Image((3, 8, 12), patch=4),), (torch.randn(2, 3, 8, 12),)),
    "series": lambda: make((Series((3, 20), segment=5, channels=("a", "b", "c")),), (torch.randn(2, 3, 20),)),
    "one channel": lambda: make((Series((1, 20)),), (torch.ones(2, 1, 20),)),
    "audio": lambda: make(
        (Audio((1, 16, 32), patch=4, seconds=0.02, hertz=100.0),), (torch.rand(2, 1, 16, 32),)
    ),
    "tokens": tokens,
    "both": lambda: make(
        (Image((1, 4, 4), "photo"), Tabular((3,), "table")), (torch.rand(2, 1, 4, 4), torch.randn(2, 3))
    ),
    "nothing known": lambda: replace(table(), modalities=(), task=None),
}


def texts(figure) -> list[str]:
    """All text of a figure."""
    figure.canvas.draw()
    return [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")) if t.get_text()]


@pytest.mark.parametrize("kind", EVERY)
def test_every_kind_draws_alone_side_by_side_and_on_average(kind):
    explanation = EVERY[kind]()
    others = {"first": explanation, "second": replace(explanation, reduce="mean"), "random": explanation}
    for figure in (draw(explanation, 1), compare(others, [0, 1], controls=("random",))):
        assert png(figure).startswith(b"\x89PNG")
    found = {"first": means([explanation])}
    if kind in ("tokens", "series", "one channel"):
        with pytest.raises(ValueError, match="no mean to draw"):
            summary_figure(found)
    else:
        assert png(summary_figure(found)).startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", EVERY)
def test_everything_lies_on_the_paper(kind):
    explanation = EVERY[kind]()
    for figure in (draw(explanation), compare({"a_long_name": explanation, "other": explanation}, [0, 1])):
        figure.canvas.draw()
        width, height = figure.bbox.size
        for axes in figure.axes:
            box = axes.get_tightbbox(figure.canvas.get_renderer())
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1


# -- tables ----------------------------------------------------------------------------------------------------


def test_bars_are_signed_longest_first_and_labelled_with_the_value():
    values = torch.tensor([[0.1, -3.0, 2.0, -0.5]])
    figure = draw(table(1, attributions=(values,)))
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([-3.0, 2.0, -0.5, 0.1])
    labels = [t.get_text() for t in axes.get_yticklabels()]
    assert labels == [f"column {i} = 12 mm" for i in (1, 2, 3, 0)]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first bar is on top
    colours = {bar.get_facecolor() for bar in axes.patches}
    assert len(colours) == 2


def test_only_the_longest_bars_are_drawn_and_the_rest_is_counted():
    figure = draw(table(1, columns=40))
    assert len(figure.axes[0].patches) == BARS
    assert "and 25 more" in texts(figure)


def test_a_group_of_columns_is_named_by_its_category():
    modality = Tabular(
        (4,),
        columns=("age", "job=clerk", "job=cook", "job=none"),
        groups=(0, 1, 1, 1),
        group_names=("age", "job"),
    )
    explanation = make((modality,), (torch.tensor([[30.0, 0.0, 1.0, 0.0]]),))
    assert feature_labels(modality, cells(explanation, 0)[0]) == ["age = 30", "job = cook"]


def test_methods_share_the_order_of_features_and_controls_do_not_decide_it():
    first = table(1, attributions=(torch.tensor([[1.0, 2.0, 3.0, 4.0]]),), convergence_delta=torch.zeros(1))
    control = table(1, attributions=(torch.tensor([[400.0, 3.0, 2.0, 1.0]]),))
    figure = compare({"a": first, "random": control}, [0], controls=("random",))
    assert [t.get_text()[:8] for t in figure.axes[0].get_yticklabels()] == [
        f"column {i}" for i in (3, 2, 1, 0)
    ]
    assert [bar.get_width() for bar in figure.axes[1].patches] == [1.0, 2.0, 3.0, 400.0]


# -- scales ----------------------------------------------------------------------------------------------------


def test_methods_in_units_of_the_output_share_one_scale_and_others_are_marked():
    one = table(1, attributions=(torch.tensor([[1.0, 2.0, 3.0, 4.0]]),), convergence_delta=torch.zeros(1))
    two = replace(one, attributions=(one.attributions[0] * 2,), convergence_delta=None, reduce="mean")
    own = replace(one, attributions=(one.attributions[0] * 100,), convergence_delta=None)
    figure = compare({"ig": one, "shap": two, "saliency": own}, [0])
    limits = [axes.get_xlim() for axes in figure.axes]
    assert limits[0] == limits[1] and limits[2][1] > 10 * limits[0][1]
    assert all(low == -high for low, high in limits)
    words = " ".join(texts(figure))
    assert "saliency *" in words and "ig *" not in words and "shap *" not in words
    assert "Scale: ±8, the largest |attribution|, one scale for methods without *" in words
    assert "saliency ±400" in words


def test_a_method_alone_is_not_marked():
    assert not any("*" in text for text in texts(draw(table())))


def test_a_scale_covers_its_percentile_and_is_never_zero():
    values = torch.cat([torch.ones(99), torch.tensor([100.0])])
    assert scale([values], 100) == 100 and scale([-values], 98) == pytest.approx(1.0)
    assert scale([torch.zeros(3)], 99) == 1 and scale([], 99) == 1
    assert scale([torch.tensor([float("nan"), 2.0])], 100) == 2
    assert scale([torch.cat([torch.zeros(999), torch.ones(1)])], 99) == 1


def test_zero_is_white_and_the_two_signs_have_their_own_colours():
    modality = Image((1, 2, 2))
    values = torch.tensor([[[[0.0, 1.0], [-1.0, 0.0]]]])
    figure = draw(make((modality,), (torch.full((1, 1, 2, 2), 0.5),), attributions=(values,)))
    pixels = figure.axes[1].images[0].get_array()
    red, blue = pixels[0, 1], pixels[1, 0]
    assert pixels[0, 0].min() > 0.95
    assert red[0] > red[2] and blue[2] > blue[0]


def test_an_image_in_unknown_units_is_stretched_and_a_known_one_is_not():
    raw = torch.tensor([[[[-3.0, 5.0], [1.0, 1.0]]]])
    cell = cells(make((Image((1, 2, 2)),), (raw,)), 0)[0]
    assert Overlay(Image((1, 2, 2))).pixels(cell).tolist() == [[0.0, 1.0], [0.5, 0.5]]
    known = Image((1, 2, 2), mean=(0.5,), scale=(0.1,))
    assert Overlay(known).pixels(cell)[1, 1] == pytest.approx(0.6)


def test_a_patch_is_painted_with_its_value():
    explanation = make(
        (Image((1, 4, 4), patch=2),), (torch.rand(1, 1, 4, 4),), attributions=(torch.ones(1, 1, 4, 4),)
    )
    assert cells(explanation, 0)[0].painted().unique().tolist() == [4.0]
    assert cells(replace(explanation, reduce="mean"), 0)[0].painted().unique().tolist() == [1.0]


def test_modalities_are_taken_apart():
    explanation = EVERY["both"]()
    photo, columns = cells(explanation, 1)
    assert photo.values.shape == (16,) and columns.values.shape == (3,)
    assert torch.equal(torch.cat([photo.values, columns.values]), explanation.per_feature()[1])
    assert columns.mask.tolist() == [0, 1, 2]


# -- text ------------------------------------------------------------------------------------------------------


def test_words_leave_padding_out_and_mute_special_tokens():
    words = texts(draw(tokens()))
    assert all(word in words for word in VOCABULARY[1:]) and "<pad>" not in words
    panel = Words(tokens().modalities[0])
    assert [p for p, _, _, _ in panel.places(cells(tokens(), 1)[0], 5.0)] == [0, 1]


def test_lines_break_before_they_are_full():
    panel, cell = Words(tokens().modalities[0]), cells(tokens(), 0)[0]
    for width in (0.9, 1.5, 5.0):
        places = panel.places(cell, width)
        assert [p for p, _, _, _ in places] == list(range(6))
        for _, _, column, word in places:
            assert column == 0 or (column + len(word)) * 9 * 0.602 / 72 <= width + 1e-6


def test_an_empty_text_is_said():
    explanation = tokens()
    empty = replace(
        explanation, raw=(torch.zeros_like(explanation.raw[0]),), present=explanation.present & False
    )
    assert "(empty)" in texts(draw(empty))


# -- what is said ----------------------------------------------------------------------------------------------


def test_the_caption_names_target_score_label_and_outcome():
    explanation = table()
    assert caption(explanation, 1) == "Example 18: why benign? Score 3. Label benign."
    said = {18: "Label malignant, predicted benign (0.93)."}
    assert caption(explanation, 1, said).endswith("Score 3. Label malignant, predicted benign (0.93).")
    assert caption(replace(explanation, task=None), 0) == "Example 17: why output 0? Score 1."


def test_a_sigmoid_unit_speaks_for_the_second_class():
    assert "why malignant?" in caption(replace(table(), num_outputs=1), 0)


def test_numbers_are_told_in_original_units():
    task = Regression(("progression",), ("points",), mean=(150.0,), scale=(50.0,))
    explanation = replace(table(), task=task, labels=torch.tensor([[1.0], [0.0]]), num_outputs=1)
    assert caption(explanation, 0) == "Example 17: why progression? Score 1. Label 200 points."


def test_the_baseline_is_told_as_far_as_it_is_known():
    explanation = table()
    assert baseline_text(explanation) == "none"
    assert baseline_text(replace(explanation, baselines=(torch.zeros(1, 4),))) == "zeros"
    assert baseline_text(replace(explanation, baselines=(torch.ones(1, 4),))) == "the same for all"
    assert baseline_text(replace(explanation, baselines=(torch.ones(2, 4),))) == "one per example"
    assert baseline_text(replace(explanation, background=(torch.ones(30, 4),))) == "30 rows, averaged over"
    assert "Baseline: blank. Scale" in " ".join(texts(compare({"a": explanation}, [0], baseline="blank")))


@pytest.mark.parametrize(
    ("values", "word"), [(1e-9, "no signal"), (0.0, "no signal"), (float("nan"), "not a number")]
)
@pytest.mark.parametrize("kind", ["table", "image", "series", "tokens"])
def test_maps_without_a_signal_say_so(kind, values, word):
    explanation = EVERY[kind]()
    flat = replace(
        explanation, attributions=tuple(torch.full_like(a, values) for a in explanation.attributions)
    )
    assert word in texts(draw(flat)) and flaw(flat, 0) == word
    assert flaw(explanation, 0) is None
    assert texts(compare({"flat": flat, "fine": explanation}, [0])).count(word) == 1


def test_small_attributions_of_a_small_score_are_a_signal():
    tiny = table(1, attributions=(torch.full((1, 4), 1e-6),), score=torch.tensor([1e-4]))
    assert flaw(tiny, 0) is None


# -- safety and manners ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["$x^{", "\\frac{", "a\nb", "x" * 300, "<script>", "日本", "_", "\x1b[31m", ""]
)
def test_any_name_can_be_drawn(name):
    modality = Tabular((2,), columns=(name, "other"), units=(name, name))
    explanation = make((modality,), (torch.ones(1, 2),), task=Classification((name, "b")), method=name)
    said = {17: name}
    assert png(compare({name: explanation, "other": explanation}, [0], said, controls=(name,), baseline=name))
    assert png(summary_figure({name: means([explanation])}))
    band = Band(*[torch.rand(4).numpy() for _ in range(4)])
    assert png(curves_figure({name: {name: band}})) and png(
        training_figure([{"epoch": 1, f"{name}loss": 1.0}])
    )


def test_plain_text_is_one_printable_line():
    assert plain("a\n\x1b[31m b\u202e") == "a [31m b" and len(plain("x" * 99, 20)) == 20
    assert number(-0.118412) == "−0.1184" and number(1001) == "1001"


def test_a_figure_is_the_same_every_time():
    explanation = table()
    assert png(draw(explanation)) == png(draw(explanation))


def test_drawing_leaves_no_global_state():
    code = (
        "import matplotlib, matplotlib._pylab_helpers\nbefore = dict(matplotlib.rcParams)\n"
        "import torch\nfrom salience.figures import training_figure\nfrom salience.figures.canvas import png\n"
        "png(training_figure([{'epoch': 1, 'train_loss': 1.0}]))\n"
        "assert dict(matplotlib.rcParams) == before and not matplotlib._pylab_helpers.Gcf.figs\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_importing_loads_no_matplotlib():
    code = "import sys, salience.figures\nassert 'matplotlib' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_an_explanation_draws_itself():
    explanation = table(5)
    assert explanation.show(1)._repr_png_().startswith(b"\x89PNG")
    html = explanation._repr_html_()
    assert html.count("<img") == 3 and "and 2 more examples" in html and 'alt="Example 17' in html
    assert as_html(replace(explanation, task=Classification(('"><b>', "x"))), 1).count("<b>") == 0
    for wrong in (5, -6):
        with pytest.raises(IndexError):
            explanation.show(wrong)


def test_an_unknown_kind_of_modality_is_refused():
    with pytest.raises(TypeError, match="no panel draws int"):
        panel_for(3)  # type: ignore[arg-type]


# -- means and curves ------------------------------------------------------------------------------------------


def test_means_count_only_features_that_are_there():
    explanation = tokens()
    found = means([explanation.rows(slice(0, 1)), explanation.rows(slice(1, 2))])
    sizes = explanation.per_feature().abs()
    assert found.examples == 2 and found.sizes[0][1] == pytest.approx(float(sizes[:, 1].mean()))
    assert found.sizes[0][2] == pytest.approx(float(sizes[0, 2]))  # the second text has no third word
    with pytest.raises(ValueError, match="nothing was explained"):
        means([])


def test_a_band_leaves_undefined_steps_out():
    moments = Moments(torch.linspace(0, 1, 2).numpy())
    moments.add(moments.at, torch.tensor([[1.0, float("nan")], [3.0, float("nan")]]).numpy())
    band = moments.band()
    assert band.mean[0] == 2 and band.high[0] == pytest.approx(2 + 1.96) and band.mean[1] != band.mean[1]


def test_curves_have_a_line_per_method_controls_in_grey_and_say_the_direction():
    band = Band(*[torch.linspace(0, 1, 5).numpy() for _ in range(4)])
    figure = curves_figure({"deletion": {"ig": band, "random": band}}, ("random",), {"deletion": False})
    lines = figure.axes[0].get_lines()
    assert len(lines) == 2 and lines[1].get_color() == "#8a8a8a" and lines[0].get_color() != "#8a8a8a"
    assert "deletion ↓ lower is better" in texts(figure) and "random (control)" in texts(figure)
    with pytest.raises(ValueError, match="keeps curves"):
        curves_figure({})


def test_training_shows_losses_and_scores_apart():
    rows = [
        {"epoch": e, "train_loss": 1 / e, "validation_loss": 2 / e, "validation_accuracy": ""} for e in (1, 2)
    ]
    figure = training_figure(rows)
    assert [axes.get_title("left") for axes in figure.axes] == ["loss", "validation score"]
    assert [line.get_ydata().tolist() for line in figure.axes[0].get_lines()] == [[1.0, 0.5], [2.0, 1.0]]
    with pytest.raises(ValueError, match="nothing was trained"):
        training_figure([])
