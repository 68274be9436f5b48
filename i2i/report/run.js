const { about, pictures, verdict } = DATA;
const STEPS = pictures.steps;
const BEST = verdict.best ? nearest(verdict.best.step) : null;
const ui = {
  at: Math.max(0, STEPS.length - 1), // which of the sheets is shown
  smooth: memory.read("smooth", 0.6),
  log: memory.read("log", false),
  all: memory.read("all", false),
};
const kept = memory.read("step", "last");
if (kept !== "last" && STEPS.length) ui.at = nearest(kept);
const watchers = []; // who draws again when another step is shown

function nearest(step) {
  return STEPS.reduce((found, one, i) => (Math.abs(one.step - step) < Math.abs(STEPS[found].step - step) ? i : found), 0);
}

function go(index) {
  if (!STEPS.length) return;
  ui.at = Math.max(0, Math.min(STEPS.length - 1, index));
  memory.write("step", ui.at === STEPS.length - 1 ? "last" : STEPS[ui.at].step);
  for (const draw of watchers) draw();
}

function source(column, row, at = ui.at) {
  const cells = STEPS[at]?.cells[column];
  return cells && row < cells.length ? pictures.images[cells[row]] : null;
}

function isGiven(column) { return pictures.given.includes(column); }

function words(at = ui.at) { return `step ${count(STEPS[at].step)}`; }

// The pictures

function image(alt) {
  const img = h("img", { alt, draggable: "false" });
  img.addEventListener("load", () => img.classList.toggle("coarse", img.naturalWidth <= 192));
  return img;
}

function show(img, uri) {
  if (uri && img.src !== uri) img.src = uri;
  img.hidden = !uri;
}

function picture(column, row) {
  const before = pictures.before[column];
  const img = image(`${column}, sample ${row + 1}`);
  const open = (mode) => zoom.open(row, column, mode);
  const cell = h("button", { type: "button", className: `cell ${isGiven(column) ? "given" : "made"}`, onclick: () => open(before ? "swipe" : "beside"),
    "data-row": row, "data-column": column }, img, h("span", { className: "name" }, column));
  watchers.push(() => { show(img, source(column, row)); cell.hidden = !source(column, row); });
  if (!before || !hasColumn(before)) return [cell];
  const under = image(""), over = image(`What ${column} has changed in sample ${row + 1}, four times as bright`);
  const stack = h("span", { className: "stack" }, under, over);
  watchers.push(() => { show(under, source(before, row)); show(over, source(column, row)); });
  return [cell, h("button", { type: "button", className: "cell made", onclick: () => open("differ"), "data-row": row, "data-column": `${column} difference` },
    stack, h("span", { className: "name" }, "change ×4"))];
}

function hasColumn(column) { return STEPS.some((one) => column in one.cells); }

function sample(row, across) {
  const groups = pictures.blocks.map((block) => h("div", { className: "cells" }, block.flatMap((column) => picture(column, row))));
  return h("article", { className: "sample", "--columns": across, "--narrow": across > 3 ? 2 : across }, h("h3", {}, `sample ${row + 1}`), groups);
}

function samples() {
  const rows = Math.max(...STEPS.flatMap((one) => Object.values(one.cells).map((cells) => cells.length)));
  const across = Math.max(...pictures.blocks.map((block) => block.reduce((sum, column) => sum + (hasColumn(pictures.before[column]) ? 2 : 1), 0)));
  const each = Math.max(8, Math.min(16, pictures.width / 23)); // two cards in a line for small pictures, one for large ones
  const width = pictures.blocks.flat().length === 1 ? 60 : each * across;
  return h("div", { className: "samples", "--card-width": `${width}rem` }, Array.from({ length: rows }, (_, row) => sample(row, across)));
}

function slider(id) {
  const input = h("input", { type: "range", id, min: 0, max: STEPS.length - 1, step: 1, "aria-label": "Training step of the pictures",
    oninput: () => go(Number(input.value)) });
  watchers.push(() => {
    input.value = ui.at;
    input.setAttribute("aria-valuetext", words() + (ui.at === BEST ? ", the best" : ""));
  });
  return input;
}

const player = { timer: null, button: null };

function play() {
  const playing = player.timer !== null;
  clearInterval(player.timer);
  player.timer = null;
  if (!playing) {
    if (ui.at === STEPS.length - 1) go(0);
    player.timer = setInterval(() => (ui.at === STEPS.length - 1 ? play() : go(ui.at + 1)), 350);
  }
  player.button.textContent = playing ? "▶" : "⏸";
  player.button.setAttribute("aria-label", playing ? "Play" : "Pause");
}

