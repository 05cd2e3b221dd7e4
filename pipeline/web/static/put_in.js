// Puts files in: four at a time, each from where it stopped, all of it only once it is whole.
const STREAMS = 4;
const TRIES = 5;

const ignore = (event) => event.preventDefault();
for (const name of ["dragover", "drop"]) addEventListener(name, ignore);  // else the browser opens the file

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;  // names are text
  return element;
}

async function ask(method, path, body) {
  const answer = await fetch(path, { method, body: body && JSON.stringify(body) });
  const said = await answer.json().catch(() => ({ error: `The page answered ${answer.status}.` }));
  if (!answer.ok) throw Object.assign(new Error(said.error || "It was refused."), { status: answer.status });
  return said;
}

function sendFile(path, blob, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", path);
    request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onload = () => {
      let said = {};
      try { said = JSON.parse(request.responseText); } catch { /* said below */ }
      if (request.status === 200) resolve(said);
      else reject(Object.assign(new Error(said.error || `The page answered ${request.status}.`), { status: request.status }));
    };
    request.onerror = () => reject(Object.assign(new Error("The connection was lost."), { status: 0 }));
    request.onabort = () => reject(Object.assign(new Error("cancelled"), { status: -1 }));
    signal.addEventListener("abort", () => request.abort());
    request.send(blob);
  });
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

class Upload {
  constructor(sort, name, isFolder, files, show) {
    Object.assign(this, { sort, name, isFolder, files, show });  // files: [path, File]
    this.total = files.reduce((sum, [, file]) => sum + file.size, 0);
    this.cancelled = new AbortController();
    this.sent = new Map();
  }

  async run() {
    const files = this.files.map(([path, file]) => [path, file.size]);
    const asked = { sort: this.sort, name: this.name, is_folder: this.isFolder, files };
    const { key, needed } = await ask("POST", "/api/uploads", asked);
    this.key = key;
    this.began = performance.now();
    const missing = new Set(needed.map(([number]) => number));
    this.files.forEach(([, file], number) => { if (!missing.has(number)) this.sent.set(number, file.size); });
    needed.forEach(([number, received]) => this.sent.set(number, received));
    this.atFirst = this.bytes();
    const queue = needed.slice();
    const stream = async () => { for (let next; (next = queue.shift());) await this.send(...next); };
    await Promise.all(Array.from({ length: STREAMS }, stream));
    this.report(true);
    if (this.cancelled.signal.aborted) throw new Error("cancelled");
  }

  async send(number, received) {
    const file = this.files[number][1];
    for (let tried = 1; !this.cancelled.signal.aborted; tried++) {
      const start = received;
      const counted = (loaded) => { this.sent.set(number, Math.min(file.size, start + loaded)); this.report(); };
      try {
        const path = `/api/uploads/${this.key}/${number}?start=${start}`;
        ({ received } = await sendFile(path, file.slice(start), counted, this.cancelled.signal));
        this.sent.set(number, received);
        this.report();
        if (received === file.size) return;
      } catch (error) {
        if (error.status === -1 || tried === TRIES || ![0, 409].includes(error.status)) {
          this.cancelled.abort();
          throw error;
        }
        await pause(tried);
        const { needed } = await ask("GET", `/api/uploads/${this.key}`);
        const there = needed.find(([other]) => other === number);
        if (!there) return;
        received = there[1];
      }
    }
  }

  bytes() { let sum = 0; for (const size of this.sent.values()) sum += size; return sum; }

  report(now) {
    if (!now && performance.now() - (this.reported || 0) < 200) return;
    this.reported = performance.now();
    this.show(this.bytes(), this.total, (performance.now() - this.began) / 1000, this.atFirst);
  }

  async cancel() {
    this.cancelled.abort();
    if (this.key) await ask("DELETE", `/api/uploads/${this.key}`).catch(() => {});
  }
}

