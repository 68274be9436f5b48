"""Kill a translation again and again and go on with it: does it end with the files of one that is left alone?

    python tests/translate_kills.py --images 1000 --kills 20

And, with --fuzz 5000, change bytes in so many image files and translate them: each must come out or fail by name.
"""

import argparse
import io
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from i2i import images, models
from i2i.config import Layer
from i2i.images import ImageError
from i2i.training import checkpoint
from i2i.translate import Translator

KINDS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")


def export(file: Path) -> Path:
    """A very small model."""
    sides = {"channels": 3}
    tree = {"model": {"generator": {"width": 2, "blocks": 1}}, "data": {"x": sides, "y": sides}}
    config = models.configure("cyclegan", [Layer("here", tree)])
    weights = models.build(config).generator_weights()
    checkpoint.export(file, weights, {"config": config.tree(), "made_with": {}})
    return file


def draw_images(folder: Path, count: int) -> Path:
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    for number in range(count):
        Image.fromarray(np.roll(pixels, number, 1)).save(folder / f"{number:04}.png")
    return folder


def start(model: Path, folder: Path, out: Path) -> subprocess.Popen:
    code = "import torch; torch.set_num_threads(1); from i2i.cli import main; main()"
    words = ["translate", model, folder, "-o", out, "--skip-existing", "--device", "cpu", "--precision", "fp32"]
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], stderr=subprocess.DEVNULL)


def finished(out: Path) -> dict[str, bytes]:
    """What lies under final names."""
    return {file.name: file.read_bytes() for file in out.glob("[0-9]*")}


def broken(files: dict[str, bytes]) -> int:
    """How many are no whole images."""
    count = 0
    for data in files.values():
        try:
            images.read(data)
        except ImageError:
            count += 1
    return count


def kills(folder: Path, count: int, wanted: int) -> dict[str, int]:
    model, photos = export(folder / "tiny.safetensors"), draw_images(folder / "photos", count)
    alone, killed = folder / "alone", folder / "killed"
    assert start(model, photos, alone).wait() == 0
    killed.mkdir()
    partial = done = 0
    for number in range(wanted):
        process, enough = start(model, photos, killed), count * (number + 1) // (wanted + 2)
        while len(list(killed.glob("[0-9]*"))) < enough and process.poll() is None:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.02))
        process.kill()
        done += process.wait() == -signal.SIGKILL
        partial += broken(finished(killed))
    assert start(model, photos, killed).wait() == 0
    a, b = finished(alone), finished(killed)
    different = sum(a.get(name) != b.get(name) for name in a.keys() | b.keys())
    left = sum(not file.name[0].isdigit() for file in killed.iterdir())
    return {"images": len(b), "kills": done, "partial files": partial, "differing files": different, "left over": left}


def fuzz(folder: Path, count: int) -> dict[str, int]:
    """What becomes of changed files: "done" or "failed"."""
    draw, pixels = random.Random(1), np.random.default_rng(1).integers(0, 256, (24, 20, 3), np.uint8)
    originals = []
    for kind in KINDS:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        originals.append((kind.lower(), file.getvalue()))
    changed = folder / "changed"
    changed.mkdir()
    for number in range(count):
        suffix, data = originals[number % len(originals)]
        (changed / f"{number:05}.{suffix}").write_bytes(mutated(data, draw))
    translator = Translator.open(export(folder / "tiny.safetensors"), "cpu", "fp32")
    records = list(translator.translate_folder(changed, folder / "out", max_pixels=1_000_000, existing="overwrite"))
    unnamed = sum(record.status == "failed" and str(record.input) not in (record.error or "") for record in records)
    return {**Counter(record.status for record in records), "files": len(records), "failed without a name": unnamed}


def mutated(data: bytes, draw: random.Random) -> bytes:
    """Some bytes changed, and now and then the end cut off or a piece doubled."""
    result = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        result[draw.randrange(len(result))] = draw.choice((0, 1, 127, 255, draw.randrange(256)))
    where = draw.randrange(len(result))
    return bytes(draw.choice((result, result, result[:where], result[:where] + result[where // 2 :])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--fuzz", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        found = fuzz(Path(name), options.fuzz) if options.fuzz else kills(Path(name), options.images, options.kills)
        print(json.dumps(found))


if __name__ == "__main__":
    main()
