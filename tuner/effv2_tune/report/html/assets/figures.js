// Plotly's figures: dark mode, views, the selection, and points that can be pinned.
(() => {
  document.documentElement.classList.add("has-js");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)").matches;
  const options = {
    responsive: true, displaylogo: false, plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "sendChartToCloud"],
  };
  const FAINT = 0.08;  // of what is not selected
  const shown = new Map();  // the figure that each plot shows, kept when its content changes
  let isPrinting = false;
  let plots = [];

  // Figures are written in light colours; dark mode exchanges those that are not data.
  function coloured(figure) {
    let text = JSON.stringify(figure);
    if (dark.matches && !isPrinting) {
      for (const [light, night] of Object.entries(report.data.dark)) {
        text = text.replaceAll(JSON.stringify(light), JSON.stringify(night));
      }
    }
    return JSON.parse(text);
  }
  const accent = () => getComputedStyle(document.documentElement).getPropertyValue("--accent").trim();

  // The text over a point: what is known of its trial. Plotly reads it as HTML.
  const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
  const LONGEST = 48;  // characters of a value; a longer one would push the text off a small screen
  const plain = (text) => (text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text).replace(/[&<>]/g, (sign) => ENTITIES[sign]);
  const lineOf = ([name, text]) => `${plain(name)}: ${plain(text)}`;
  function hoverText(number) {
    const { title, facts, config, times } = report.data.trials[number];
    const spent = [];
    for (let place = 0; place < times.length; place += 3) {
      spent.push(times.slice(place, place + 3).map((pair) => pair.map(plain).join(" ")).join(", "));
    }
    return [`<b>${plain(title)}</b>`, ...facts.map(lineOf), "", ...config.map(lineOf), "", ...spent].join("<br>");
  }

  const at = (list, place) => (Array.isArray(list) ? list[place] : list);
  function emphasizePoints(trace) {
    trace.text ??= trace.customdata.map(hoverText);
    const base = trace.opacity ?? 1;
    trace.marker.opacity = trace.customdata.map(
      (number, place) => (report.includes(number) ? at(trace.marker.opacity ?? 1, place) : FAINT));
    trace.opacity = base;
    const places = trace.customdata.flatMap((number, place) => (number === report.pinned ? [place] : []));
    return places.length === 0 ? [] : [{
      mode: "markers", x: places.map((place) => trace.x[place]), y: places.map((place) => trace.y[place]),
      marker: { symbol: "circle-open", size: 26, color: accent(), line: { width: 3.5 } },
      hoverinfo: "skip", cliponaxis: false,
    }];
  }
  function emphasizeCurves(trace) {
    const pick = (wanted) => ({
      x: trace.x.filter((_, place) => wanted(trace.customdata[place])),
      y: trace.y.filter((_, place) => wanted(trace.customdata[place])),
    });
    const pinned = pick((number) => number === report.pinned);
    const selected = pick((number) => report.includes(number));
    if (new Set(trace.customdata).size === 1) {
      if (selected.x.length === 0) trace.opacity = FAINT;
    } else {
      trace.customdata = trace.customdata.filter((number) => report.includes(number));
      Object.assign(trace, selected);
    }
    return pinned.x.length === 0 ? [] : [{
      ...pinned, mode: "lines+markers", line: { color: accent(), width: 4 }, marker: { size: 6 }, hoverinfo: "skip",
    }];
  }
  function emphasizeSpans(trace) {
    const all = { ...trace };
    const above = emphasizeCurves(trace);
    const isWhole = trace.x.length === all.x.length && trace.opacity === all.opacity;
    return isWhole ? above : [{ ...all, meta: null, opacity: 0.15, hoverinfo: "skip", hovertemplate: null }, ...above];
  }
  function emphasizeBars(trace) {
    const bucket = report.data.trials[report.pinned]?.bucket;
    if (bucket === undefined) return [];
    trace.marker.line = {
      color: trace.y.map((name) => (name === bucket ? accent() : trace.marker.line.color)),
      width: trace.y.map((name) => (name === bucket ? 2.5 : 1)),
    };
    return [];
  }
  const emphasize = { points: emphasizePoints, curves: emphasizeCurves, spans: emphasizeSpans, bars: emphasizeBars };

  function draw(plot) {
    const figure = report.data.figures[plot.dataset.figure];
    if (figure === undefined) return;
    const { data, layout } = coloured(figure);
    const above = data.flatMap((trace) => emphasize[trace.meta]?.(trace) ?? []);
    if (touch) layout.dragmode = false;  // one finger scrolls the page
    if (plot.clientWidth < 480 && layout.xaxis.tickvals) {  // labels must not meet
      const every = Math.ceil(layout.xaxis.tickvals.length / 5);
      layout.xaxis.tickvals = layout.xaxis.tickvals.filter((_, place) => place % every === 0);
      layout.xaxis.ticktext = layout.xaxis.ticktext.filter((_, place) => place % every === 0);
    }
    for (const { marker } of data) {  // a bar of colours beside it would take a third of the width
      if (plot.clientWidth >= 480 || marker?.colorbar === undefined) continue;
      Object.assign(marker.colorbar, { orientation: "h", x: 0.5, y: 1.02, xanchor: "center", yanchor: "bottom", nticks: 5, tickangle: 0, thickness: 10 });
      marker.colorbar.title.side = "top";
      marker.colorbar.title.text = marker.colorbar.title.text.replace("<br>", " ");
      layout.margin.t = 96;
    }
    layout.uirevision = plot.dataset.figure;  // a zoom stays
    Plotly.react(plot, [...data, ...above], layout, options);
    listen(plot);
  }
  function listen(plot) {
    if (plot.dataset.ready) return;  // it stays while the content around it changes
    plot.dataset.ready = "true";
    plot.on("plotly_click", ({ points: [point] }) => {
      if (Number.isInteger(point.customdata)) report.toggle(point.customdata);
    });
    if (plot.tabIndex === 0) plot.addEventListener("keydown", onKey);
  }

  // Figures are drawn one at a time, those in the window first: the page answers in between.
  const waiting = new Set();
  let isScheduled = false;
  function isInWindow(plot) {
    const { top, bottom } = plot.getBoundingClientRect();
    return bottom > 0 && top < innerHeight;
  }
  function drawNext() {
    isScheduled = false;
    const all = [...waiting];
    const next = all.find(isInWindow) ?? all[0];
    if (next === undefined) return;
    waiting.delete(next);
    if (next.isConnected) draw(next);
    schedule();
  }
  function schedule() {
    if (isScheduled || waiting.size === 0) return;
    isScheduled = true;
    setTimeout(drawNext);
  }
  function drawAll() {
    plots.forEach((plot) => waiting.add(plot));
    schedule();
  }
  function drawAllNow() {
    waiting.clear();
    plots.forEach(draw);
  }
  report.isDrawn = () => waiting.size === 0;
  report.listeners.push(drawAll);
  report.coloured = coloured;
  report.resizePlots = () => plots.forEach((plot) => plot.dataset.ready && Plotly.Plots.resize(plot));

  function show(plot, figure) {
    plot.dataset.figure = figure;
    for (const button of document.querySelectorAll(`button[aria-controls="${plot.id}"]`)) {
      button.setAttribute("aria-pressed", String(button.dataset.show === figure));
    }
    for (const list of document.querySelectorAll(`select[aria-controls="${plot.id}"]`)) list.value = figure;
  }

  // The points of a plot that stand for trials, from left to right.
  function points(plot) {
    const found = [];
    plot.data.forEach((trace, curveNumber) => {
      if (trace.meta !== "points" && trace.meta !== "spans") return;
      trace.customdata.forEach((number, pointNumber) => {
        const isFirst = trace.meta === "points" || (trace.name === "training" && pointNumber % 3 === 0);
        if (isFirst && report.includes(number)) found.push({ number, curveNumber, pointNumber, x: trace.x[pointNumber] });
      });
    });
    return found.sort((one, other) => one.x - other.x);
  }
  function step(plot, by) {
    const all = points(plot);
    if (all.length === 0) return;
    const now = all.findIndex(({ number }) => String(number) === plot.dataset.at);
    const next = now < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(now + by, 0), all.length - 1);
    const { number, curveNumber, pointNumber } = all[next];
    plot.dataset.at = number;
    Plotly.Fx.hover(plot, [{ curveNumber, pointNumber }]);
    const [, quality, seconds] = report.data.trials[number].facts;
    report.announce([report.data.trials[number].title, ...[quality, seconds].filter(Boolean).map((pair) => pair.join(" "))].join(", "));
  }
  function onKey(event) {
    const plot = event.currentTarget;
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (by !== undefined) step(plot, by);
    else if (event.key === "Enter" && plot.dataset.at !== undefined) report.toggle(Number(plot.dataset.at));
    else return;
    event.preventDefault();
  }

  report.mounts.push(() => {
    plots = [...document.querySelectorAll(".plot")];
    for (const plot of plots) {
      if (report.data.figures[shown.get(plot.id)]) show(plot, shown.get(plot.id));
    }
    drawAll();
    const choose = (control, figure) => {
      const plot = document.getElementById(control.getAttribute("aria-controls"));
      shown.set(plot.id, figure);
      show(plot, figure);
      draw(plot);
    };
    for (const button of document.querySelectorAll("button[data-show]")) {
      button.addEventListener("click", () => choose(button, button.dataset.show));
    }
    for (const list of document.querySelectorAll("select[aria-controls]")) {
      list.addEventListener("input", () => choose(list, list.value));
    }
  });

  dark.addEventListener("change", drawAll);
  addEventListener("beforeprint", () => {
    isPrinting = true;
    drawAllNow();
    plots.forEach((plot) => Plotly.relayout(plot, { width: 680 }));
  });
  addEventListener("afterprint", () => {
    isPrinting = false;
    drawAllNow();
    plots.forEach((plot) => Plotly.relayout(plot, { width: null, autosize: true }));
  });
})();
