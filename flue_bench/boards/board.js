"use strict";
// The page is whole without this script. It shows what lies behind a number, and lets the reader search, filter, fold,
// sort and compare. Names of strangers come in as text (`textContent`), never as markup.

const $ = (selector, of = document) => of.querySelector(selector);
const $$ = (selector, of = document) => [...of.querySelectorAll(selector)];
const data = JSON.parse($("#data").textContent);

// An element with attributes, of which functions are listeners, and children, of which strings are text.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== ""));
  return element;
}

// State, all of it in the address, so that a view can be sent ---------------------------------------------------------

const LISTS = ["columns", "open"];
const FIRST = { q: "", task: "", recipe: "", licence: "", teacher: "", from: "", to: "", apart: "", columns: [], open: [],
  sort: "", order: "", a: "", b: "", on: "", behind: "", of: "" };
let state = structuredClone(FIRST);

function read() {
  if (location.hash.length > 1 && !location.hash.includes("=")) return; // a part of the page
  const said = new URLSearchParams(location.hash.slice(1));
  state = structuredClone(FIRST);
  for (const name of Object.keys(FIRST)) {
    if (said.has(name)) state[name] = LISTS.includes(name) ? said.getAll(name) : said.get(name);
  }
  const [row, column] = /^(\d+)\.(\d+)$/.exec(state.behind)?.slice(1) ?? []; // a score's own link
  if (row) [state.behind, state.of] = [data.rows[row]?.title ?? "", data.columns[column]?.title ?? ""];
}

function write() {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) for (const each of [value].flat()) if (each) said.append(name, each);
  history.replaceState(null, "", `#${said}`);
}

function change(changes) {
  Object.assign(state, changes);
  write();
  show();
}

// The table -----------------------------------------------------------------------------------------------------------

const table = $("table.board");
const titles = new Set(data.columns.map((column) => column.title));
const free = (name) => (titles.has(name) ? free(`${name} `) : name); // a task may be called "size"
const heads = table ? [...table.tHead.rows[0].cells].map((cell, index) => ({
  cell,
  index,
  name: cell.dataset.column === undefined ? free(cell.dataset.name) : cell.dataset.name,
  column: cell.dataset.column === undefined ? null : Number(cell.dataset.column),
  licences: (cell.dataset.licences ?? "").split("; ").filter(Boolean),
})) : [];
const tasks = heads.filter((head) => head.column !== null);
const costs = heads.filter((head) => head.column === null && head.index);
const speeds = costs.filter((head) => head.cell.title); // the machine
const sizes = costs.slice(1, costs.length - speeds.length);
const nameOf = (head) => data.columns[head.column].name;
const rows = table ? [...table.tBodies[0].rows].map((tr) => ({
  tr,
  number: Number(tr.dataset.row),
  title: data.rows[tr.dataset.row].title,
  label: data.rows[tr.dataset.row].label,
  ...tr.dataset,
  parameters: Number(tr.cells[1].dataset.v) / 1e6,
  text: `${tr.cells[0].textContent} ${tr.dataset.teacher ?? ""}`.toLowerCase(),
})) : [];
const folds = new Map(); // model and rows → the line that stands for them
const hidden = make("style");
document.head.append(hidden);
let widths = []; // of all columns, when the window has this width
const valueOf = (tr, index) => tr.cells[index].dataset.v;
const byLetter = (x, y) => x.letter.length - y.letter.length || (x.letter < y.letter ? -1 : 1);

function found() {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const columns = tasks.filter((head) => (!state.task || nameOf(head) === state.task)
    && (!state.licence || head.licences.includes(state.licence)));
  const narrowed = columns.length < tasks.length;
  return [columns, rows.filter((row) => words.every((word) => row.text.includes(word))
    && (!state.recipe || row.setting === state.recipe)
    && (!state.teacher || row.teacher === state.teacher)
    && !(state.from && row.parameters < Number(state.from))
    && !(state.to && row.parameters > Number(state.to))
    && (!narrowed || columns.some((head) => valueOf(row.tr, head.index))))];
}