// What a person chose or dropped: {name, isFolder, files}.
async function dropped(items) {
  const entries = [...items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
  if (entries.length === 1 && entries[0].isFile) {
    const file = await new Promise((resolve, reject) => entries[0].file(resolve, reject));
    return { name: file.name, isFolder: false, files: [[file.name, file]] };
  }
  const files = [];
  const [only] = entries;
  const single = entries.length === 1 && only.isDirectory;
  for (const entry of single ? await children(only) : entries) await collect(entry, "", files);
  return { name: single ? only.name : "pictures", isFolder: true, files };
}

async function children(folder) {
  const reader = folder.createReader(), all = [];
  for (;;) {  // it gives a hundred at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return all;
    all.push(...some);
  }
}

async function collect(entry, before, files) {
  if (entry.isFile) {
    files.push([before + entry.name, await new Promise((resolve, reject) => entry.file(resolve, reject))]);
    return;
  }
  for (const child of await children(entry)) await collect(child, `${before}${entry.name}/`, files);
}

function chosen(list) {
  const files = [...list];
  if (files.length === 1 && !files[0].webkitRelativePath) {
    return { name: files[0].name, isFolder: false, files: [[files[0].name, files[0]]] };
  }
  const paths = files.map((file) => [file.webkitRelativePath.split("/").slice(1).join("/") || file.name, file]);
  return { name: (files[0].webkitRelativePath || "pictures/").split("/")[0], isFolder: true, files: paths };
}

const size = (bytes) => bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
const left = (seconds) => seconds < 90 ? `${Math.ceil(seconds)} s left` : `${Math.ceil(seconds / 60)} min left`;
const percent = (text) => `${(100 * Number(text)).toFixed(1)} %`;

// One zone: where files are dropped, and below it what becomes of them.
class Zone {
  constructor(box) {
    this.box = box;
    this.sort = box.dataset.sort;
    this.out = box.parentElement.querySelector(".out");
  }

  async take(found) {
    if (this.busy) return;
    this.busy = true;
    try {
      if (!found.files.length) throw new Error("There is no file in it. Drop a folder with pictures.");
      await this.send(found);
    } catch (error) {
      if (error.message !== "cancelled") this.fail(error.message, found);
    } finally {
      this.busy = false;
    }
  }

  begin(...elements) { this.out.replaceChildren(...elements); }

  fail(text, found) {
    const note = make("div", "note");
    note.setAttribute("role", "alert");
    note.append(make("div", "name", found.name), make("div", "", text));
    this.begin(note);
    const row = make("form", "row again");
    const label = make("label", "quiet", "Name ");
    const input = label.appendChild(make("input", "field"));
    input.value = found.name;
    row.append(label, make("button", "button", "Try again"), make("span", "quiet", "Only what is missing is sent."));
    row.addEventListener("submit", (event) => { event.preventDefault(); this.take({ ...found, name: input.value }); });
    this.out.append(row);
  }

  async send(found) {
    const bar = make("progress"), said = make("span", "quiet said"), cancel = make("button", "button plain", "Cancel");
    bar.max = 1;
    bar.setAttribute("aria-label", `Sending ${found.name}`);
    const row = make("div", "row");
    row.append(said, cancel);
    const many = `${found.files.length.toLocaleString("en")} file${found.files.length === 1 ? "" : "s"}`;
    this.begin(make("div", "name", `${found.name}: ${many}`), bar, row);
    const upload = new Upload(this.sort, found.name, found.isFolder, found.files, (sent, total, seconds, atFirst) => {
      bar.value = total ? sent / total : 1;
      const pace = (sent - atFirst) / seconds;
      said.textContent = `${size(sent)} of ${size(total)}` + (pace > 0 && sent < total ? `, ${left((total - sent) / pace)}` : "");
    });
    said.textContent = "beginning";
    cancel.addEventListener("click", async () => {
      await upload.cancel();
      this.begin(make("div", "quiet", `${found.name}: cancelled, and what came of it was removed.`));
    });
    await upload.run();
    if (this.sort === "images") return this.predict(await ask("POST", `/api/uploads/${upload.key}/finish`));
    said.textContent = "checking";
    await this.check(found, upload, await ask("POST", `/api/uploads/${upload.key}/check`));
  }

  async check(found, upload, said) {
    const box = make("div", "checked");
    if (said.layout !== undefined) {
      const parts = Object.entries(said.parts).map(([part, count]) => `${count.toLocaleString("en")} ${part}`).join(", ");
      const classes = said.classes.slice(0, 12).map(([name, count]) => `${name} (${count.toLocaleString("en")})`).join(", ");
      const more = said.class_count > 12 ? ` and ${said.class_count - 12} more` : "";
      box.append(make("div", "name", found.name),
        make("div", "", `Understood as ${said.layout}: ${said.images.toLocaleString("en")} images (${parts}).`),
        make("div", "quiet classes", `${said.class_count} classes: ${classes}${more}`));
    }
    const rows = said.problems.concat(said.warnings);
    if (rows.length) box.append(records(rows, said.problems.length));
    const row = make("div", "row");
    const drop = make("button", "button plain", "Do not put it in");
    drop.addEventListener("click", async () => {
      await upload.cancel();
      this.begin(make("div", "quiet", `${found.name}: removed.`));
    });
    if (said.problems.length) {
      box.append(make("div", "", "It cannot be used like this. Put it right, then drop it again."));
    } else {
      const put = make("button", "button", "Put it in");
      put.addEventListener("click", async () => {
        put.disabled = drop.disabled = true;
        try {
          const { path } = await ask("POST", `/api/uploads/${upload.key}/finish`);
          this.done(path);
        } catch (error) {
          this.fail(error.message, found);
        }
      });
      row.append(put);
    }
    row.append(drop);
    this.begin(box, row);
  }

  done(path) {
    const note = make("div", "note mild");
    note.setAttribute("role", "status");
    const link = make("a", "", "See what becomes of it");
    link.href = "/";
    note.append(make("div", "name", `${path} is put in.`), link);
    this.begin(note);
  }

  async predict({ name, path }) {
    const said = make("div", "", `${path}: waiting for the prediction stage.`);
    said.setAttribute("role", "status");
    this.begin(said);
    for (;;) {
      const found = await ask("GET", `/api/predictions?name=${encodeURIComponent(name)}`);
      if (found.state === "problem") { this.begin(Object.assign(make("div", "note"), { textContent: `${name}: ${found.problem}` })); return; }
      if (found.state === "done") { this.begin(predictions(found)); return; }
      await pause(1);
    }
  }
}

function table(heads, rows) {
  const made = make("table"), head = make("tr");
  head.append(...heads.map((text) => make("th", "", text)));
  made.createTHead().append(head);
  const body = made.createTBody();
  for (const cells of rows) {
    const row = make("tr");
    row.append(...cells.map((text) => make("td", "", text)));
    body.append(row);
  }
  const box = make("div", "scroll");
  box.append(made);
  return box;
}

function records(rows, problems) {
  return table(["", "where", "what", "what to do"], rows.map((record, number) => [
    number < problems ? "✗ problem" : "! warning",
    [record.split, record.file, record.row && `row ${record.row}`].filter(Boolean).join(", "),
    record.text, record.cure || "",
  ]));
}

function predictions({ run, rows }) {
  const box = make("div");
  box.append(table(["picture", "class", "confidence", "second class", "confidence"],
    rows.map(([file, first, sure, second, less, problem]) =>
      problem ? [file, problem, "", "", ""] : [file, first, sure && percent(sure), second, less && percent(less)])));
  box.append(make("div", "quiet", `by ${run}`));
  return box;
}

const zones = new WeakMap();
function zoneOf(element) {
  const box = element.closest && element.closest(".zone");
  if (box && !zones.has(box)) zones.set(box, new Zone(box));
  return box && zones.get(box);
}

addEventListener("dragover", (event) => {
  document.querySelectorAll(".zone.over").forEach((box) => box.classList.remove("over"));
  const zone = zoneOf(event.target);
  if (zone) zone.box.classList.add("over");
});
addEventListener("drop", async (event) => {
  const zone = zoneOf(event.target);
  if (!zone) return;
  zone.box.classList.remove("over");
  zone.take(await dropped(event.dataTransfer.items));
});
addEventListener("change", (event) => {
  const zone = event.target.type === "file" && zoneOf(event.target);
  if (!zone || !event.target.files.length) return;
  const found = chosen(event.target.files);
  event.target.value = "";
  if (zone.sort === "model") putModel(zone, found);
  else zone.take(found);
});

async function putModel(zone, { name, files }) {
  const answer = await fetch(`/api/models?name=${encodeURIComponent(name)}`, { method: "POST", body: files[0][1] });
  const said = await answer.json().catch(() => ({ error: `The page answered ${answer.status}.` }));
  const note = make("div", answer.ok ? "note mild" : "note", answer.ok ? `${said.path} is put in.` : said.error);
  zone.begin(note);
}
