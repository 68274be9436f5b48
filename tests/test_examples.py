"""Every script in examples/ runs as its docstring says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from i2i import models
from i2i.config import Layer
from i2i.data import scenes
from i2i.domain import Domain
from i2i.images import read
from i2i.training import checkpoint

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """An untrained CycleGAN in a file."""
    side = Domain.of(3).model_dump()
    networks = {"generator": {"blocks": 0, "width": 2}, "discriminator": {"layers": 1, "width": 2}}
    config = models.configure("cyclegan", [Layer("the test", {"model": networks, "data": {"x": side, "y": side}})])
    weights = {name: w for name, w in models.build(config).state_dict().items() if name[:2] in ("G.", "F.")}
    checkpoint.export(tmp_path / "model.safetensors", weights, {"config": config.tree()})
    return tmp_path / "model.safetensors"


def run(script: str, *arguments: str | Path, folder: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_picture_of_the_readme_is_what_its_script_draws(tmp_path: Path) -> None:
    run("scenes.py", "drawn.png", folder=tmp_path)
    drawn, shown = read(tmp_path / "drawn.png").array, read(EXAMPLES / "scenes.png").array
    assert drawn.shape == shown.shape
    assert abs(drawn.astype(int) - shown).mean() < 1


def test_the_truth_itself_has_no_error_and_the_untranslated_image_has(tmp_path: Path) -> None:
    scenes.make(tmp_path / "set", "unpaired", 2, 32)
    said = run("score_against_truth.py", "set/truth/testA", "set/truth/testA", "set/testA", folder=tmp_path)
    before, after = (float(word) for word in said.split() if word.replace(".", "").isdecimal())
    assert before > 5
    assert after == 0


def test_batches_are_converted_and_skipped_the_second_time(tiny_model: Path, tmp_path: Path) -> None:
    scenes.make(tmp_path / "set", "unpaired", 2, 32)
    (tmp_path / "set" / "testA" / "broken.png").write_bytes(b"not an image")
    first = run("convert_in_batches.py", tiny_model, "set/testA", "made", folder=tmp_path).splitlines()
    assert sorted(line.split()[0] for line in first) == ["done", "failed"]
    second = run("convert_in_batches.py", tiny_model, "set/testA", "made", folder=tmp_path)
    assert "skipped" in second
