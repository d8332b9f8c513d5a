"""What a stranger's run folder can make us build."""

import sys

import pytest
import torch

from salience.config import WrongInput, allowed, build

REFUSED = [
    "torch.nn.functional.torch.load",
    "torch.nn.functional.torch.hub.load",
    "torch.nn.modules.module.torch.load",
    "torch.load",
    "torch.hub.load",
    "torch.jit.load",
    "torch.serialization.load",
    "torch.nn.parallel.DataParallel",
    "torch.nn.DataParallel",
    "torch.nn.utils.parametrize",
    "torch.nn.modules.linear.Linear",
    "torch.nn.init.warnings.sys.exit",
    "captum.attr.torch.load",
    "captum.attr.torch",
    "captum.attr.visualization",
    "captum.attr._core.saliency.Saliency",
    "captum.attr._utils.visualization.plt.savefig",
    "captum._utils.av.AV.load",
    "salience.files.os.system",
    "salience.files.atomic_write",
    "salience.files.json.loads",
    "salience.sweeps.sweep.work",
    "salience.config.command",
    "salience.edge.targets.build",
    "salience.edge.targets.import_module",
    "salience.data.base.train_test_split",
    "salience.data.packaged.member",
    "salience",
    "salience.",
    "salience..files",
    "salience_evil.Network",
    "logging.os.system",
    "os.system",
    "posix.system",
    "subprocess.run",
    "builtins.eval",
    "builtins.__import__",
    "pickle.loads",
    "numpy.load",
    "joblib.load",
    "pip._internal.main",
    "distutils.spawn.spawn",
    "shutil.copyfile",
    "pathlib.Path.unlink",
    "webbrowser.open",
    "urllib.request.urlopen",
    "hydra.utils.instantiate",
    "antigravity.fly_hash",
    "__main__.main",
    "",
    "Linear",
]


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_is_run(name, monkeypatch):
    monkeypatch.setattr("webbrowser.open", lambda *_, **__: pytest.fail("it ran"))
    sys.modules.pop("antigravity", None)
    for node in (
        {"_target_": name, "f": "canary"},
        {"_target_": name, "_partial_": True},
        {"_target_": name, "_args_": ["canary"]},
        {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": name}]},
        {"_target_": "captum.attr.Saliency", "forward_func": {"deep": [{"_target_": name}]}},
    ):
        with pytest.raises(WrongInput, match="not built from a run folder"):
            build(node, trusted=())
    assert "antigravity" not in sys.modules


def test_a_refused_name_imports_nothing(tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WrongInput):
        allowed("stranger.Network")
    with pytest.raises(WrongInput):
        allowed("salience.stranger.Network")
    assert "stranger" not in sys.modules


def test_what_a_run_folder_needs_is_allowed():
    assert allowed("torch.nn.Linear") is torch.nn.Linear
    assert allowed("captum.attr.IntegratedGradients").__name__ == "IntegratedGradients"
    assert allowed("salience.data.tables.breast_cancer").__name__ == "breast_cancer"
    linear = build({"_target_": "torch.nn.Linear", "in_features": 2}, trusted=(), out_features=3)
    assert linear.weight.shape == (3, 2)


def test_a_trusted_package_is_allowed_by_name_and_not_by_prefix(tmp_path, monkeypatch):
    for package in ("trusted_package", "trusted_package_too"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("import os\n")
        (tmp_path / package / "nets.py").write_text("import os, torch\nclass Net(torch.nn.Linear): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    node = {"_target_": "trusted_package.nets.Net", "in_features": 1, "out_features": 1}
    with pytest.raises(WrongInput):
        build(node, trusted=())
    assert build(node, trusted=("trusted_package",)).in_features == 1
    for name in (
        "trusted_package_too.nets.Net",
        "trusted_package.os.system",
        "trusted_package.nets.torch.load",
    ):
        with pytest.raises(WrongInput):
            allowed(name, trust=("trusted_package",))


def test_a_data_set_opens_no_path_that_the_run_folder_chose():
    node = {"_target_": "salience.data.own.csv", "path": "/etc/passwd", "target": "x"}
    with pytest.raises(WrongInput, match="path is a path chosen by the run folder"):
        build(node, trusted=(), seed=0)
