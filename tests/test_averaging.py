"""Averages of weights against torch's own and against plain means, and batch-norm statistics against torch's."""

import io
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from segfold.errors import SegfoldError
from segfold.training.averages import ExponentialAverage, RunningAverage, best_epochs, mean_of_states, reestimate


def network(seed: int = 0, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.Dropout(dropout), nn.Conv2d(4, 3, 1), BatchNormAct2d(3)
    )


def batches(sizes: tuple[int, ...] = (4, 4, 2)) -> list[Tensor]:
    draw = torch.Generator().manual_seed(5)
    return [torch.randn(size, 2, 6, 6, generator=draw) * (1 + size) + size for size in sizes]


@torch.no_grad()
def train(trained: nn.Module, step: int) -> None:
    """What a step does to a network: other parameters, other statistics."""
    draw = torch.Generator().manual_seed(step)
    for parameter in trained.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=draw))
    trained.train()
    trained(torch.randn(4, 2, 6, 6, generator=draw))


def test_running_average_matches_torch() -> None:
    trained = network()
    ours, theirs = RunningAverage(trained), AveragedModel(trained, use_buffers=False)
    for step in range(5):
        train(trained, step)
        ours.update()
        theirs.update_parameters(trained)
    for (name, mean), other in zip(ours.network.named_parameters(), theirs.module.parameters()):
        torch.testing.assert_close(mean, other, msg=name)
    assert ours.count == 5 and not ours.network.training
    assert not any(parameter.requires_grad for parameter in ours.network.parameters())


def test_running_average_is_the_mean_of_what_was_captured_and_nothing_else() -> None:
    trained = network()
    average = RunningAverage(trained)
    captured = []
    for step in range(6):
        train(trained, step)
        if step in (1, 2, 5):
            average.update()
            captured.append({name: value.clone() for name, value in trained.state_dict().items()})
    for name, value in average.network.state_dict().items():
        if value.is_floating_point():
            exact = torch.stack([state[name].double() for state in captured]).mean(dim=0)
            assert torch.equal(value, exact.float()), name
        else:
            assert torch.equal(value, captured[-1][name]), name


def test_before_the_first_capture_the_average_is_the_start() -> None:
    trained = network()
    average = RunningAverage(trained)
    average.load_state_dict(average.state_dict())
    train(trained, 0)
    assert all(torch.equal(one, other) for one, other in zip(average.network.parameters(), network().parameters()))


