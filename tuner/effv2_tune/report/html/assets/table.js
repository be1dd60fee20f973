// The table of all trials: sorting, filters, choice of columns, download.
(() => {
  const kept = { sort: null, hidden: new Set(), ranges: new Map(), controls: new Map() };
  const hiding = document.createElement("style");
  document.head.append(hiding);
  let table = null;
  let rows = [];
  let heads = [];

  const valueOf = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const keyOf = (head) => head.dataset.key;
  const titleOf = (head) => head.querySelector("button").textContent;

  function compare(one, other) {
    if (one === "" || other === "") return (one === "") - (other === "");  // empty cells last
    const difference = Number(one) - Number(other);
    return Number.isNaN(difference) ? one.localeCompare(other, "en", { numeric: true }) : difference;
  }
  function sort() {
    const column = heads.findIndex((head) => keyOf(head) === kept.sort?.key);
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    if (column < 0) return;
    heads[column].setAttribute("aria-sort", kept.sort.falls ? "descending" : "ascending");
    rows.sort((one, other) => {
      const [left, right] = [valueOf(one, column), valueOf(other, column)];
      const order = compare(left, right);
      return kept.sort.falls && left !== "" && right !== "" ? -order : order;
    });
    table.tBodies[0].append(...rows);
  }

  // Numbers are entered in the unit of the header.
  function isInRanges(row) {
    return heads.every((head, column) => {
      const range = kept.ranges.get(keyOf(head));
      if (range === undefined || (range.least === "" && range.most === "")) return true;
      const text = valueOf(row, column);
      if (text === "") return false;
      const value = Number(text) / Number(head.dataset.unit);
      return (range.least === "" || value >= Number(range.least)) && (range.most === "" || value <= Number(range.most));
    });
  }
  function filter() {
    const [words, state, front] = ["words", "state", "front"].map((name) => document.getElementById(`filter-${name}`));
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const passing = new Set();
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      if (wanted.every((word) => text.includes(word))
        && (state.value === "" || row.dataset.state === state.value)
        && (!front.checked || row.classList.contains("front"))
        && isInRanges(row)) passing.add(Number(row.dataset.trial));
    }
    if (passing.size === rows.length) report.filters.delete("table");
    else report.filters.set("table", (number) => passing.has(number));
    report.changed();
  }
  function showSelected() {
    if (table === null) return;
    let count = 0;
    for (const row of rows) {
      const number = Number(row.dataset.trial);
      row.hidden = !report.includes(number);
      count += !row.hidden;
      row.classList.toggle("is-pinned", number === report.pinned);
    }
    const shown = document.getElementById("filter-shown");
    const text = `${count} of ${rows.length} shown`;
    if (shown.textContent !== text) shown.textContent = text;
  }
  report.listeners.push(showSelected);

  function hideColumns() {
    const places = heads.flatMap((head, column) => (kept.hidden.has(keyOf(head)) ? [column + 1] : []));
    hiding.textContent = places.map((place) => `#trials-table tr > :nth-child(${place}) { display: none; }`).join("\n");
  }
  function addColumnChoice(head, fields) {
    const label = report.element("label", ` ${titleOf(head)}`);
    const box = report.element("input", "", { type: "checkbox" });
    box.checked = !kept.hidden.has(keyOf(head));
    box.addEventListener("input", () => {
      if (box.checked) kept.hidden.delete(keyOf(head));
      else kept.hidden.add(keyOf(head));
      hideColumns();
    });
    label.prepend(box);
    fields.append(label);
  }
  function addRange(head, fields) {
    const range = kept.ranges.get(keyOf(head)) ?? { least: "", most: "" };
    kept.ranges.set(keyOf(head), range);
    const row = report.element("div", "", { role: "group", "aria-label": titleOf(head) });
    row.append(report.element("span", titleOf(head)));
    for (const [end, word] of [["least", "from"], ["most", "to"]]) {
      const field = report.element("input", "", {
        type: "number", step: "any", placeholder: word, "aria-label": `${titleOf(head)} ${word}`, "data-range": `${keyOf(head)}-${end}`,
      });
      field.value = range[end];
      field.addEventListener("input", () => {
        range[end] = field.value;
        filter();
      });
      row.append(field);
    }
    fields.append(row);
  }

  function csv() {
    const columns = heads.flatMap((head, column) => (kept.hidden.has(keyOf(head)) ? [] : [column]));
    const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const lines = [columns.map((column) => keyOf(heads[column]))];
    for (const row of rows) if (!row.hidden) lines.push(columns.map((column) => valueOf(row, column)));
    return lines.map((line) => line.map(quoted).join(",")).join("\n");
  }
  function download() {
    const url = URL.createObjectURL(new Blob([`${csv()}\n`], { type: "text/csv" }));
    report.element("a", "", { href: url, download: "trials.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }
  report.csv = csv;

  report.mounts.push(() => {
    table = document.getElementById("trials-table");
    if (table === null) return;
    rows = [...table.tBodies[0].rows];
    heads = [...table.tHead.rows[0].cells];
    heads.forEach((head) => head.querySelector("button").addEventListener("click", () => {
      kept.sort = { key: keyOf(head), falls: kept.sort?.key === keyOf(head) && !kept.sort.falls };
      sort();
    }));
    table.tBodies[0].addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (event.target.closest("button") === null && row !== null) report.toggle(Number(row.dataset.trial));
    });
    const columns = document.querySelector("#filter-columns .fields");
    const ranges = document.querySelector("#filter-numbers .fields");
    heads.forEach((head, column) => {
      if (column > 0) addColumnChoice(head, columns);
      if (head.dataset.unit !== undefined) addRange(head, ranges);
    });
    for (const name of ["words", "state", "front"]) {
      const control = document.getElementById(`filter-${name}`);
      const property = name === "front" ? "checked" : "value";
      if (kept.controls.has(name)) control[property] = kept.controls.get(name);
      control.addEventListener("input", () => {
        kept.controls.set(name, control[property]);
        filter();
      });
    }
    document.getElementById("download").addEventListener("click", download);
    hideColumns();
    sort();
    filter();
  });
})();