function jump(text, index, hint) {
  const button = h("button", { type: "button", title: hint, onclick: () => go(index) }, text);
  watchers.push(() => button.setAttribute("aria-pressed", ui.at === index));
  return button;
}

function controls() {
  const last = STEPS.length - 1;
  const output = h("output", { className: "step", id: "step" });
  watchers.push(() => { output.textContent = words(); });
  player.button = h("button", { type: "button", className: "round", id: "play", "aria-label": "Play", onclick: play }, "▶");
  const ticks = STEPS.map((_, i) => h("i", { className: i === BEST ? "best" : null, style: { left: `${last ? (100 * i) / last : 0}%` } }));
  return h("div", { className: "player" },
    h("div", { className: "tools" }, player.button, jump("first", 0), BEST !== null && jump("best", BEST, `nearest to step ${verdict.best.step}`), jump("last", last)),
    h("div", { className: "track" }, slider("slider"), h("div", { className: "ticks", "aria-hidden": "true" }, ticks)),
    output);
}

function picturesSection() {
  const section = h("section", { id: "pictures", "aria-labelledby": "pictures-title" }, h("h2", { id: "pictures-title" }, "Pictures"));
  if (!STEPS.length) {
    section.append(h("div", { className: "empty" }, "No sample sheet yet. The first is drawn before the first step, unless train.samples is 0."));
    return section;
  }
  const thinned = pictures.sheets > STEPS.length ? ` ${STEPS.length} of ${pictures.sheets} sheets are here; all lie in samples/.` : "";
  const broken = pictures.unread ? ` ${pictures.unread} could not be read.` : "";
  section.append(
    h("p", {}, `The same images again and again, as the run learns.${thinned}${broken} `, h("kbd", {}, "←"), " ", h("kbd", {}, "→"),
      " move through the steps, a click looks closer."),
    controls(), samples());
  return section;
}

// A closer look: all columns side by side, two of them under a divider, or their difference

