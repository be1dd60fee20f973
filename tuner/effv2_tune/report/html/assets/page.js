"use strict";
(() => {
  document.documentElement.classList.add("has-js");
  const source = document.getElementById("figures").textContent;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)").matches;
  const options = {
    responsive: true, displaylogo: false, plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "sendChartToCloud"],
  };

  // Figures are written in light colours; dark mode exchanges those that are not data.
  function figures(inDark) {
    let text = source;
    if (inDark) {
      for (const [light, night] of Object.entries(JSON.parse(source).dark)) {
        text = text.replaceAll(JSON.stringify(light), JSON.stringify(night));
      }
    }
    return JSON.parse(text).figures;
  }

  const plots = [...document.querySelectorAll(".plot")];
  function draw(plot, all) {
    const { data, layout } = all[plot.dataset.figure];
    if (touch) layout.dragmode = false;  // one finger scrolls the page
    if (plot.clientWidth < 480 && layout.xaxis.tickvals) {  // labels must not meet
      const every = Math.ceil(layout.xaxis.tickvals.length / 5);
      layout.xaxis.tickvals = layout.xaxis.tickvals.filter((_, place) => place % every === 0);
      layout.xaxis.ticktext = layout.xaxis.ticktext.filter((_, place) => place % every === 0);
    }
    Plotly.react(plot, data, layout, options);
  }
  function drawAll(inDark) {
    const all = figures(inDark);
    plots.forEach((plot) => draw(plot, all));
  }
  drawAll(dark.matches);
  dark.addEventListener("change", () => drawAll(dark.matches));
  addEventListener("beforeprint", () => {
    drawAll(false);
    plots.forEach((plot) => Plotly.relayout(plot, { width: 680 }));
  });
  addEventListener("afterprint", () => {
    drawAll(dark.matches);
    plots.forEach((plot) => Plotly.relayout(plot, { width: null, autosize: true }));
  });

  for (const button of document.querySelectorAll("button[data-show]")) {
    button.addEventListener("click", () => {
      const plot = document.getElementById(button.getAttribute("aria-controls"));
      plot.dataset.figure = button.dataset.show;
      draw(plot, figures(dark.matches));
      for (const other of button.parentElement.querySelectorAll("button[data-show]")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
    });
  }

  const table = document.getElementById("trials-table");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];

  function compare(one, other) {
    if (one === "" || other === "") return (one === "") - (other === "");  // empty cells last
    const difference = Number(one) - Number(other);
    return Number.isNaN(difference) ? one.localeCompare(other, "en", { numeric: true }) : difference;
  }
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const falls = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      rows.sort((one, other) => {
        const order = compare(key(one), key(other));
        return falls && key(one) !== "" && key(other) !== "" ? -order : order;
      });
      body.append(...rows);
    });
  });

  const words = document.getElementById("filter-words");
  const state = document.getElementById("filter-state");
  const front = document.getElementById("filter-front");
  const shown = document.getElementById("filter-shown");
  function filter() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(wanted.every((word) => text.includes(word))
        && (state.value === "" || row.dataset.state === state.value)
        && (!front.checked || row.classList.contains("front")));
      count += !row.hidden;
    }
    shown.textContent = `${count} of ${rows.length} shown`;
  }
  for (const control of [words, state, front]) control.addEventListener("input", filter);
  filter();
})();
