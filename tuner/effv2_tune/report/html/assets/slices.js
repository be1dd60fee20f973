// Each hyperparameter against both objectives: a small figure each, with the selection of the page.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const LEFT = 54, RIGHT = 12, TOP = 32, PANEL = 112, STRIP = 18, GAP = 20, BOTTOM = 26;
  const HEIGHT = TOP + 2 * (PANEL + STRIP) + GAP + BOTTOM;
  const MOST_JITTERED = 8;  // values of an axis up to which trials of one value are spread
  const NEAR = 14;  // pixels within which a click pins a trial

  function svg(tag, attributes, text) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }
  // The outlines of marks, around a point; those of one kind are one path, which is fast to draw.
  const MARKS = {
    front: ({ x, y }) => `M${x} ${y - 5.5}L${x + 5.5} ${y}L${x} ${y + 5.5}L${x - 5.5} ${y}Z`,
    complete: ({ x, y }) => `M${x - 2.6} ${y}a2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0 -5.2 0`,
    pruned: ({ x, y }) => `M${x - 2.8} ${y - 2.8}l5.6 5.6m0 -5.6l-5.6 5.6`,
    paused: ({ x, y }) => `M${x - 3.5} ${y - 4}h7l-7 8h7Z`,
    none: ({ x, y }) => `M${x - 4} ${y - 3.5}h8l-4 7Z`,
  };
  const KINDS = ["none", "pruned", "paused", "complete", "front"];  // the last are drawn on top

  function mount(host) {
    const { axes, objectives, trials, kinds } = report.data.slices[host.dataset.slices];
    const figures = [];

    function build(axis) {
      const canvas = svg("svg", {
        class: "slice", height: HEIGHT, tabindex: 0, role: "group", "aria-describedby": "pick-help",
        "aria-label": `${axis.label}: ${objectives.map(({ label }) => label).join(" and ")} of ${trials.length} trials`,
      });
      const figure = { axis, canvas, at: null, width: 0 };
      canvas.addEventListener("click", (event) => {
        const number = nearest(figure, event);
        if (number !== null) report.toggle(number);
      });
      canvas.addEventListener("pointermove", (event) => {
        const number = nearest(figure, event);
        canvas.querySelector("title").textContent = number === null ? "" : textOf(figure, number);
        canvas.style.cursor = number === null ? "" : "pointer";
      });
      canvas.addEventListener("keydown", (event) => onKey(figure, event));
      canvas.addEventListener("blur", () => { figure.at = null; mark(figure); });
      host.append(canvas);
      return figure;
    }

    // Positions of a figure's trials, in pixels; one point for each panel.
    function layOut(figure) {
      const { axis } = figure;
      const width = figure.width - LEFT - RIGHT;
      const values = new Set(axis.positions.filter((place) => place !== null));
      const isJittered = values.size <= MOST_JITTERED;
      const spread = isJittered ? Math.min(24, (0.5 * width) / Math.max(values.size, 2)) : 0;
      figure.points = trials.flatMap((number, index) => {
        if (axis.positions[index] === null) return [];
        // The golden ratio spreads successive numbers evenly.
        const shift = spread * (((number * 0.618034) % 1) - 0.5);
        const inner = isJittered ? width - spread : width;
        const x = Math.round(10 * (LEFT + (isJittered ? spread / 2 : 0) + axis.positions[index] * inner + shift)) / 10;
        return [{
          number, x, kind: kinds[index],
          y: objectives.map(({ positions }, panel) => Math.round(10 * heightOf(positions[index], panel)) / 10),
        }];
      });
      figure.points.sort((one, other) => one.x - other.x || one.number - other.number);
      figure.tickX = (place) => LEFT + (isJittered ? spread / 2 + place * (width - spread) : place * width);
    }
    const topOf = (panel) => TOP + panel * (PANEL + STRIP + GAP);
    const heightOf = (place, panel) =>
      (place === null ? topOf(panel) + PANEL + STRIP / 2 + 2 : topOf(panel) + 6 + (1 - place) * (PANEL - 12));

    function drawAxes(figure) {
      const { axis, canvas, width } = figure;
      const right = width - RIGHT;
      const group = svg("g", { class: "frame" });
      group.append(svg("text", { class: "title", x: LEFT, y: 14 }, axis.label));
      objectives.forEach((objective, panel) => {
        const bottom = topOf(panel) + PANEL;
        group.append(svg("line", { x1: LEFT - 4, x2: right, y1: bottom, y2: bottom }));
        group.append(svg("line", { x1: LEFT - 4, x2: LEFT - 4, y1: topOf(panel), y2: bottom }));
        const every = Math.ceil(objective.ticks.length / 4);
        objective.ticks.filter((_, place) => place % every === 0).forEach(([place, text]) => {
          const y = heightOf(place, panel);
          group.append(svg("line", { class: "grid", x1: LEFT - 4, x2: right, y1: y, y2: y }));
          group.append(svg("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, text));
        });
        const words = panel === 0 ? objective.label.replace("validation ", "") : "time";
        group.append(svg("text", { class: "objective", x: right, y: topOf(panel) - 5, "text-anchor": "end" }, words));
      });
      const y = topOf(1) + PANEL + STRIP + 14;
      // Labels that would meet are left out.
      let free = -Infinity;
      for (const [place, text] of axis.ticks) {
        const shown = text.length > 14 ? `${text.slice(0, 13)}…` : text;
        const half = 3.4 * shown.length;
        const x = Math.min(Math.max(figure.tickX(place), LEFT - 8 + half), width - half - 1);
        if (x - half < free) continue;
        free = x + half + 6;
        group.append(svg("line", { x1: figure.tickX(place), x2: figure.tickX(place), y1: topOf(1) + PANEL, y2: topOf(1) + PANEL + 4 }));
        group.append(svg("text", { x, y, "text-anchor": "middle" }, shown));
      }
      canvas.replaceChildren(svg("title", {}), group, svg("g", { class: "marks" }), svg("g", { class: "now" }));
    }

    // Those that are not selected first, which are below the others.
    function drawMarks(figure) {
      const marks = figure.canvas.querySelector(".marks");
      const paths = new Map();
      for (const isSelected of [false, true]) for (const kind of KINDS) paths.set(`${kind} ${isSelected}`, []);
      for (const { number, x, y, kind } of figure.points) {
        const path = paths.get(`${kind} ${report.includes(number)}`);
        for (const each of y) path.push(MARKS[kind]({ x, y: each }));
      }
      marks.replaceChildren(...[...paths].flatMap(([name, path]) => {
        const [kind, isSelected] = name.split(" ");
        if (path.length === 0) return [];
        return [svg("path", { class: `mark-${kind}${isSelected === "true" ? "" : " unselected"}`, d: path.join("") })];
      }));
      mark(figure);
    }
    function mark(figure) {
      const rings = [[figure.at, "ring at"], [report.pinned, "ring"]].flatMap(([number, name]) => {
        const point = figure.points.find((one) => one.number === number);
        return point === undefined ? [] : point.y.map((y) => svg("circle", { class: name, cx: point.x, cy: y, r: 9 }));
      });
      figure.canvas.querySelector(".now").replaceChildren(...rings);
    }

    function nearest(figure, event) {
      const box = figure.canvas.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top];
      let [best, number] = [NEAR ** 2, null];
      for (const point of figure.points) {
        if (!report.includes(point.number)) continue;
        for (const each of point.y) {
          const square = (point.x - x) ** 2 + (each - y) ** 2;
          if (square < best) [best, number] = [square, point.number];
        }
      }
      return number;
    }
    function textOf({ axis }, number) {
      const { title, facts, config } = report.data.trials[number];
      const value = config.find(([name]) => name === axis.label);
      return [title, ...(value ? [value.join(" ")] : []), ...facts.slice(0, 3).map((pair) => pair.join(" "))].join(", ");
    }
    function onKey(figure, event) {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (by !== undefined) {
        const selected = figure.points.filter(({ number }) => report.includes(number));
        if (selected.length === 0) return;
        const now = selected.findIndex(({ number }) => number === figure.at);
        const next = now < 0 ? (by > 0 ? 0 : selected.length - 1) : Math.min(Math.max(now + by, 0), selected.length - 1);
        figure.at = selected[next].number;
        mark(figure);
        report.announce(textOf(figure, figure.at));
      } else if (event.key === "Enter" && figure.at !== null) report.toggle(figure.at);
      else return;
      event.preventDefault();
    }

    function resize() {
      for (const figure of figures) {
        const width = Math.floor(figure.canvas.getBoundingClientRect().width);
        if (width === figure.width || width === 0) continue;
        figure.width = width;
        figure.canvas.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
        layOut(figure);
        drawAxes(figure);
        drawMarks(figure);
      }
    }
    host.replaceChildren();
    figures.push(...axes.map(build));
    resize();
    const observer = new ResizeObserver(resize);
    observer.observe(host);
    observers.push(observer);
    return () => figures.forEach((figure) => figure.width > 0 && drawMarks(figure));
  }

  let redraws = [];
  const observers = [];
  report.mounts.push(() => {
    observers.splice(0).forEach((observer) => observer.disconnect());
    for (const legend of document.querySelectorAll("[data-mark]")) {
      const kind = legend.dataset.mark;
      legend.replaceChildren(svg("path", { class: `mark-${kind}`, d: MARKS[kind]({ x: 0, y: 0 }) }));
    }
    redraws = [...document.querySelectorAll("[data-slices]")].map(mount);
  });
  report.listeners.push(() => redraws.forEach((redraw) => redraw()));
})();