const zoom = {
  row: 0, column: null, mode: "beside", k: 1, x: 0, y: 0, divider: 50, left: null, right: null, node: null,

  open(row, column, mode) {
    const block = pictures.blocks.find((names) => names.includes(column)) ?? pictures.blocks[0];
    const made = isGiven(column) ? block.find((name) => !isGiven(name)) ?? column : column;
    const given = isGiven(column) ? column : block.find(isGiven) ?? column;
    Object.assign(this, { row, column, mode, k: 1, x: 0, y: 0, divider: 50, left: pictures.before[made] ?? given, right: made });
    if (!this.node) this.build();
    this.draw();
    this.node.showModal();
    this.panes.focus();
  },

  build() {
    this.title = h("h2", { id: "zoom-title" });
    this.panes = h("div", { className: "panes", tabindex: "-1" });
    const modes = [["beside", "side by side"], ["swipe", "before / after"], ["differ", "difference"]].map(([mode, text]) => {
      const button = h("button", { type: "button", "data-mode": mode, onclick: () => { this.mode = mode; this.draw(); } }, text);
      return button;
    });
    this.modes = modes;
    const choose = (side, label) => h("select", { "aria-label": label, onchange: (event) => { this[side] = event.target.value; this.draw(); } },
      pictures.blocks.flat().map((column) => h("option", { value: column }, column)));
    this.sides = h("span", { className: "tools" }, choose("left", "Left picture"), choose("right", "Right picture"));
    const button = (text, label, act) => h("button", { type: "button", className: "round", "aria-label": label, title: label, onclick: act }, text);
    this.node = h("dialog", { id: "zoom", "aria-labelledby": "zoom-title", onkeydown: (event) => this.key(event) },
      h("div", { className: "zoom-head" }, this.title, h("div", { className: "tools" }, modes, this.sides),
        h("div", { className: "tools" }, button("−", "Smaller", () => this.scale(1 / 1.4)), button("+", "Larger", () => this.scale(1.4)),
          button("↺", "Whole picture", () => this.place(1, 0, 0)), button("×", "Close", () => this.leave()))),
      this.panes,
      h("div", { className: "zoom-foot" }, slider("zoom-slider"), h("span", { className: "soft small" }, h("kbd", {}, "←"), " ", h("kbd", {}, "→"),
        " steps · ", h("kbd", {}, "↑"), " ", h("kbd", {}, "↓"), " samples · ", h("kbd", {}, "M"), " mode · ", h("kbd", {}, "+"), " ", h("kbd", {}, "−"))));
    document.body.append(this.node);
    watchers.push(() => this.node.open && this.draw());
    this.node.addEventListener("close", () => this.leave());
  },

  leave() { // and be where this sample is on the page
    this.node.close();
    document.querySelector(`[data-row="${this.row}"][data-column="${CSS.escape(this.column)}"]`)?.focus();
  },

  draw() {
    this.title.textContent = `sample ${this.row + 1} · ${words()}`;
    for (const button of this.modes) button.setAttribute("aria-pressed", button.dataset.mode === this.mode);
    this.sides.hidden = this.mode === "beside";
    [this.sides.firstChild.value, this.sides.lastChild.value] = [this.left, this.right];
    const block = pictures.blocks.find((names) => names.includes(this.column)) ?? pictures.blocks[0];
    const columns = block.filter((column) => source(column, this.row));
    const panes = { beside: () => columns.map((column) => this.pane(column, [this.shown(column)])), swipe: () => [this.swipe()], differ: () => [this.differ()] };
    const across = this.mode === "beside" ? Math.ceil(columns.length / (columns.length > 4 ? 2 : 1)) : 1;
    this.panes.style.setProperty("--across", across);
    this.panes.classList.toggle("beside", this.mode === "beside");
    this.panes.replaceChildren(...panes[this.mode]());
    this.move();
  },

  shown(column) {
    const img = image(`${column}, sample ${this.row + 1}`);
    show(img, source(column, this.row));
    return img;
  },

  pane(caption, content, extra = []) {
    const inner = h("div", { className: "inner" }, content);
    const view = h("div", { className: "view" }, inner, extra);
    this.listen(view);
    return h("figure", { className: "pane" }, h("figcaption", {}, caption), view);
  },

  swipe() {
    const before = h("div", { className: "inner" }, this.shown(this.left)), after = h("div", { className: "inner" }, this.shown(this.right));
    const over = h("div", { className: "over" }, after), divider = h("div", { className: "divider", role: "slider", tabindex: "0",
      "aria-label": "Divider between before and after", "aria-valuemin": 0, "aria-valuemax": 100, onkeydown: (event) => {
        const by = { ArrowLeft: -4, ArrowRight: 4 }[event.key];
        if (by) { this.split(this.divider + by); event.preventDefault(); event.stopPropagation(); }
      } });
    const view = h("div", { className: "view", "--divider": `${this.divider}%` }, before, over,
      h("span", { className: "corner left" }, this.left), h("span", { className: "corner right" }, this.right), divider);
    divider.addEventListener("pointerdown", (event) => { divider.setPointerCapture(event.pointerId); event.stopPropagation(); });
    divider.addEventListener("pointermove", (event) => {
      if (!divider.hasPointerCapture(event.pointerId)) return;
      const box = view.getBoundingClientRect();
      this.split((100 * (event.clientX - box.left)) / box.width);
    });
    this.listen(view);
    const figure = h("figure", { className: "pane" }, h("figcaption", {}, `${this.left} on the left, ${this.right} on the right`), view);
    requestAnimationFrame(() => this.split(this.divider));
    return figure;
  },

  split(share) {
    this.divider = Math.max(0, Math.min(100, share));
    const divider = this.panes.querySelector(".divider");
    if (!divider) return;
    divider.style.left = `${this.divider}%`;
    divider.setAttribute("aria-valuenow", Math.round(this.divider));
    divider.parentNode.style.setProperty("--divider", `${this.divider}%`);
  },

  differ() {
    const figure = this.pane(`what is not the same in ${this.left} and ${this.right}, four times as bright`, [this.shown(this.left), this.shown(this.right)]);
    figure.querySelector(".inner").classList.add("differ");
    return figure;
  },

  listen(view) {
    const points = new Map();
    view.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = view.getBoundingClientRect();
      this.scale(Math.exp(-event.deltaY / 400), (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    }, { passive: false });
    view.addEventListener("pointerdown", (event) => { view.setPointerCapture(event.pointerId); points.set(event.pointerId, event); });
    view.addEventListener("pointermove", (event) => {
      const old = points.get(event.pointerId);
      if (!old) return;
      const box = view.getBoundingClientRect();
      const others = [...points.values()].filter((one) => one.pointerId !== event.pointerId);
      if (others.length === 1) { // two fingers
        const [other] = others, apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
        this.scale(apart(event) / Math.max(1, apart(old)), ((event.clientX + other.clientX) / 2 - box.left) / box.width,
          ((event.clientY + other.clientY) / 2 - box.top) / box.height);
      } else {
        this.place(this.k, this.x + (event.clientX - old.clientX) / box.width, this.y + (event.clientY - old.clientY) / box.height);
      }
      points.set(event.pointerId, event);
    });
    for (const end of ["pointerup", "pointercancel"]) view.addEventListener(end, (event) => points.delete(event.pointerId));
    view.addEventListener("dblclick", () => (this.k > 1 ? this.place(1, 0, 0) : this.scale(3)));
  },

  scale(factor, x = 0.5, y = 0.5) {
    const k = Math.max(1, Math.min(32, this.k * factor)), ratio = k / this.k;
    this.place(k, x - (x - this.x) * ratio, y - (y - this.y) * ratio);
  },

  place(k, x, y) { // x and y in parts of a pane, so that all panes show the same place
    this.k = k;
    this.x = Math.min(0, Math.max(1 - k, x));
    this.y = Math.min(0, Math.max(1 - k, y));
    this.move();
  },

  move() {
    for (const inner of this.panes.querySelectorAll(".inner")) {
      inner.style.transform = `translate(${100 * this.x}%, ${100 * this.y}%) scale(${this.k})`;
    }
  },

  key(event) {
    const rows = STEPS[ui.at].cells[this.column]?.length ?? 1;
    const modes = ["beside", "swipe", "differ"];
    const acts = {
      ArrowLeft: () => go(ui.at - 1), ArrowRight: () => go(ui.at + 1), Home: () => go(0), End: () => go(STEPS.length - 1),
      ArrowUp: () => { this.row = (this.row + rows - 1) % rows; this.draw(); },
      ArrowDown: () => { this.row = (this.row + 1) % rows; this.draw(); },
      m: () => { this.mode = modes[(modes.indexOf(this.mode) + 1) % 3]; this.draw(); },
      "+": () => this.scale(1.4), "=": () => this.scale(1.4), "-": () => this.scale(1 / 1.4), 0: () => this.place(1, 0, 0),
    };
    if (event.target.tagName === "SELECT" || !acts[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    acts[event.key]();
  },
};

// The verdict

const ARROWS = { higher: "higher is better", lower: "lower is better" };

function direction(better) { return better ? ARROWS[better] ?? `best at ${better}` : ""; }

function answer(what, big, rest, keep) {
  return h("div", { className: `answer ${keep ? "keep" : ""}` }, h("p", { className: "what" }, what), h("p", { className: "big" }, big),
    h("p", { className: "small soft" }, rest));
}

function value(found) { return found.value === null || found.value === undefined ? "" : `${verdict.by} ${number(found.value)}`; }

function answers() {
  const { best, last, checkpoints } = verdict;
  const saved = checkpoints.length ? checkpoints.map(count).join(", ") : "none yet";
  const cards = [];
  if (best) {
    cards.push(answer(best.kept ? "best, kept as checkpoints/best" : "best so far", `step ${count(best.step)}`,
      [value(best), direction(verdict.better)].filter(Boolean).join(" · "), true));
  }
  if (last) cards.push(answer("last validation", `step ${count(last.step)}`, value(last)));
  cards.push(answer(`checkpoints on the disk`, checkpoints.length ? String(checkpoints.length) : "–", `steps ${saved}`));
  return h("div", { className: "answers" }, cards);
}

function said() {
  const { best, last, by } = verdict;
  if (!best) return `No checkpoint was chosen by a number${by ? ` (${by})` : ""}: the pictures say which to keep, or i2i evaluate.`;
  if (!last || best.step === last.step) return `By ${by} the run was never better than at its last validation, at step ${count(best.step)}.`;
  const place = best.kept ? "checkpoints/best" : `the checkpoint nearest to step ${count(best.step)}`;
  return `Keep ${place}: by ${by} the run was better at step ${count(best.step)} than at its last validation.`;
}

function health() {
  if (!DATA.warnings.length) return h("p", { className: "fine" }, "✓ Nothing in the log looks wrong.");
  return h("ul", { className: "warnings", "aria-label": "Warnings" }, DATA.warnings.map(({ name, evidence, remedy }) =>
    h("li", {}, h("strong", {}, name), ` ${evidence} `, h("span", { className: "soft" }, remedy))));
}

function seen({ resize, weights, sha256, details, note }) {
  const file = weights && sha256 && `${weights.split(/[\\/]/).pop()} ${sha256.slice(0, 8)}`;
  const flat = Object.entries(details ?? {}).flatMap(([key, value]) => value && typeof value === "object" ? Object.entries(value) : [[key, value]]);
  return [resize, file, ...flat.map(([key, value]) => `${key} ${typeof value === "number" ? number(value) : value}`), note].filter(Boolean).join(" · ");
}

function evaluation() {
  const found = DATA.evaluation;
  if (!found) return null;
  const heads = [["metric"], ["value", 1], ["±", 1], ["better"], ["n", 1], ["real / real", 1], ["seen"]];
  const when = [found.when && `on ${found.when.slice(0, 16).replace("T", " ")}`, found.checkpoint && `checkpoint ${found.checkpoint}`, found.data && `data ${found.data}`];
  const rows = found.metrics.map((one) => h("tr", {}, h("th", { scope: "row" }, one.name ?? one.metric),
    one.value === null ? h("td", { colspan: 6, className: "soft" }, one.reason ?? "no value") : [
      h("td", { className: "number" }, number(one.value)),
      h("td", { className: "number soft" }, typeof one.deviation === "number" ? number(one.deviation) : ""),
      h("td", {}, one.better), h("td", { className: "number" }, count(one.n)),
      h("td", { className: "number soft" }, typeof one.baseline === "number" ? number(one.baseline) : ""),
      h("td", { className: "soft" }, seen(one))]));
  return h("div", { className: "block" }, h("h3", {}, "Evaluation"), h("p", { className: "small soft" }, when.filter(Boolean).join(" · ")),
    h("div", { className: "scroll wide", tabindex: "0", role: "group", "aria-label": "Evaluation" }, h("table", {},
      h("thead", {}, h("tr", {}, heads.map(([text, right]) => h("th", { scope: "col", className: right ? "number" : null }, text)))),
      h("tbody", {}, rows))));
}

function verdictSection() {
  return h("section", { id: "verdict", "aria-labelledby": "verdict-title" }, h("h2", { id: "verdict-title" }, "Is it working?"),
    h("p", { className: "said" }, said()), answers(), health(), evaluation());
}

// The curves

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = 8;

function s(tag, props, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props || {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function smoothed(ys, share) { // a moving average to both sides, so that nothing is shifted
  const reach = Math.floor((share * share * ys.length) / 8);
  if (reach < 1) return ys;
  const sums = [0];
  for (const y of ys) sums.push(sums[sums.length - 1] + y);
  return ys.map((_, i) => {
    const near = Math.min(reach, i, ys.length - 1 - i);
    return (sums[i + near + 1] - sums[i - near]) / (2 * near + 1);
  });
}

function ticks(low, high, wanted) {
  const raw = (high - low) / wanted || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((one) => one >= raw);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  return found;
}

function decades(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const m of high / low > 300 ? [1] : [1, 2, 5]) found.push(m * 10 ** power);
  }
  return found.filter((one) => one >= low * 0.999 && one <= high * 1.001);
}

function extent(values) { // where nearly all values lie, if a few lie far away from them
  const sorted = [...values].sort((a, b) => a - b), end = sorted.length - 1;
  const [low, high] = [sorted[0], sorted[end]];
  const [inner, outer] = [sorted[Math.floor(end * 0.01)], sorted[Math.ceil(end * 0.99)]];
  const far = sorted.length > 60 && high - low > 4 * (outer - inner) && outer > inner;
  const [from, to] = far ? [Math.max(low, inner - (outer - inner) * 0.3), Math.min(high, outer + (outer - inner) * 0.3)] : [low, high];
  return { from, to, beyond: sorted.filter((one) => one < from || one > to).length };
}

function chart(about) {
  const series = Object.entries(about.curves).map(([name, { x, y }], i) => ({ name, x, y, colour: `var(--c${i % COLOURS})`, dashed: name === "train" && about.group === "metrics" }));
  const values = series.map((one) => h("b", {}));
  const legend = h("div", { className: "legend" }, series.map((one, i) => h("span", {}, h("i", { style: { background: one.colour } }), one.name, values[i])));
  const where = h("span", { className: "soft" });
  legend.append(where);
  const aside = h("p", { className: "about" });
  const svg = s("svg", { height: 190, role: "img", tabindex: 0, "aria-label": summary() });
  let scales = null, cursor = null;

  function summary() {
    return `${about.title}: ${series.map((one) => `${one.name} ${number(one.y[one.y.length - 1])} at step ${one.x[one.x.length - 1]}`).join(", ")}. Arrow keys read other steps.`;
  }

  function draw() {
    const width = svg.clientWidth || 400, height = 190, left = 46, right = 10, top = 8, bottom = 22;
    const drawn = series.map((one) => ({ ...one, smooth: about.group !== "losses" ? one.y : smoothed(one.y, ui.smooth) }));
    let all = drawn.flatMap((one) => one.y);
    const positive = all.filter((y) => y > 0), useLog = ui.log && positive.length > 0;
    if (useLog) all = positive;
    const xs = drawn.flatMap((one) => one.x), x0 = Math.min(...xs), x1 = Math.max(...xs, x0 + 1);
    let { from, to, beyond } = extent(all);
    if (from === to) [from, to] = useLog ? [from / 2, to * 2] : [from - Math.abs(from) * 0.1 - 1e-9, to + Math.abs(to) * 0.1 + 1e-9];
    const pad = useLog ? 0 : (to - from) * 0.06, f = useLog ? Math.log10 : (y) => y;
    const low = f(from - pad), high = f(to + pad);
    const px = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - right);
    const py = (y) => height - bottom - ((f(y) - low) / (high - low)) * (height - top - bottom);
    scales = { px, x0, x1, left, right, width, drawn, height, top, bottom };
    const clip = `clip-${about.id}`;
    const path = (x, y) => {
      let text = "", pen = "M";
      for (let i = 0; i < x.length; i++) {
        if (useLog && y[i] <= 0) { pen = "M"; continue; }
        text += `${pen}${px(x[i]).toFixed(1)} ${py(y[i]).toFixed(1)}`;
        pen = "L";
      }
      return text;
    };
    const marks = [];
    for (const y of useLog ? decades(from, to) : ticks(from - pad, to + pad, 4)) {
      marks.push(s("line", { class: "grid", x1: left, x2: width - right, y1: py(y), y2: py(y) }),
        s("text", { x: left - 6, y: py(y) + 4, "text-anchor": "end" }, number(y)));
    }
    for (const x of ticks(x0, x1, width > 380 ? 5 : 3)) {
      marks.push(s("text", { x: Math.min(px(x), width - right - 8), y: height - 5, "text-anchor": "middle" }, x >= 10000 ? `${number(x / 1000)}k` : number(x)));
    }
    const lines = drawn.flatMap((one) => [
      one.smooth === one.y ? null : s("path", { class: "raw", d: path(one.x, one.y), stroke: one.colour }),
      s("path", { class: "smooth", d: path(one.x, one.smooth), stroke: one.colour, ...(one.dashed ? { "stroke-dasharray": "5 4" } : {}) }),
      ...(one.x.length <= 40 ? one.x.map((x, i) => (useLog && one.y[i] <= 0 ? null : s("circle", { cx: px(x), cy: py(one.smooth[i]), r: 2.3, fill: one.colour }))) : []),
    ]).filter(Boolean);
    const best = about.group === "metrics" && about.title === verdict.by && verdict.best;
    const at = best && series[0].x.indexOf(best.step);
    if (best && at >= 0 && series[0].name === "val") {
      lines.push(s("circle", { cx: px(best.step), cy: py(series[0].y[at]), r: 6, fill: "none", stroke: "var(--good)", "stroke-width": 2 }));
    }
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren(
      s("defs", {}, s("clipPath", { id: clip }, s("rect", { x: left, y: top - 4, width: width - left - right + 4, height: height - top - bottom + 8 }))),
      ...marks, s("g", { "clip-path": `url(#${clip})` }, ...lines), s("g", { class: "overlay" }));
    aside.textContent = [about.about, direction(about.better), beyond && `${beyond} values lie beyond the scale`].filter(Boolean).join(" · ");
    aside.hidden = !aside.textContent;
    overlay();
  }

  function overlay() {
    if (!scales) return;
    const { px, x0, x1, height, top, bottom, drawn } = scales, layer = svg.querySelector(".overlay");
    const vertical = (x, name) => s("line", { class: name, x1: px(x), x2: px(x), y1: top, y2: height - bottom });
    const shown = STEPS[ui.at]?.step;
    layer.replaceChildren(...(shown >= x0 && shown <= x1 ? [vertical(shown, "here")] : []), ...(cursor === null ? [] : [vertical(cursor, "cursor")]));
    drawn.forEach((one, i) => {
      const at = cursor === null ? one.x.length - 1 : closest(one.x, cursor);
      values[i].textContent = number(cursor === null ? one.smooth[at] : one.y[at]);
    });
    where.textContent = cursor === null ? "" : `at step ${count(cursor)}`;
  }

  function point(event) {
    const box = svg.getBoundingClientRect(), { x0, x1, left, right, width } = scales;
    const x = x0 + ((event.clientX - box.left - left) / (width - left - right)) * (x1 - x0);
    const longest = scales.drawn.reduce((a, b) => (b.x.length > a.x.length ? b : a));
    return longest.x[closest(longest.x, x)];
  }

  svg.addEventListener("pointermove", (event) => { cursor = point(event); overlay(); });
  svg.addEventListener("pointerleave", () => { cursor = null; overlay(); });
  svg.addEventListener("blur", () => { cursor = null; overlay(); });
  svg.addEventListener("click", (event) => go(nearest(point(event))));
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    const xs = scales.drawn.reduce((a, b) => (b.x.length > a.x.length ? b : a)).x;
    const at = cursor === null ? xs.length - 1 : closest(xs, cursor) + by;
    cursor = xs[Math.max(0, Math.min(xs.length - 1, at))];
    event.preventDefault();
    event.stopPropagation();
    overlay();
  });
  watchers.push(overlay);
  charts.push(draw);
  new ResizeObserver(draw).observe(svg);
  return h("figure", { className: "chart" }, h("figcaption", {}, h("h3", {}, about.title), aside), svg, legend);
}

