"""Composing, checking and building, in this process."""

import functools

import pytest
import standins
from cli import make_configs
from omegaconf import OmegaConf

from salience import config
from salience.config import Composer, WrongInput, build, check, compose, options, shipped, signatures
from salience.edge.overrides import as_typed, rewritten


@pytest.fixture(scope="module")
def composer(tmp_path_factory):
    return Composer.create(folder=make_configs(tmp_path_factory.mktemp("configs") / "configs"))


# -- composing ---------------------------------------------------------------------------------------------------------


def test_an_override_stays_as_typed_beside_the_config_it_gives(composer):
    typed = [
        "model=cnn",
        "controls=[random]",
        "attribution=saliency",
        "attribution.saliency.arguments.stride=2",
    ]
    run = composer.compose(typed)
    assert run.overrides == tuple(typed)
    assert list(run.config.attribution) == ["saliency"]
    assert run.config.attribution.saliency.arguments == {"n_steps": 9, "stride": 2}
    assert list(run.config.controls) == ["random"]
    assert "hydra" not in run.config


def test_choices_name_the_options_of_every_group(composer):
    run = composer.compose(
        ["attribution=[saliency,occlusion]", "controls=[]", "metric=[]", "experiment=study"]
    )
    assert run.choices == {
        "data": "breast_cancer",
        "model": "mlp",
        "training": "default",
        "baseline": "blank",
        "experiment": "study",
        "attribution": ["saliency", "occlusion"],
        "controls": [],
        "metric": [],
        "tracker": [],
    }


def test_an_experiment_overrides_run_yaml_and_the_command_line_overrides_both(composer):
    assert composer.compose(["experiment=study"]).config.seed == 7
    assert composer.compose(["experiment=study"]).config.training.epochs == 9
    assert composer.compose(["experiment=study", "seed=8"]).config.seed == 8


def test_references_are_followed_by_the_check_and_kept_in_the_config(composer, monkeypatch):
    monkeypatch.setenv("ROWS", "11")
    run = composer.compose(["data.rows=${oc.env:ROWS}"])
    assert OmegaConf.to_container(run.config, resolve=False)["data"]["rows"] == "${oc.env:ROWS}"
    assert check(run.config).data["rows"] == "11"


def test_options_of_ones_own_folder(tmp_path):
    own = tmp_path / "own" / "model"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("mine: {_target_: standins.Network, hidden: 5}\n")
    composer = Composer.create([tmp_path / "own"], folder=make_configs(tmp_path / "configs"))
    assert composer.compose(["model=mine"]).choices["model"] == "mine"
    assert composer.options("model") == ["cnn", "mine", "mlp"]


@pytest.mark.parametrize(
    ("typed", "for_hydra"),
    [
        ("attribution.lime.arguments.n_samples=9", "++attribution.lime.arguments.n_samples=9"),
        ("+attribution.lime.arguments.a=[1,2]", "++attribution.lime.arguments.a=[1,2]"),
        ("controls.random.arguments.x=a=b", "++controls.random.arguments.x=a=b"),
        ("controls=[random]", "attribution@controls=[random]"),
        ("controls=[]", "attribution@controls=[]"),
        ("attribution=[lime]", "attribution=[lime]"),
        ("attribution@controls=[random]", "attribution@controls=[random]"),
        ("model.mlp.hidden=[3]", "model.mlp.hidden=[3]"),
        ("~attribution", "~attribution"),
    ],
)
def test_rewriting_and_back(typed, for_hydra):
    assert rewritten(typed) == for_hydra
    assert rewritten(as_typed(for_hydra)) == for_hydra


def test_shipped_options_are_read_without_hydra():
    assert "saliency" in options("attribution")
    assert shipped("attribution", "saliency")["saliency"]["method"]["_target_"].endswith("Saliency")
    with pytest.raises(WrongInput, match="attribution=salency: no such option. Did you mean saliency"):
        shipped("attribution", "salency")
    with pytest.raises(WrongInput):
        shipped("attribution", "../run")


def test_every_shipped_option_composes_and_passes_both_checks():
    """The product over all groups: one at a time beside the defaults."""
    known = Composer.create()
    known.compose([])
    for group in ("data", "model", "training", "baseline", "attribution", "metric", "tracker", "experiment"):
        for name in options(group):
            full = known.loose([f"{group}={name}"])
            assert full is not None, f"{group}={name} does not compose"
            try:
                check(full)
            except WrongInput as error:
                lines = [line for line in str(error).splitlines() if "needs a value" not in line]
                assert not lines, f"{group}={name}: {lines}"
            signatures(config.composed(full, []).config)


def test_compose_uses_the_shipped_configs():
    assert compose(["seed=3"]).config.seed == 3
    with pytest.raises(WrongInput, match="seed=x: must be an integer >= 0"):
        compose(["seed=x"])


# -- building ----------------------------------------------------------------------------------------------------------


