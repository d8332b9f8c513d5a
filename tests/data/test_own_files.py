"""The user's own texts, images, recordings and arrays: what is read, and the line for each mistake."""

import numpy as np
import own_files
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from salience.data.arrays import npz
from salience.data.folders import audio_folder, image_folder, spectrogram
from salience.data.hub import hugging_face
from salience.data.own_text import text_csv
from salience.errors import WrongInput

SPLITS = ("train", "validation", "test")


def labels(data):
    return torch.cat([data.split(s).labels for s in SPLITS])


# -- texts ---------------------------------------------------------------------------------------------------------


def test_texts_become_words_and_classes(tmp_path):
    data = text_csv(**own_files.text_csv(tmp_path))
    assert data.task.names == ("no", "yes") and len(labels(data)) == 60
    words = data.modalities[0].words(data.test.inputs[0][0])
    assert words[0] == "<start>" and "film" in words or "one" in words
    assert torch.equal(data.test.context[0], data.test.inputs[0] == 0)
    for ids, label in zip(data.test.inputs[0], data.test.labels, strict=True):
        assert ("good" in data.modalities[0].words(ids)) == (data.task.names[label] == "yes")


def test_texts_may_have_numbers_as_a_target(tmp_path):
    rows = "".join(f"word word {i % 4},{i / 7}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("text,score\n" + rows)
    data = text_csv(str(tmp_path / "t.csv"), "text", "score")
    assert data.task.main_score == "r2"
    assert data.task.original(labels(data)).max().item() == pytest.approx(59 / 7, abs=1e-4)


TEXT_MISTAKES = {
    "text column": ({"text": "sentense"}, None, 'data.text: no column "sentense" in texts.csv. Did you mean sentence?'),
    "target column": ({"target": "likd"}, None, 'data.target: no column "likd" in texts.csv. Did you mean liked?'),
    "empty text": ({}, "sentence,liked\n  ,yes\ngood,no\n", "1 rows lack a text or a label (first: row 2, which"),
    "no label": ({}, "sentence,liked\ngood,yes\ngood,\n", "(first: row 3, which has no label); set data.on_empty=drop"),
    "policy": ({"on_empty": "ignore"}, None, "data.on_empty=ignore: one of error, drop"),
    "one class": ({}, "sentence,liked\n" + "good film,yes\n" * 9, 'data: target "liked" has one class (yes) in 9 rows'),
}  # fmt: skip


@pytest.mark.parametrize("case", TEXT_MISTAKES)
def test_a_mistake_in_texts_is_one_line(tmp_path, case):
    changed, content, line = TEXT_MISTAKES[case]
    arguments = own_files.text_csv(tmp_path) | changed
    if content:
        (tmp_path / "texts.csv").write_text(content)
    with pytest.raises(WrongInput) as caught:
        text_csv(**arguments)
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_empty_texts_may_be_dropped(tmp_path):
    arguments = own_files.text_csv(tmp_path)
    with open(tmp_path / "texts.csv", "a") as opened:
        opened.write(",yes\n")
    assert len(labels(text_csv(**arguments, on_empty="drop"))) == 60


# -- images and recordings -----------------------------------------------------------------------------------------


def test_images_have_the_class_of_their_folder(tmp_path):
    data = image_folder(**own_files.image_folder(tmp_path))
    assert data.task.names == ("blue", "red") and data.modalities[0].shape == (3, 32, 32)
    original = data.modalities[0].original(data.test.inputs[0])
    for pixels, label in zip(original, data.test.labels, strict=True):
        colour = torch.tensor(own_files.COLOURS[data.task.names[label]]) / 255
        assert (pixels.mean((1, 2)) - colour).abs().max() < 0.05


def test_images_may_be_read_without_colours(tmp_path):
    assert image_folder(**own_files.image_folder(tmp_path), grey=True).modalities[0].shape == (1, 32, 32)


def test_an_image_that_is_none_is_named(tmp_path):
    arguments = own_files.image_folder(tmp_path)
    (tmp_path / "pictures" / "red" / "3.png").write_bytes(b"no image")
    with pytest.raises(WrongInput, match=r"^data.path: red/3.png is not an image .*; mend or remove it$"):
        image_folder(**arguments)


def test_a_folder_without_class_folders_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(
        WrongInput, match="needs a folder per class with .png, .jpg, .jpeg files; it holds a.png"
    ):
        image_folder(str(tmp_path))
    with pytest.raises(WrongInput, match="no such folder$"):
        image_folder(str(tmp_path / "nowhere"))


def test_one_class_is_refused(tmp_path):
    (tmp_path / "only").mkdir()
    for i in range(4):
        Image.new("RGB", (8, 8)).save(tmp_path / "only" / f"{i}.png")
    with pytest.raises(WrongInput, match=r"data: one class \(only\) in 4 rows; 2 or more are needed"):
        image_folder(str(tmp_path))


@pytest.mark.parametrize("pitch", [550.0, 2650.0])
def test_a_tone_is_loudest_in_its_band(pitch):
    samples = torch.sin(2 * torch.pi * pitch * torch.arange(8000) / 8000).double()
    spectrum = spectrogram(samples, bands=40, frames=50, step=160)[0]
    assert (spectrum[:, 5:45].argmax(0) == int(pitch // 100)).float().mean() > 0.9


def test_recordings_have_axes_and_end_where_they_end(tmp_path):
    data = audio_folder(**own_files.audio_folder(tmp_path))
    modality = data.modalities[0]
    assert data.task.names == ("high", "low")
    assert modality.hertz == 125 and modality.seconds == pytest.approx(0.02)
    present = modality.present(data.train.inputs[0]).reshape(len(data.train), *modality.grid)
    assert (present.any(1) == present.all(1)).all()  # whole columns of time
    assert 0.55 < present.float().mean() < 1 and present[:, :, 0].all()


def test_other_rates_and_formats_sound_the_same(tmp_path):
    for name, rate, kind in (("a", 16000, np.float32), ("b", 8000, np.uint8)):
        (tmp_path / name).mkdir()
        for i in range(4):
            wave = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
            stored = (wave * 127 + 128).astype(np.uint8) if kind is np.uint8 else wave.astype(kind)
            wavfile.write(tmp_path / name / f"{i}.wav", rate, np.stack([stored, stored], 1))
    data = audio_folder(str(tmp_path))
    spectra = data.modalities[0].original(torch.cat([data.split(s).inputs[0] for s in SPLITS]))[:, 0]
    assert (spectra[:, :, 5:45].argmax(1) - 7.5).abs().max() < 1  # 1000 Hz is the border of bands 7 and 8
    assert (spectra[:, 7:9, 5:45].max() - spectra[:, 7:9, 5:45].amax(1).min()) < 6


def test_a_recording_that_is_none_is_named(tmp_path):
    arguments = own_files.audio_folder(tmp_path)
    (tmp_path / "sounds" / "low" / "2.wav").write_bytes(b"RIFFnothing")
    with pytest.raises(WrongInput, match=r"low/2.wav is not a recording"):
        audio_folder(**arguments)


# -- arrays --------------------------------------------------------------------------------------------------------


def saved(folder, **arrays):
    np.savez(folder / "a.npz", **arrays)
    return str(folder / "a.npz")


def test_the_number_of_axes_says_what_arrays_are(tmp_path):
    y = np.arange(30) % 3
    for shape, kind, expected in (
        ((4,), "auto", (4,)),
        ((2, 9), "auto", (2, 9)),
        ((9,), "series", (1, 9)),
        ((3, 8, 8), "auto", (3, 8, 8)),
        ((8, 8, 3), "auto", (3, 8, 8)),
        ((8, 8), "image", (1, 8, 8)),
    ):
        path = saved(tmp_path, x=np.random.default_rng(0).normal(size=(30, *shape)), y=y)
        assert npz(path, kind=kind).modalities[0].shape == expected


def test_a_file_may_bring_its_own_splits(tmp_path):
    generator = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 12), ("val", 4), ("test", 6)):
        arrays[f"{part}_images"] = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 2)[:, None]
    data = npz(
        saved(tmp_path, **arrays), inputs="images", target="labels", kind="image", names=["well", "ill"]
    )
    assert [len(data.split(s)) for s in SPLITS] == [12, 4, 6] and data.task.names == ("well", "ill")
    pixels = data.modalities[0].original(data.test.inputs[0])[:, 0] * 255
    assert torch.allclose(pixels, torch.tensor(arrays["test_images"]).float(), atol=1e-2)