const charts = [];

function closest(xs, x) {
  let low = 0, high = xs.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle; else high = middle;
  }
  return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
}

const GROUPS = {
  metrics: ["Metrics", "On held-out images (val) and, where there are pairs, on training images (train, dashed). If train goes on getting better and val does not, the run learns its images by heart."],
  losses: ["Losses", "With their weights, as they were paid; pale lines are raw. Balance lays what D pays for real and made images beside what G pays to D: if D pays next to nothing and G more and more, D tells all apart and G learns nothing from it."],
  more: ["Also in the log", ""],
};

function curvesSection() {
  const section = h("section", { id: "curves", "aria-labelledby": "curves-title" }, h("h2", { id: "curves-title" }, "Curves"));
  if (!DATA.charts.length) {
    section.append(h("div", { className: "empty" }, "The log has no line yet."));
    return section;
  }
  const again = () => charts.forEach((draw) => draw());
  const smooth = h("input", { type: "range", id: "smooth", min: 0, max: 1, step: 0.05, oninput: () => { ui.smooth = Number(smooth.value); memory.write("smooth", ui.smooth); again(); } });
  smooth.value = ui.smooth;
  const log = h("input", { type: "checkbox", id: "log", onchange: () => { ui.log = log.checked; memory.write("log", ui.log); again(); } });
  log.checked = ui.log;
  section.append(
    h("p", {}, "The dotted line is the step of the pictures; a click in a curve shows those of that step."),
    h("div", { className: "tools" }, h("label", { className: "check smoothing" }, "smooth", smooth), h("label", { className: "check" }, log, "logarithmic")));
  DATA.charts.forEach((one, i) => { one.id = i; });
  for (const [group, [title, words]] of Object.entries(GROUPS)) {
    const mine = DATA.charts.filter((one) => one.group === group);
    if (!mine.length) continue;
    section.append(h("div", { className: "block" }, h("h3", {}, title), words && h("p", { className: "small soft" }, words), h("div", { className: "charts" }, mine.map(chart))));
  }
  return section;
}