def test_build_fills_what_the_signature_names_and_the_node_leaves_open():
    node = {"_target_": "standins.Network", "hidden": 5, "num_outputs": None}
    network = build(node, modalities=("m",), num_outputs=2, hidden=99, unknown=1)
    assert network.arguments == {"modalities": ("m",), "hidden": 5, "dropout": 0.0}


def test_build_hands_objects_on_as_they_are_and_containers_as_plain_ones():
    node = OmegaConf.create({"_target_": "standins.Network", "hidden": [1, {"a": 2}]})
    modality = object()
    arguments = build(node, modalities=modality).arguments
    assert arguments["modalities"] is modality
    assert type(arguments["hidden"]) is list and type(arguments["hidden"][1]) is dict


def test_build_nested_and_partial():
    inner = {"_target_": "standins.Method", "_partial_": True, "scale": 2.0}
    wrapper = build({"_target_": "standins.Wrapper", "method": inner}, forward_func=len)
    assert isinstance(wrapper.method, functools.partial)
    assert wrapper.method(forward_func=len).scale == 2.0
    assert build({"_target_": "builtins.dict", "a": [{"_target_": "standins.metric"}]}) == {"a": [10]}


def test_a_constructors_own_exception_arrives_as_it_was_raised():
    with pytest.raises(ZeroDivisionError):
        build({"_target_": "operator.truediv", "_args_": [1, 0]})


@pytest.mark.parametrize(
    ("node", "line"),
    [
        (
            {"_target_": "standins.Netwrk"},
            "_target_=standins.Netwrk: standins.Netwrk does not exist. Did you mean Network?",
        ),
        ({"_target_": "no_such_package.X"}, "needs the package no_such_package"),
        ({"_target_": "salience.nothing.X"}, "salience.nothing does not exist"),
        ({"_target_": "word"}, "not a dotted name"),
        (
            {"_target_": "standins.Network", "hiden": 3},
            "standins.Network: no argument hiden. Did you mean hidden?",
        ),
        ({"_target_": "standins.data"}, "standins.data: needs a value for seed"),
    ],
)
def test_what_cannot_be_built(node, line):
    with pytest.raises(WrongInput, match=line.replace("?", r"\?").replace(".", r"\.")):
        build(node)


# -- check (b) ---------------------------------------------------------------------------------------------------------


def method(target="standins.Method", arguments=None, **own):
    return {"attribution": {"m": {"method": {"_target_": target, **own}, "arguments": arguments or {}}}}


def test_arguments_are_judged_by_named_parameters_also_where_any_keyword_is_swallowed():
    signatures(method(arguments={"n_steps": 3}))
    with pytest.raises(
        WrongInput, match="attribution.m.arguments.n_step=3: no argument n_step. Did you mean n_steps?"
    ):
        signatures(method(arguments={"n_step": 3}))


@pytest.mark.parametrize("name", ["inputs", "target", "additional_forward_args"])
def test_arguments_that_the_framework_fills_are_refused(name):
    with pytest.raises(WrongInput, match=f"arguments.{name}=1: filled by the framework"):
        signatures(method(arguments={name: 1}))


def test_a_wrapper_takes_the_arguments_of_both():
    inner = {"_target_": "standins.Method", "_partial_": True}
    signatures(method("standins.Wrapper", {"n_samples": 2, "n_steps": 3}, method=inner))
    with pytest.raises(WrongInput, match="no argument sample"):
        signatures(method("standins.Wrapper", {"sample": 2}, method=inner))


def test_all_mistakes_of_check_b_are_told_together():
    wrong = method("standins.Mthod") | {"model": {"mlp": {"_target_": "standins.Network", "hiden": 3}}}
    wrong["metric"] = {"d": {"_target_": "standins.metric", "step": 3}}
    with pytest.raises(WrongInput) as error:
        signatures(wrong)
    assert str(error.value).splitlines() == [
        "attribution.m.method._target_=standins.Mthod: standins.Mthod does not exist. Did you mean Method?",
        "model.mlp.hiden=3: no argument hiden. Did you mean hidden? "
        "Arguments: modalities, num_outputs, hidden, dropout",
        "metric.d.step=3: no argument step. Did you mean steps? Arguments: steps",
    ]


def test_captum_methods_that_swallow_any_keyword():
    signatures(method("captum.attr.FeatureAblation", {"perturbations_per_eval": 4}))
    with pytest.raises(WrongInput, match="perturbation_per_eval=4: no argument"):
        signatures(method("captum.attr.FeatureAblation", {"perturbation_per_eval": 4}))


def test_signatures_construct_nothing(monkeypatch):
    monkeypatch.setattr(
        standins.Method, "__init__", lambda self, forward_func, scale=1.0: pytest.fail("constructed")
    )
    signatures(method(scale=2.0))


def test_every_key_that_the_framework_reads_can_be_set_without_a_plus():
    """A key that the schema knows but no file lists would be refused by Hydra, with the advice to add a plus."""
    from salience.settings import Run, Training

    full = Composer.create().loose([])
    assert full is not None
    assert set(Training.model_fields) <= set(full.training)
    assert set(Run.model_fields) - set(full) <= {"controls", "tracker"}, (
        "tables that are absent when they are empty"
    )
