"""Each benchmark measures what it says: ours equals the peer it is timed against, and the probes count right."""

import ast
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import __main__ as command
from benchmarks import private_memory

FOLDER = Path(command.__file__).parent
ALONE = ("machine={device: cpu, precision: fp32, compile: false, workers: 0, threads: 1}",)


def test_peers_do_not_lean_on_segfold() -> None:
    for path in (FOLDER / "peers").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.split(".")[0] == "segfold" for name in names), path


def test_numpy_metric_by_hand() -> None:
    from benchmarks.peers import numpy_metric

    truth = np.zeros((2, 1, 4), np.uint8)
    truth[0, 0, :3] = 1
    codes = np.array([[[50, 40, 10, 10]], [[0, 0, 0, 60]]], np.uint16)
    # Two of three pixels, IoU 2/3: above .50, .55, .60, .65. All of them: IoU 3/4. A false alarm; an empty agreement.
    found = numpy_metric.scores(codes, truth, [20, 5, 70], [0, 3])
    np.testing.assert_allclose(found[..., 0], [[0.4, 0.5, 0.0], [0.0, 0.0, 1.0]])
    # Without components of fewer than three pixels.
    np.testing.assert_allclose(found[..., 1], [[0.0, 0.5, 0.0], [1.0, 1.0, 1.0]])


def test_metric_equals_its_peer() -> None:
    from benchmarks import metric

    metric.check(*metric.predictions(12))


def test_rle_equals_its_peer() -> None:
    from benchmarks import rle
    from benchmarks.peers import coco_rle

    assert coco_rle.counts_of_kaggle("2 3 6 1", (2, 4)).tolist() == [1, 3, 1, 1, 2]
    assert coco_rle.counts_of_kaggle("", (2, 4)).tolist() == [8]
    masks = rle.masks_of(101, 20)
    assert {bool(mask.any()) for mask in masks} == {True, False}
    rle.check([*masks, *rle.masks_of(256, 4)])


def test_the_crf_agrees_with_its_peer() -> None:
    pytest.importorskip("pydensecrf", reason="pydensecrf2 builds with Cython 0.29 only")
    from benchmarks import crf

    for shape, classes in (((75, 100), 21), ((101, 101), 2)):
        crf.check(crf.picture(shape, classes))


@pytest.mark.parametrize("per_image", [True, False])
def test_lovasz_equals_its_peer(per_image: bool) -> None:
    from benchmarks import lovasz

    logits, masks = lovasz.batch(torch.device("cpu"), images=3)
    assert logits.shape == masks.shape == (3, 1, 128, 128)
    lovasz.check(logits, masks, per_image)


def test_border_gaps_equal_their_peer() -> None:
    from benchmarks import borders
    from benchmarks.peers import transform_an_object

    line = transform_an_object.gaps(np.array([[3, 0, 0, 0, 9, 0]]))
    np.testing.assert_array_equal(line, [[np.inf, 4, 4, 4, np.inf, 6]])
    objects = borders.cells(20, 96)
    assert len(np.unique(objects)) == 21 and 0.2 < (objects > 0).mean() < 0.9
    assert (objects[:, 1:] != objects[:, :-1])[(objects[:, 1:] > 0) & (objects[:, :-1] > 0)].any(), (
        "none touches another"
    )
    borders.check(objects)


def test_engine_and_bare_steps_make_the_same_weights(tmp_path: Path) -> None:
    from benchmarks import overhead, workload

    workload.make_images(tmp_path, 8)
    job = workload.first_stage(tmp_path, 32, 4, ["model.encoder=test_resnet", *ALONE])
    assert len(job.training_rows) == 8 and job.stages[0].steps == 2
    ours, bare, samples = overhead.pair(job, overhead.resolve(job.experiment.machine))
    overhead.check(ours, bare, samples[:2])
    bare.bare(bare.in_memory(samples[:1]))
    with pytest.raises(AssertionError, match="move the weights"):
        overhead.check(ours, bare, samples[:1])


def test_training_equals_its_peer(tmp_path: Path) -> None:
    from benchmarks import training

    ours, peer = training.pair(tmp_path, 64, 4, [*ALONE])
    training.check(ours, peer)
    peer.bce.reduction = "sum"
    with pytest.raises(AssertionError):
        training.check(ours, peer)


