function card({ about, verdict, thumbnails, link }) {
  const share = about.steps ? Math.min(100, (100 * about.step) / about.steps) : 0;
  const best = verdict.best;
  const strip = Object.entries(thumbnails).slice(0, 4).map(([name, uri]) =>
    h("figure", {}, h("img", { src: uri, alt: "", className: "coarse" }), name));
  return h("article", { className: "run" },
    h("h2", {}, h("a", { href: link }, about.name)),
    strip.length ? h("div", { className: "strip" }, strip) : h("p", { className: "soft small" }, "No sample sheet yet."),
    h("p", { className: "small" }, `${about.method} on ${short(about.data ?? "?")}`),
    h("div", { className: "bar" }, h("div", { style: { width: `${share}%` } })),
    h("p", { className: "small soft number" },
      `${{ running: "training", quiet: "stopped, it seems" }[state(about)] ?? state(about)} · step ${count(about.step)} of ${count(about.steps)} · ${duration(about.seconds)}`),
    best && best.value !== null && h("p", { className: "small number" }, `best ${verdict.by} ${number(best.value)} at step ${count(best.step)}`),
  );
}

document.body.append(
  h("header", { className: "head" },
    h("div", { className: "row" },
      h("div", {}, h("p", { className: "eyebrow" }, "i2i"), h("h1", {}, document.title.replace(/ · i2i$/, "")),
        h("p", { className: "lede" }, `${DATA.runs.length} ${DATA.runs.length === 1 ? "run" : "runs"}, as of ${moment(DATA.written)}`)),
      h("div", { className: "tools" }, themeButton()))),
  h("main", {}, h("div", { className: "runs" }, DATA.runs.map(card))),
  h("footer", {}, "Written by i2i report. Each name leads to the page of its run."),
);
