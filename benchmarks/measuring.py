"""What docs/measured.md says of metrics: `python benchmarks/measuring.py [significance|rows]`.

significance: on data=synthetic, whether random numbers are worse than integrated gradients on every faithfulness
metric (paired tests over examples, Holm's correction over the metrics), also for a network trained on shuffled labels.
rows: what the quick set of metrics sends through the network for 256 examples and 10 methods, and what it must send.
"""

import sys
import tempfile
from pathlib import Path

import salience
from salience.statistics import holm, paired_test

FAITHFULNESS = [
    "deletion", "insertion", "abpc", "aopc", "comprehensiveness", "sufficiency", "log_odds", "cpd", "cpp",
    "monotonicity",
    "infidelity", "infidelity_plain", "faithfulness_correlation", "faithfulness_estimate", "sensitivity_n",
    "monotonicity_correlation", "gap_on_important", "gap_on_unimportant",
]  # fmt: skip
METHODS = [
    "integrated_gradients", "saliency", "input_x_gradient", "deep_lift", "gradient_shap", "lrp", "feature_ablation",
    "occlusion", "kernel_shap", "random",
]  # fmt: skip
QUICK = [
    "deletion",
    "insertion",
    "comprehensiveness",
    "sufficiency",
    "infidelity",
    "sparseness",
    "complexity",
]


def significance(outputs: Path) -> None:
    """Random beside integrated gradients, on true and on random labels."""
    for labels, noise in (("true labels", 0.1), ("labels that are random (data.synthetic.noise=1e6)", 1e6)):
        run = salience.run(
            [
                f"outputs={outputs}", "data=synthetic", f"data.noise={noise}", "model=mlp", "explained=200",
                "attribution=[integrated_gradients]", "controls=[random]", f"metric=[{','.join(FAITHFULNESS)}]",
                "training.patience=null", "training.epochs=30",
            ]
        )  # fmt: skip
        network = run.summary["network"]
        print(
            f"\n{labels}: test accuracy {network['accuracy']:.3f}; {network.get('warning', 'the gate is passed')}\n"
        )
        print(
            "| metric | integrated gradients | random | p (Holm) | effect | better |\n|---|---|---|---|---|---|"
        )
        lines = []
        for metric in FAITHFULNESS:
            frame = run.scores[run.scores.metric == metric].pivot(
                index="example", columns="method", values="score"
            )
            test = paired_test(frame["integrated_gradients"], frame["random"])
            entries = [
                run.summary["methods"][m]["metrics"][metric] for m in ("integrated_gradients", "random")
            ]
            sign = 1 if entries[0]["higher_is_better"] else -1
            lines.append((metric, entries[0]["mean"], entries[1]["mean"], test, sign))
        for (metric, ours, random, test, sign), p in zip(
            lines, holm([t.p for *_, t, _ in lines]), strict=True
        ):
            better = (
                "integrated gradients"
                if p < 0.05 and test.mean * sign > 0
                else "random"
                if p < 0.05
                else "neither"
            )
            print(
                f"| {metric} | {ours:.3g} | {random:.3g} | {p:.2g} | {sign * test.effect:+.2f} | {better} |"
            )


def rows(outputs: Path) -> None:
    """Rows of the quick set on 256 examples x 10 methods , counted and required."""
    run = salience.run(
        [
            f"outputs={outputs}", "data=synthetic", "data.examples=600", "model=mlp", "explained=256", "guards=off",
            f"attribution=[{','.join(METHODS[:-1])}]", "controls=[random]", f"metric=[{','.join(QUICK)}]",
        ]
    )  # fmt: skip
    n = run.data.modalities[0].num_features
    required = {
        "deletion": min(n, 20),
        "insertion": min(n, 20),
        "comprehensiveness": 5,
        "sufficiency": 5,
        "infidelity": 50,
    }
    print(f"\n256 examples x {len(METHODS)} methods, {n} features\n")
    print("| metric | rows for one method | required | for all methods |\n|---|---|---|---|")
    total = 0
    for metric in QUICK:
        counted = [
            found["metrics"][metric]["cost"]["forward_rows"] for found in run.summary["methods"].values()
        ]
        total += sum(counted)
        needed = 256 * required.get(metric, 0)
        print(f"| {metric} | {counted[0]} | 256 x {required.get(metric, 0)} = {needed} | {sum(counted)} |")
        assert set(counted) == {needed}, (metric, counted)
    print(f"| all | | | {total} |")


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["significance", "rows"]
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            {"significance": significance, "rows": rows}[name](Path(folder))
