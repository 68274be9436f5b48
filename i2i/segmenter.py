"""A network that a person brings sees classes in outputs and in real images: do they lie where the label maps have them?

It comes as ONNX. Such a file is a graph of known operations, so that opening it runs none of its author's code, and it says
itself what goes in and what comes out; a .pth file of a whole network would be a program, one of weights no network.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from i2i.errors import UserError
from i2i.images import nearest, resize
from i2i.losses.weight_files import sha256
from i2i.metrics import palettes
from i2i.tallies import Outcome

VALUES = {
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),  # its mean and deviation, as torchvision has them
    "0..1": (0.0, 255.0),
    "-1..1": (127.5, 127.5),
    "0..255": (0.0, 1.0),
}
"""What a segmenter may take its input in: what is subtracted from 8-bit levels, and what they are then divided by."""
VOID = -1
"""In the place of a label: the pixel does not count."""
MEASURES = {
    "seg-accuracy": palettes.accuracy,
    "seg-class-accuracy": palettes.class_accuracy,
    "seg-miou": palettes.mean_iou,
}
POOR = 0.2
"""A mean IoU on real images below which something is wrong with the segmenter, its values, or the labels."""
CONTRACT = "one input (1, 3, H, W) of floats, and an output of (1, K, H, W) logits or (1, H, W) ids"


class Segmenter:
    """A file of ONNX. Its input is RGB in these `values`: normalised as for ImageNet, or in a range.

    Where it has a height and a width of its own, images are resized to them.
    """

    def __init__(self, file: Path, values: str = "imagenet"):
        if values not in VALUES:
            raise UserError(f"a segmenter takes no values '{values}'", f"there are {', '.join(VALUES)}")
        self.file, self.values, self.session = file, values, _session(file)
        self.sha256 = sha256(file)
        self.name, self.size = _input(file, self.session.get_inputs())

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> tuple[np.ndarray, int | None]:
        """image: (3, H, W) uint8 -> the ids of classes (h, w) int64, and how many there are, where logits tell that."""
        array = image.permute(1, 2, 0).numpy()
        array = resize(array, self.size) if self.size else array
        try:
            (found, *_) = self.session.run(None, {self.name: self._scaled(array)})
        except Exception as error:  # onnxruntime has kinds of its own, which follow its version
            height, width = array.shape[:2]
            raise UserError(
                f"the segmenter '{self.file}' fails on an image of {width}x{height}: {_reason(error)}",
                "export it with free sizes, or with one that all images are resized to",
            ) from None
        if not isinstance(found, np.ndarray):
            raise UserError(f"'{self.file}' gives a {type(found).__name__}, which is no segmentation", CONTRACT)
        match found.shape:
            case (1, classes, _, _) if classes > 1:
                return found[0].argmax(0), classes
            case (1, _, _) | (1, 1, _, _) if found.ndim == 3 or found.dtype.kind in "iu":  # one class is no choice
                pass
            case _:
                raise UserError(f"'{self.file}' gives {found.dtype} of {found.shape}, which is no segmentation", CONTRACT)
        ids = found.reshape(found.shape[-2:])
        if not (ids >= 0).all() or (ids != np.floor(ids)).any():
            raise UserError(f"'{self.file}' gives values that are no ids of classes, such as {ids.min():g}", CONTRACT)
        return ids.astype(np.int64), None

    def _scaled(self, array: np.ndarray) -> np.ndarray:
        """array: (H, W, 3) uint8 -> (1, 3, H, W) float32."""
        shift, scale = (np.asarray(part, np.float32) for part in VALUES[self.values])
        return np.ascontiguousarray(((array - shift) / scale).transpose(2, 0, 1)[None])


def _session(file: Path) -> Any:
    if not file.is_file():
        raise UserError(f"there is no segmenter '{file}'", "--segmenter FILE.onnx")
    if find_spec("onnxruntime") is None:
        raise UserError("a segmenter is run by onnxruntime, which is not here", "pip install 'i2i-toolbox[export]'")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is said by us
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(f"cannot read the segmenter '{file}': {_reason(error)}", f"a file of ONNX: {CONTRACT}") from None


def _input(file: Path, inputs: list[Any]) -> tuple[str, tuple[int, int] | None]:
    """The name of the one input, and its height and width where they are fixed."""
    shape = inputs[0].shape if len(inputs) == 1 else []
    fixed = [side if isinstance(side, int) else None for side in shape]  # one that may have any length has a name, or none
    fits = len(shape) == 4 and fixed[0] in (1, None) and fixed[1] in (3, None)
    if not fits or inputs[0].type != "tensor(float)":
        takes = ", ".join(f"{one.name}: {one.type} {one.shape}" for one in inputs)
        raise UserError(f"the segmenter '{file}' does not take one image ({takes})", CONTRACT)
    height, width = fixed[2:]
    return inputs[0].name, (height, width) if height and width else None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


class Confusions:
    """Counts pixels of each class over the whole set, in outputs and, where there are any, in real images of the same labels.

    `labels`: the ids of image i, (H, W), `VOID` where nothing counts; `classes`: how many there are, where that is known.
    """

    def __init__(self, segmenter: Segmenter, labels: Callable[[int], np.ndarray], classes: int | None = None):
        self.segmenter, self.labels, self.classes = segmenter, labels, classes
        self.outputs, self.real, self.count = torch.zeros(0, 0, dtype=torch.int64), torch.zeros(0, 0, dtype=torch.int64), 0

    def add(self, number: int, output: Tensor, real: Tensor | None) -> None:
        """Images: (3, H, W) uint8."""
        labels = self.labels(number)
        self.outputs = _added(self.outputs, self._confusion(output, labels))
        if real is not None:
            self.real = _added(self.real, self._confusion(real, labels))
        self.count += 1

    def _confusion(self, image: Tensor, labels: np.ndarray) -> Tensor:
        """At the size of what the network says: labels are taken from the nearest pixel."""
        ids, told = self.segmenter(image)
        true = nearest(labels, ids.shape)  # type: ignore[arg-type]
        counts = true != VOID
        seen, wanted = torch.from_numpy(ids[counts]), torch.from_numpy(true[counts].astype(np.int64))
        self._require_same_classes(told, _top(seen), _top(wanted))
        return palettes.confusion(seen, wanted, told or self.classes or 1 + max(_top(seen), _top(wanted)))

    def _require_same_classes(self, told: int | None, seen: int, wanted: int) -> None:
        hint = "it must be one for these very classes, in their order; ids that mean nothing are named with --void"
        if self.classes is not None and told not in (None, self.classes):
            raise UserError(f"the segmenter tells {told} classes apart, and the label maps have {self.classes}", hint)
        if told is not None and wanted >= told:
            raise UserError(f"a label map holds the class {wanted}, and the segmenter knows 0 to {told - 1}", hint)
        if self.classes is not None and seen >= self.classes:
            raise UserError(f"the segmenter sees the class {seen}, and the label maps have 0 to {self.classes - 1}", hint)

    def outcomes(self) -> dict[str, Outcome]:
        if not self.outputs.sum():
            return {}
        compared = bool(self.real.sum())
        return {
            name: Outcome(
                measure(self.outputs),
                baseline=measure(self.real) if compared else None,
                baseline_n=self.count if compared else None,
            )
            for name, measure in MEASURES.items()
        }

    def warnings(self) -> list[str]:
        """A word where the segmenter fails on real images, or could not be tried on any, so that its numbers mean little."""
        if not self.outputs.sum():
            return []
        if not self.real.sum():
            return ["the real images have no label maps, so that nobody knows how well the segmenter sees"]
        right, usual = palettes.accuracy(self.real), float(self.real.sum(1).max() / self.real.sum())
        iou = palettes.mean_iou(self.real)
        if iou >= POOR and right > usual:
            return []
        return [
            f"the segmenter is poor on real images already (mean IoU {iou:.3f}, accuracy {right:.3f}; who always names the most"
            f" common class has {usual:.3f}), so its numbers mean little: check --segmenter-values, the order of the classes,"
            " the size that it was trained at, and that labels and images show the same pixels"
        ]


def _top(ids: Tensor) -> int:
    return int(ids.max()) if len(ids) else -1


def _added(one: Tensor, other: Tensor) -> Tensor:
    """Two counts, of as many classes as the larger one has."""
    most = max(len(one), len(other))
    return sum((pad(x, 2 * (0, most - len(x))) for x in (one, other)), torch.zeros(most, most, dtype=torch.int64))
