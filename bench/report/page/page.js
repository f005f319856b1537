// Tables that sort, filter and hide columns, and where a number comes from. Without this script the
// tables are whole and in the study's order.
"use strict";

for (const table of document.querySelectorAll("table.scores, table.sortable")) prepare(table);

function prepare(table) {
  const body = table.tBodies[0], names = [...table.tHead.rows].at(-1).cells;
  const order = [...body.rows];
  [...names].forEach((head, column) => {
    const button = make("button", { type: "button", title: "Sort by this column" }, ...head.childNodes);
    button.onclick = () => sort(table, order, head, column);
    head.append(button);
  });
  if (order.length > 5 || names.length > 3) table.closest(".scroll").before(controls(table, order, names));
  if (table.dataset.from) askable(table);
}

// --- order, rows, columns ---

function sort(table, order, head, column) {
  const now = head.getAttribute("aria-sort");
  const falls = head.textContent.includes("↑"); // more is better: the best first
  const turns = falls ? ["descending", "ascending", null] : ["ascending", "descending", null];
  const next = turns[(turns.indexOf(now) + 1) % 3];
  for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
  const rows = [...order];
  if (next) {
    head.setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    rows.sort((a, b) => compareCells(a.cells[column], b.cells[column], sign));
  }
  table.tBodies[0].append(...rows);
}

function compareCells(a, b, sign) { // a dash is the last either way
  const [x, y] = [a, b].map((cell) => parseFloat(cell.dataset.value ?? cell.textContent.replace(/,/g, "")));
  if (Number.isNaN(x) && Number.isNaN(y)) return sign * a.textContent.localeCompare(b.textContent);
  if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
  return sign * (x - y);
}

function controls(table, rows, names) {
  const found = make("span", { className: "found" });
  found.setAttribute("role", "status");
  const box = make("input", { type: "search", placeholder: "Filter rows" });
  box.setAttribute("aria-label", "Filter rows");
  box.oninput = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    found.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  };
  const columns = make("details", { className: "columns" }, make("summary", {}, "Columns"));
  [...names].slice(1).forEach((head, k) => {
    const tick = make("input", { type: "checkbox", checked: true });
    tick.onchange = () => showColumn(table, k + 1, tick.checked);
    columns.append(make("label", {}, tick, ` ${columnName(table, head, k + 1)}`));
  });
  return make("div", { className: "controls" }, box, found, columns);
}

function columnName(table, head, column) {
  return [groupOf(table, column)?.textContent, head.textContent].filter(Boolean).join(" ");
}

function groupOf(table, column) {
  if (table.tHead.rows.length < 2) return null;
  let from = 0;
  for (const group of table.tHead.rows[0].cells) {
    from += Number(group.dataset.span ?? group.colSpan);
    if (column < from) return group;
  }
  return null;
}

function showColumn(table, column, shown) {
  for (const row of [...table.tHead.rows].slice(-1).concat(...table.tBodies[0].rows)) {
    row.cells[column].hidden = !shown;
  }
  const group = groupOf(table, column);
  if (!group) return;
  group.dataset.span ??= group.colSpan;
  const left = group.colSpan * !group.hidden + (shown ? 1 : -1);
  group.hidden = left === 0;
  group.colSpan = Math.max(1, left);
}

// --- where a number comes from ---

function askable(table) {
  const facts = JSON.parse(document.getElementById(table.dataset.from).textContent);
  const cells = [...table.querySelectorAll("td[data-row]")];
  for (const cell of cells) cell.tabIndex = -1;
  if (cells[0]) cells[0].tabIndex = 0; // one stop for the table, arrows within
  table.addEventListener("click", (event) => {
    const cell = event.target.closest("td[data-row]");
    if (cell) tell(table, facts, cell);
  });
  table.addEventListener("keydown", (event) => {
    const cell = event.target.closest("td[data-row]");
    if (!cell) return;
    if (event.key === "Enter" || event.key === " ") tell(table, facts, cell);
    else if (!move(cell, event.key)) return;
    event.preventDefault();
  });
}

function move(cell, key) {
  const sideways = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" }[key];
  const upright = { ArrowUp: "previousElementSibling", ArrowDown: "nextElementSibling" }[key];
  let next = cell;
  do next = sideways ? next[sideways] : upright ? next.parentElement[upright]?.cells[cell.cellIndex] : null;
  while (next && (next.hidden || next.parentElement.hidden));
  if (!next?.dataset.row) return Boolean(sideways || upright);
  cell.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
  return true;
}

function tell(table, facts, cell) {
  const dialog = document.getElementById("from");
  const list = dialog.querySelector("dl");
  list.replaceChildren();
  const [column, row] = [facts.columns[cell.dataset.column], facts.rows[cell.dataset.row]];
  const [rest, begun] = [column, row].map((facts) => Object.fromEntries(facts).again || "");
  const again = begun.startsWith("bench eval ") ? `${begun} ${rest}` : begun;
  for (const [name, value] of [...column, ...row].filter(([name]) => name !== "again")) {
    list.append(make("dt", {}, name), make("dd", {}, value));
  }
  if (again) list.append(make("dt", {}, "again"), make("dd", {}, make("code", {}, again)));
  const head = [...table.tHead.rows].at(-1).cells[cell.cellIndex];
  dialog.querySelector("h2").textContent =
    `${cell.parentElement.cells[0].textContent}: ${columnName(table, head, cell.cellIndex)} = ${cell.textContent.trim()}`;
  dialog.showModal();
}

function make(tag, facts, ...children) {
  const made = Object.assign(document.createElement(tag), facts);
  made.append(...children);
  return made;
}

// --- points of figures ---

const answer = make("div", { className: "answer", hidden: true });
document.body.append(answer);
for (const figure of document.querySelectorAll("figure > svg")) {
  const texts = new Map();
  for (const title of figure.querySelectorAll("use > title")) {
    texts.set(title.parentElement, title.textContent);
    title.parentElement.setAttribute("aria-label", title.textContent);
    title.remove(); // or the browser would say it a second time, late
  }
  figure.addEventListener("pointermove", (event) => {
    const near = nearest(texts.keys(), event);
    answer.hidden = !near;
    if (!near) return;
    answer.textContent = texts.get(near);
    const left = Math.min(event.clientX + 12, innerWidth - answer.offsetWidth - 4);
    Object.assign(answer.style, { left: `${Math.max(4, left)}px`, top: `${event.clientY + 14}px` });
  });
  figure.addEventListener("pointerleave", () => { answer.hidden = true; });
}

function nearest(points, event) { // within 12 pixels: a dot is small under a finger
  let best = null, least = 12;
  for (const point of points) {
    const box = point.getBoundingClientRect();
    const away = Math.hypot(box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
    if (away < least) [best, least] = [point, away];
  }
  return best;
}
