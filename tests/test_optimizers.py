"""Optimisers against plain references, and the groups of parameters that they work on."""

import io
import math
from typing import Any

import pytest
import timm.optim
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from segfold.errors import SegfoldError
from segfold.optim import (
    OPTIMIZERS,
    build_optimizer,
    frozen_mode,
    parameter_groups,
    set_frozen,
)

CORRECTED = {"lr": 0.01}


class Vector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))


class Small(nn.Module):
    """An encoder with two kinds of batch norm, and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        # What a batch norm follows directly has no gradient in one direction, so something stands between.
        self.encoder = nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.Tanh(), nn.BatchNorm2d(3), nn.Tanh(), BatchNormAct2d(3), nn.Dropout(0.1)
        )
        self.norm = nn.BatchNorm2d(3)
        self.encoder_head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder_head(self.norm(self.encoder(x).tanh()).mean(dim=(2, 3)))


def pixels(step: int) -> Tensor:
    return torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(step))


def take_step(network: nn.Module, optimizer: torch.optim.Optimizer, step: int, rate: float = 0.01) -> None:
    torch.manual_seed(step)
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_factor", 1.0)
    network(pixels(step)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def values(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def train(name: str, rate: float, **settings: Any) -> Tensor:
    network = Vector()
    optimizer = build_optimizer(name, network, **settings)
    for step in range(3):
        for group in optimizer.param_groups:
            group["lr"] = rate
        (network.weight**2 * torch.tensor([1.0, 3.0]) * (step + 1)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return network.weight.detach()


def gradient(weight: list[float], step: int) -> list[float]:
    return [2 * w * scale * (step + 1) for w, scale in zip(weight, (1.0, 3.0))]


@pytest.mark.parametrize(("decay", "momentum", "nesterov"), [(0.0, 0.0, False), (0.1, 0.9, False), (0.0, 0.9, True)])
def test_sgd(decay: float, momentum: float, nesterov: bool) -> None:
    weight, speed = [1.0, -2.0], [0.0, 0.0]
    for step in range(3):
        slope = [g + decay * w for g, w in zip(gradient(weight, step), weight)]
        speed = [momentum * v + g if step else g for v, g in zip(speed, slope)]
        move = [g + momentum * v for g, v in zip(slope, speed)] if nesterov else speed
        weight = [w - 0.01 * m for w, m in zip(weight, move)]
    ours = train("sgd", 0.01, weight_decay=decay, momentum=momentum, nesterov=nesterov)
    assert ours.tolist() == pytest.approx(weight, rel=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw(decay: float) -> None:
    weight, mean, square = [1.0, -2.0], [0.0, 0.0], [0.0, 0.0]
    for step in range(3):
        slope = gradient(weight, step)
        mean = [0.8 * m + 0.2 * g for m, g in zip(mean, slope)]
        square = [0.95 * v + 0.05 * g * g for v, g in zip(square, slope)]
        weight = [
            w * (1 - 0.01 * decay)
            - 0.01 * (m / (1 - 0.8 ** (step + 1))) / (math.sqrt(v / (1 - 0.95 ** (step + 1))) + 1e-8)
            for w, m, v in zip(weight, mean, square)
        ]
    assert train("adamw", 0.01, weight_decay=decay, beta1=0.8, beta2=0.95).tolist() == pytest.approx(weight, rel=1e-5)


@pytest.mark.parametrize("settings", [{}, {"alpha": 0.99, "momentum": 0.5, "weight_decay": 0.1, "eps": 0.1}])
def test_rmsprop(settings: dict[str, float]) -> None:
    # Keras: a = ρa + (1-ρ)g², w -= lr·g / (√a + ε) with ρ 0.9 and ε 1e-7.
    alpha, momentum = settings.get("alpha", 0.9), settings.get("momentum", 0.0)
    decay, eps = settings.get("weight_decay", 0.0), settings.get("eps", 1e-7)
    weight, square, speed = [1.0, -2.0], [0.0, 0.0], [0.0, 0.0]
    for step in range(3):
        slope = [g + decay * w for g, w in zip(gradient(weight, step), weight)]
        square = [alpha * a + (1 - alpha) * g * g for a, g in zip(square, slope)]
        speed = [momentum * v + g / (math.sqrt(a) + eps) for v, g, a in zip(speed, slope, square)]
        weight = [w - 0.01 * v for w, v in zip(weight, speed)]
    assert train("rmsprop", 0.01, **settings).tolist() == pytest.approx(weight, rel=1e-5)


def test_timm_lion() -> None:
    # arXiv 2302.06675, algorithm 2: the sign of an interpolated momentum, decoupled decay.
    weight, momentum = [1.0, -2.0], [0.0, 0.0]
    for step in range(3):
        slope = gradient(weight, step)
        sign = [math.copysign(1, 0.8 * m + 0.2 * g) for m, g in zip(momentum, slope)]
        weight = [w * (1 - 0.01 * 0.1) - 0.01 * s for w, s in zip(weight, sign)]
        momentum = [0.7 * m + 0.3 * g for m, g in zip(momentum, slope)]
    ours = train("timm", 0.01, opt="lion", weight_decay=0.1, options={"betas": (0.8, 0.7)})
    assert ours.tolist() == pytest.approx(weight, rel=1e-5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (("adamw", {}), {"opt": "adamw"}),
        (("sgd", {"nesterov": True}), {"opt": "sgd"}),
        (("sgd", {"momentum": 0.5}), {"opt": "momentum", "options": {"momentum": 0.5}}),
        (("rmsprop", {"momentum": 0.9, "eps": 1e-8}), {"opt": "rmsprop"}),
    ],
)
def test_timm_by_name_is_ours_where_we_have_it(ours: tuple[str, dict[str, Any]], theirs: dict[str, Any]) -> None:
    name, settings = ours
    one = train(name, 0.01, weight_decay=0.1, **settings)
    assert torch.equal(one, train("timm", 0.01, weight_decay=0.1, **theirs))


def test_every_optimiser_takes_its_rate_from_outside() -> None:
    for name in OPTIMIZERS:
        assert torch.equal(train(name, 0.0, weight_decay=0.0), torch.tensor([1.0, -2.0]))
        optimizer = build_optimizer(name, Small(), encoder_lr=0.5)
        assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]


# Kron compiles its kernels at the first step, which takes longer than all the others together.
USABLE = [
    name
    for name in timm.optim.list_optimizers(exclude_filters=["bnb*", "fused*", "*kron*"])
    if not timm.optim.get_optimizer_info(name).second_order
]


@pytest.mark.parametrize("name", [*USABLE, "lookahead_radam"])
def test_every_timm_optimiser_moves_and_resumes_exactly(name: str) -> None:
    defaults = timm.optim.get_optimizer_info(name.split("_")[-1]).defaults or {}
    options = CORRECTED if defaults.get("corrected_weight_decay") else {}

    def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
        network = Small()
        return network, build_optimizer("timm", network, opt=name, encoder_lr=0.5, decay_norms=False, options=options)

    network, optimizer = fresh()
    file = io.BytesIO()
    start = values(network)
    for step in range(7):
        if step == 2:
            torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, file)
        take_step(network, optimizer, step)
    assert not any(torch.equal(start[key], value) for key, value in values(network).items())
    assert all(bool(value.isfinite().all()) for value in values(network).values())

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again, resumed = fresh()
    again.load_state_dict(saved["network"])
    resumed.load_state_dict(saved["optimizer"])
    for step in range(2, 7):
        take_step(again, resumed, step)
    assert same(values(network), values(again))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"opt": "lambb"}, "no optimizer 'lambb'; did you mean lamb"),
        ({"opt": "lookahead_adamm"}, "did you mean adam"),
        ({"opt": "adahessian"}, "second derivatives"),
        ({"opt": "adan", "options": {"beta": 0.9}}, "no option 'beta'; did you mean betas"),
        ({"opt": "lion", "options": {"eps": 1e-3}}, "no option 'eps'"),
        ({"opt": "nadamw", "options": {"betas": (2.0, 0.9)}}, "nadamw cannot be made: Invalid beta"),
        ({"opt": "lamb", "options": {"lr": 0.1}}, "the rate is the stage's lr"),
        ({"opt": "adamc"}, "peak rate"),
        ({"opt": "lamb", "options": {"corrected_weight_decay": True}}, "peak rate"),
    ],
)
def test_what_timm_cannot_do_is_said_in_one_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SegfoldError, match=words) as caught:
        build_optimizer("timm", Small(), **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for an optimiser that needs CUDA")
@pytest.mark.parametrize("name", ["fusedadam", "bnbadam8bit"])
def test_a_missing_package_is_said_in_one_line(name: str) -> None:
    with pytest.raises(SegfoldError, match=f"{name} cannot be made: CUDA required"):
        build_optimizer("timm", Small(), opt=name)


def test_corrected_decay_is_relative_to_the_groups_own_peak() -> None:
    # Without gradients only the decay moves a weight: by lr² / peak · decay, with the encoder's own lr and peak.
    network = Small()
    optimizer = build_optimizer("timm", network, opt="sgdc", weight_decay=0.1, encoder_lr=0.5, options={"lr": 0.02})
    start = values(network)
    for group in optimizer.param_groups:
        group["lr"] = 0.01 * group["lr_factor"]
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in values(network).items():
        factor = 0.5 if name.startswith("encoder.") else 1.0
        torch.testing.assert_close(value, start[name] * (1 - factor * 0.01**2 / 0.02 * 0.1))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_kernels_are_fused_where_they_can_be(name: str) -> None:
    assert build_optimizer(name, Small()).defaults["fused"]
    elsewhere = Small().to("meta")
    optimizer = build_optimizer(name, elsewhere)
    assert not optimizer.defaults["fused"]
    for parameter in elsewhere.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


def test_by_default_there_is_one_group_in_the_networks_order() -> None:
    network = Small()
    (group,) = parameter_groups(network, 0.1)
    assert [id(parameter) for parameter in group.pop("params")] == [id(each) for each in network.parameters()]
    assert group == {"lr_factor": 1.0, "weight_decay": 0.1}


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_by_default_training_is_that_of_the_plain_optimiser(name: str) -> None:
    ours, theirs = Small(), Small()
    plain = {
        "adamw": lambda parameters: torch.optim.AdamW(parameters, betas=(0.9, 0.999), weight_decay=1e-4, fused=True),
        "sgd": lambda parameters: torch.optim.SGD(parameters, momentum=0.9, weight_decay=1e-4, fused=True),
    }[name](theirs.parameters())
    optimizer = build_optimizer(name, ours)
    for step in range(4):
        take_step(ours, optimizer, step)
        take_step(theirs, plain, step)
    assert same(values(ours), values(theirs))


def test_groups_hold_every_parameter_once_with_its_rate_and_decay() -> None:
    network = Small()
    groups = parameter_groups(network, 0.1, encoder_lr=0.25, bias_lr=2.0, decay_norms=False)
    found = {
        id(parameter): (group["lr_factor"], group["weight_decay"]) for group in groups for parameter in group["params"]
    }
    assert sum(len(group["params"]) for group in groups) == len(found) == len(list(network.parameters()))
    assert {name: found[id(parameter)] for name, parameter in network.named_parameters()} == {
        "encoder.0.weight": (0.25, 0.1),
        "encoder.0.bias": (0.5, 0.0),
        "encoder.2.weight": (0.25, 0.0),
        "encoder.2.bias": (0.25, 0.0),
        "encoder.4.weight": (0.25, 0.0),
        "encoder.4.bias": (0.25, 0.0),
        "norm.weight": (1.0, 0.0),
        "norm.bias": (1.0, 0.0),
        "encoder_head.weight": (1.0, 0.1),
        "encoder_head.bias": (2.0, 0.0),
    }


def test_biases_are_what_is_added_beside_weights() -> None:
    network = nn.ModuleDict(
        {"attention": nn.MultiheadAttention(4, 2), "norm": nn.LayerNorm(4), "group": nn.GroupNorm(2, 4)}
    )
    fast = {
        id(p)
        for group in parameter_groups(network, 0.1, bias_lr=2.0)
        if group["lr_factor"] == 2
        for p in group["params"]
    }
    names = {name for name, parameter in network.named_parameters() if id(parameter) in fast}
    assert names == {"attention.in_proj_bias", "attention.out_proj.bias"}


def test_a_shared_parameter_is_in_one_group() -> None:
    network = Small()
    network.twin = network.encoder  # type: ignore[assignment]
    groups = parameter_groups(network, 0.1, encoder_lr=0.25)
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))


def test_encoder_rate_and_decay_reach_the_step() -> None:
    network = Small()
    optimizer = build_optimizer("sgd", network, encoder_lr=0.5, decay_norms=False, momentum=0.0, weight_decay=0.1)
    start = values(network)
    for group in optimizer.param_groups:
        group["lr"] = 0.01 * group["lr_factor"]
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, value in values(network).items():
        rate = 0.005 if name.startswith("encoder.") else 0.01
        decay = 0.1 if value.ndim > 1 else 0.0
        torch.testing.assert_close(value, start[name] - rate * (1 + decay * start[name]))


def test_settings_of_the_encoder_need_an_encoder() -> None:
    with pytest.raises(SegfoldError, match="Vector has no encoder"):
        build_optimizer("adamw", Vector(), encoder_lr=0.1)
    with pytest.raises(SegfoldError, match="Vector has no encoder"):
        set_frozen(Vector(), True)
    frozen_mode(Vector())


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_frozen_encoder_rests_and_wakes(name: str) -> None:
    network = Small()
    optimizer = build_optimizer(name, network)

    def epoch(step: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        before = {key: value.clone() for key, value in network.state_dict().items()}
        network.train()
        frozen_mode(network)
        take_step(network, optimizer, step)
        return before, network.state_dict()

    take_step(network, optimizer, 0)
    set_frozen(network, True)
    # Momentum from before must not go on moving what is frozen.
    before, after = epoch(1)
    assert {key for key in after if torch.equal(before[key], after[key])} == {
        key for key in after if key.startswith("encoder.")
    }
    assert [module.training for module in network.encoder] == [True, True, False, True, False, True]
    set_frozen(network, False)
    before, after = epoch(2)
    assert not any(torch.equal(before[key], after[key]) for key in after)


def test_unfrozen_networks_stay_in_training_mode() -> None:
    network = Small().train()
    frozen_mode(network)
    assert all(module.training for module in network.modules())


def test_momenta_that_a_state_lacks_are_zero() -> None:
    """As of an encoder that was frozen, in a state of torch's own optimiser; torch's fused kernel wants all or none."""
    network = nn.ModuleDict({"encoder": nn.Linear(2, 2), "head": nn.Linear(2, 1)})
    theirs = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network["encoder"].requires_grad_(False)
    network["head"](network["encoder"](torch.ones(3, 2))).sum().backward()
    theirs.step()
    ours = build_optimizer("sgd", network, momentum=0.9, weight_decay=0.0)
    state = theirs.state_dict() | {"param_groups": ours.state_dict()["param_groups"]}
    assert len(state["state"]) == 2
    ours.load_state_dict(state)
    network["encoder"].requires_grad_(True)
    network.zero_grad()
    network["head"](network["encoder"](torch.ones(3, 2))).sum().backward()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    momenta = [
        torch.zeros_like(p) if "encoder" in n else theirs.state[p]["momentum_buffer"].clone()
        for n, p in network.named_parameters()
    ]
    for group in ours.param_groups:
        group["lr"] = 0.5
    ours.step()
    for parameter, old, momentum in zip(network.parameters(), before, momenta):
        torch.testing.assert_close(parameter.detach(), old - 0.5 * (0.9 * momentum + parameter.grad))
