"""segmentation_models_pytorch in a plain loop of predictions: float32, PNG files, and the flipped image as well."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers.smp_training import MEAN, STD


class TestPictures(Dataset[Tensor]):
    """Images from PNG files."""

    __test__ = False  # not a test class, whatever pytest makes of the name

    def __init__(self, folder: Path, ids: Sequence[str], size: int) -> None:
        self.images = [str(folder / "images" / f"{name}.png") for name in ids]
        self.transform = A.Compose([A.Resize(size, size), A.Normalize(mean=MEAN, std=STD), ToTensorV2()])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        image = cv2.imread(self.images[index])
        assert image is not None
        tensor: Tensor = self.transform(image=cv2.cvtColor(image, cv2.COLOR_BGR2RGB))["image"]
        return tensor


@torch.no_grad()
def predict(
    model: nn.Module, folder: Path, ids: Sequence[str], size: int, shape: tuple[int, int], batch_size: int
) -> Iterator[np.ndarray]:
    """Probabilities of each image at its own ``shape`` (height, width), H×W float32, in order."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.eval()
    for images in DataLoader(TestPictures(folder, ids, size), batch_size=batch_size):
        images = images.to(device)
        plain = model(images).sigmoid()
        flipped = model(torch.flip(images, dims=[3])).sigmoid()
        mean = (plain + torch.flip(flipped, dims=[3])) / 2
        for probability in mean[:, 0].cpu().numpy():
            yield cv2.resize(probability, shape[::-1], interpolation=cv2.INTER_LINEAR)
