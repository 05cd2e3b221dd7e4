// One run. All that is named by users goes into the page as text.
const STATES = {
  waiting: ["schedule", "off"], running: ["play_circle", "busy"], trained: ["model_training", "busy"],
  analyzed: ["check_circle", "good"], failed: ["error", "wrong"], cancelled: ["block", "off"],
};
const MOST_IN_MATRIX = 40; // classes; beyond it the pairs that are confused most
const MOST_PAIRS = 50;
const MOST_IN_GALLERY = 60;
const SVG = "http://www.w3.org/2000/svg";
const percent = (part) => (typeof part === "number" ? `${(100 * part).toFixed(1)} %` : "\u2013");
const key = new URLSearchParams(location.search).get("key") ?? "";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function svg(tag, attributes, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

const address = (route, more) => `/api/run/${route}?${new URLSearchParams({ key, ...more })}`;

async function begin(holder) {
  holder.classList.add("run");
  holder.append(make("p", { class: "quiet", role: "status" }, "Looking ..."));
  const answer = await fetch(`/api/run?${new URLSearchParams({ key })}`);
  const run = await answer.json();
  if (run.gone) {
    holder.replaceChildren(make("p", { class: "lead" }, run.gone), make("a", { href: "/runs" }, "All runs"));
    return;
  }
  document.title = `${run.dataset}, ${run.model}, ${run.set} \u00b7 ML Ops Pipeline`;
  const gallery = new Gallery(run);
  holder.replaceChildren(
    ...head(run), ...charts(run), ...byClass(run), ...matrix(run, gallery), ...gallery.parts(),
    ...folded("Settings", pairs(run.settings)), ...folded("Where it comes from", pairs(run.provenance)),
    ...folded("Log", run.log && make("pre", { tabindex: 0 }, run.log)), ...files(run), gallery.dialog,
  );
}

function head(run) {
  const [icon, meaning] = STATES[run.state] ?? ["help", "off"];
  const state = make("span", { class: `state ${meaning}` }, make("i", { class: "q-icon material-icons", "aria-hidden": "true" }, icon), run.state);
  const parts = [make("div", { class: "title" }, make("strong", { class: "lead" }, `${run.dataset}, ${run.model}, ${run.set}`), state)];
  if (run.test !== null) {
    parts.push(make("div", { class: "figure" }, percent(run.test)), make("div", { class: "quiet" }, beside(run)));
  } else if (run.validation !== null) {
    parts.push(make("div", { class: "figure" }, percent(run.validation)), make("div", { class: "quiet" }, "validation accuracy; it is not tested yet"));
  }
  if (run.best && run.best.key !== key) {
    const link = make("a", { href: `/run?${new URLSearchParams({ key: run.best.key })}` }, `${run.best.model}, ${run.best.set}`);
    parts.push(make("div", {}, "The best on this dataset: ", link, `, ${percent(run.best.test)}`));
  }
  for (const text of [run.reason, ...run.warnings].filter(Boolean)) parts.push(make("div", { class: "note" }, text));
  if (run.note) parts.push(make("div", { class: "note mild" }, run.note));
  return parts;
}

function beside(run) {
  const words = ["test accuracy"];
  if (run.low !== null) words.push(`95 % interval ${percent(run.low)} to ${percent(run.high)}, of ${run.images.toLocaleString()} test images`);
  if (run.guessing) words.push("no better than guessing");
  else if (run.best?.key === key) words.push("the best on this dataset");
  return words.join("; ");
}

function charts(run) {
  const parts = ["accuracy", "loss"].map((metric) => {
    const curves = run.curves.filter((curve) => curve.name === metric || curve.name === `val_${metric}`);
    return curves.length ? chart(metric, curves, run.best_epoch) : null;
  }).filter(Boolean);
  return parts.length ? [make("h2", {}, "Curves"), make("div", { class: "charts" }, ...parts)] : [];
}

function chart(metric, curves, best) {
  const [width, height, left, bottom] = [420, 220, 44, 24];
  const values = curves.flatMap((curve) => curve.values).filter((value) => value !== null);
  const epochs = Math.max(...curves.map((curve) => curve.values.length));
  const [low, high] = metric === "accuracy" ? [Math.min(...values, 1), 1] : [0, Math.max(...values, 1e-9)];
  const x = (epoch) => left + (epochs > 1 ? (epoch / (epochs - 1)) : 0.5) * (width - left - 10);
  const y = (value) => 10 + (1 - (value - low) / (high - low || 1)) * (height - bottom - 10);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${metric} by epoch` });
  for (const part of [0, 0.5, 1]) {
    const value = low + part * (high - low);
    drawing.append(svg("line", { class: "grid", x1: left, x2: width - 10, y1: y(value), y2: y(value) }),
      svg("text", { x: 2, y: y(value) + 4 }, metric === "accuracy" ? percent(value) : value.toPrecision(3)));
  }
  for (const curve of curves) {
    const points = curve.values.map((value, epoch) => (value === null ? null : `${x(epoch).toFixed(1)},${y(value).toFixed(1)}`)).filter(Boolean);
    drawing.append(svg("path", { class: curve.name.startsWith("val_") ? "validation" : "train", d: `M${points.join("L")}` }));
  }
  const cursor = drawing.appendChild(svg("line", { class: "grid", y1: 10, y2: height - bottom, visibility: "hidden" }));
  drawing.append(svg("text", { x: left, y: height - 6 }, "epoch 1"), svg("text", { x: width - 10, y: height - 6, "text-anchor": "end" }, `${epochs}`));
  const said = make("div", { class: "quiet", "aria-live": "polite" });
  const say = (epoch) => {
    const parts = curves.map((curve) => {
      const value = curve.values[epoch] ?? null;
      const figure = value === null ? "\u2013" : metric === "accuracy" ? percent(value) : value.toFixed(3);
      return `${curve.name.startsWith("val_") ? "validation (line)" : "training (dashes)"} ${figure}`;
    });
    said.textContent = `${metric}, epoch ${epoch + 1}${epoch + 1 === best ? " (the one that is kept)" : ""}: ${parts.join(", ")}`;
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(epoch));
    cursor.setAttribute("visibility", "visible");
  };
  say((best || epochs) - 1);
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const part = ((event.clientX - box.left) / box.width * width - left) / (width - left - 10);
    say(Math.min(epochs - 1, Math.max(0, Math.round(part * (epochs - 1)))));
  });
  return make("div", { class: "chart" }, drawing, said);
}

function byClass(run) {
  if (!run.classes.length) return [];
  const head = make("tr", {}, ...["Class", "Precision", "Recall", "F1", "Test images"].map((name) => make("th", { scope: "col" }, name)));
  const rows = run.classes.map((one) => make("tr", {}, make("th", { scope: "row" }, String(one.class)),
    ...[percent(one.precision), percent(one.recall), percent(one.f1), String(one.support ?? "")].map((text) => make("td", {}, text))));
  return folded(`By class (${run.classes.length})`, make("div", { class: "scroll", tabindex: 0 }, make("table", {}, head, ...rows)), run.classes.length <= 20);
}

function matrix(run, gallery) {
  if (!run.predictions.length) return [];
  const counts = new Map(); // by true, then by predicted class
  for (const [, , truth, guess] of run.predictions) {
    if (!counts.has(truth)) counts.set(truth, new Map());
    counts.get(truth).set(guess, (counts.get(truth).get(guess) ?? 0) + 1);
  }
  const names = [...new Set([...run.classes.map((one) => String(one.class)), ...run.predictions.flatMap(([, , truth, guess]) => [truth, guess])])];
  const button = (truth, guess, text) => {
    const count = counts.get(truth)?.get(guess) ?? 0;
    const made = make("button", { class: !count ? "" : truth === guess ? "right" : "wrong", title: `true ${truth}, predicted ${guess}: ${count}` }, text ?? String(count));
    made.disabled = !count;
    made.addEventListener("click", () => {
      document.querySelectorAll(".matrix .chosen").forEach((one) => one.classList.remove("chosen"));
      made.classList.add("chosen");
      gallery.show(truth, guess);
    });
    return made;
  };
  const title = make("h2", {}, "Which class is taken for which");
  if (names.length > MOST_IN_MATRIX) {
    const wrong = [...counts].flatMap(([truth, row]) => [...row].map(([guess, count]) => [truth, guess, count])).filter(([truth, guess]) => truth !== guess);
    wrong.sort((one, other) => other[2] - one[2]);
    const rows = wrong.slice(0, MOST_PAIRS).map(([truth, guess, count]) =>
      make("tr", {}, make("td", {}, button(truth, guess, `${truth} taken for ${guess}: ${count}`))));
    return [title, make("div", { class: "scroll matrix", tabindex: 0 }, make("table", {}, ...rows))];
  }
  const head = make("tr", {}, make("th", { scope: "col" }, "true \\ predicted"), ...names.map((name) => make("th", { scope: "col", title: name }, name)));
  const rows = names.map((truth) => make("tr", {}, make("th", { scope: "row", title: truth }, truth), ...names.map((guess) => make("td", {}, button(truth, guess)))));
  return [title, make("div", { class: "scroll matrix", tabindex: 0 }, make("table", {}, head, ...rows))];
}

class Gallery {
  constructor(run) {
    this.run = run;
    this.title = make("h2");
    this.list = make("div", { class: "gallery" });
    this.dialog = make("dialog");
    this.wrong = run.predictions.filter(([, , truth, guess]) => truth !== guess);
    this.fill(`Mistakes, the most confident first (${this.wrong.length.toLocaleString()})`, this.wrong);
  }

  parts() {
    return this.run.predictions.length ? [this.title, this.list] : [];
  }

  show(truth, guess) {
    const shown = this.run.predictions.filter((one) => one[2] === truth && one[3] === guess);
    this.fill(`True ${truth}, predicted ${guess} (${shown.length.toLocaleString()})`, shown);
    this.title.scrollIntoView({ block: "start" });
  }

  fill(title, predictions) {
    this.title.textContent = title;
    this.list.replaceChildren(...predictions.slice(0, MOST_IN_GALLERY).map((one) => this.card(one)));
    if (!predictions.length) this.list.append(make("p", { class: "quiet" }, "None."));
    if (predictions.length > MOST_IN_GALLERY) this.list.append(make("p", { class: "quiet" }, `${(predictions.length - MOST_IN_GALLERY).toLocaleString()} more are in the table of predictions.`));
  }

  picture([index, file]) {
    return this.run.has_images ? [make("img", { src: address("image", { index }), alt: file, loading: "lazy" })] : [];
  }

  card(prediction) {
    const [, file, truth, guess, confidence] = prediction;
    const text = `${truth}, taken for ${guess} (${percent(confidence)})`;
    const card = make("button", {}, ...this.picture(prediction), make("div", {}, truth === guess ? `${truth} (${percent(confidence)})` : text));
    card.addEventListener("click", () => {
      const close = make("button", { class: "button plain" }, "Close");
      close.addEventListener("click", () => this.dialog.close());
      this.dialog.replaceChildren(...this.picture(prediction), make("p", {}, text), make("p", { class: "quiet" }, file), close);
      this.dialog.showModal();
    });
    return card;
  }
}

function pairs(values) {
  return values.length && make("table", {}, ...values.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, String(value)))));
}

function folded(title, content, open = false) {
  if (!content) return [];
  const details = make("details", {}, make("summary", {}, title), content);
  details.open = open;
  return [details];
}

function files(run) {
  const items = run.files.map(({ name, bytes }) => make("li", {}, make("a", { href: address("file", { name }), download: name }, name), ` (${size(bytes)})`));
  const board = new URL(location.href);
  Object.assign(board, { port: "6006", pathname: "/", hash: "", search: `?${new URLSearchParams({ runFilter: run.name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&") })}` });
  const link = make("a", { href: board.href, target: "_blank", rel: "noopener" }, "Open TensorBoard on it");
  return [make("h2", {}, "Files"), make("ul", { class: "files" }, ...items, make("li", {}, link, " (where make run works)"))];
}

function size(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

// NiceGUI draws the page after this script has run.
function whenThere() {
  const holder = document.getElementById("run");
  if (holder) begin(holder);
  return Boolean(holder);
}

if (!whenThere()) {
  new MutationObserver((_, observer) => { if (whenThere()) observer.disconnect(); })
    .observe(document.body, { childList: true, subtree: true });
}
