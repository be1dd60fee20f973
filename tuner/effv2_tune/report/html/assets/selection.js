"use strict";
// What is selected in the page. Filters by name say which trials are selected; one may be pinned.
// A part registers a function that draws it anew for other content, and one for another selection.
const report = {
  data: JSON.parse(document.getElementById("figures").textContent),
  pinned: null,
  filters: new Map(),
  mounts: [],
  listeners: [],

  includes(number) {
    for (const passes of this.filters.values()) if (!passes(number)) return false;
    return true;
  },
  changed() {
    for (const listener of this.listeners) listener();
  },
  pin(number) {
    this.pinned = number;
    this.changed();
  },
  toggle(number) {
    this.pin(this.pinned === number ? null : number);
  },
  announce(text) {
    document.getElementById("announcement").textContent = text;
  },
  element(tag, text, attributes = {}) {
    const made = document.createElement(tag);
    made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  },
};
