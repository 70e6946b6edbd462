"""segmentation_models_pytorch in a plain PyTorch loop: float32, PNG files, albumentations, its own losses.

As in the quick start and the binary segmentation example of https://smp.readthedocs.io, and the page on semantic
segmentation of https://albumentations.ai/docs.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
from albumentations.pytorch import ToTensorV2
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network() -> nn.Module:
    """The U-Net, from random weights."""
    return smp.Unet(
        encoder_name="resnet34",
        encoder_weights=None,
        decoder_attention_type="scse",
        in_channels=3,
        classes=1,
    )


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """Images with their masks from PNG files."""

    def __init__(self, folder: Path, ids: Sequence[str], transform: A.Compose) -> None:
        self.images = [str(folder / "images" / f"{name}.png") for name in ids]
        self.masks = [str(folder / "masks" / f"{name}.png") for name in ids]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = cv2.imread(self.images[index])
        mask = cv2.imread(self.masks[index], cv2.IMREAD_UNCHANGED)
        assert image is not None and mask is not None
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        transformed = self.transform(image=image, mask=np.float32(mask > 0))
        return transformed["image"], transformed["mask"].unsqueeze(0)


def training_transform(size: int) -> A.Compose:
    """Resize, flip, shift, scale, rotate, change brightness and contrast, normalise."""
    return A.Compose(
        [
            A.Resize(size, size),
            A.HorizontalFlip(p=0.5),
            A.Affine(
                translate_percent=(-0.06, 0.06),
                scale=(0.9, 1.1),
                rotate=(-5, 5),
                border_mode=cv2.BORDER_REFLECT_101,
                p=0.5,
            ),
            A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1, p=0.5),
            A.Normalize(mean=MEAN, std=STD),
            ToTensorV2(),
        ]
    )


class PlainLoop:
    """Trains the U-Net on a folder of images and masks."""

    def __init__(self, model: nn.Module, folder: Path, ids: Sequence[str], size: int, batch_size: int) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device)
        self.bce = smp.losses.SoftBCEWithLogitsLoss()
        self.dice = smp.losses.DiceLoss(smp.losses.BINARY_MODE, from_logits=True)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.loader = DataLoader(
            Pictures(folder, ids, training_transform(size)),
            batch_size=batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=os.cpu_count() or 1,
            persistent_workers=True,  # epochs are short here; starting workers anew would count against the loop
        )

    def loss(self, images: Tensor, masks: Tensor) -> Tensor:
        """BCE and Dice of a batch."""
        logits = self.model(images)
        return self.bce(logits, masks) + self.dice(logits, masks)

    def epoch(self) -> None:
        """Every image once."""
        self.model.train()
        for images, masks in self.loader:
            self.optimizer.zero_grad()
            loss = self.loss(images.to(self.device), masks.to(self.device))
            loss.backward()
            self.optimizer.step()
