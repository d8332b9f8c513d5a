"""Class activation maps against their formulas, written out place by place."""

import pytest
import torch
import torch.nn.functional as F
from known_networks import random_rows
from torch import nn

import salience
from salience.attribution import planner
from salience.attribution.cams import GradCamPlusPlus, ScoreCam
from salience.errors import WrongInput


class Small(nn.Module):
    """One convolution whose maps keep the size of the image, and a head that is not linear in them."""

    def __init__(self, channels: int = 3, size: int = 5, in_place: bool = False):
        super().__init__()
        self.convolution = nn.Conv2d(2, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=in_place)
        self.head = nn.Linear(channels * size * size, 4)

    def forward(self, image):
        return self.after(self.convolution(image))

    def after(self, maps):
        return torch.tanh(self.head(self.relu(maps).flatten(1)))


def small(**options) -> Small:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Small(**options).eval()


def test_grad_cam_plus_plus_is_the_papers_formula():
    net, image = small(), random_rows(2, 2, 5, 5)
    maps = net.convolution(image).detach().requires_grad_()
    grads = torch.autograd.grad(net.after(maps)[:, 1].sum(), maps)[0]
    for row, (a, g) in enumerate(zip(maps.detach(), grads, strict=True)):
        cam = torch.zeros(5, 5)
        for k in range(3):
            weight = 0.0
            for i in range(5):
                for j in range(5):
                    below = 2 * g[k, i, j] ** 2 + a[k].sum() * g[k, i, j] ** 3
                    alpha = g[k, i, j] ** 2 / below if g[k, i, j] != 0 else 0.0
                    weight += alpha * max(g[k, i, j], 0)
            cam += weight * a[k]
        found = GradCamPlusPlus(net, net.convolution).attribute(image, target=1)
        assert torch.allclose(found[row].sum(0), cam.clamp(min=0), atol=1e-6)
        assert torch.equal(found[row, 0], found[row, 1])


def test_score_cam_is_the_papers_formula_with_a_baseline():
    net, image = small(), random_rows(2, 2, 5, 5)
    baseline = torch.full((1, 2, 5, 5), 0.3)
    with torch.no_grad():
        maps = net.convolution(image)
        for row in range(2):
            gains = []
            for a in maps[row]:
                mask = (a - a.min()) / (a.max() - a.min())
                seen = baseline[0] + mask * (image[row] - baseline[0])
                gains.append(net(seen[None])[0, 2] - net(baseline)[0, 2])
            cam = (torch.stack(gains).softmax(0)[:, None, None] * maps[row]).sum(0).relu()
            found = ScoreCam(net, net.convolution).attribute(image, baseline, target=2)
            assert torch.allclose(found[row].sum(0), cam, atol=1e-5)


def test_a_channel_without_contrast_has_no_mask_and_no_weight():
    net, image = small(), random_rows(1, 2, 5, 5)
    net.convolution.weight.data[0] = 0
    net.convolution.bias.data[0] = 7.0
    found = ScoreCam(net, net.convolution).attribute(image, target=0)
    maps = net.convolution(image).detach()
    assert float(found.sum(1).max()) <= float(maps[:, 1:].max())
    net.convolution.weight.data.zero_()
    assert (ScoreCam(net, net.convolution).attribute(image, target=0) == 0).all()


@pytest.mark.parametrize("method", [GradCamPlusPlus, ScoreCam])
def test_maps_are_upsampled_and_shared_by_channels(method):
    net, image = (
        nn.Sequential(nn.Conv2d(2, 3, 2, stride=2), nn.Flatten(), nn.Linear(27, 2)),
        random_rows(2, 2, 6, 6),
    )
    smooth = method(net, net[0]).attribute(image, target=0)
    blocks = method(net, net[0]).attribute(image, target=0, interpolate_mode="nearest")
    assert smooth.shape == blocks.shape == image.shape
    assert torch.equal(blocks[..., ::2, ::2], blocks[..., 1::2, 1::2])
    coarse = F.avg_pool2d(blocks.sum(1, keepdim=True), 2)
    assert torch.allclose(F.interpolate(coarse, (6, 6), mode="nearest") / 2, blocks[:, :1], atol=1e-6)


@pytest.mark.parametrize("method", [GradCamPlusPlus, ScoreCam])
def test_the_size_of_a_pass_and_operations_in_place_change_nothing(method, monkeypatch):
    net, image = small(in_place=True), random_rows(5, 2, 5, 5)
    whole = method(net, net.convolution).attribute(image, target=[0, 1, 2, 3, 0])
    monkeypatch.setattr(planner, "rows_per_pass", lambda *_, **__: 2)
    parts = method(net, net.convolution).attribute(image, target=[0, 1, 2, 3, 0])
    fresh = small()
    assert torch.allclose(whole, parts, atol=1e-6)
    assert torch.allclose(whole, method(fresh, fresh.convolution).attribute(image, target=[0, 1, 2, 3, 0]))


@pytest.mark.parametrize("method", ["grad_cam_plus_plus", "score_cam"])
def test_a_layer_without_a_place_is_refused(method):
    net = small()
    with pytest.raises(WrongInput, match="no place in"):
        salience.explain(net, random_rows(2, 2, 5, 5), method, layer="head")
    with pytest.raises(WrongInput, match="layer"):
        salience.explain(net, random_rows(2, 2, 5, 5), method)
    found = salience.explain(net, random_rows(2, 2, 5, 5), method, layer="convolution")
    assert found.of_inputs and found.reduce == "sum"
