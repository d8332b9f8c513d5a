"""Every mistake is one line that says key, value, what is allowed and the nearest right name; and costs no torch."""

import pytest
from cli import make_configs, run

from salience.config import Composer, WrongInput


@pytest.fixture(scope="module")
def composer(tmp_path_factory):
    return Composer.create(folder=make_configs(tmp_path_factory.mktemp("configs") / "configs"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("app")
    make_configs(place / "configs")
    return place


METHODS = "deep_lift, input, integrated_gradients, kernel_shap, occlusion, random, saliency"
ROOT = "There are: attribution, baseline, ..."
LINES = {
    # groups and their options
    "model=mpl": "model=mpl: no such option. Did you mean mlp? Options: cnn, mlp",
    "attribution=[salency]": f"attribution=salency: no such option. Did you mean saliency? Options: {METHODS}",
    "attribution=salency": f"attribution=salency: no such option. Did you mean saliency? Options: {METHODS}",
    "controls=[rndom]": f"controls=rndom: no such option. Did you mean random? Options: {METHODS}",
    "experiment=stdy": "experiment=stdy: no such option. Did you mean study? Options: study",
    "model=null": "model=null: not the name of an option. Options: cnn, mlp",
    "model=../../evil": "model=../../evil: not the name of an option. Options: cnn, mlp",
    "model=/etc/x": "model=/etc/x: not the name of an option. Options: cnn, mlp",
    "model=.mlp": "model=.mlp: not the name of an option. Options: cnn, mlp",
    "model=sub/../../evil": "model=sub/../../evil: not the name of an option. Options: cnn, mlp",
    "model=sub/mlp": "model=sub/mlp: no such option. Did you mean mlp? Options: cnn, mlp",
    "attribution=[saliency,../x]": f"attribution=../x: not the name of an option. Options: {METHODS}",
    "modle=mlp": f"modle=mlp: no such key or group. Did you mean model? {ROOT}",
    "model=mlp model=cnn": "model is set twice (mlp, cnn); give it once",
    "+model=cnn": '+model=cnn: write model=cnn without "+"',
    "model=mlp,cnn": "model=mlp,cnn: several values need -m (a sweep, one run each); give one",
    "attribution=saliency,random": "attribution=saliency,random: write 'attribution=[saliency,random]' to have them "
    "in one run, or add -m for a run each",
    "attribution=[]": "attribution: choose at least one",
    "foo@bar=3": "foo@bar=3: no such group. Groups: attribution, baseline, data, experiment, metric, ...",
    "hydra/launcher=slience": "hydra/launcher=slience: no such option. Did you mean salience? Options: basic, ...",
    # keys
    "training.epohcs=3": "training.epohcs=3: training has no epohcs. "
    "Did you mean epochs? It has: epochs, learning_rate",
    "+training.epohcs=3": "training.epohcs: no such key. Did you mean epochs? Keys: epochs, batch_size, learning_rate, "
    "optimizer, weight_decay, momentum, schedule, warmup and 6 more",
    "++sed=3": "sed: no such key. Did you mean seed? Keys: data, model, training, ...",
    "model.hidden=3": "model.hidden=3: model has no hidden. Did you mean mlp.hidden? It has: mlp, weights",
    "model.mlp.hiden=3": "model.mlp.hiden=3: model.mlp has no hiden. Did you mean hidden? It has: _target_, hidden",
    "data.rows.x=3": "data.rows.x=3: data.rows has no x. It has: none",
    "+seed=3": '+seed=3: there is such a key; write it without "+"',
    "attribution.lime.arguments.n=1": "attribution.lime: lime is not in this run. Add it with "
    "attribution=[integrated_gradients,deep_lift,kernel_shap,saliency,lime]",
    "attribution.salincy.arguments.n=1": "attribution.salincy: salincy is not in this run. Did you mean saliency?",
    "attribution.saliency.argument.n=1": "attribution.saliency.argument: no such key. Did you mean arguments? Keys: "
    "method, arguments, layer, baseline",
    "~model": "model: one network is needed, not 0 ()",
    # values
    "seed=abc": "seed=abc: must be an integer >= 0",
    "seed=-1": "seed=-1: must be an integer >= 0",
    "seed=true": "seed=true: must be an integer >= 0",
    "seed=1.5": "seed=1.5: must be an integer >= 0",
    "seed=null": "seed=null: must be an integer >= 0",
    "seed=1,2": "seed=1,2: several values need -m (a sweep, one run each); a list is 'seed=[1,2]'",
    "split=tst": "split=tst: must be one of train, validation, test",
    "dry=maybe": "dry=maybe: must be true or false",
    "explained=0": "explained=0: must be an integer >= 1, a list of integers >= 0 or all",
    "explained=[1,-2]": "explained=[1, -2]: must be an integer >= 1, a list of integers >= 0 or all",
    "training.epochs=-5": "training.epochs=-5: must be an integer >= 0",
    "training.learning_rate=nan": "training.learning_rate=nan: must be a number > 0, finite",
    "+training.stop_at=2": "training.stop_at=2: must be a number > 0 and <= 1 or null",
    "+training.optimizer=adamm": "training.optimizer=adamm: must be one of adamw, adam, sgd or a group of keys",
    "data._target_=9x": "data._target_=9x: must be a dotted name such as torch.nn.Linear",
    "data.rows=???": "data.rows: needs a value: data.rows=...",
    # what cannot be read
    "name=a=b": """name=a=b: cannot be read; put the value in quotes: 'name="a=b"'""",
    "outputs=my(1)": """outputs=my(1): cannot be read; put the value in quotes: 'outputs="my(1)"'""",
    "seed": "seed: a key and a value are needed: seed=<value>",
}


def matches(line, expected):
    """Equal, or equal so far where the rest of a list does not matter."""
    return line.startswith(expected[:-3]) if expected.endswith(" ...") else line == expected


@pytest.mark.parametrize("typed", LINES)
def test_one_line(composer, typed):
    with pytest.raises(WrongInput) as error:
        composer.compose(typed.split(" "))
    assert matches(str(error.value), LINES[typed])
    assert "\n" not in str(error.value) and len(str(error.value)) <= 200


def test_all_mistakes_are_told_together_whatever_their_kind(composer):
    typed = [
        "model=mpl",
        "name=a=b",
        "training.epohcs=3",
        "+training.epoch=4",
        "seed=x",
        "split=tst",
        "data=digits",
    ]
    with pytest.raises(WrongInput) as error:
        composer.compose(typed)
    lines = str(error.value).splitlines()
    assert len(lines) == 6
    for start in (
        "name=a=b:",
        "model=mpl:",
        "training.epohcs=3:",
        "training.epoch:",
        "seed=x:",
        "split=tst:",
    ):
        assert sum(line.startswith(start) for line in lines) == 1


def test_a_reference_that_leads_nowhere(composer):
    with pytest.raises(WrongInput, match="data.rows: .*Environment variable 'NOT_SET' not found"):
        composer.compose(["data.rows=${oc.env:NOT_SET}"])


def test_the_ways_out_that_the_messages_name_work(composer):
    for typed in (["model=cnn"], ["attribution=[saliency,random]"], ['outputs="my(1)"'], ["explained=all"]):
        assert composer.compose(typed).overrides == tuple(typed)


def test_a_config_file_that_is_broken_is_one_line_too(tmp_path):
    configs = make_configs(tmp_path / "configs")
    (configs / "model" / "mlp.yaml").write_text("mlp: {_target_: [\n")
    (configs / "model" / "cnn.yaml").write_text("defaults: [nothing]\ncnn: {_target_: a.b}\n")
    composer = Composer.create(folder=configs)
    for typed in (["model=mlp"], ["model=cnn"]):
        with pytest.raises(WrongInput) as error:
            composer.compose(typed)
        assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("mode", [[], ["--cfg", "job"], ["-m"]])
@pytest.mark.parametrize("typed", ["modle=mlp", "model=mpl", "model=../../evil", "name=a=b"])
def test_on_the_command_line(folder, mode, typed):
    """Exit code 2, only the line, nothing written, torch and the job never imported."""
    before = sorted(folder.iterdir())
    done = run(folder, *mode, typed, extra="--loaded")
    *lines, loaded = done.stderr.splitlines()
    assert done.returncode == 2
    assert matches(lines[0], f"error: {LINES[typed]}") and len(lines) == 1
    assert not {"torch", "captum", "standins"} & set(loaded.split())
    assert done.stdout == ""
    assert sorted({*folder.iterdir()} - {folder / "run.py"}) == sorted({*before} - {folder / "run.py"})


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            ["--multirn"],
            "error: --multirn: no such option. Did you mean --multirun? Options: --help shows them",
        ),
        (["--config-dir", "nowhere"], "error: --config-dir nowhere: no such folder"),
        (
            ["--cfg", "all", "-m"],
            "error: only one of --run, --multirun, --cfg, --info and --shell-completion at a time",
        ),
        (
            ["--experimental-rerun", "x"],
            "error: --experimental-rerun: not offered, since it runs whatever is in the file",
        ),
    ],
)
def test_flags(folder, flags, line):
    done = run(folder, *flags)
    assert done.returncode == 2
    assert done.stderr.startswith(line) and len(done.stderr.splitlines()) == 1


def test_control_characters_do_not_reach_the_terminal(folder):
    done = run(folder, "model=\x1b]0;x\x07")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr and "\x07" not in done.stderr