// Settings, data, commands

function settingsBlock() {
  const known = DATA.settings.some(([, , from]) => from);
  const isDefault = (from) => from === "default";
  const rows = DATA.settings.map(([key, value, from]) => h("tr", { className: known && !isDefault(from) ? "given" : null, "data-key": key.toLowerCase() },
    h("th", { scope: "row" }, key), h("td", { className: "value" }, value), known && h("td", { className: "source soft" }, from)));
  const defaults = DATA.settings.filter(([, , from]) => isDefault(from)).length;
  const search = h("input", { type: "search", placeholder: "find a setting", "aria-label": "Find a setting", oninput: filter });
  const all = h("input", { type: "checkbox", id: "all", onchange: filter });
  all.checked = ui.all;
  function filter() {
    ui.all = all.checked;
    memory.write("all", ui.all);
    rows.forEach((row, i) => {
      const wanted = search.value ? row.dataset.key.includes(search.value.toLowerCase()) : ui.all || !known || !isDefault(DATA.settings[i][2]);
      row.style.display = wanted ? "" : "none";
    });
  }
  filter();
  return h("div", { className: "block" }, h("h3", {}, "Settings"),
    h("p", { className: "small soft" }, known ? "Each value, and where it came from." : "This run does not say where its values came from."),
    h("div", { className: "tools" }, search, known && h("label", { className: "check small" }, all, `the ${defaults} defaults too`)),
    h("div", { className: "scroll settings" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "setting"), h("th", { scope: "col" }, "value"), known && h("th", { scope: "col" }, "from"))), h("tbody", {}, rows))));
}

