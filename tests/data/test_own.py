"""The user's own CSV file: what is read, and the line for each mistake."""

import gzip
import re
import warnings

import pytest
import torch

from salience.data.own import csv
from salience.errors import WrongInput

SPLITS = ("train", "validation", "test")
ROWS = [
    (20 + i % 9, ("red", "blue", "green")[i % 3], f"{i * 0.5:.1f}", "yes" if i % 2 else "no")
    for i in range(60)
]


def text(rows=ROWS, header="age,colour,size,label", separator=","):
    lines = [separator.join(map(str, row)) for row in rows]
    return "\n".join([header.replace(",", separator), *lines]) + "\n"


@pytest.fixture
def own(tmp_path):
    """Write a table and load it."""

    def load(content=None, target="label", **arguments):
        path = tmp_path / "own.csv"
        path.write_text(text() if content is None else content, encoding="utf-8")
        return csv(path=str(path), target=target, **arguments)

    return load


def changed(row, column, value):
    rows = [list(r) for r in ROWS]
    rows[row][column] = value
    return text(rows)


def original(data):
    return torch.cat([data.modalities[0].original(data.split(s).inputs[0]) for s in SPLITS])


def labels(data):
    return torch.cat([data.split(s).labels for s in SPLITS])


def test_numbers_categories_and_classes(own):
    data = own(units={"age": "years"})
    table = data.modalities[0]
    assert table.columns == ("age", "colour=blue", "colour=green", "colour=red", "size")
    assert table.group_names == ("age", "colour", "size") and table.groups == (0, 1, 1, 1, 2)
    assert table.units == ("years", "", "", "", "")
    assert data.task.names == ("no", "yes") and data.title == "own.csv"
    assert [len(data.split(s)) for s in SPLITS] == [36, 8, 16]


def test_every_row_arrives_whole(own):
    data = own()
    found = {
        (round(age), ("blue", "green", "red")[row.argmax()], f"{abs(size):.1f}", data.task.names[label])
        for (age, *row, size), label in zip(original(data).tolist(), labels(data), strict=True)
        for row in [torch.tensor(row)]
    }
    assert found == set(ROWS)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_the_separator_is_found(own, separator):
    assert own(text(separator=separator)).modalities[0].num_features == 3


def test_compressed_files_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "own.csv.gz"
    path.write_bytes(gzip.compress(text().encode("utf-8-sig")))
    assert csv(path=str(path), target="label").modalities[0].columns[0] == "age"


def test_columns_may_be_dropped_or_be_categories(own):
    data = own(drop=["size"], categorical=["age"])
    assert data.modalities[0].group_names == ("age", "colour")
    assert data.modalities[0].columns[:3] == ("age=20", "age=21", "age=22")
    assert own(drop="size").modalities[0].group_names == ("age", "colour")


def test_columns_may_be_called_by_numbers(own):
    assert own(text(header="0,1,2,3"), target=3, drop=1).modalities[0].columns == ("0", "2")


def test_a_table_of_numbers_alone_has_no_groups(own):
    table = own(drop=["colour"]).modalities[0]
    assert table.groups == () and table.window(torch.zeros(1, 2)) == (1,)


def test_numbers_as_a_target(own):
    data = own(target="size")
    assert data.task.names == ("size",) and data.task.main_score == "r2"
    assert data.train.labels.mean().abs() < 1e-6 and data.train.labels.shape == (36, 1)
    assert data.task.original(labels(data))[:, 0].sort()[0].tolist() == pytest.approx(
        [i / 2 for i in range(60)], abs=1e-4
    )


def test_few_whole_numbers_are_classes_unless_said_otherwise(own):
    assert own(target="age").task.names == tuple(map(str, range(20, 29)))
    assert own(target="age", task="regression").task.names == ("age",)
    assert own(changed(0, 0, "20.0"), target="age").task.names[0] == "20"


def test_rows_that_lack_a_value_may_be_dropped(own):
    data = own(changed(3, 0, ""), missing="drop")
    assert sum(len(data.split(s)) for s in SPLITS) == 59


def test_missing_values_become_the_mean_of_the_training_rows(own):
    rows = [["" if i % 5 == 0 else r[0], "" if i % 7 == 0 else r[1], *r[2:]] for i, r in enumerate(ROWS)]
    data = own(text(rows), missing="mean")
    table = data.modalities[0]
    assert table.columns[1:5] == ("colour=blue", "colour=green", "colour=red", "colour=missing")
    ages = original(data)[:, 0]
    filled = (ages - ages.round()).abs() > 1e-3
    train = table.original(data.train.inputs[0])[:, 0]
    known = train[(train - train.round()).abs() < 1e-3]
    assert filled.sum() == 12 and ages[filled].tolist() == pytest.approx([known.mean().item()] * 12, abs=1e-3)
    assert original(data)[:, 4].sum().round() == 9


def test_infinite_values_count_as_missing(own):
    assert sum(len(own(changed(3, 2, "inf"), missing="drop").split(s)) for s in SPLITS) == 59