def test_marked_elements_are_relevant_features(tmp_path):
    arguments = own_files.npz(tmp_path)
    data = npz(**arguments, relevant="where", size=2)
    inputs = data.modalities[0].original(data.train.inputs[0])
    marked = (inputs > 1).reshape(len(inputs), 3, 4, 2, 3, 2).any(1).any(-1).any(2).flatten(1)
    assert torch.equal(data.train.relevant, marked)


ARRAY_MISTAKES = {
    "no array": ({"y": np.arange(9)}, {}, "data.inputs=x: no such array in a.npz. It has y"),
    "rows": (
        {"x": np.ones((9, 2)), "y": np.arange(8)},
        {},
        "data: x has 9 rows and y has 8; they must agree",
    ),
    "nan": (
        {"x": np.full((9, 2), np.nan), "y": np.arange(9)},
        {},
        "data: 9 rows of x hold NaN or Inf (first: row 0",
    ),
    "text": ({"x": np.array([["a"]] * 9), "y": np.arange(9)}, {}, "data: x holds <U1, not numbers"),
    "objects": (
        {"x": np.array([{}] * 9), "y": np.arange(9)},
        {},
        "holds Python objects, which are not loaded",
    ),
    "axes": (
        {"x": np.ones((9, 2)), "y": np.arange(9)},
        {"kind": "image"},
        "data.kind=image: x has shape (9, 2)",
    ),
    "kind": ({"x": np.ones((9, 2)), "y": np.arange(9)}, {"kind": "tabel"}, "Did you mean table?"),
    "one class": ({"x": np.ones((9, 2)), "y": np.zeros(9)}, {}, 'data: target "y" has one class (0)'),
    "names": (
        {"x": np.ones((9, 2)), "y": np.arange(9)},
        {"names": ["a"]},
        "data.names: 1 names for classes 0 to 8",
    ),
}


