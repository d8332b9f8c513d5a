"""How Dynamask and time_interpret score a map against known salient cells: pooled over all samples, in trapezoids.

Unlike the metrics of this package (aup, aur, mask_information, mask_entropy), which judge every example and integrate
exactly; kept here so that published tables can be computed as they were.
"""

from collections.abc import Callable

import numpy as np


def scaled(attributions: np.ndarray) -> np.ndarray:
    """|attributions| [samples, ...] brought to [0, 1] within each sample."""
    size = np.abs(attributions).reshape(len(attributions), -1)
    low, high = size.min(1, keepdims=True), size.max(1, keepdims=True)
    return ((size - low) / np.maximum(high - low, 1e-300)).reshape(attributions.shape)


def scores(attributions: np.ndarray, salient: np.ndarray) -> dict[str, float]:
    """AUP, AUR, AUROC, AUPRC, information and entropy (sums, in bits) of maps [samples, ...] beside bool `salient`."""
    from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

    values, truth = scaled(attributions).ravel(), salient.ravel()
    precision, recall, at = precision_recall_curve(truth, values)
    on = values[truth]
    return {
        "AUP": float(auc(at, precision[:-1])),
        "AUR": float(auc(at, recall[:-1])),
        "AUROC": float(roc_auc_score(truth, values)),
        "AUPRC": float(average_precision_score(truth, values)),
        "information": float(-np.log2(1 - on + 1e-5).sum()),
        "entropy": float(_entropy(on).sum()),
    }


def _entropy(m: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        bits: Callable[[np.ndarray], np.ndarray] = lambda p: np.where(p > 0, -p * np.log2(p), 0.0)  # noqa: E731
        return bits(m) + bits(1 - m)
