"""Label maps that a network painted, where every pixel is taken for the nearest colour of the palette, or that one saw."""

import torch
from torch import Tensor


def nearest(image: Tensor, palette: Tensor) -> Tensor:
    """image: (C, H, W) in 0..255; palette: (K, C) -> (H, W) int64, the nearest colour, of equally near ones the first."""
    pixels, colours = image.flatten(1).T.double(), palette.double()
    distance = torch.stack([(pixels - colour).square().sum(1) for colour in colours])
    return distance.argmin(0).view(image.shape[1:])


def confusion(ids: Tensor, true_ids: Tensor, classes: int) -> Tensor:
    """(classes, classes) int64: how many pixels of class i (row) became class j. Add up over a whole set."""
    return torch.bincount((true_ids * classes + ids).flatten(), minlength=classes**2).view(classes, classes)


def accuracy(confused: Tensor) -> float:
    """The share of pixels that are right ("per-pixel accuracy" of the tables of pix2pix and CycleGAN)."""
    return float(confused.diagonal().sum().double() / confused.sum())


def class_accuracy(confused: Tensor) -> float:
    """The share of each class that is right, and the mean over the classes that there are ("per-class accuracy")."""
    right, there = confused.diagonal().double(), confused.sum(1)
    return float((right[there > 0] / there[there > 0]).mean())


def mean_iou(confused: Tensor) -> float:
    """Intersection over union of each class, of the whole set, and the mean over classes that occur on either side."""
    right = confused.diagonal().double()
    union = confused.sum(0) + confused.sum(1) - right
    return float((right[union > 0] / union[union > 0]).mean())
