"""The Inception that FID and KID are defined with: Szegedy et al. 2015 (arXiv:1512.00567), as TensorFlow had it in 2015.

It is not torchvision's inception_v3, though the names of its weights are: it has 1,008 classes, average poolings that do not
count the border, and a maximum in the place of the last average (Heusel et al. 2017; ported by Seitzer, "pytorch-fid").
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d
from torchvision.models.inception import InceptionA, InceptionC, InceptionE, inception_v3

SIDE = 299
FEATURES = 2048


class _A(InceptionA):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [
            self.branch1x1(x),
            self.branch5x5_2(self.branch5x5_1(x)),
            self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
            self.branch_pool(_average(x)),
        ]


class _C(InceptionC):
    def _forward(self, x: Tensor) -> list[Tensor]:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        return [self.branch1x1(x), seven, self.branch7x7dbl_5(self.branch7x7dbl_4(double)), self.branch_pool(_average(x))]


class _E(InceptionE):
    def __init__(self, channels: int, *, largest: bool):
        super().__init__(channels)
        self.largest = largest

    def _forward(self, x: Tensor) -> list[Tensor]:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = max_pool2d(x, 3, 1, 1) if self.largest else _average(x)
        return [
            self.branch1x1(x),
            torch.cat([self.branch3x3_2a(three), self.branch3x3_2b(three)], 1),
            torch.cat([self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)], 1),
            self.branch_pool(pooled),
        ]


def _average(x: Tensor) -> Tensor:
    return avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def fid_inception() -> nn.Module:
    """(B, 3, 299, 299) in [-1, 1] -> (B, 1008); what is asked of it is what its last layer, `fc`, gets: (B, 2048)."""
    network = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    for name, pooled, width in (("Mixed_5b", 32, 192), ("Mixed_5c", 64, 256), ("Mixed_5d", 64, 288)):
        setattr(network, name, _A(width, pooled))
    for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        setattr(network, name, _C(768, width))
    network.Mixed_7b, network.Mixed_7c = _E(1280, largest=False), _E(2048, largest=True)
    return network
