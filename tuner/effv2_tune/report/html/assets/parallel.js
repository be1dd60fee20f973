// Parallel coordinates: an axis for each quantity, a line for each trial, a range on each axis.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const HEIGHT = 360, TOP = 58, BOTTOM = 330, LEAST_GAP = 104, SIDE = 66;
  const ranges = new Map();  // of each figure: the range of each axis by its label, kept when the content changes

  function svg(tag, attributes, text) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }
  const heightOf = (position) => BOTTOM - position * (BOTTOM - TOP);
  const placeAt = (height) => Math.min(Math.max((BOTTOM - height) / (BOTTOM - TOP), 0), 1);

  // The value at a position, in words.
  function valueText(axis, position) {
    if (axis.is_choice) {
      const [, text] = axis.ticks.reduce((best, tick) =>
        (Math.abs(tick[0] - position) < Math.abs(best[0] - position) ? tick : best));
      return text;
    }
    const value = axis.is_logarithmic
      ? axis.low * (axis.high / axis.low) ** position : axis.low + position * (axis.high - axis.low);
    const isTiny = value !== 0 && Math.abs(value) < 1e-4;
    return isTiny ? value.toExponential(2) : String(Number(value.toPrecision(3)));
  }

  function mount(host) {
    const name = host.dataset.parallel;
    const { axes, trials } = report.data.parallel[name];
    const front = new Set(report.data.front);
    if (!ranges.has(name)) ranges.set(name, new Map());
    const brushed = ranges.get(name);
    const place = new Map(trials.map((number, index) => [number, index]));
    report.filters.set(name, (number) => {
      if (brushed.size === 0) return true;
      const index = place.get(number);
      if (index === undefined) return false;
      return axes.every((axis) => {
        const range = brushed.get(axis.label);
        const position = axis.positions[index];
        return range === undefined || (position !== null && position >= range[0] - 1e-9 && position <= range[1] + 1e-9);
      });
    });

    let lines = [];
    let brushes = [];
    const count = document.querySelector(`[data-count="${name}"]`);
    function restyle() {
      let selected = 0;
      const one = brushed.size > 0;
      for (const [number, line] of lines) {
        const isSelected = report.includes(number);
        selected += isSelected;
        line.setAttribute("class", ["line", front.has(number) ? "on-front" : "", isSelected ? "" : "unselected",
          number === report.pinned ? "is-pinned" : ""].join(" "));
      }
      const text = `${selected} of ${lines.length} trials selected`;
      if (count.textContent !== text) count.textContent = text;
      host.classList.toggle("brushed", one);
    }
    function select(label, range) {
      if (range === null || (range[0] <= 0 && range[1] >= 1)) brushed.delete(label);
      else brushed.set(label, [Math.min(...range), Math.max(...range)]);
      brushes.forEach((update) => update());
      report.changed();
    }

    function drawAxis(axis, x, isLast) {
      const group = svg("g", { class: "axis", transform: `translate(${x},0)` });
      const words = axis.label.split(" ");
      const half = words.length > 2 ? 2 : 1;
      [words.slice(0, half), words.slice(half)].forEach((part, line) => {
        group.append(svg("text", { class: "title", y: 18 + 16 * line, "text-anchor": "middle" }, part.join(" ")));
      });
      group.append(svg("line", { y1: TOP, y2: BOTTOM }));
      for (const [position, text] of axis.ticks) {
        const y = heightOf(position);
        group.append(svg("line", { x1: -4, x2: 0, y1: y, y2: y }));
        const short = text.length > 11 ? `${text.slice(0, 10)}…` : text;
        group.append(svg("text", { x: isLast ? 15 : -15, y: y + 4, "text-anchor": isLast ? "start" : "end" }, short));
      }
      const brush = svg("rect", { class: "brush", x: -9, width: 18 });
      const area = svg("rect", { class: "area", x: -18, width: 36, y: TOP - 10, height: BOTTOM - TOP + 20 });
      const ends = ["lower", "upper"].map((end) => svg("rect", {
        class: "handle", x: -11, width: 22, height: 7, rx: 3, tabindex: 0, role: "slider",
        "aria-orientation": "vertical", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": `${axis.label}: ${end} end`,
      }));
      group.append(brush, area, ...ends);

      const now = () => brushed.get(axis.label) ?? [0, 1];
      function update() {
        const [low, high] = now();
        const isSet = brushed.has(axis.label);
        brush.setAttribute("y", heightOf(high));
        brush.setAttribute("height", isSet ? Math.max(heightOf(low) - heightOf(high), 2) : 0);
        ends.forEach((end, which) => {
          const position = [low, high][which];
          end.setAttribute("y", heightOf(position) - 3.5 + (which ? -4 : 4));
          end.setAttribute("aria-valuenow", Math.round(100 * position));
          end.setAttribute("aria-valuetext", valueText(axis, position));
        });
      }
      ends.forEach((end, which) => end.addEventListener("keydown", (event) => {
        const by = { ArrowUp: 0.02, ArrowRight: 0.02, ArrowDown: -0.02, ArrowLeft: -0.02, PageUp: 0.1, PageDown: -0.1 }[event.key];
        const range = [...now()];
        if (by !== undefined) range[which] += by;
        else if (event.key === "Home") range[which] = which ? range[0] : 0;
        else if (event.key === "End") range[which] = which ? 1 : range[1];
        else return;
        event.preventDefault();
        // One end does not pass the other.
        range[which] = Math.min(Math.max(range[which], which ? range[0] : 0), which ? 1 : range[1]);
        select(axis.label, range);
      }));
      drag(area, (from, to) => select(axis.label, Math.abs(from - to) < 0.01 ? null : [from, to]));
      ends.forEach((end, which) => drag(end, (_, to) => {
        const range = [...now()];
        range[which] = to;
        select(axis.label, range);
      }));
      brushes.push(update);
      return group;
    }

    // Calls back with the positions where a drag began and where it is, and once for a click.
    function drag(target, callback) {
      target.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        target.setPointerCapture(event.pointerId);
        const box = () => host.querySelector("svg").getBoundingClientRect();
        const from = placeAt(event.clientY - box().top);
        const move = (moved) => callback(from, placeAt(moved.clientY - box().top));
        const end = (ended) => {
          move(ended);
          target.removeEventListener("pointermove", move);
          target.removeEventListener("pointerup", end);
        };
        target.addEventListener("pointermove", move);
        target.addEventListener("pointerup", end);
      });
    }

    let drawnWidth = 0;
    function drawAll() {
      const width = Math.max(host.parentElement.clientWidth - 2, 2 * SIDE + LEAST_GAP * (axes.length - 1));
      if (width === drawnWidth) return;
      drawnWidth = width;
      const gap = (width - 2 * SIDE - 20) / Math.max(axes.length - 1, 1);
      const x = (index) => SIDE + 20 + index * gap;
      const canvas = svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}` });
      // Trials of the front last: they are drawn on top of the others.
      const order = [...trials.keys()].sort((one, other) => front.has(trials[one]) - front.has(trials[other]));
      const group = svg("g", {});
      lines = order.map((index) => {
        let isOpen = false;
        const path = axes.map((axis, column) => {
          const position = axis.positions[index];
          const command = isOpen ? "L" : "M";
          isOpen = position !== null;
          return position === null ? "" : `${command}${x(column).toFixed(1)} ${heightOf(position).toFixed(1)}`;
        }).join("");
        const line = svg("path", { d: path });
        line.append(svg("title", {}, report.data.trials[trials[index]].title));
        line.addEventListener("click", () => report.toggle(trials[index]));
        group.append(line);
        return [trials[index], line];
      });
      brushes = [];
      canvas.append(group, ...axes.map((axis, index) => drawAxis(axis, x(index), index === axes.length - 1)));
      host.replaceChildren(canvas);
      brushes.forEach((update) => update());
      restyle();
    }
    drawAll();
    const observer = new ResizeObserver(drawAll);
    observer.observe(host.parentElement);
    observers.push(observer);
    document.querySelector(`[data-clear="${name}"]`).addEventListener("click", () => {
      brushed.clear();
      brushes.forEach((update) => update());
      report.changed();
    });
    return restyle;
  }

  let restyles = [];
  const observers = [];
  report.mounts.push(() => {
    observers.splice(0).forEach((observer) => observer.disconnect());
    for (const name of [...report.filters.keys()]) if (name.startsWith("parallel")) report.filters.delete(name);
    restyles = [...document.querySelectorAll("[data-parallel]")].map(mount);
  });
  report.listeners.push(() => restyles.forEach((restyle) => restyle()));
})();
