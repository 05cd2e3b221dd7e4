// The table of runs. Names come as values and go into the page as text, never as markup, key or address.
const POLL = 1000; // ms between two looks for what has changed
const SPARE = 8; // rows drawn above and below those in sight
const STATES = {
  waiting: ["schedule", "off"], running: ["play_circle", "busy"], trained: ["model_training", "busy"],
  analyzed: ["check_circle", "good"], failed: ["error", "wrong"], cancelled: ["block", "off"],
};
const MARKS = { best: ["best", "the best on this dataset"], "as good as the best": ["as good", "as good as the best on this dataset, within chance"] };
const KEYS = { "/": "filter", j: "next run", k: "run before", Enter: "open the run", x: "choose it", Esc: "choose none", "?": "this list" };
const collator = new Intl.Collator(undefined, { numeric: true });
const percent = (part) => (part === null ? "" : `${(100 * part).toFixed(1)} %`);

const COLUMNS = [
  { id: "tick", name: "" },
  { id: "dataset", name: "Dataset", of: (row) => row.dataset },
  { id: "model", name: "Model", of: (row) => row.model },
  { id: "set", name: "Set", of: (row) => row.set },
  { id: "state-cell", name: "State", of: (row) => row.state },
  { id: "priority", name: "Priority", of: (row) => row.first, number: true },
  { id: "epochs", name: "Epochs", of: (row) => row.epochs_done, number: true },
  { id: "eta", name: "ETA", of: (row) => row.eta, number: true },
  { id: "validation", name: "Validation", of: (row) => row.validation, number: true },
  { id: "test", name: "Test accuracy", of: (row) => row.test, number: true },
  { id: "remark", name: "Note or reason", of: (row) => row.note || row.reason },
];

function make(tag, classes = "", text = "") {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  if (text) element.textContent = text;
  return element;
}

