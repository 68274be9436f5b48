"""`report.html`: what it holds of a run, that nothing in it can break out, and that it fits a run that is half there."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from i2i.errors import UserError
from i2i.report import page


def held(file: Path) -> dict[str, Any]:
    """The data that a page carries."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', file.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1], parse_constant=pytest.fail)


def line(step: int, steps: int, **values: float) -> dict[str, float]:
    return {"step": step, "steps": steps, **values}


def test_a_page_says_how_far_the_run_is_and_which_checkpoint_is_best(painted):
    tree = held(page.write(painted()))
    assert (tree["about"]["step"], tree["about"]["steps"], tree["about"]["state"]) == (80, 80, "finished")
    assert tree["verdict"]["best"] == {"step": 40, "value": pytest.approx(0.3), "kept": True}
    assert tree["verdict"]["last"] == {"step": 80, "value": 0.2}
    assert (tree["verdict"]["by"], tree["verdict"]["better"], tree["verdict"]["checkpoints"]) == ("ssim", "higher", [40, 80])


def test_without_a_checkpoint_of_the_best_its_validation_is_named(painted):
    run = painted()
    (run / "checkpoints" / "best").unlink()
    assert held(page.write(run))["verdict"]["best"] == {"step": 40, "value": pytest.approx(0.3), "kept": False}


def test_what_is_best_by_can_be_said_and_has_its_direction(painted, write_log):
    run = painted(train={"best_by": "l1"})
    (run / "checkpoints" / "best").unlink()
    write_log(run, [line(step, 80, **{"val/l1": abs(step - 60.0)}) for step in range(20, 81, 20)])
    verdict = held(page.write(run))["verdict"]
    assert (verdict["best"]["step"], verdict["better"]) == (60, "lower")


def test_a_run_that_ran_out_of_patience_is_finished(painted):
    run = painted(at=60, train={"patience": 1})
    assert held(page.write(run))["about"]["state"] == "finished"
    assert held(page.write(painted("other", at=60)))["about"]["state"] == "stopped"


def test_each_setting_comes_with_its_source(painted):
    settings = {key: (value, source) for key, value, source in held(page.write(painted(train={"lr": 1e-3})))["settings"]}
    assert settings["train.lr"] == ("0.001", "--set")
    assert settings["train.batch"] == ("1", "default")


def test_a_run_of_before_has_settings_without_sources(painted):
    run = painted()
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config[: config.index("made_with:")])
    assert {source for _, _, source in held(page.write(run))["settings"]} == {""}


def test_warnings_and_the_last_evaluation_are_on_the_page(painted, write_log):
    run = painted()
    stage = {"from": 0, "until": 80}
    write_log(run, [line(step, 80, epoch=step / 10, seconds=step, **stage, **{"lr/G": 0.0}) for step in range(1, 50)])
    tree = {"when": "2026-01-01", "checkpoint": "best", "data": None, "metrics": [{"name": "ssim", "value": 0.4}]}
    (run / "evaluation.json").write_text(json.dumps(tree))
    found = held(page.write(run))
    assert [one["name"] for one in found["warnings"]] == ["G stands still"]
    assert found["evaluation"] == tree
    (run / "evaluation.json").write_text('{"metrics": [')
    assert held(page.write(run))["evaluation"] is None


def test_the_commands_of_a_model_that_needs_instance_maps_name_them(painted):
    x = {"channels": 5, "labels": True, "instances": True}
    commands = [command for _, command in held(page.write(painted(method="pix2pixhd", data={"x": x})))["commands"]]
    assert [command.split("FOLDER -o OUT")[1] for command in commands if "translate" in command] == [" --instances DIR"] * 2


def test_a_mistake_of_ours_in_the_page_costs_a_warning_and_no_training(painted, monkeypatch):
    said = []
    monkeypatch.setattr("i2i.report.record.charts", lambda record: {}["x"])
    with page.Page(painted(), said.append):
        pass
    assert len(said) == 1
    assert said[0].endswith("could not be written, which is a bug of i2i: KeyError('x')")


def test_curves_have_a_chart_for_each_metric_player_and_kind(painted):
    charts = {chart["title"]: chart["curves"] for chart in held(page.write(painted()))["charts"]}
    assert list(charts) == ["ssim", "balance", "losses of D", "losses of G", "learning rates"]
    assert charts["ssim"]["val"] == {"x": [20, 40, 60, 80], "y": [0.2, 0.3, 0.2, 0.2]}
    assert list(charts["balance"]) == ["D/real", "D/fake", "G/gan"]


def test_values_that_are_no_numbers_leave_no_trace(painted, write_log):
    run = painted()
    rows = [line(10, 80, **{"G/l1": float("nan")}), line(20, 80, **{"G/l1": float("inf")}), line(30, 80, **{"G/l1": 1.5})]
    write_log(run, [*rows, {"step": "x"}, {"G/l1": "word", "step": 40}, ["no"]])
    charts = {chart["title"]: chart["curves"] for chart in held(page.write(run))["charts"]}
    assert charts == {"losses of G": {"l1": {"x": [30], "y": [1.5]}}}