@pytest.mark.parametrize("case", ARRAY_MISTAKES)
def test_a_mistake_in_arrays_is_one_line(tmp_path, case):
    arrays, arguments, line = ARRAY_MISTAKES[case]
    with pytest.raises(WrongInput) as caught:
        npz(saved(tmp_path, **arrays), **arguments)
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK no archive")
    with pytest.raises(WrongInput, match="data.path=.*a.npz: "):
        npz(str(tmp_path / "a.npz"))
    with pytest.raises(WrongInput, match="no such file. Files there: a.npz"):
        npz(str(tmp_path / "b.npz"))


# -- Hugging Face datasets -----------------------------------------------------------------------------------------


@pytest.mark.extras
def test_texts_of_a_saved_data_set(tmp_path):
    data = hugging_face(**own_files.hugging_face(tmp_path))
    assert data.task.names == ("negative", "positive") and len(labels(data)) == 60
    for ids, label in zip(data.test.inputs[0], data.test.labels, strict=True):
        assert ("good" in data.modalities[0].words(ids)) == (data.task.names[label] == "positive")


@pytest.mark.extras
def test_images_of_a_folder_that_load_dataset_reads(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    own_files.pictures(tmp_path / "pictures" / "train", count=8)
    data = hugging_face(str(tmp_path / "pictures"), inputs="image", target="label", size=16)
    assert data.task.names == ("blue", "red") and data.modalities[0].shape == (3, 16, 16)


@pytest.mark.extras
def test_a_column_that_is_not_there_is_told(tmp_path):
    arguments = own_files.hugging_face(tmp_path)
    with pytest.raises(WrongInput, match="data.inputs=txt: no such column. Did you mean text"):
        hugging_face(**(arguments | {"inputs": "txt"}))


@pytest.mark.extras
def test_a_name_that_cannot_be_had_is_one_line(monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        WrongInput, match="data.path=nobody/nothing: no such folder, and the hub did not give it"
    ):
        hugging_face("nobody/nothing", "text", "label")