MISTAKES = {
    "target": (
        None,
        {"target": "lable"},
        'data.target: no column "lable" in own.csv. Did you mean label? Columns: age, ',
    ),
    "drop": (None, {"drop": ["sise"]}, 'data.drop: no column "sise" in own.csv. Did you mean size?'),
    "categorical": (None, {"categorical": ["x"]}, 'data.categorical: no column "x" in own.csv.'),
    "units": (
        None,
        {"units": {"agee": "years"}},
        'data.units: no column "agee" in own.csv. Did you mean age?',
    ),
    "policy": (None, {"missing": "median"}, "data.missing=median: one of error, drop, mean"),
    "task": (None, {"task": "regresion"}, "data.task=regresion: one of .* Did you mean regression?"),
    "cell": (
        changed(15, 2, "n.a."),
        {},
        'own.csv row 17 column size: "n.a." is not a number; set data.na_values',
    ),
    "missing": (
        changed(15, 0, "n/a"),
        {},
        "data: 1 rows lack a value or hold an infinite one (first: row 17, column age); set data.missing=drop or mean",
    ),
    "infinite": (changed(2, 2, "-inf"), {}, "(first: row 4, column size)"),
    "no target": (
        changed(2, 3, ""),
        {"missing": "mean"},
        "data: the target label is missing in 1 rows; set data.missing=drop",
    ),
    "one class": (
        text([(*r[:3], "yes") for r in ROWS]),
        {},
        'data: target "label" has one class (yes) in 60 rows; 2 or more are needed',
    ),
    "rare class": (
        changed(0, 3, "maybe"),
        {},
        'data: class "maybe" has 1 row; 3 splits need 3 or more of each class',
    ),
    "no share": (None, {"test": "half"}, "data.test=half: a number from 0 to 1"),
    "no test rows": (None, {"test": 0}, "data.validation=0.15, data.test=0: shares of the rows"),
    "dates": (
        text([(f"2024-01-{i % 28 + 1:02d}", *r[1:]) for i, r in enumerate(ROWS)]),
        {},
        'data: column age holds dates ("2024-01-01"), which are neither numbers nor categories',
    ),
    "dates with times": (
        text([(f"{i % 28 + 1}/11/2024 10:30", *r[1:]) for i, r in enumerate(ROWS)]),
        {},
        'data: column age holds dates ("1/11/2024 10:30")',
    ),
    "names": (
        text([(i % 5, f"person {i}", 1, i % 2) for i in range(120)]),
        {},
        "data: column colour has 120 different texts; a category may have 100: data.drop=[colour]",
    ),
    "text as a number": (None, {"task": "regression"}, "data.task=regression: the target label holds text"),
    "empty file": ("", {}, "own.csv: the file is empty"),
    "no rows": ("age,label\n", {}, "own.csv: the file has a header and no rows"),
    "one column": ("label\n1\n0\n", {}, "data: own.csv has no column beside the target label"),
    "a long line": (
        "age,label\n1,0\n1,2,3\n",
        {},
        "own.csv: not a table: Expected 2 fields in line 3, saw 3",
    ),
    "a name twice": ("age,age,label\n1,2,0\n", {}, 'own.csv: two columns are called "age"'),
}


@pytest.mark.parametrize("case", MISTAKES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_mistake_is_one_line(own, case):
    content, arguments, line = MISTAKES[case]
    with pytest.raises(WrongInput) as caught:
        own(content, **arguments)
    message = str(caught.value)
    assert line in message or re.search(line, message)
    assert "\n" not in message and len(message) < 300


def test_a_file_that_is_not_there(tmp_path):
    (tmp_path / "other.csv").write_text(text())
    with pytest.raises(WrongInput, match=r"no such file. Files there: other.csv$"):
        csv(path=str(tmp_path / "own.csv"), target="label")
    with pytest.raises(WrongInput, match=r"is a folder. Files there: other.csv$"):
        csv(path=str(tmp_path), target="label")
    with pytest.raises(WrongInput, match=r"no such file$"):
        csv(path=str(tmp_path / "nowhere" / "own.csv"), target="label")


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "own.csv").write_bytes(b"age,label\n\xff\xfe,1\n")
    with pytest.raises(WrongInput, match="not UTF-8 text"):
        csv(path=str(tmp_path / "own.csv"), target="label")
    (tmp_path / "own.csv.gz").write_bytes(b"age,label\n1,1\n")
    with pytest.raises(WrongInput, match="cannot be read"):
        csv(path=str(tmp_path / "own.csv.gz"), target="label")


def test_further_texts_may_mean_missing(own):
    with pytest.raises(WrongInput, match="1 rows lack a value"):
        own(changed(15, 2, "?"), na_values=["?"])


def test_a_row_number_and_a_constant_are_told(own):
    content = text([(i, "a", *r[2:]) for i, r in enumerate(ROWS)], header="id,same,size,label")
    with pytest.warns(UserWarning, match=r"column id differs in every row; a row number\? data.drop=\[id\]"):
        own(content)
    content = text([(r[0], 7, *r[2:]) for r in ROWS])
    with pytest.warns(UserWarning, match="column colour is the same in every row"):
        own(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own()


@pytest.mark.filterwarnings("ignore:data. column size is the same")
def test_a_column_without_training_values_is_refused(own):
    rows = [(r[0], r[1], "", r[3]) for r in ROWS]
    with pytest.raises(
        WrongInput, match=r"column size has no value in the training rows; data.drop=\[size\]"
    ):
        own(text(rows), missing="mean")


@pytest.mark.parametrize(
    "override", ["units={age: years}", "drop=[a,b]", "drop=a", "na_values=['?']", "units=null"]
)
def test_its_config_takes_lists_and_units_from_the_command_line(override):
    from hydra import compose, initialize_config_dir

    from salience.config import config_folder

    key, _, _ = override.partition("=")
    with initialize_config_dir(str(config_folder() / "data"), version_base=None):
        assert compose("csv", ["path=a.csv", "target=b", override])[key] in (
            {"age": "years"},
            ["a", "b"],
            "a",
            ["?"],
            None,
        )
