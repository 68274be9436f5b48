"""The page as a browser shows it: what slides, keys and clicks do, in colours, on a phone, and without a network."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from i2i.report import page

BROWSER = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium here: apt-get install chromium")

BEFORE = """<script>
const told = { problems: [] };
addEventListener("error", (event) => told.problems.push(event.message));
addEventListener("unhandledrejection", (event) => told.problems.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => told.problems.push(`blocked ${event.blockedURI}`));
console.error = console.warn = (...words) => told.problems.push(words.join(" "));
</script>"""
AFTER = """<script>
const $ = (what) => document.querySelector(what), all = (what) => [...document.querySelectorAll(what)];
const key = (name, target = document.body) =>
  target.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
const rest = (ms = 50) => new Promise((done) => setTimeout(done, ms));
const slide = (input, value) => { input.value = value; input.dispatchEvent(new Event("input")); };
(async () => {
  try { await rest(200); %s } catch (error) { told.problems.push(String(error)); }
  document.body.append(Object.assign(document.createElement("pre"), { id: "told", textContent: JSON.stringify(told) }));
})();
</script></body>"""


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """`browse(page, "told.title = document.title")`: what a script has told that was laid into a copy of the page. No page may
    ever say that something is wrong."""

    def look(file: Path, script: str, *, width: int = 1200, dark: bool = False, clock: int = 5000) -> dict[str, Any]:
        text = file.read_text().replace("<head>", "<head>" + BEFORE, 1)
        copy = tmp_path / "looked at.html"
        copy.write_text((AFTER % script).join(text.rsplit("</body>", 1)))
        scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--window-size={width},900",
            f"--user-data-dir={tmp_path}/browser",
        ]
        offline = ["--host-resolver-rules=MAP * ~NOTFOUND", f"--virtual-time-budget={clock}", "--dump-dom"]
        command = [str(BROWSER), *flags, *scheme, *offline, copy.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
        assert found, done.stderr
        told = json.loads(html.unescape(found[1]))
        assert told.pop("problems") == []
        return told

    return look


def test_the_slider_changes_what_is_made_and_leaves_what_is_given(browse, painted):
    told = browse(
        page.write(painted()),
        """const look = () => all(".sample:first-of-type img").map((img) => img.src);
        told.names = all(".sample:first-of-type .name").map((name) => name.textContent);
        const last = look();
        told.step = $("#step").textContent;
        slide($("#slider"), 0);
        told.first = $("#step").textContent;
        told.changed = look().map((src, i) => src !== last[i]);
        told.shown = all(".sample img").every((img) => img.naturalWidth === 16);
        told.text = $("#slider").getAttribute("aria-valuetext");""",
    )
    assert told == {
        "names": ["input", "output", "target"],
        "step": "step 80",
        "first": "step 0",
        "changed": [False, True, False],
        "shown": True,
        "text": "step 0",
    }


def test_keys_move_through_steps_and_samples(browse, painted):
    told = browse(
        page.write(painted()),
        """key("ArrowLeft"); told.left = $("#step").textContent;
        key("ArrowLeft"); key("ArrowLeft"); key("ArrowRight"); told.right = $("#step").textContent;
        $(".cell").focus(); key("ArrowDown", document.activeElement); told.row = document.activeElement.dataset.row;
        $("#smooth").focus(); key("ArrowLeft", $("#smooth")); told.typing = $("#step").textContent;
        all(".player button").find((b) => b.textContent === "best").click(); told.best = $("#step").textContent;""",
    )
    assert told == {"left": "step 60", "right": "step 40", "row": "1", "typing": "step 40", "best": "step 40"}


def test_a_closer_look_moves_all_pictures_together_and_compares_two(browse, painted):
    told = browse(
        page.write(painted()),
        """$(".cell.made").click();
        const zoom = $("#zoom");
        told.open = zoom.open; told.panes = all("#zoom figcaption").map((one) => one.textContent);
        key("+", zoom); told.places = [...new Set(all("#zoom .inner").map((one) => one.style.transform))].length;
        told.large = $("#zoom .inner").style.transform.includes("scale(1.4)");
        key("ArrowLeft", zoom); key("ArrowDown", zoom); told.title = $("#zoom-title").textContent;
        key("m", zoom); await rest();
        key("ArrowRight", $(".divider")); told.divider = $(".divider").getAttribute("aria-valuenow");
        told.sides = all("#zoom .corner").map((one) => one.textContent);
        key("m", zoom); told.differ = getComputedStyle($("#zoom .differ img + img")).mixBlendMode;
        $('#zoom [aria-label="Close"]').click(); told.closed = !zoom.open; told.back = document.activeElement.dataset.row;""",
    )
    assert told == {
        "open": True,
        "panes": ["input", "output", "target"],
        "places": 1,
        "large": True,
        "title": "sample 2 · step 60",
        "divider": "54",
        "sides": ["input", "output"],
        "differ": "difference",
        "closed": True,
        "back": "1",
    }


def test_a_refiner_shows_what_it_changed_and_opens_under_a_divider(browse, painted):
    told = browse(
        page.write(painted(method="simgan")),
        """told.names = all(".sample:first-of-type .name").map((name) => name.textContent);
        told.blend = getComputedStyle($(".stack img + img")).mixBlendMode;
        $(".cell.made").click(); await rest(); told.sides = all("#zoom .corner").map((one) => one.textContent);""",
    )
    assert told["names"] == ["synthetic", "refined", "change ×4", "real"]
    assert told["blend"] == "difference"
    assert told["sides"] == ["synthetic", "refined"]


@pytest.mark.parametrize(("method", "rows"), [("cyclegan", [3, 3]), ("bicyclegan", [3, 4]), ("pix2pixhd", [4]), ("crn", [4])])
def test_columns_lie_in_the_lines_of_their_method(browse, painted, method, rows):
    told = browse(
        page.write(painted(method=method)), 'told.rows = all(".sample:first-of-type .cells").map((one) => one.children.length);'
    )
    assert told["rows"] == rows


def test_curves_are_read_by_pointer_and_keys_and_lead_to_pictures(browse, painted):
    told = browse(
        page.write(painted()),
        """const svg = $("svg"), box = svg.getBoundingClientRect();
        told.titles = all(".chart h3").map((one) => one.textContent);
        told.drawn = all(".chart .smooth").every((line) => line.getAttribute("d").length > 10);
        svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + 50, clientY: box.top + 50 }));
        told.read = $(".chart .legend b").textContent;
        svg.dispatchEvent(new MouseEvent("click", { clientX: box.left + 50, clientY: box.top + 50 }));
        told.step = $("#step").textContent;
        key("ArrowRight", svg); told.key = svg.parentNode.querySelector(".legend").textContent;
        const axis = () => all(".chart text").map((one) => one.textContent).join(), plain = axis();
        $("#log").click(); told.other = axis() !== plain;""",
    )
    assert told["titles"] == ["ssim", "balance", "losses of D", "losses of G", "learning rates"]
    assert told["drawn"]
    assert (told["read"], told["step"], told["other"]) == ("0.2", "step 20", True)
    assert told["key"].endswith("at step 40")


def test_colours_follow_the_system_until_somebody_chooses(browse, painted):
    script = """const paper = () => getComputedStyle(document.body).backgroundColor;
        told.first = paper(); $("#theme").click(); told.second = paper();"""
    file = page.write(painted())
    light, dark = browse(file, script), browse(file, script, dark=True)
    assert light["first"] == dark["second"] != dark["first"] == light["second"]


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_ground(browse, painted, dark):
    told = browse(
        page.write(painted(at=40)),
        """const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const light = (rgb) => {
          const [r, g, b] = rgb.match(/[\\d.]+/g).map((v) => linear(v / 255));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
        };
        const ground = (node) => {
          const colour = getComputedStyle(node).backgroundColor;
          return /, 0\\)/.test(colour) ? ground(node.parentElement) : colour;
        };
        const ink = (node) => getComputedStyle(node)[node.namespaceURI.endsWith("svg") ? "fill" : "color"];
        const ratio = (node) => {
          const [a, b] = [light(ink(node)), light(ground(node))];
          return Math.max(a / b, b / a);
        };
        const speaks = (node) => node.checkVisibility() && [...node.childNodes].some((c) => c.nodeType === 3 && c.data.trim());
        told.weak = all("header *, main *, footer *").filter((n) => speaks(n) && ratio(n) < 4.5).map((n) => n.outerHTML);
        told.seen = all("header *, main *, footer *").filter(speaks).length > 50;""",
        dark=dark,
    )
    assert told == {"weak": [], "seen": True}


@pytest.mark.parametrize("method", ["pix2pix", "bicyclegan"])
def test_a_phone_shows_everything_without_scrolling_sideways(browse, painted, ail, method):
    run = painted(
        "a-run-with-a-name-that-is-rather-long-and-without-a-space-in-it", method, data={"source": "/home/" + "x" * 90}
    )
    ail("D wins.", "It tells all apart.", "--set train.player_lr={D: 5e-5}")
    file = page.write(run)
    frame = file.with_name("frame.html")  # a window of a browser cannot be as narrow as a phone, a frame can
    listen = 'addEventListener("message", (event) => { told.sizes = event.data; });'
    inner = f'<iframe src="{file.as_uri()}" style="width:360px;height:700px;border:0"></iframe>'
    frame.write_text(f"<!doctype html><html><head></head><body><script>{listen}</script>{inner}</body></html>")
    tell = """<script>setTimeout(() => {
      const { clientWidth, scrollWidth } = document.documentElement;
      const wide = [...document.querySelectorAll("body *")].filter((n) => n.getBoundingClientRect().right > innerWidth + 1);
      const names = wide.filter((n) => !n.closest(".scroll, .hidden")).map((n) => n.tagName + n.className);
      parent.postMessage([innerWidth, scrollWidth - clientWidth, names], "*");
    }, 300);</script></body>"""
    file.write_text(tell.join(file.read_text().rsplit("</body>", 1)))
    told = browse(frame, "await rest(1500);")
    assert told["sizes"] == [360, 0, []]


def test_the_last_evaluation_says_on_what_each_number_rests(browse, painted):
    run = painted()
    kid = {"name": "kid", "value": 0.0123, "deviation": 0.001, "better": "lower", "n": 30, "n_real": 30, "baseline": 0.002}
    seen = {"resize": "299", "weights": "/w/inception.pth", "sha256": "0123456789ab", "details": {"subset": 30}, "note": "few"}
    (run / "evaluation.json").write_text(json.dumps({"checkpoint": "best", "metrics": [kid | seen]}))
    told = browse(page.write(run), 'told.row = all("#verdict tbody tr > *").map((cell) => cell.textContent);')
    assert told == {"row": ["kid", "0.0123", "0.001", "lower", "30", "0.002", "299 · inception.pth 01234567 · subset 30 · few"]}


def test_names_and_settings_that_look_like_markup_stay_text(browse, painted, ail):
    evil = "</script><script>window.hit = 1</script><!--<img src=x onerror='window.hit = 1'>"
    run = painted("<img src=x onerror=hit=1>", data={"source": evil})
    (run / "evaluation.json").write_text(
        json.dumps({"checkpoint": evil, "metrics": [{"name": evil, "value": None, "reason": evil}]})
    )
    ail(evil, evil, evil)
    told = browse(
        page.write(run),
        """told.hit = "hit" in window; told.title = $("h1").textContent; told.images = all("img[src=x]").length;
        told.name = $("#verdict tbody th").textContent;""",
    )
    assert told == {"hit": False, "title": "<img src=x onerror=hit=1>", "images": 0, "name": evil}


def test_a_page_of_a_run_that_trains_comes_again_at_the_same_place(browse, painted):
    told = browse(
        page.write(painted(at=40)),
        """const loads = Number(sessionStorage.getItem("loads") ?? 0) + 1; sessionStorage.setItem("loads", loads);
        if (loads === 1) { key("ArrowLeft"); scrollTo({ top: 300, behavior: "instant" }); await rest(90000); }
        $("#refresh").click();
        told.loads = loads; told.step = $("#step").textContent; told.scroll = Math.round(scrollY);""",
        clock=40_000,
    )
    assert told == {"loads": 2, "step": "step 20", "scroll": 300}


def test_the_switch_keeps_a_page_as_it_is(browse, painted):
    told = browse(
        page.write(painted(at=40)),
        """const loads = Number(sessionStorage.getItem("loads") ?? 0) + 1; sessionStorage.setItem("loads", loads);
        $("#refresh").click(); await rest(45000); told.loads = loads;""",
        clock=60_000,
    )
    assert told == {"loads": 1}


def test_nothing_is_asked_of_a_network(browse, painted):
    told = browse(
        page.write(painted()),
        """const asked = performance.getEntriesByType("resource").map((one) => one.name);
        told.asked = asked.filter((name) => !name.startsWith("data:"));""",
    )
    assert told == {"asked": []}


def test_a_run_without_pictures_and_log_has_a_page_too(browse, painted):
    run = painted()
    for folder in ("samples", "checkpoints"):
        shutil.rmtree(run / folder)
    (run / "metrics.jsonl").unlink()
    told = browse(page.write(run), 'told.empty = all(".empty").length; told.big = $(".answer .big").textContent;')
    assert told == {"empty": 2, "big": "–"}


def test_the_list_of_runs_leads_to_each(browse, painted):
    painted("one two")
    run = painted("#2", "cyclegan")
    told = browse(
        page.write_all(run.parent),
        'told.links = all(".run a").map((one) => one.getAttribute("href")); told.images = all(".run img").length;',
    )
    assert told == {"links": ["%232/report.html", "one%20two/report.html"], "images": 7}
