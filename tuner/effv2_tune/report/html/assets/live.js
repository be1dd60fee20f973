// Follows the study: its progress, and the content of the page as it grows.
(() => {
  const find = (name) => document.getElementById(`live-${name}`);
  let left = null;  // when the study is expected to end
  let isFetching = false;

  function leftText() {
    if (left === null) return "";
    const seconds = Math.max((left - Date.now()) / 1000, 0);
    if (seconds < 30) return "less than a minute left";
    if (seconds < 3570) return `about ${Math.round(seconds / 60)} min left`;
    const quarters = Math.round(seconds / 900);
    const [hours, minutes] = [Math.floor(quarters / 4), 15 * (quarters % 4)];
    return `about ${hours} h${minutes ? ` ${minutes} min` : ""} left`;
  }
  const write = (name, text) => { if (find(name).textContent !== text) find(name).textContent = text; };

  function showWork(work) {
    find("work").replaceChildren(...work.map((one) => {
      const who = one.trial === null ? `Worker ${one.worker}` : `Trial ${one.trial}`;
      const item = report.element("li", "");
      item.append(report.element("strong", who));
      if (one.total !== null) {
        const bar = report.element("progress", "", { max: one.total, value: one.done, "aria-label": `${who}: epochs` });
        item.append(bar, report.element("span", `epoch ${one.done} of ${one.total}`));
      }
      item.append(report.element("span", one.text));
      return item;
    }));
  }
  function showFailures(failures) {
    find("failures").hidden = failures.length === 0;
    find("failures").querySelector("summary").textContent = `Failures (${failures.length})`;
    find("failures").querySelector("div").replaceChildren(...failures.flatMap(({ text, log }) => [
      report.element("p", text), ...(log === "" ? [] : [report.element("pre", log)]),
    ]));
  }
  function showProgress(progress) {
    write("state", progress.state.slice(0, 1).toUpperCase() + progress.state.slice(1));
    find("bar").hidden = false;
    const bar = find("progress");
    if (progress.limit !== null) {
      bar.max = Math.max(progress.limit, progress.ended, 1);
      bar.value = progress.ended;
    }
    bar.hidden = progress.limit === null;
    write("count", progress.limit === null ? `${progress.ended} ${progress.noun}` : `${progress.ended} of ${progress.limit} ${progress.noun}`);
    write("best", progress.best);
    left = progress.seconds_left === null ? null : Date.now() + 1000 * progress.seconds_left;
    write("left", leftText());
    showWork(progress.work);
    showFailures(progress.failures);
    if (progress.version !== report.data.version) refresh();
  }

  // What a reader has open, scrolled or is typing stays as it is.
  function kept() {
    const focused = document.activeElement;
    const label = focused?.getAttribute("aria-label");
    return {
      focus: focused?.id ? `#${CSS.escape(focused.id)}` : label ? `[aria-label="${CSS.escape(label)}"]` : null,
      open: [...document.querySelectorAll("main details[open]")].map(({ id }) => id),
      scrolled: [...document.querySelectorAll("main .scroll")].map(({ scrollTop, scrollLeft }) => [scrollTop, scrollLeft]),
    };
  }
  function restore({ focus, open, scrolled }) {
    open.forEach((id) => { const one = document.getElementById(id); if (one) one.open = true; });
    document.querySelectorAll("main .scroll").forEach((one, place) => {
      [one.scrollTop, one.scrollLeft] = scrolled[place] ?? [0, 0];
    });
    if (focus !== null) document.querySelector(focus)?.focus({ preventScroll: true });
  }
  function replace({ header, main, data }) {
    const state = kept();
    const content = document.createElement("template");
    content.innerHTML = main;
    for (const plot of content.content.querySelectorAll(".plot")) {
      // A figure that is drawn stays, with its zoom, and gets other points.
      const old = document.getElementById(plot.id);
      if (old === null) continue;
      old.setAttribute("aria-label", plot.getAttribute("aria-label"));
      if (!data.figures[old.dataset.figure]) old.dataset.figure = plot.dataset.figure;
      plot.replaceWith(old);
    }
    document.querySelectorAll("#page-main .plot").forEach((plot) => Plotly.purge(plot));
    document.getElementById("page-header").innerHTML = header;
    document.getElementById("page-main").replaceChildren(content.content);
    report.data = data;
    report.mount();
    restore(state);
  }
  async function refresh() {
    if (isFetching) return;
    isFetching = true;
    try {
      const answer = await fetch("content");
      if (answer.ok) replace(await answer.json());
    } catch {
      // The dashboard has ended; its events say when it is there again.
    } finally {
      isFetching = false;
    }
  }

  setInterval(() => write("left", leftText()), 5000);
  report.follow = () => {
    const source = new EventSource("events");
    source.addEventListener("progress", ({ data }) => showProgress(JSON.parse(data)));
    source.addEventListener("error", () => {
      write("state", "The dashboard does not answer: it has ended, or cannot be reached. It is tried again.");
      left = null;
      write("left", "");
      showWork([]);
    });
  };
})();