def test_running_average_resumes_with_the_same_bits() -> None:
    trained = network()
    whole = RunningAverage(trained)
    file = io.BytesIO()
    for step in range(7):
        train(trained, step)
        whole.update()
        if step == 3:
            torch.save({"network": trained.state_dict(), "average": whole.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = network(seed=1)
    again.load_state_dict(saved["network"])
    resumed = RunningAverage(again)
    resumed.load_state_dict(saved["average"])
    assert resumed.count == 4
    for step in range(4, 7):
        train(again, step)
        resumed.update()
    one, other = whole.network.state_dict(), resumed.network.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_loaded_average_does_not_share_its_sums() -> None:
    trained = network()
    first, second = RunningAverage(trained), RunningAverage(trained)
    first.update()
    second.load_state_dict(first.state_dict())
    kept = {name: total.clone() for name, total in first.state_dict()["sums"].items()}
    second.update()
    assert all(torch.equal(total, kept[name]) for name, total in first.state_dict()["sums"].items())


def states(count: int = 3) -> list[dict[str, Tensor]]:
    found = []
    trained = network()
    for step in range(count):
        train(trained, step)
        found.append({name: value.clone() for name, value in trained.state_dict().items()})
    return found


@pytest.mark.parametrize("on_disk", [False, True])
def test_mean_of_states(tmp_path: Path, on_disk: bool) -> None:
    given = states()
    paths = [tmp_path / f"{number}.safetensors" for number in range(len(given))]
    for path, state in zip(paths, given):
        safetensors.torch.save_file(state, path)
    mean = mean_of_states(paths if on_disk else iter(given))
    assert mean.keys() == given[0].keys()
    for name, value in mean.items():
        if value.is_floating_point():
            assert torch.equal(value, torch.stack([state[name].double() for state in given]).mean(dim=0).float())
        else:
            assert value.dtype == torch.int64 and torch.equal(value, given[-1][name])
    network().load_state_dict(mean)


def test_mean_of_states_leaves_the_states_alone() -> None:
    given = states()
    mean = mean_of_states(given)
    for value in mean.values():
        value.zero_()
    assert all(torch.equal(state[name], other[name]) for state, other in zip(given, states()) for name in state)


def test_mean_of_states_keeps_types_and_small_differences() -> None:
    # In float32 1 is lost against 2^25; in bfloat16 even the sum of four equal numbers rounds.
    large = mean_of_states(
        [{"w": torch.tensor([2.0**25])}, {"w": torch.tensor([1.0])}, {"w": torch.tensor([-(2.0**25)])}]
    )
    torch.testing.assert_close(large["w"], torch.tensor([1 / 3]), rtol=1e-7, atol=0)
    half = mean_of_states([{"w": torch.tensor([1.0078125], dtype=torch.bfloat16)}] * 3)
    assert half["w"].dtype == torch.bfloat16 and half["w"].item() == 1.0078125


def test_states_are_read_one_after_the_other() -> None:
    alive = 0
    most = 0

    class Counted(dict[str, Tensor]):
        def __init__(self) -> None:
            nonlocal alive, most
            super().__init__(w=torch.ones(2))
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    class Source(Iterator[Counted]):
        left = 5

        def __next__(self) -> Counted:
            if self.left == 0:
                raise StopIteration
            self.left -= 1
            return Counted()

    mean_of_states(Source())
    assert most == 1


def test_states_of_different_networks_have_no_mean() -> None:
    with pytest.raises(SegfoldError, match=r"state 2 and state 1 .*: 0.bias is \(3,\) and \(2,\)"):
        mean_of_states([nn.Sequential(nn.Linear(2, 2)).state_dict(), nn.Sequential(nn.Linear(2, 3)).state_dict()])
    with pytest.raises(SegfoldError, match="bias is missing"):
        mean_of_states([nn.Linear(2, 2).state_dict(), nn.Linear(2, 2, bias=False).state_dict()])
    with pytest.raises(ValueError, match="no weights"):
        mean_of_states([])


def run(module: nn.Module, batch: Tensor) -> object:
    return module(batch)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_reestimated_statistics_match_torch(dropout: float) -> None:
    ours, theirs = network(dropout=dropout), network(dropout=dropout)
    for module in (ours, theirs):
        train(module, 0)
    torch.manual_seed(3)
    update_bn(batches(), theirs)
    torch.manual_seed(3)
    reestimate(ours, batches(), run)
    one, other = ours.state_dict(), theirs.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_every_batch_counts_alike() -> None:
    module = nn.Sequential(nn.BatchNorm2d(2))
    given = batches()
    reestimate(module, iter(given), run)
    norm = module[0]
    torch.testing.assert_close(norm.running_mean, torch.stack([b.mean(dim=(0, 2, 3)) for b in given]).mean(dim=0))
    torch.testing.assert_close(norm.running_var, torch.stack([b.var(dim=(0, 2, 3)) for b in given]).mean(dim=0))
    assert norm.num_batches_tracked == 3


@pytest.mark.parametrize("fails", [False, True])
def test_modes_and_momenta_are_restored(fails: bool) -> None:
    module = network(dropout=0.5)
    module.train()
    module[1].eval()

    def forward(network: nn.Module, batch: Tensor) -> object:
        assert all(part.training for part in network.modules())
        assert not torch.is_grad_enabled()
        if fails:
            raise KeyboardInterrupt
        return network(batch)

    if fails:
        with pytest.raises(KeyboardInterrupt):
            reestimate(module, batches(), forward)
    else:
        reestimate(module, batches(), forward)
    assert [part.training for part in module] == [True, False, True, True, True]
    assert (module[1].momentum, module[4].momentum) == (0.3, 0.1)


def test_without_batch_norm_no_batch_is_taken() -> None:
    def never() -> Iterator[Tensor]:
        raise AssertionError("a batch was asked for")
        yield

    module = nn.Sequential(nn.Conv2d(2, 2, 1), nn.GroupNorm(1, 2)).eval()
    reestimate(module, never(), run)
    assert not module.training


def test_average_with_its_own_statistics_normalises() -> None:
    # The point of it: statistics of the mean weights, which the mean of the statistics is not.
    trained = network()
    average = RunningAverage(trained)
    for step in range(4):
        train(trained, step)
        average.update()
    given = batches((64,))
    reestimate(average.network, given, run)
    assert not average.network.training
    after = average.network[1](average.network[0](given[0]))
    weight, bias = average.network[1].weight, average.network[1].bias
    torch.testing.assert_close(after.mean(dim=(0, 2, 3)), bias, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(after.std(dim=(0, 2, 3)), weight.abs(), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("n", "epochs"),
    [(0, []), (1, [3]), (2, [3, 5]), (3, [3, 5, 1]), (9, [3, 5, 1, 2])],
)
def test_best_epochs(n: int, epochs: list[int]) -> None:
    scores = [(1, 0.7), (2, 0.6), (3, 0.9), (4, math.nan), (5, 0.9)]
    assert best_epochs(scores, n) == epochs
    assert best_epochs(list(reversed(scores)), n) == epochs


def test_exponential_average_is_the_plain_recursion() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = ExponentialAverage(network, decay=0.3)
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    for step in range(1, 6):
        with torch.no_grad():
            for value in network.parameters():
                value.add_(torch.randn_like(value))
        network(torch.randn(4, 3))
        average.update()
        decay = min(0.3, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            floats = value.is_floating_point()
            expected[name] = decay * expected[name] + (1 - decay) * value if floats else value.clone()
    for name, value in average.network.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert not average.network.training


def test_average_is_a_copy_not_an_alias() -> None:
    network = nn.Linear(2, 2)
    average = ExponentialAverage(network, decay=0.9)
    before = average.network.weight.clone()
    with torch.no_grad():
        network.weight.add_(1)
    assert torch.equal(average.network.weight, before)
