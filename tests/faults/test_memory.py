"""Memory that runs out while a network is explained: passes are halved until they fit (F19)."""

import logging

import faulty
import pytest
import torch
from torch import nn

import salience
from salience import memory
from salience.attribution.explanation import Explained, explicand
from salience.attribution.planner import Call, rows_per_pass
from salience.data.task import Classification
from salience.memory import OutOfMemory
from salience.metrics.base import Reference, masked_score
from salience.modality import Tabular

ROWS, WIDTH = 64, 6
ERRORS = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cpu": RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    "numpy": MemoryError("Unable to allocate 2.00 GiB"),
}


class Small(nn.Module):
    """A network that has memory for `most` rows; it keeps the sizes of the passes it was asked for."""

    def __init__(self, most: int = ROWS * ROWS, error: Exception = ERRORS["cuda"]):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, 3))
        self.most, self.error, self.asked = most, error, []

    def forward(self, x):
        self.asked.append(len(x))
        if len(x) > self.most:
            raise type(self.error)(str(self.error))
        return self.net(x)


def rows(count: int = ROWS) -> torch.Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(1))


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("most", [32, 16, 8])
def test_f19_the_result_is_that_of_a_machine_with_more_memory(most, error, caplog):
    whole = salience.explain(Small(), rows(), "integrated_gradients", target=0, n_steps=20)
    model = Small(most, error)
    with caplog.at_level(logging.INFO):
        found = salience.explain(model, rows(), "integrated_gradients", target=0, n_steps=20)
    assert close(found.attributions[0], whole.attributions[0])
    assert (found.cost.forward_rows, found.cost.backward_rows) == (
        whole.cost.forward_rows,
        whole.cost.backward_rows,
    )
    said = [r.message for r in caplog.records if r.name == "salience.memory"]
    assert said == [f"out of memory with {ROWS} rows a pass (scores); going on with {most}"]
    failed = [n for n in model.asked if n > most]
    assert len(failed) < 20, "what fits is remembered, not found out again at each pass"


@pytest.mark.parametrize(
    "method",
    [
        "kernel_shap", "shapley_value_sampling", "occlusion", "saliency", "guided_backprop", "deep_lift", "lrp",
        "deep_lift_shap", "gradient_shap", "smooth_grad",
    ],
)  # fmt: skip
def test_f19_every_kind_of_method_goes_on(method):
    more = {"baselines": rows(24)} if method in ("deep_lift_shap", "gradient_shap") else {}
    whole, found = (
        salience.explain(Small(most), rows(), method, target=0, **more).attributions[0]
        for most in (ROWS * ROWS, 16)
    )
    assert close(found, whole)


def test_f19_what_a_failed_attempt_left_on_the_network_does_not_count_in_the_next():
    """Captum's own classes leave their hooks behind when a pass fails."""
    import captum.attr

    for method in (captum.attr.DeepLift, captum.attr.GuidedBackprop, captum.attr.InputXGradient):
        whole, found = (
            salience.explain(Small(most), rows(), method, target=0).attributions[0] for most in (ROWS * 4, 16)
        )
        assert close(found, whole), method


def test_f19_metrics_score_in_smaller_passes():
    def scores(most):
        model = Explained(Small(most))
        modality = Tabular((WIDTH,), "columns")
        from salience.data.base import Examples

        examples = Examples((rows(),), torch.zeros(ROWS).long(), torch.arange(ROWS))
        x = explicand(model, (modality,), Classification(("a", "b", "c")), examples, 0)
        shown = torch.rand(ROWS, 5, WIDTH, generator=torch.Generator().manual_seed(2)) > 0.5
        return masked_score(model, x, Reference((torch.zeros(1, WIDTH),)), shown), model

    whole, _ = scores(ROWS * ROWS)
    found, model = scores(16)
    assert close(found, whole)
    assert rows_per_pass(model, (rows(),)) == 16, "later passes begin with what fits"


@pytest.mark.parametrize("gradient", [False, True])
def test_f19_a_single_row_that_does_not_fit_fails_with_advice(gradient):
    model = Small()
    call = Call(model, rows(8), target=0)
    model.most = 0
    with pytest.raises(OutOfMemory, match="out of memory with a single row .*; use a smaller network"):
        if gradient:
            salience.attribution.planner.gradients(model, call.inputs, call.target)
        else:
            call.all_scores()
    assert model.asked[-4:] == [8, 4, 2, 1]


def test_f19_other_errors_are_not_taken_for_it():
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("out of memory")):
        with pytest.raises(type(error)):
            memory.fitted(Small(), memory.SCORES, 8, lambda rows, error=error: (_ for _ in ()).throw(error))


def test_f19_a_network_whose_hooks_count_passes_is_not_split_behind_their_back():
    model = Small(16)
    model.net[0].register_forward_hook(lambda *_: None)
    with pytest.raises(torch.OutOfMemoryError):
        Call(model, rows(), target=0).scores((rows(),), None, ())
    whole = salience.explain(Small(), rows(16), "saliency", target=0)
    found = salience.explain(model, rows(16), "saliency", target=0)
    assert close(found.attributions[0], whole.attributions[0])


def test_f19_a_whole_run_on_a_small_machine(tmp_path):
    """Explaining and measuring: same scores; one row that does not fit: one line, exit code 1 or 2."""

    def limit(most):
        from salience.models.mlp import MLP

        forward = MLP.forward

        def limited(self, *tensors):
            if not self.training and len(tensors[0]) > most:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return forward(self, *tensors)

        MLP.forward = limited

    quick = ("attribution=[integrated_gradients,kernel_shap]", "controls=[]", "metric=[deletion,sensitivity]",
             "explained=12", "training.epochs=1")  # fmt: skip
    found = {}
    for most in (10**9, 8, 0):
        outputs = tmp_path / str(most) / "outputs"
        outputs.parent.mkdir()
        code = faulty.forked(outputs, *quick, fault=lambda most=most: limit(most))
        if most:
            assert code == 0, faulty.said(outputs)
            found[most] = salience.load_run(faulty.latest(outputs)).summary["methods"]
        else:
            errors = [line for line in faulty.said(outputs).splitlines() if line.startswith("error: ")]
            assert code in (1, 2) and len(errors) == 1 and "out of memory with a single row" in errors[0]
    for method, whole in found[10**9].items():
        for metric, entry in whole["metrics"].items():
            assert found[8][method]["metrics"][metric]["mean"] == pytest.approx(entry["mean"], abs=1e-5)