def test_prediction_equals_its_peer(tmp_path: Path) -> None:
    from benchmarks import prediction, workload

    data = workload.make_images(tmp_path, 3)
    job = workload.first_stage(tmp_path, 64, 3, ALONE)
    runtime = prediction.resolve(job.experiment.machine)
    theirs = prediction.settled(prediction.network(), 64)
    ours = prediction.on_device(prediction.RawPixels(theirs, prediction.MEAN, prediction.STD), runtime)
    found, right = prediction.predicted(ours, job, 64, runtime), prediction.peers(theirs, job, data, 64)
    assert prediction.check(found, right) < 1e-4
    with pytest.raises(AssertionError, match="probabilities differ"):
        prediction.check(found[::-1], right)


def test_multiplications_by_hand() -> None:
    from benchmarks.workload import gmacs

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, padding=1, bias=False), torch.nn.BatchNorm2d(5)).eval()
    assert gmacs(network, 16) == pytest.approx(16 * 16 * 5 * 3 * 9 / 1e9)
    assert not network.training and int(network[1].num_batches_tracked) == 0


def _allocates(mebibytes: int) -> Callable[[], object]:
    before = np.ones(16 << 20, np.uint8)

    def work() -> None:
        block = np.ones(mebibytes << 20, np.uint8)
        time.sleep(0.5)
        del block

    return lambda: (before, work())


def test_peak_of_work_counts_the_work_alone() -> None:
    if not private_memory.STATUS.exists():
        pytest.skip("no /proc")
    assert 62 << 20 < private_memory.peak_of(_allocates, 64) < 72 << 20


def test_attention_hypercolumn_and_gcn_blocks_equal_what_they_are_timed_against() -> None:
    from benchmarks import attention, gcn_block, hypercolumn

    assert attention.check(attention.features(16)) < 1e-5
    assert hypercolumn.check(hypercolumn.features(32)) < 1e-5
    assert gcn_block.check(gcn_block.features(16)) < 1e-5


def test_members_for_the_memory_benchmark_blend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import memory

    if not private_memory.STATUS.exists():
        pytest.skip("no /proc")
    memory.make_members(tmp_path, 9, 4)
    memory.main(tmp_path, 4, 9)
    base, peak = json.loads(capsys.readouterr().out)
    assert 0 < base <= peak


def test_the_road_to_a_submission_equals_its_peer(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    from benchmarks import ensembling

    ensembling.make_members(tmp_path, 5, 2, 3)
    ensembling.check(tmp_path, 3, 4)


def test_a_plain_ensemble_by_hand(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    from benchmarks.peers import plain_ensemble

    truth = np.array([[[1, 1, 0, 0], [0, 0, 0, 0]]], np.uint8)
    members = [
        np.array([[[60000, 60000, 0, 0], [0, 0, 0, 40000]]], np.uint16),
        np.array([[[60000, 50000, 0, 0], [0, 0, 0, 30000]]]),
    ]
    scores, best = plain_ensemble.submitted(members, truth, [0.5, 0.9], [0, 2], ["a"], tmp_path / "a.csv")
    # Two of three pixels, IoU 2/3, but the lone one is too small; then one of two, IoU 1/2, which is too small too.
    np.testing.assert_allclose(scores, [[0.4, 1.0], [0.0, 0.0]])
    assert best == (0, 1) and (tmp_path / "a.csv").read_text() == "id,rle_mask\na,1 1 3 1\n"
    assert plain_ensemble.runs(np.ones((2, 2), np.uint8)) == "1 4" and plain_ensemble.runs(np.zeros((2, 2))) == ""


def test_kinds_of_work() -> None:
    from benchmarks.profile import OTHER, by_kind

    costs = {"aten::mkldnn_convolution": 3.0, "aten::native_batch_norm": 1.0, "aten::copy_": 0.5, "aten::add_": 0.25}
    costs["aten::upsample_bilinear2d"] = 2.0
    assert by_kind(costs) == {
        "convolution": 3.0,
        "batch norm": 1.0,
        "copies, casts and layouts": 0.5,
        "pooling and upsampling": 2.0,
        OTHER: 0.25,
    }