function inWords(seconds) {
  if (seconds === null) return "";
  if (seconds < 90) return `${seconds} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

class Runs {
  constructor(holder) {
    this.holder = holder;
    this.rows = new Map(); // by key
    this.order = []; // keys, as they are trained
    this.view = []; // rows that are shown, as they are sorted
    this.chosen = new Set();
    this.feed = ""; this.number = 0;
    this.sort = { column: null, down: false };
    this.pool = []; // drawn rows, each with the cells in it
    this.now = -1; // which row the keys are on
    this.stale = false;
    this.build();
    this.whenStyled();
    this.keepLooking();
  }

  build() {
    this.holder.classList.add("runs");
    const tools = make("div", "runs-tools");
    this.filter = tools.appendChild(make("input"));
    Object.assign(this.filter, { type: "search", placeholder: "Filter by text  ( / )" });
    this.filter.setAttribute("aria-label", "Filter by text");
    this.dataset = tools.appendChild(this.select("Dataset", [["", "all datasets"]]));
    this.state = tools.appendChild(this.select("State", [["", "all states"], ...Object.keys(STATES).map((one) => [one, one])]));
    const label = tools.appendChild(make("label", "quiet"));
    this.showHidden = label.appendChild(make("input"));
    this.showHidden.type = "checkbox";
    label.append(" hidden ones, too");
    this.count = tools.appendChild(make("span", "count quiet"));
    this.count.setAttribute("role", "status");
    for (const one of [this.filter, this.dataset, this.state, this.showHidden]) one.addEventListener("input", () => this.arrange(true));

    this.actions = this.buildActions();
    this.said = make("div", "runs-said");
    this.said.setAttribute("role", "status");
    this.table = make("div", "runs-table");
    this.table.tabIndex = 0;
    for (const [name, value] of [["role", "table"], ["aria-label", "Runs"]]) this.table.setAttribute(name, value);
    this.table.append(this.buildHead());
    this.body = this.table.appendChild(make("div", "runs-body"));
    this.body.setAttribute("role", "rowgroup");
    this.empty = this.table.appendChild(make("div", "runs-empty", "Looking ..."));
    this.help = this.buildHelp();
    this.holder.append(tools, this.actions, this.said, this.table, this.help);
    this.table.addEventListener("scroll", () => this.drawSoon(), { passive: true });
    addEventListener("resize", () => this.measure());
    this.table.addEventListener("mouseleave", () => this.stale && this.arrange());
    document.addEventListener("keydown", (event) => this.key(event));
  }

  select(name, options) {
    const element = make("select");
    element.setAttribute("aria-label", name);
    element.append(...options.map(([value, text]) => Object.assign(make("option", "", text), { value })));
    return element;
  }

  buildHead() {
    const head = make("div", "runs-head");
    head.setAttribute("role", "row");
    this.heads = COLUMNS.map((column) => {
      const cell = head.appendChild(make("div", column.id));
      cell.setAttribute("role", "columnheader");
      if (column.of) {
        cell.appendChild(make("button", "", column.name)).addEventListener("click", () => this.sortBy(column));
      } else {
        this.all = cell.appendChild(make("input"));
        this.all.type = "checkbox";
        this.all.setAttribute("aria-label", "Choose all that are shown");
        this.all.addEventListener("change", () => this.chooseAll(this.all.checked));
      }
      return cell;
    });
    return head;
  }

  buildActions() {
    const bar = make("div", "runs-actions");
    bar.hidden = true;
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", "What to do with the chosen runs");
    this.howMany = bar.appendChild(make("strong"));
    const button = (text, act) => bar.appendChild(make("button", "act", text)).addEventListener("click", act);
    for (const [action, text] of [["cancel", "Cancel"], ["stop", "Stop"], ["retry", "Retry"], ["hide", "Hide"], ["unhide", "Show again"]]) {
      button(text, () => this.ask({ request: action }));
    }
    const field = (type, label) => {
      const input = bar.appendChild(make("input"));
      Object.assign(input, { type, placeholder: label });
      input.setAttribute("aria-label", label);
      return input;
    };
    const priority = field("number", "Priority");
    button("Set priority", () => this.ask({ request: "priority", priority: Number.parseInt(priority.value || "0", 10) }));
    const note = field("text", "Note");
    note.maxLength = 200;
    button("Set note", () => this.ask({ request: "note", note: note.value }));
    return bar;
  }

  buildHelp() {
    const dialog = make("dialog");
    dialog.append(make("h2", "heading", "Keys"));
    for (const [key, what] of Object.entries(KEYS)) {
      const line = dialog.appendChild(make("div"));
      line.append(make("kbd", "", key), ` ${what}`);
    }
    const label = dialog.appendChild(make("label"));
    this.letters = label.appendChild(make("input"));
    this.letters.type = "checkbox";
    try { this.letters.checked = localStorage.getItem("letters") !== "off"; } catch { this.letters.checked = true; }
    this.letters.addEventListener("change", () => {
      try { localStorage.setItem("letters", this.letters.checked ? "on" : "off"); } catch { /* for this page alone */ }
    });
    label.append(" single letters work");
    const close = dialog.appendChild(make("div")).appendChild(make("button", "act", "Close"));
    close.addEventListener("click", () => dialog.close());
    return dialog;
  }

  // The style sheet may come after this script.
  whenStyled() {
    this.measure();
    if (!this.height) setTimeout(() => this.whenStyled(), 30);
  }

  async keepLooking() {
    for (;;) {
      let pause = POLL;
      if (!document.hidden) {
        try {
          if (await this.look()) pause = 150;
        } catch {
          this.say("The page does not answer. It is tried again.", true);
          this.lost = true;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  // Returns whether nothing is known yet.
  async look() {
    const answer = await fetch(`/api/runs?since=${this.number}&feed_id=${this.feed}`);
    if (!answer.ok) throw new Error(answer.statusText);
    const { feed, number, loading, fields, order, rows } = await answer.json();
    if (this.lost) { this.lost = false; this.say(""); }
    if (feed !== this.feed) this.rows.clear();
    this.feed = feed; this.number = number;
    for (const cells of rows) {
      const row = {};
      fields.forEach((field, index) => { row[field] = cells[index]; });
      row.text = [row.dataset, row.model, row.set, row.state, row.note, row.reason, row.mark].join("\n").toLowerCase();
      this.rows.set(row.key, row);
    }
    if (order) this.reorder(order);
    if (rows.length || order) this.changed();
    else if (!loading && this.empty.textContent === "Looking ...") this.arrange();
    return loading;
  }

  reorder(order) {
    this.order = order;
    const there = new Set(order);
    for (const key of this.rows.keys()) if (!there.has(key)) this.rows.delete(key);
    for (const key of this.chosen) if (!there.has(key)) this.chosen.delete(key);
    const names = [...new Set(order.map((key) => this.rows.get(key).dataset))];
    const before = this.dataset.value;
    this.dataset.replaceChildren(...this.select("", [["", "all datasets"], ...names.map((name) => [name, name])]).children);
    this.dataset.value = names.includes(before) ? before : "";
  }

  // Nothing moves under the reader's hand: while the pointer is on the table, rows keep where they are.
  changed() {
    this.order.forEach((key, index) => { this.rows.get(key).rank = index; });
    if (this.view.length && this.body.matches(":hover")) {
      this.view = this.view.map((row) => this.rows.get(row.key) ?? row);
      this.stale = true;
      this.draw();
    } else {
      this.arrange();
    }
  }

  sortBy(column) {
    if (this.sort.column !== column) this.sort = { column, down: Boolean(column.number) };
    else if (this.sort.down === Boolean(column.number)) this.sort.down = !this.sort.down;
    else this.sort = { column: null, down: false };
    COLUMNS.forEach((one, index) => {
      if (one === this.sort.column) this.heads[index].setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
      else this.heads[index].removeAttribute("aria-sort");
    });
    this.arrange(true);
  }

  arrange(fromStart = false) {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const [dataset, state, hidden] = [this.dataset.value, this.state.value, this.showHidden.checked];
    const now = this.view[this.now]?.key;
    this.view = this.order.map((key) => this.rows.get(key)).filter((row) =>
      (hidden || !row.hidden) && (!dataset || row.dataset === dataset) && (!state || row.state === state) &&
      words.every((word) => row.text.includes(word)));
    this.sortView();
    this.now = now === undefined ? -1 : this.view.findIndex((row) => row.key === now);
    this.stale = false;
    const all = this.rows.size;
    this.count.textContent = this.view.length === all ? `${all.toLocaleString()} runs` : `${this.view.length.toLocaleString()} of ${all.toLocaleString()} runs`;
    this.empty.hidden = this.view.length > 0;
    this.empty.textContent = all ? "No run is like that. Change the filter." : "No runs yet. Put pictures in: each dataset is trained with each model and set.";
    this.table.setAttribute("aria-rowcount", this.view.length + 1);
    if (fromStart) this.table.scrollTop = 0;
    this.showChosen();
    this.draw();
  }

  sortView() {
    const { column, down } = this.sort;
    if (!column) return;
    const sign = down ? -1 : 1;
    const compare = column.number ? (a, b) => a - b : collator.compare;
    const unknown = (value) => value === null || value === "";
    this.view.sort((one, other) => {
      const [a, b] = [column.of(one), column.of(other)];
      if (unknown(a) || unknown(b)) return unknown(a) - unknown(b) || one.rank - other.rank;
      return sign * compare(a, b) || one.rank - other.rank;
    });
  }

  drawSoon() {
    this.due ??= requestAnimationFrame(() => { this.due = null; this.draw(); });
  }

  measure() {
    this.height = Number.parseFloat(getComputedStyle(this.holder).getPropertyValue("--row"));
    this.drawSoon();
  }

  draw() {
    const height = this.height;
    if (!height) return;
    this.body.style.height = `${height * this.view.length}px`;
    const first = Math.max(0, Math.floor(this.table.scrollTop / height) - SPARE);
    const many = Math.ceil(this.table.clientHeight / height) + 2 * SPARE;
    const last = Math.min(this.view.length, first + many);
    while (this.pool.length < last - first) this.pool.push(this.makeRow());
    this.pool.forEach((drawn, index) => {
      // A row stays on its element while it is in sight, so that focus stays with it.
      const size = this.pool.length;
      const number = first + ((index - (first % size) + size) % size);
      drawn.element.style.display = number >= last ? "none" : "";
      if (number < last) this.fill(drawn, this.view[number], number, height);
    });
  }

  makeRow() {
    const element = make("div", "runs-row");
    element.setAttribute("role", "row");
    const cells = {};
    for (const { id } of COLUMNS) {
      cells[id] = element.appendChild(make("div", id));
      cells[id].setAttribute("role", "cell");
    }
    const tick = cells.tick.appendChild(make("input"));
    tick.type = "checkbox";
    const link = cells.dataset.appendChild(make("a"));
    const state = cells["state-cell"].appendChild(make("span", "state"));
    const icon = state.appendChild(make("i", "q-icon material-icons"));
    icon.setAttribute("aria-hidden", "true");
    const word = state.appendChild(make("span"));
    for (const id of ["priority", "epochs", "eta", "validation", "test"]) cells[id].classList.add("number");
    const figure = cells.test.appendChild(make("span"));
    const range = cells.test.appendChild(make("span", "range"));
    const bar = range.appendChild(make("span"));
    const mark = cells.test.appendChild(make("span", "mark"));
    const drawn = { element, cells, tick, link, state, icon, word, figure, range, bar, mark, row: null };
    tick.addEventListener("change", () => this.choose(drawn.row.key, tick.checked));
    this.body.append(element);
    return drawn;
  }

  fill(drawn, row, number, height) {
    const { element, cells } = drawn;
    const look = [number, height, number === this.now, this.chosen.has(row.key)].join();
    if (drawn.row === row && drawn.look === look) return; // most of them, while it is scrolled
    drawn.look = look;
    element.style.transform = `translateY(${number * height}px)`;
    element.setAttribute("aria-rowindex", number + 2);
    element.classList.toggle("now", number === this.now);
    const chosen = this.chosen.has(row.key);
    if (drawn.row !== row) this.fillCells(drawn, row);
    drawn.tick.checked = chosen;
    element.setAttribute("aria-selected", chosen);
    drawn.row = row;
    cells.remark.title = cells.remark.textContent;
  }

  fillCells(drawn, row) {
    const { cells } = drawn;
    const title = `${row.dataset}, ${row.model}, ${row.set}`;
    drawn.tick.setAttribute("aria-label", `Choose ${title}`);
    drawn.link.textContent = row.dataset;
    drawn.link.title = title;
    drawn.link.href = `/run?key=${encodeURIComponent(row.key)}`;
    cells.model.textContent = row.model;
    cells.set.textContent = row.set;
    const [icon, meaning] = STATES[row.state] ?? ["help", "off"];
    drawn.state.className = `state ${meaning}`;
    drawn.icon.textContent = icon;
    drawn.word.textContent = row.state;
    cells.priority.textContent = row.first ? `${row.first > 0 ? "+" : ""}${row.first}, ${row.priority}` : row.priority;
    cells.epochs.textContent = `${row.epochs_done}/${row.epochs}`;
    cells.eta.textContent = inWords(row.eta);
    cells.validation.textContent = percent(row.validation);
    this.fillTest(drawn, row);
    cells.remark.textContent = [row.hidden ? "hidden" : "", row.note, row.reason].filter(Boolean).join("; ");
    drawn.element.classList.toggle("hidden-run", row.hidden);
  }

  fillTest(drawn, row) {
    const known = row.low !== null;
    drawn.figure.textContent = percent(row.test);
    drawn.range.style.display = known ? "" : "none";
    if (known) {
      drawn.bar.style.left = `${100 * row.low}%`;
      drawn.bar.style.width = `${100 * (row.high - row.low)}%`;
      drawn.range.title = `95 % interval ${percent(row.low)} to ${percent(row.high)}, of ${row.images} test images`;
      drawn.figure.textContent += ` (${(100 * row.low).toFixed(1)}\u2013${(100 * row.high).toFixed(1)})`;
    }
    const [word, title] = row.guessing ? ["guessing", "no better than guessing"] : MARKS[row.mark] ?? ["", ""];
    Object.assign(drawn.mark, { textContent: word, title });
    drawn.mark.classList.toggle("wrong", row.guessing);
    drawn.mark.style.display = drawn.mark.textContent ? "" : "none";
  }

  choose(key, chosen) {
    if (chosen) this.chosen.add(key); else this.chosen.delete(key);
    this.showChosen();
    this.draw();
  }

  chooseAll(chosen) {
    this.chosen = new Set(chosen ? this.view.map((row) => row.key) : []);
    this.showChosen();
    this.draw();
  }

  showChosen() {
    this.actions.hidden = this.chosen.size === 0;
    this.howMany.textContent = `${this.chosen.size.toLocaleString()} chosen`;
    this.all.checked = this.chosen.size > 0 && this.view.every((row) => this.chosen.has(row.key));
    this.all.indeterminate = this.chosen.size > 0 && !this.all.checked;
  }

  async ask(request) {
    this.say("Asked ...");
    try {
      const answer = await fetch("/api/ask", {
        method: "POST", headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ ...request, runs: [...this.chosen] }),
      });
      const { refused, said } = await answer.json();
      this.say(refused || said || "Done.", Boolean(refused));
    } catch {
      this.say("The page does not answer. Nothing was asked; try it again.", true);
    }
  }

  say(text, wrong = false) {
    this.said.textContent = text;
    this.said.classList.toggle("wrong", wrong);
  }

  key(event) {
    if (!this.holder.isConnected || event.ctrlKey || event.metaKey || event.altKey || this.help.open) return;
    const inField = event.target.matches("input:not([type=checkbox]), select, textarea");
    if (event.key === "Escape") {
      if (inField) event.target.blur(); else this.chooseAll(false);
      return;
    }
    if (inField || (!this.letters.checked && event.key.length === 1)) return;
    const step = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && (event.key.length === 1 || this.table.contains(event.target))) this.move(step);
    else if (event.key === "/") this.filter.focus();
    else if (event.key === "?") this.help.showModal();
    else if (event.key === "x" && this.view[this.now]) this.choose(this.view[this.now].key, !this.chosen.has(this.view[this.now].key));
    else if (event.key === "Enter" && this.view[this.now] && !event.target.matches("a, button")) {
      location.href = `/run?key=${encodeURIComponent(this.view[this.now].key)}`;
    } else return;
    event.preventDefault();
  }

  move(step) {
    this.now = Math.min(this.view.length - 1, Math.max(0, this.now + step));
    const height = this.height;
    const [top, bottom] = [this.now * height, (this.now + 1) * height + this.table.firstElementChild.offsetHeight];
    if (top < this.table.scrollTop) this.table.scrollTop = top;
    else if (bottom > this.table.scrollTop + this.table.clientHeight) this.table.scrollTop = bottom - this.table.clientHeight;
    this.draw();
  }
}

function begin() {
  const holder = document.getElementById("runs");
  if (!holder) return false;
  window.runs = new Runs(holder);
  return true;
}

// NiceGUI draws the page after this script has run.
if (!begin()) {
  new MutationObserver((_, observer) => { if (begin()) observer.disconnect(); })
    .observe(document.body, { childList: true, subtree: true });
}
