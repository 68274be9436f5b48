// What both pages share. Text from the run only ever becomes text: nothing here reads it as markup.
const DATA = JSON.parse(document.getElementById("data").textContent);

function h(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (name === "style") Object.assign(node.style, value);
    else node.setAttribute(name === "className" ? "class" : name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

function number(value) {
  if (value === "inf") return "∞";
  if (typeof value !== "number") return "–";
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) return value.toExponential(2).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(4)));
}

function count(value) {
  return typeof value === "number" ? value.toLocaleString("en").replaceAll(",", "\u202f") : "?";
}

function short(path) { return path.split(/[\\/]/).filter(Boolean).pop() ?? path; }

function duration(seconds) {
  const s = Math.round(seconds || 0);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

function moment(seconds) {
  return new Date(seconds * 1000).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}

// A browser may keep nothing for a file that was opened from the disk; then nothing is kept.
const memory = {
  key: `i2i:${location.pathname}:`,
  read(name, otherwise, store = "sessionStorage") {
    try { return JSON.parse(window[store].getItem(this.key + name)) ?? otherwise; } catch { return otherwise; }
  },
  write(name, value, store = "sessionStorage") {
    try { window[store].setItem(this.key + name, JSON.stringify(value)); } catch { /* nothing is kept */ }
  },
};

// Light or dark: as the system has it, until somebody chooses.
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const theme = { chosen: memory.read("theme", null, "localStorage"), button: null };

function isDark() {
  return theme.chosen ? theme.chosen === "dark" : systemDark.matches;
}

function applyTheme() {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  if (theme.button) {
    theme.button.textContent = isDark() ? "☀" : "☾";
    theme.button.setAttribute("aria-label", isDark() ? "Light colours" : "Dark colours");
  }
}

function themeButton() {
  theme.button = h("button", { className: "round", type: "button", id: "theme", onclick: () => {
    theme.chosen = isDark() ? "light" : "dark";
    memory.write("theme", theme.chosen, "localStorage");
    applyTheme();
  } });
  applyTheme();
  return theme.button;
}

systemDark.addEventListener("change", applyTheme);
applyTheme();

const QUIET_MINUTES = 30;

// How a run stands: "quiet" is one that trained when its page was written, which was too long ago to believe.
function state(about) {
  const quiet = Date.now() / 1000 - about.written > 60 * QUIET_MINUTES;
  return about.state === "running" && quiet ? "quiet" : about.state;
}

// A run that trains writes its page again and again: read it again, at the same place, unless somebody is busy with it.
const refresh = { on: memory.read("refresh", true), touched: 0 };
for (const kind of ["pointerdown", "keydown", "wheel"]) addEventListener(kind, () => { refresh.touched = Date.now(); }, { passive: true });

function keepFresh(written, seconds = 20) {
  history.scrollRestoration = "manual";
  scrollTo({ top: memory.read("scroll", 0), behavior: "instant" });
  addEventListener("pagehide", () => memory.write("scroll", scrollY));
  setInterval(() => {
    const quiet = Date.now() / 1000 - written > 60 * QUIET_MINUTES;
    const busy = document.hidden || document.querySelector("dialog[open]") || Date.now() - refresh.touched < 5000;
    if (!refresh.on || quiet || busy) return;
    memory.write("scroll", scrollY);
    location.reload();
  }, seconds * 1000);
}

function refreshSwitch() {
  const box = h("input", { type: "checkbox", id: "refresh", onchange: () => {
    refresh.on = box.checked;
    memory.write("refresh", refresh.on);
  } });
  box.checked = refresh.on;
  return h("label", { className: "check small" }, box, "keep fresh");
}