// One line for the rows of a model. In each column it has the row whose setting most entries of the board have, which
// does not depend on the scores: the better of two recipes would be chosen on test.
function fold(model, of) {
  const ordered = [...of].sort(byLetter);
  const key = `${model} ${ordered.map((row) => row.number)}`;
  if (folds.has(key)) return folds.get(key);
  const { label } = of[0];
  const toggle = make("button", { type: "button", class: "toggle", click: () =>
    change({ open: state.open.includes(label) ? state.open.filter((each) => each !== label) : [...state.open, label] }) },
    `${of.length} recipes`);
  const tr = make("tr", { class: "fold", "data-row": ordered[0].number });
  tr.append(make("th", { scope: "row", "data-v": label }, $(".name", of[0].tr).cloneNode(true), toggle));
  for (const { index, column } of heads.slice(1)) {
    const row = ordered.find((each) => valueOf(each.tr, index)) ?? ordered[0];
    const cell = row.tr.cells[index].cloneNode(true);
    const last = $$("small", cell).at(-1) ?? $(".score", cell);
    if (column !== null && last) last.append(" ", make("span", { class: "letter", title: row.setting }, row.letter));
    tr.append(cell);
  }
  folds.set(key, tr);
  return tr;
}

const sortedBy = (columns) => heads.find((head) => head.name === state.sort) ?? columns[0] ?? tasks[0];
const order = (head) => state.order || (head.index ? "descending" : "ascending");

function sorted(items, trOf, head) {
  const falling = order(head) === "descending";
  return items.sort((one, other) => {
    const [x, y] = [one, other].map((each) => valueOf(trOf(each), head.index));
    if (x === "" || y === "") return (x === "") - (y === ""); // without a value: last, whichever way the others go
    const sign = head.index ? x - y : x.localeCompare(y);
    return falling ? -sign : sign;
  });
}

// As many columns as fit, those first that have most entries; all that the reader chose.
function shown(columns, lines) {
  const every = [...costs, ...columns];
  if (state.columns.length) return every.filter((head) => state.columns.includes(head.name) || (state.task && columns.includes(head)));
  const filled = new Map(columns.map((head) => [head, lines.filter((tr) => valueOf(tr, head.index)).length]));
  const fullest = [...columns].sort((x, y) => filled.get(y) - filled.get(x) || x.index - y.index);
  const first = [sortedBy(columns)].filter((head) => every.includes(head));
  const wanted = [...first, ...fullest.slice(0, 2), costs[0], ...fullest.slice(2, 4), ...speeds.slice(0, 1), ...fullest.slice(4),
    ...sizes, ...speeds.slice(1)];
  if (!widths.length) {
    hidden.textContent = "";
    widths = heads.map((head) => head.cell.getBoundingClientRect().width);
  }
  let room = $("#board").clientWidth - widths[0];
  const chosen = new Set();
  for (const head of new Set(wanted)) {
    if (widths[head.index] <= room || !chosen.size) {
      chosen.add(head);
      room -= widths[head.index];
    }
  }
  return every.filter((head) => chosen.has(head));
}

function show() {
  if (!table) return;
  const [columns, visible] = found();
  const groups = new Map();
  for (const row of visible) groups.set(row.model, [...(groups.get(row.model) ?? []), row]);
  const lines = [];
  for (const [model, of] of groups) {
    const folded = of.length > 1 && !state.apart;
    for (const { tr } of of) tr.classList.toggle("under", folded);
    lines.push(...(folded ? [{ tr: fold(model, of), of }] : of.map((row) => ({ tr: row.tr, of: [] }))));
  }
  const body = [];
  const by = sortedBy(columns);
  for (const { tr, of } of sorted(lines, (line) => line.tr, by)) {
    const open = of.length > 0 && state.open.includes(of[0].label);
    if (of.length) $(".toggle", tr).setAttribute("aria-expanded", open);
    body.push(tr, ...(open ? sorted([...of], (row) => row.tr, by).map((row) => row.tr) : []));
  }
  const now = table.tBodies[0].rows;
  if (now.length !== body.length || body.some((tr, i) => tr !== now[i])) {
    const focused = document.activeElement;
    table.tBodies[0].replaceChildren(...body);
    if (table.contains(focused)) focused.focus({ preventScroll: true });
  }
  const fit = shown(columns, lines.map((line) => line.tr));
  const away = heads.filter((head) => head.index && !fit.includes(head)).map((head) => `:nth-child(${head.index + 1})`);
  hidden.textContent = away.length ? `.board tr > :is(${away.join()}) { display: none }` : "";
  $("#board").classList.toggle("wide", table.offsetWidth > $("#board").clientWidth + 1);
  for (const { cell } of heads) cell.removeAttribute("aria-sort");
  by.cell.setAttribute("aria-sort", order(by));
  for (const box of $$("#choose input")) box.checked = fit.some((head) => head.name === box.value);
  const all = costs.length + tasks.length;
  $("#status").textContent = `${groups.size} of ${new Set(rows.map((row) => row.model)).size} models, `
    + `${visible.length} of ${rows.length} rows, ${fit.length} of ${all} columns`;
  const numbers = new Set(visible.map((row) => String(row.number)));
  for (const mark of $$("figure [data-row]")) mark.classList.toggle("aside", !numbers.has(mark.dataset.row));
  for (const name of ["q", "task", "recipe", "licence", "teacher", "from", "to"]) $("#filters").elements[name].value = state[name];
  $("#filters").elements.apart.checked = Boolean(state.apart);
  const set = ["task", "recipe", "licence", "teacher", "from", "to", "apart"].filter((name) => state[name]).length;
  $("#more-filters summary").textContent = set ? `Filters (${set})` : "Filters";
  why();
  behind();
}