function dataBlock() {
  const { named, fingerprint, made_with: made } = DATA.data;
  const print = fingerprint ? `${count(fingerprint.x)} and ${count(fingerprint.y)} images, names ${fingerprint.names}` : "known when the first checkpoint is saved";
  const entries = [...Object.entries(named), ["fingerprint", print], ["made with", Object.entries(made).map((pair) => pair.join(" ")).join(" · ")]];
  return h("div", { className: "block" }, h("h3", {}, "Data"), h("dl", {}, entries.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))])));
}

async function copy(button, text) {
  try { await navigator.clipboard.writeText(text); } catch {
    const area = h("textarea", { className: "hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "copied";
  setTimeout(() => { button.textContent = "copy"; }, 1500);
}

function commandsBlock() {
  return h("div", { className: "block" }, h("h3", {}, "Commands"), h("ul", { className: "commands" }, DATA.commands.map(([what, command]) => {
    const button = h("button", { type: "button", "aria-label": `Copy: ${what}`, onclick: () => copy(button, command) }, "copy");
    const words = command.split(" ").flatMap((word) => [h("b", {}, word), " "]); // a line ends between words, not after a hyphen
    return h("li", {}, h("span", {}, what), h("code", {}, words), button);
  })));
}

function setupSection() {
  return h("section", { id: "setup", "aria-labelledby": "setup-title" }, h("h2", { id: "setup-title" }, "Setup"), commandsBlock(), dataBlock(), settingsBlock());
}

// The page

function head() {
  const share = about.steps ? Math.min(100, (100 * about.step) / about.steps) : 0;
  const left = state(about) === "running" && about.seconds_left ? ` · about ${duration(about.seconds_left)} left` : "";
  const stands = { finished: "Finished", stopped: "Stopped", quiet: "Stopped, it seems,", running: "Training" }[state(about)];
  const status = `${stands} at step ${count(about.step)} of ${count(about.steps)} after ${duration(about.seconds)}${left} · as of ${moment(about.written)}`;
  return h("header", { className: "head" },
    h("a", { className: "hidden skip", href: "#pictures" }, "To the pictures"),
    h("div", { className: "row" },
      h("div", {}, h("p", { className: "eyebrow", title: about.summary }, [about.method, about.data && `on ${short(about.data)}`, about.direction].filter(Boolean).join(" · ")),
        h("h1", {}, about.name), h("p", { className: "lede number" }, status)),
      h("div", { className: "tools" }, about.state === "finished" ? null : refreshSwitch(), themeButton())),
    h("div", { className: "bar", role: "progressbar", "aria-label": "Progress", "aria-valuenow": Math.round(share), "aria-valuemin": 0, "aria-valuemax": 100 },
      h("div", { style: { width: `${share}%` } })),
    h("nav", { "aria-label": "Sections" }, [["pictures", "Pictures"], ["verdict", "Is it working?"], ["curves", "Curves"], ["setup", "Setup"]].map(([id, text]) => h("a", { href: `#${id}` }, text))));
}

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) return;
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by) { event.preventDefault(); go(ui.at + by); }
  const cell = event.target.closest?.(".cell"), down = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (cell && down) {
    const other = document.querySelector(`[data-row="${Number(cell.dataset.row) + down}"][data-column="${CSS.escape(cell.dataset.column)}"]`);
    if (other) { event.preventDefault(); other.focus(); }
  }
});

document.body.append(head(), h("main", {}, picturesSection(), verdictSection(), curvesSection(), setupSection()),
  h("footer", {}, "One file, made by i2i. It loads nothing from anywhere."));
go(ui.at);
if (about.state === "finished") history.scrollRestoration = "auto"; else keepFresh(about.written);