@pytest.mark.parametrize("lost", ["samples", "checkpoints", "metrics.jsonl"])
def test_a_run_that_is_only_partly_there_has_a_page(painted, lost):
    run = painted()
    shutil.rmtree(run / lost) if (run / lost).is_dir() else (run / lost).unlink()
    assert held(page.write(run))["about"]["method"] == "pix2pix"


def test_a_run_that_was_killed_in_the_middle_of_a_write_has_a_page(painted):
    run = painted(at=60)
    with (run / "metrics.jsonl").open("a") as log:
        log.write('{"step": 70, "G/g')
    sheet = run / "samples" / "step-000000060.png"
    sheet.write_bytes(sheet.read_bytes()[:100])
    tree = held(page.write(run))
    assert tree["about"]["step"] == 60
    assert [one["step"] for one in tree["pictures"]["steps"]] == [0, 20, 40]
    assert tree["pictures"]["unread"] == 1


EVIL = "</script><script>hit()</script><!-- & \u2028 {{data}}"


def test_nothing_that_a_run_says_can_end_the_script_that_holds_it(painted, ail):
    run = painted("<b> & {{style}}", data={"source": EVIL})
    (run / "evaluation.json").write_text(json.dumps({"metrics": [{"name": EVIL}]}))
    ail(EVIL, EVIL, EVIL)
    file = page.write(run)
    text = file.read_text()
    assert (text.count("<script"), text.count("</script>"), "<!--" in text) == (2, 2, False)
    assert "<title>&lt;b&gt; &amp; {{style}} · i2i</title>" in text
    tree = held(file)
    assert tree["data"]["named"]["source"] == tree["warnings"][0]["remedy"] == tree["evaluation"]["metrics"][0]["name"] == EVIL


def test_a_name_that_is_not_utf_8_has_a_page(painted, tmp_path):
    run = painted()
    odd = Path(os.fsdecode(os.fsencode(run) + b"\xff"))
    try:
        run.rename(odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert "<title>run? · i2i</title>" in page.write(odd).read_text("utf-8")
    assert page.write_all(odd.parent).exists()


def test_a_page_names_no_place_in_a_network(painted):
    text = page.write(painted()).read_text()
    assert set(re.findall(r"[a-z]+://[^\"'` <]+", text)) == {"http://www.w3.org/2000/svg"}  # a name, which nobody looks up
    assert "default-src 'none'" in text
    assert not re.search(r"<link (?!rel=\"icon\" href=\"data:)|@import|url\(", text.replace("url(#", ""))


def test_long_logs_and_many_sheets_make_a_page_of_the_size_that_is_promised(painted, paint, write_log):
    run = painted(steps=100_000)
    for step in range(0, 400 * 20, 20):
        paint(run, step, ("input", "output", "target"), rows=1, side=16)
    names = [f"G/term{i}" for i in range(8)]
    write_log(run, [line(step, 100_000, **dict.fromkeys(names, step**0.5)) for step in range(10, 100_000, 10)])
    file = page.write(run)
    assert file.stat().st_size < 10_000_000
    tree = held(file)
    assert len(tree["pictures"]["steps"]) <= 34
    assert tree["pictures"]["sheets"] == 400
    assert all(len(curve["x"]) <= 1000 for chart in tree["charts"] for curve in chart["curves"].values())


def test_while_a_run_trains_its_page_is_written_now_and_then_and_at_the_end(painted, monkeypatch):
    written = []
    monkeypatch.setattr(page, "write", lambda *words: written.append(words))
    live = page.Page(painted())
    clock = iter([0.0, 2.0, 50.0, 101.9, 103.0, 104.0, 104.5, 105.0])
    monkeypatch.setattr(page.time, "monotonic", lambda: next(clock))
    live.refresh()  # takes 2 s: the next may come 100 s later
    live.refresh()
    live.refresh()
    assert len(written) == 1
    live.refresh()
    live.refresh(last=True)
    assert len(written) == 3


def test_a_page_that_cannot_be_written_is_a_warning(painted):
    run, said = painted(), []
    (run / "report.html").mkdir()
    page.Page(run, said.append).refresh()
    assert len(said) == 1
    assert said[0].startswith(f"warning: {run}/report.html could not be written")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a run"):
        page.write(tmp_path)
    with pytest.raises(UserError, match="there is none in it"):
        page.write_all(tmp_path)


def test_the_list_of_runs_goes_on_past_a_damaged_one(painted):
    folder, said = painted("good").parent, []
    (painted("bad") / "config.yaml").write_text("method: [")
    tree = held(page.write_all(folder, said.append))
    assert [run["about"]["name"] for run in tree["runs"]] == ["good"]
    assert list(tree["runs"][0]["thumbnails"]) == ["input", "output", "target"]
    assert [line.split(" is not valid")[0] for line in said] == [
        f"warning: '{folder}/bad' is left out: '{folder}/bad/config.yaml'",
        f"wrote {folder}/good/report.html",
    ]
