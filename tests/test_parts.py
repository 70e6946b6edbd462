"""Two processes, or two accumulation steps, have the gradients of one batch: for every loss, on a network without batch norm."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from segfold.data.dataset import Sample
from segfold.losses import LOSSES, HeadTerm, StageLoss
from segfold.models import Output
from segfold.training.gradient import Parts, Target
from segfold.training.processes import ALONE, Group, join_group, leave_group

CASES = {name: {name: (1.0, {})} for name in LOSSES}
CASES |= {
    "dice of the batch": {"dice": (1.0, {"mode": "batch"})},
    "jaccard of the batch": {"jaccard": (1.0, {"mode": "batch"})},
    "tversky of the batch": {"tversky": (1.0, {"mode": "batch"})},
    "symmetric lovasz": {"lovasz": (1.0, {"symmetric": True, "activation": "elu"})},
    "borders of objects": {"weighted": (1.0, {"border": 10.0})},
    "a sum": {"bce": (0.9, {}), "dice": (0.5, {"mode": "batch"}), "lovasz": (1.0, {})},
}


class Heads(nn.Module):
    """Three convolutions and every head that a loss can ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 6, 3, padding=1)
        self.mask, self.levels, self.nonempty = (nn.Conv2d(6, n, 3, padding=1) for n in (1, 2, 1))
        self.image = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Output:
        found = torch.tanh(self.body(x))
        levels = self.levels(found).unsqueeze(2)
        image = self.image(found.mean(dim=(2, 3)))
        return Output(self.mask(found), {"levels": levels, "nonempty": self.nonempty(found), "image": image})


class Whole:
    """What ``Parts`` asks of a learner."""

    def __init__(self) -> None:
        self.network: nn.Module = network()

    def outputs(self, part: Sample, number: int) -> Output:
        found: Output = self.network(part["image"])
        return found

    def target(self, part: Sample) -> Target:
        return Target(part["mask"].float(), part["valid"], part["gaps"])


def network() -> Heads:
    torch.manual_seed(0)
    return Heads()


def batch() -> dict[str, Tensor]:
    """Eight images, three of them without foreground, not evenly spread over the halves."""
    draw = torch.Generator().manual_seed(1)
    image = torch.randn(8, 1, 12, 12, generator=draw)
    mask = (torch.rand(8, 1, 12, 12, generator=draw) > 0.6).to(torch.uint8)
    mask[[0, 1, 6]] = 0
    valid = torch.zeros(8, 1, 12, 12, dtype=torch.bool)
    valid[:, :, 1:11, 2:11] = True
    gaps = 20 * torch.rand(8, 1, 12, 12, generator=draw)
    return {"image": image, "mask": mask, "valid": valid, "row": torch.arange(8), "gaps": gaps}


def stage(mask: dict[str, tuple[float, dict[str, object]]]) -> StageLoss:
    heads = {"levels": HeadTerm(0.1, "nonempty"), "nonempty": HeadTerm(0.5, "zeroed"), "image": HeadTerm(0.05)}
    return StageLoss(mask, heads)


def gradients(loss: StageLoss, parts: int, group: Group = ALONE) -> tuple[float, dict[str, float], list[Tensor]]:
    whole = batch()
    # As the sampler shares a batch out: one image after the other.
    share = {name: tensor[group.rank :: group.size] for name, tensor in whole.items()}
    learner = Whole()
    found = Parts(share, parts, group, loss, learner)  # type: ignore[arg-type]
    for number, part in found:
        found.loss(part, learner.outputs(part, number)).backward()
    total, values = found.total()
    named = {k: float(v) for k, v in values.items()}
    return float(total), named, [p.grad.clone() for p in learner.network.parameters()]  # type: ignore[union-attr]


def outputs_of(net: nn.Module, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    found = net(images)
    return found.logits, found.heads


def plain(loss: StageLoss) -> tuple[float, dict[str, float], list[Tensor]]:
    net, whole = network(), batch()
    total, values = loss(*outputs_of(net, whole["image"]), whole["mask"].float(), whole["valid"], whole["gaps"])
    total.backward()
    return total.item(), {k: float(v) for k, v in values.items()}, [p.grad.clone() for p in net.parameters()]  # type: ignore[union-attr]


def agree(
    found: tuple[float, dict[str, float], list[Tensor]], expected: tuple[float, dict[str, float], list[Tensor]]
) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1] == pytest.approx(expected[1], rel=1e-5)
    for a, b in zip(found[2], expected[2], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_accumulation_steps_have_the_gradient_of_the_batch(case: str, parts: int) -> None:
    agree(gradients(stage(CASES[case]), parts), plain(stage(CASES[case])))


def test_the_mean_of_the_parts_would_not_do() -> None:
    """The halves hold different numbers of empty images, so a plain mean of their gradients is another one."""
    loss, whole = stage(CASES["a sum"]), batch()
    net = network()
    for half in (slice(0, 4), slice(4, 8)):
        total, _ = loss(*outputs_of(net, whole["image"][half]), whole["mask"][half].float(), whole["valid"][half])
        (total / 2).backward()
    expected = plain(loss)[2]
    wrong = [p.grad for p in net.parameters()]
    assert max(float((a - b).abs().max()) for a, b in zip(wrong, expected) if a is not None) > 1e-3


def _process(rank: int, folder: str) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=(Path(folder) / "port").read_text(),
    )
    torch.set_num_threads(1)
    group = join_group("cpu")
    try:
        for number, case in enumerate(CASES):
            for parts in (1, 2):
                found = gradients(stage(CASES[case]), parts, group)
                torch.save(found, Path(folder) / f"{number}-{parts}-{rank}.pt")
        assert group.any(rank == 1) and not group.any(False)
        assert group.gathered(rank) == [0, 1]
        net = network()
        with torch.no_grad():
            net.body.weight += rank
        group.alike(net)
        torch.save(net.body.weight.detach(), Path(folder) / f"start-{rank}.pt")
    finally:
        leave_group()
    assert not dist.is_initialized()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes found for every case."""
    import socket

    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        (folder / "port").write_text(str(probe.getsockname()[1]))
    mp.spawn(_process, (str(folder),), nprocs=2)
    return folder


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_gradient_of_one(two: Path, case: str, parts: int) -> None:
    expected = plain(stage(CASES[case]))
    for rank in (0, 1):
        found = torch.load(two / f"{list(CASES).index(case)}-{parts}-{rank}.pt", weights_only=True)
        agree(found, expected)


def test_processes_start_alike(two: Path) -> None:
    first, second = (torch.load(two / f"start-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(first, second) and torch.equal(first, network().body.weight)
