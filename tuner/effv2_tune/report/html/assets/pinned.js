// The pinned trial: its config, curves, times, and the command that exports it.
(() => {
  const panel = document.getElementById("pinned");
  let shown = null;
  let opener = null;

  function list(title, pairs) {
    if (pairs.length === 0) return [];
    const pairList = document.createElement("dl");
    for (const [name, text] of pairs) pairList.append(report.element("dt", name), report.element("dd", text));
    return title === "" ? [pairList] : [report.element("h3", title), pairList];
  }
  function command(text) {
    if (text === "") return [];
    const line = report.element("div", "", { class: "command" });
    const block = document.createElement("pre");
    block.append(report.element("code", text));
    line.append(block, report.element("button", "Copy", { type: "button", "data-copy": text }));
    return [report.element("h3", "Export it"), line];
  }

  // One diagram below another; the quality on top.
  function drawCurves(plot, curves) {
    const each = 1 / curves.length;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const layout = {
      template: "none", height: 90 * curves.length + 50, showlegend: false, hovermode: "x",
      margin: { l: 52, r: 10, t: 18, b: 34 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
      font: { family: "system-ui, sans-serif", size: 11, color: colour("--ink") },
      xaxis: { title: { text: "epoch" }, gridcolor: colour("--line"), anchor: `y${curves.length === 1 ? "" : curves.length}` },
      annotations: [],
    };
    const data = curves.map(([name, values], place) => {
      const suffix = place === 0 ? "" : place + 1;
      const top = 1 - place * each;
      layout[`yaxis${suffix}`] = { domain: [top - each * 0.7, top - each * 0.1], gridcolor: colour("--line"), zeroline: false, nticks: 4 };
      layout.annotations.push({ text: name, xref: "paper", yref: "paper", x: 0, y: top - each * 0.08, yanchor: "bottom", showarrow: false });
      return {
        x: values.map((_, epoch) => epoch + 1), y: values, yaxis: `y${suffix}`, mode: "lines+markers",
        line: { color: colour("--accent"), width: 2 }, marker: { size: 4 }, hovertemplate: "%{y:.4g}<extra></extra>",
      };
    });
    Plotly.react(plot, data, layout, { displayModeBar: false, responsive: true });
  }

  function close() {
    const hasFocus = panel.contains(document.activeElement);
    report.pin(null);
    if (hasFocus && opener?.isConnected) opener.focus();
  }
  function show() {
    const details = report.data.trials[report.pinned];
    const isOpen = details !== undefined;
    panel.hidden = !isOpen;
    if (document.body.classList.toggle("has-pinned", isOpen) !== (shown !== null)) report.resizePlots();
    if (!isOpen) {
      shown = null;
      return;
    }
    const isNew = shown !== report.pinned;
    shown = report.pinned;
    const heading = report.element("h2", details.title, { id: "pinned-title", tabindex: "-1" });
    const button = report.element("button", "Close", { type: "button", class: "close" });
    button.addEventListener("click", close);
    const plot = report.element("div", "", { class: "small-plot", role: "img", "aria-label": "Learning curves of the trial" });
    panel.replaceChildren(heading, button, ...list("", details.facts), ...command(details.command), ...list("Config", details.config),
      ...(details.curves.length === 0 ? [] : [report.element("h3", "Curves"), plot]), ...list("Times", details.times));
    if (details.curves.length > 0) drawCurves(plot, details.curves);
    if (isNew) report.announce(`Pinned: ${details.title}`);
  }
  report.listeners.push(show);
  report.mounts.push(show);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);

  document.addEventListener("click", (event) => {
    const pin = event.target.closest("[data-pin]");
    if (pin === null) return;
    opener = pin;
    report.toggle(Number(pin.dataset.pin));
    if (!panel.hidden) document.getElementById("pinned-title").focus({ preventScroll: true });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !panel.hidden) close();
  });
})();