function prepare() {
  for (const { cell, index, name } of heads) {
    const label = cell.firstElementChild;
    label.replaceWith(make("button", { type: "button", click: () => {
      const now = cell.getAttribute("aria-sort");
      change({ sort: name, order: now ? (now === "ascending" ? "descending" : "ascending") : index ? "descending" : "ascending" });
    } }, label.textContent));
  }
  const form = $("#filters");
  const choices = {
    task: tasks.map(nameOf),
    recipe: [...rows].sort(byLetter).map((row) => row.setting),
    licence: tasks.flatMap((head) => head.licences).sort(),
    teacher: rows.map((row) => row.teacher ?? "").filter(Boolean).sort(),
  };
  for (const [name, values] of Object.entries(choices)) {
    const unique = [...new Set(values)];
    form.elements[name].append(...unique.map((value) => make("option", { value }, value)));
    form.elements[name].parentElement.hidden = unique.length < (name === "teacher" ? 1 : 2);
  }
  const several = new Set(rows.map((row) => row.model)).size < rows.length;
  form.elements.apart.parentElement.hidden = !several;
  $("#legend").hidden = !several;
  const chosen = (names) => change({ columns: names });
  $("#choose div").append(
    ...[...costs, ...tasks].map((head) => make("label", { class: "tick" },
      make("input", { type: "checkbox", value: head.name, change: () => chosen($$("#choose input:checked").map((box) => box.value)) }),
      ` ${head.cell.firstElementChild.textContent}`, head.cell.title ? ` ${head.cell.title}` : "")),
    make("p", {},
      make("button", { type: "button", click: () => chosen([...costs, ...tasks].map((head) => head.name)) }, "All"),
      " ",
      make("button", { type: "button", click: () => chosen([]) }, "As many as fit")));
  form.addEventListener("input", ({ target }) => {
    if (target.name) change({ [target.name]: target.type === "checkbox" ? (target.checked ? "yes" : "") : target.value });
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => change({ ...structuredClone(FIRST), a: state.a, b: state.b, on: state.on }));
  table.addEventListener("click", (event) => {
    const address = event.target.closest("a.score")?.getAttribute("href");
    if (!address || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const [row, column] = address.split("=")[1].split(".");
    change({ behind: data.rows[row].title, of: data.columns[column].title });
  });
  let width = innerWidth;
  addEventListener("resize", () => {
    if (width === innerWidth) return;
    [width, widths] = [innerWidth, []];
    show();
  });
}

// Behind a number -----------------------------------------------------------------------------------------------------

const number = (cell) => make("td", { class: "number" }, String(cell));
const headed = (names, numbers) => make("thead", {}, make("tr", {},
  names.map((name, i) => make("th", { scope: "col", class: numbers.includes(i) ? "number" : null }, name))));
const scrolled = (title, ...inside) => make("div", { class: "scroll" }, make("h3", {}, title), ...inside);
const scoreOf = (row, column) => {
  const cell = rows[row].tr.cells[tasks[column].index];
  return [$(".score", cell)?.textContent ?? "", ...$$("small", cell).map((each) => each.textContent)].join(" ").trim();
};
const facts = (index) => data.facts[index];

function seeds(task, metric) {
  const lines = task.runs.map(([seed, score, machine, versions, , folder, file]) => make("tr", {},
    make("td", {}, seed === null ? "as it is" : String(seed)),
    make("td", { class: "number" }, file ? make("a", { href: (data.folders[folder] ? `${data.folders[folder]}/` : "") + file }, score) : score),
    make("td", { class: "soft" }, [facts(machine).device, facts(machine).threads, facts(versions).torch || "unknown",
      facts(versions)["uncommitted changes"] === "yes" ? "uncommitted changes" : ""].filter(Boolean).join(", "))));
  return scrolled(`${task.task}: seeds`, make("table", {}, headed(["seed", metric, "machine, threads, torch"], [1]), make("tbody", {}, lines)));
}

function classes([heading, labels, scores]) {
  const lines = data.labels[labels].map((label, i) => make("tr", {}, make("th", { scope: "row" }, label),
    scores[i].slice(0, 3).map((score) => number(score.toFixed(2))), number(scores[i][3].toLocaleString("en"))));
  return scrolled(heading, make("table", {}, headed(["", "precision", "recall", "F1", "gold"], [1, 2, 3, 4]), make("tbody", {}, lines)));
}

function confusion([labels, counts]) {
  const names = data.labels[labels];
  const lines = counts.split(";").map((line, i) => {
    const each = line.split(",").map(Number);
    const sum = each.reduce((x, y) => x + y, 0) || 1;
    return make("tr", {}, make("th", { scope: "row" }, names[i]), each.map((count) => make("td", {
      style: `--share:${(count / sum).toFixed(3)}`, title: `${((100 * count) / sum).toFixed(1)} % of ${names[i]}` },
      count.toLocaleString("en"))));
  });
  return scrolled("Confusion: gold in rows, predicted in columns", make("table", { class: "confusion" },
    headed(["", ...names], names.map((_, i) => i + 1)), make("tbody", {}, lines)));
}

function behind() {
  const dialog = $("#behind");
  const row = data.rows.findIndex((each) => each.title === state.behind);
  const column = data.columns.findIndex((each) => each.title === state.of);
  const entry = data.rows[row]?.entries[column];
  if (!entry) return dialog.open && dialog.close();
  const { metric } = data.columns[column];
  dialog.replaceChildren(
    make("form", { method: "dialog" }, make("button", {}, "Close")),
    make("h2", { id: "behind-title" }, `${state.behind} on ${state.of}`),
    make("p", {}, make("strong", {}, scoreOf(row, column)), ` ${metric}`),
    ...(entry.said ?? []).map((words) => make("p", {}, words)),
    ...(entry.warned ?? []).map((words) => make("p", { class: "warm" }, words)),
    make("div", { class: "behind" }, ...entry.tasks.flatMap((task) => [seeds(task, metric), ...(task.levels ?? []).map(classes),
      task.confusion ? confusion(task.confusion) : task.lacking ? make("p", { class: "soft" }, `No confusion matrix: ${task.lacking}`) : null]
      .filter(Boolean))),
    make("p", { class: "soft" }, "Class scores are means over seeds, confusion matrices sums over seeds."));
  if (!dialog.open) dialog.showModal();
}

// Why, and where, two rows differ -------------------------------------------------------------------------------------

// Facts of an entry by group; where its runs were made differently, every value is named.
function told(row, column) {
  const entry = data.rows[row].entries[column];
  const joined = (numbers) => {
    const all = [...new Set(numbers)].map(facts);
    return Object.fromEntries([...new Set(all.flatMap(Object.keys))].map((name) =>
      [name, [...new Set(all.map((each) => each[name] ?? ""))].join(" / ")]));
  };
  const runs = entry?.tasks.flatMap((task) => task.runs) ?? [];
  return {
    model: facts(data.rows[row].model),
    ...(entry && {
      recipe: joined(entry.tasks.map((task) => task.recipe)),
      data: joined(entry.tasks.map((task) => task.data)),
      machine: joined(runs.map((run) => run[2])),
      versions: joined(runs.map((run) => run[3])),
    }),
  };
}

function shared(one, other, runsOfA, runsOfB) {
  const same = (group, names) => (names ?? Object.keys({ ...one[group], ...other[group] })).every((name) => one[group][name] === other[group][name]);
  const settings = Object.keys({ ...one.recipe, ...other.recipe }).filter((name) => !["called", "protocol", "chosen by a search"].includes(name));
  const items = [
    ["the same model content", "another model", same("model", ["content"])],
    ["the same data", "other data", same("data", ["task", "version", "content", "scored on", "rows of train"].filter((n) => n in one.data || n in other.data))],
    ["the same settings of the recipe", "other settings of the recipe", same("recipe", settings)],
    ["the same protocol of the engine", "another protocol of the engine", same("recipe", ["protocol"])],
    ["the same kind of machine", "another machine", same("machine")],
    ["the same versions", "other versions", same("versions", Object.keys({ ...one.versions, ...other.versions }).filter((n) => n !== "commit"))],
  ];
  const key = (run) => `${run[7]} ${run[0]}`;
  const theirs = new Map(runsOfB.map((run) => [key(run), run[4]]));
  const both = runsOfA.filter((run) => theirs.has(key(run)));
  const alike = both.filter((run) => theirs.get(key(run)) === run[4]).length;
  items.push([`the same seeds (${both.length} in common)`, `other seeds (${both.length} in common)`,
    both.length === runsOfA.length && both.length === runsOfB.length]);
  items.push(["the same predictions to the byte", `other predictions (${alike} of ${both.length} runs the same to the byte)`, both.length > 0 && alike === both.length]);
  return make("ul", { class: "shared" }, items.map(([yes, no, is]) => make("li", { class: is ? "same" : "other" }, make("span", { "aria-hidden": "true" }, is ? "=" : "≠"), ` ${is ? yes : no}`)));
}

function sideBySide(one, other, names) {
  const lines = { differ: [], same: [] };
  for (const group of Object.keys(one)) {
    for (const name of Object.keys({ ...one[group], ...other[group] })) {
      const [x, y] = [one[group][name] ?? "", other[group]?.[name] ?? ""];
      if (!x && !y) continue;
      lines[x === y ? "same" : "differ"].push(make("tr", {}, make("th", { scope: "row" }, name, make("small", {}, group)),
        x === y ? make("td", {}, x) : [make("td", {}, x || "–"), make("td", {}, y || "–")]));
    }
  }
  const of = (heading, body) => make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Facts of both" },
    make("table", { class: "words" }, headed(heading, []), make("tbody", {}, body)));
  return [
    lines.differ.length ? of(["", ...names], lines.differ) : make("p", {}, "Nothing that the records say differs."),
    make("details", {}, make("summary", {}, `${lines.same.length} facts are the same`), of(["", "A and B"], lines.same)),
  ];
}

function wrong([ids, runs]) {
  const n = data.ids[ids].length;
  const sums = new Float64Array(n);
  for (const text of runs) {
    const bytes = Uint8Array.from(atob(text.slice(1)), (c) => c.charCodeAt(0));
    const bits = Number(text[0]); // of an example: 1, 4 or 8
    for (let i = 0; i < n; i++) sums[i] += (bytes[(i * bits) >> 3] >> (8 - bits - ((i * bits) & 7))) & ((1 << bits) - 1);
  }
  return sums.map((sum) => sum / runs.length);
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`; // as a shell reads it

function where(a, b, column) {
  const made = [];
  const names = [a, b].map((row) => data.rows[row].title);
  for (const one of data.rows[a].entries[column].tasks) {
    const other = data.rows[b].entries[column].tasks.find((each) => each.task === one.task);
    if (!other) continue;
    if (!one.wrong || !other.wrong || one.wrong[0] !== other.wrong[0]) {
      made.push(make("p", {}, `${one.task}: what is wrong of single examples is not on this page.`));
      continue;
    }
    const [x, y, ids] = [wrong(one.wrong), wrong(other.wrong), data.ids[one.wrong[0]]];
    const listed = (sign) => ids.map((id, i) => [id, sign * (x[i] - y[i])]).filter(([, gap]) => gap > 0.5).sort((p, q) => q[1] - p[1]).map(([id]) => id);
    const [onlyB, onlyA] = [listed(1), listed(-1)];
    made.push(make("p", {}, `${one.task}: of ${ids.length.toLocaleString("en")} examples, ${onlyA.length.toLocaleString("en")} are wrong more often by B, and ${onlyB.length.toLocaleString("en")} by A, by more than half of the seeds.`));
    for (const [said, list] of [["right by A, wrong by B", onlyA], ["right by B, wrong by A", onlyB]]) {
      if (list.length) made.push(make("details", {}, make("summary", {}, `${list.length.toLocaleString("en")} ${said}, by id`), make("p", { class: "ids" }, list.join(", "))));
    }
  }
  return [...made, make("p", {}, "Where the results are, this lists the answers of both, and the texts from your own data beside them:"),
    make("pre", { tabindex: "0" }, `flue-bench compare --rows ${names.some((name) => name.startsWith("-")) ? "-- " : ""}${names.map(quoted).join(" ")}`)];
}

function why() {
  const form = $("#two");
  if (!form) return;
  const [a, b] = [state.a, state.b].map((title) => data.rows.findIndex((row) => row.title === title));
  const common = data.columns.map((_, i) => i).filter((i) => data.rows[a]?.entries[i] && data.rows[b]?.entries[i]);
  form.elements.a.value = data.rows[a]?.title ?? "";
  form.elements.b.value = data.rows[b]?.title ?? "";
  form.elements.on.replaceChildren(...common.map((i) => make("option", { value: data.columns[i].title }, data.columns[i].title)));
  form.elements.on.parentElement.hidden = !common.length;
  const column = common.find((i) => data.columns[i].title === state.on) ?? common[0];
  if (column !== undefined) form.elements.on.value = data.columns[column].title;
  for (const box of $$(".pick")) box.checked = [state.a, state.b].includes(box.value);
  const place = $("#differences");
  if (a < 0 || b < 0) return place.replaceChildren(make("p", { class: "soft" }, "Choose two rows, here or by their boxes in the table."));
  if (a === b) return place.replaceChildren(make("p", {}, "Both are the same row."));
  const names = ["A", "B"].map((letter, i) => `${letter}: ${data.rows[[a, b][i]].title}`);
  if (column === undefined) {
    return place.replaceChildren(make("p", {}, "They have no column in common: there is nothing to compare but the models."),
      ...sideBySide({ model: told(a).model }, { model: told(b).model }, names));
  }
  const [one, other] = [told(a, column), told(b, column)];
  const runs = (row) => data.rows[row].entries[column].tasks.flatMap((task) => task.runs.map((run) => [...run.slice(0, 5), "", "", task.task]));
  place.replaceChildren(
    make("p", {}, "A ", make("strong", {}, scoreOf(a, column)), ", B ", make("strong", {}, scoreOf(b, column)), ` (${data.columns[column].title}, ${data.columns[column].metric}).`),
    make("h3", {}, "What they share"), shared(one, other, runs(a), runs(b)),
    make("h3", {}, "What differs"), ...sideBySide(one, other, names),
    make("h3", {}, "Where they differ"), ...where(a, b, column));
}

function prepareWhy() {
  const form = $("#two");
  if (!form) return;
  for (const name of ["a", "b"]) form.elements[name].append(...data.rows.map((row) => make("option", { value: row.title }, row.title)));
  form.addEventListener("change", ({ target }) => change({ [target.name]: target.value }));
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const { tr, title } of rows) {
    $("small", tr.cells[0]).after(make("label", { class: "tick" }, make("input", { type: "checkbox", class: "pick", value: title, "aria-label": `Compare ${title}`, change: ({ target }) => {
      const kept = [state.a, state.b].filter((each) => each && each !== title);
      const [a = "", b = ""] = target.checked ? [...kept.slice(-1), title] : kept;
      change({ a, b });
    } }), " compare"));
  }
}

// The reader's choice of light or dark outlasts the page where the browser allows it.
function prepareTheme() {
  const root = document.documentElement;
  const dark = () => (root.style.colorScheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  try {
    root.style.colorScheme = localStorage.getItem("flue-bench-theme") || "";
  } catch {}
  $("#theme").addEventListener("click", () => {
    root.style.colorScheme = dark() ? "light" : "dark";
    try {
      localStorage.setItem("flue-bench-theme", root.style.colorScheme);
    } catch {}
  });
}

for (const element of $$(".script")) element.hidden = false;
prepareTheme();
if (table) {
  prepare();
  prepareWhy();
  $("#behind").addEventListener("close", () => state.behind && change({ behind: "", of: "" }));
  addEventListener("hashchange", () => {
    read();
    show();
  });
  read();
  show();
}
