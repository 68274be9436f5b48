"""Several processes train as one: the same weights, each its own data, one that writes and talks."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import kills
import pytest
import torch

from i2i.training import checkpoint
from i2i.training.folder import log, step_of
from i2i.training.ranks import Ranks

START = """
import json, os, sys
from pathlib import Path
import torch
from i2i.training import ranks
group = ranks.join()
out = Path(sys.argv[1])
def report(value): (out / f"{group.rank}.json").write_text(json.dumps(value))
"""


def environments(count: int = 2) -> list[dict[str, str]]:
    """What torchrun gives to each process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    return [kills.environment() | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def start(command: list[str]) -> list[subprocess.Popen]:
    pipe = subprocess.PIPE
    return [subprocess.Popen([sys.executable, *command], stdout=pipe, stderr=pipe, text=True, env=e) for e in environments()]


def ended(processes: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
    """The status and the words of each."""
    said = [process.communicate(timeout=100) for process in processes]
    return [(process.returncode, *words) for process, words in zip(processes, said, strict=True)]


def test_alone_every_message_is_its_own_answer():
    alone, value = Ranks(), torch.ones(2)
    alone.average([value])
    assert value.tolist() == [1, 1]
    assert alone.any(True, False) == (True, False)
    assert alone.tell(lambda: "word") == "word"


BODY = """
from i2i import models
from i2i.config import from_assignments
from i2i.domain import Domain
from i2i.errors import UserError
from i2i.method import Batch
from i2i.training.update import Updater
import kills

a, b = torch.tensor([1.0 + group.rank]), torch.full((2, 2), 10.0 * group.rank)
group.average([a, b])
def fail(): raise UserError("no data")
try: group.tell(fail)
except UserError as error: last = error.message
except SystemExit as exit: last = exit.code
messages = [a.item(), b.tolist(), group.any(group.rank == 1, False, True), group.tell(lambda: f"from {group.rank}"), last]

def learned(group, batch):
    settings = [f"model.{s}" for s in kills.MODEL["cyclegan"]] + ["model.history=0"]
    config = models.configure("cyclegan", [from_assignments(settings)])
    torch.manual_seed(0)
    method = models.method_class("cyclegan")(config.model, Domain.of(3), Domain.of(3))
    update = Updater(method, lr=0.01, ranks=group)
    for _ in range(3): method.step(batch, update)
    return [p.flatten().tolist() for p in method.parameters() if p.dim() == 4]  # a bias before a norm gets rounding errors only

x, y = torch.rand(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
mine = slice(group.rank, group.rank + 1)
one, both = Batch(x[mine], y[mine]), Batch(x, y)
report({"messages": messages, "mine": learned(group, one), "one process": learned(ranks.Ranks(), both)})
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """What each of two processes reports that run `BODY`."""
    folder = tmp_path_factory.mktemp("ranks")
    code = f"import sys; sys.path.append({str(Path(kills.__file__).parent)!r}){START}{BODY}"
    for status, _, errors in ended(start(["-c", code, str(folder)])):
        assert status == 0, errors
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_ranks_average_vote_and_listen_to_the_first_and_leave_when_it_fails(reports):
    shared = [1.5, [[5.0, 5.0], [5.0, 5.0]], [True, False, True], "from 0"]
    assert [report["messages"] for report in reports] == [[*shared, "no data"], [*shared, 2]]


def test_two_ranks_learn_what_one_process_learns_from_both_of_their_batches(reports):
    """With instance norm, so that no image depends on the others in its batch."""
    assert reports[0]["mine"] == reports[1]["mine"]
    for two, one in zip(reports[0]["mine"], reports[0]["one process"], strict=True):
        torch.testing.assert_close(torch.tensor(two), torch.tensor(one), rtol=1e-3, atol=1e-4)


SAW = """
import os, sys
from i2i.data.samples import UnpairedSamples as S
real = S.__getitem__
def logged(self, n): print(n, file=open(sys.argv[-1] + '-saw-' + os.environ['RANK'], 'a')); return real(self, n)
S.__getitem__ = logged
"""
"""Writes the numbers of the samples that a process learned from beside the run."""


def training(data: Path, run: Path, *more: str, before: str = SAW) -> list[str]:
    """A command that trains; `before` is Python that runs first."""
    settings = [*(f"model.{s}" for s in kills.MODEL["cyclegan"]), *(f"train.{s}" for s in kills.TRAIN), *more]
    options = [word for setting in settings for word in ("--set", setting)]
    code = f"{before}\nfrom i2i.cli import main; main()"
    return ["-c", code, "train", "cyclegan", "--data", str(data), "--size", "16", *options, "--out", str(run)]


def test_a_run_of_two_ranks_is_one_run_each_with_its_own_samples_and_one_voice(tmp_path, images):
    run = tmp_path / "run"
    first, second = ended(start(training(images("cyclegan"), run, "train.steps=7")))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert first[1] == f"{run}/model.safetensors\n"
    assert "step 7/7" in first[2]
    assert second[1:] == ("", "")
    saw = [{int(n) for n in Path(f"{run}-saw-{rank}").read_text().split()} for rank in range(2)]
    assert saw == [set(range(0, 14, 2)), set(range(1, 14, 2))]
    assert [row["epoch"] for row in log(run)] == [1.2, 2.4, 2.8]  # 2 of 5 images a step
    assert len(list((run / "tensorboard").iterdir())) == 1
    checkpoint.load(checkpoint.latest(run))


BORDERS = """
import hashlib, json, sys, time
from pathlib import Path
from i2i.training import checkpoint
from i2i.training.trainer import Trainer
run, save = Trainer.run, checkpoint.save
def noted(self):
    def note():
        weights = b"".join(p.detach().numpy().tobytes() for p in self.method.parameters())
        with Path(f"{sys.argv[-1]}-at-{self.ranks.rank}").open("a") as file:
            print(hashlib.sha256(weights).hexdigest(), file=file)
    note(); run(self); note()
def slow(*arguments): time.sleep(0.5); save(*arguments)
Trainer.run, checkpoint.save = noted, slow
"""
"""Writes what the weights are before and after each stage beside the run. Checkpoints come late, and only one rank writes."""


def test_all_ranks_begin_a_stage_with_the_weights_of_the_end_of_the_one_before(tmp_path, images):
    run = tmp_path / "run"
    stages = ("stages.a.train.steps=2", "stages.b.train.steps=2", "stages.b.data.size=20", "train.ema=0")
    first, second = ended(start(training(images("cyclegan"), run, *stages, before=BORDERS)))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    at = [Path(f"{run}-at-{rank}").read_text().split() for rank in range(2)]
    assert at[0] == at[1]
    begin_a, end_a, begin_b, end_b = at[0]
    assert begin_b == end_a
    assert len({begin_a, end_a, end_b}) == 3
    assert step_of(checkpoint.latest(run)) == 4


def test_a_signal_to_one_rank_stops_all_at_the_same_step_and_the_run_goes_on(tmp_path, images):
    run = tmp_path / "run"
    processes = start(training(images("cyclegan"), run, "train.steps=2000"))
    kills.wait_for_a_line(processes[0], run)
    processes[1].send_signal(signal.SIGTERM)
    (first, _, said), (second, _, silent) = ended(processes)
    assert (first, second) == (143, 143), said + silent
    assert f"hint: torchrun --nproc-per-node 2 -m i2i resume {run}" in said
    assert silent == ""
    assert checkpoint.latest(run) is not None


def test_a_rank_that_dies_ends_the_others_with_a_sentence(tmp_path, images):
    run = tmp_path / "run"
    processes = start(training(images("cyclegan"), run, "train.steps=2000"))
    kills.wait_for_a_line(processes[0], run)
    processes[1].kill()
    began = time.monotonic()
    (first, _, said), _ = ended(processes)
    assert time.monotonic() - began < 30
    assert "Traceback" not in said
    if first != -signal.SIGABRT:  # gloo, torch's messenger, now and then aborts by itself when a partner is gone
        assert first == 2, said
        assert "error: another process of this run has ended" in said
