// One card for each picture: the input, its original, and what was made of it, with scores.

import { find, keep, left, make, note, number, time, write } from "./make.js";
import { arrow, best, columns, details, features, wanted } from "./scores.js";
import { remove, send } from "./server.js";

const PENDING = ["waiting", "running"];
const unticked = new Set(); // pictures that are left out of the next enhancement

export const chosen = (state) =>
  state.pictures.filter((one) => one.state !== "refused" && !unticked.has(one.id)); // those being read wait

export function showCards(state, metrics, changed) {
  const usable = state.pictures.filter((one) => one.state !== "refused").length;
  keep(find("#cards"), state.pictures, (one) => one.id, (one) => card(one, changed), (place, one) => {
    update(place, one, metrics);
    find(".tick", place).hidden = usable < 2 || one.state === "refused";
  });
}

function card(picture, changed) {
  const title = `card-${picture.id}`;
  const tick = make("input", { type: "checkbox", checked: true, "aria-labelledby": title });
  tick.onchange = () => {
    unticked[tick.checked ? "delete" : "add"](picture.id);
    changed();
  };
  const original = make("input", { type: "file", hidden: true, accept: "image/*" });
  original.onchange = () => original.files[0] && quietly(send(`/api/pictures/${picture.id}/original`, original.files[0]));
  const add = make("button", { type: "button", className: "add" }, "Add original");
  add.onclick = () => original.click();
  const away = make("button", { type: "button", className: "away", "aria-label": `Remove ${picture.name}` }, "Remove");
  away.onclick = () => quietly(remove(`/api/pictures/${picture.id}`));
  return make("article", { className: "card", tabIndex: -1, "aria-labelledby": title },
    make("header", {},
      make("label", { className: "tick", title: "Enhance this picture too" }, tick),
      make("div", { className: "named" }, make("h2", { id: title }, picture.name), make("p", { className: "quiet facts" })),
      make("p", { className: "acts" },
        make("a", { className: "strong compare-link", href: `#/compare/${picture.id}` }, "Compare"),
        add, make("a", { className: "zip", download: "", href: `/api/archive.zip?picture=${picture.id}` }, "Download"), away, original)),
    make("p", { className: "state", role: "status" }),
    make("div", { className: "scroll" }, make("table", {}, make("thead", {}, make("tr")), make("tbody"))),
    make("p", { className: "quiet under" }));
}

const quietly = (asked) => asked.catch((error) => note(error.message));

function update(place, picture, metrics) {
  const ready = picture.state === "ready", done = picture.results.filter((one) => one.state === "done");
  place.classList.toggle("refused", picture.state === "refused");
  write(find(".facts", place), facts(picture));
  write(find(".state", place), { reading: "Reading…", refused: picture.reason ?? "It cannot be read." }[picture.state] ?? "");
  find(".compare-link", place).hidden = !ready || !(done.length || picture.original);
  find(".zip", place).hidden = !done.length;
  find(".add", place).hidden = !ready;
  write(find(".add", place), picture.original ? "Another original" : "Add original");
  find(".scroll", place).hidden = !ready;
  if (ready) table(find("table", place), picture, metrics);
  write(find(".under", place), ready ? under(picture, metrics) : "");
}

function facts(picture) {
  const size = picture.width ? [`${picture.width}×${picture.height}`] : [];
  const set = picture.set ? [`${picture.set} ×${picture.scale}`] : [];
  return [...size, ...set, ...(picture.said ?? [])].join(" · ");
}

function under(picture, metrics) {
  const missing = metrics.filter((metric) => metric.missing).map(({ label, missing: why }) => `${label}: ${why}`);
  const told = (picture.original?.said ?? []).map((said) => `Original ${said}`);
  const refused = picture.original_reason ? [`Original: ${picture.original_reason}`] : [];
  const rules = metrics.filter((metric) => metric.reference)
    .flatMap(({ name }) => picture.results.map((one) => one.scores?.[name]?.protocol)).find(Boolean);
  const protocol = rules && picture.original ? [`Scores against the original under ${rules}`] : [];
  return [...refused, ...told, ...protocol, ...(missing.length ? [`Not measured here. ${missing.join(" ")}`] : [])].join(". ");
}

// --- the table ---

function table(place, picture, metrics) {
  const shown = columns(metrics, picture);
  keep(find("thead tr", place), [{ name: "picture" }, { name: "method" }, ...shown, { name: "acts" }],
    (one) => one.name, head);
  keep(find("tbody", place), lines(picture), (one) => `${one.id}${PENDING.includes(one.state) ? "+" : ""}`,
    (one) => line(one), (row, one) => fill(row, one, picture, shown));
}

function head(one) {
  if (one.name === "acts" || one.name === "picture") {
    return make("th", { scope: "col" }, make("span", { className: "unseen" }, one.name === "acts" ? "What to do" : "Picture"));
  }
  if (!one.label) return make("th", { scope: "col" }, "Method");
  return make("th", { scope: "col", title: `${one.label}: ${wanted(one)}` }, one.label,
    make("small", { "aria-hidden": "true" }, `${one.unit ?? ""} ${arrow(one)}`),
    make("span", { className: "unseen" }, ` ${one.unit ?? ""}, ${wanted(one)}`));
}

function lines(picture) { // the input and the original among the results
  const { width, height, image, small, scores } = picture;
  const input = { id: "input", name: "input", state: "done", width, height, image, small, scores: scores ?? {} };
  const original = picture.original && picture.original_image
    ? [{ ...picture.original, id: "original", name: "original", state: "done", image: picture.original_image, scores: {} }] : [];
  return [input, ...original, ...picture.results];
}

function line(one) {
  const row = make("tr", {}, make("td", { className: "thumb" }),
    make("th", { scope: "row" }, make("span", { className: "name" }, one.name), make("small", { className: "size" })));
  if (!PENDING.includes(one.state)) return row;
  row.className = "pending";
  const label = `${one.name}, progress`;
  row.append(make("td", { className: "doing" }, make("progress", { max: 1, "aria-label": label }),
    make("span", { className: "quiet" })),
  make("td", { className: "acts" }, cancel(one)));
  return row;
}

function cancel(one) {
  const button = make("button", { type: "button", "aria-label": `Cancel ${one.name}` }, "Cancel");
  button.onclick = () => {
    button.disabled = true;
    quietly(remove(`/api/results/${one.id}`));
  };
  return button;
}

function fill(row, one, picture, shown) {
  if (PENDING.includes(one.state)) return progress(row, one, shown.length);
  const key = JSON.stringify([one, shown.map((metric) => metric.name), picture.results.map((r) => [r.id, r.scores])]);
  if (row.dataset.shown === key) return; // nothing new
  row.dataset.shown = key;
  const at = row.contains(document.activeElement) ? document.activeElement.ariaLabel : null;
  thumb(find(".thumb", row), one, picture);
  write(find(".size", row), about(one));
  while (row.cells.length > 2) row.deleteCell(2);
  row.className = one.state;
  if (one.state === "done") row.append(...shown.map((metric) => score(one, metric, picture.results)));
  else row.append(make("td", { className: "ended", colSpan: shown.length }, ended(one)));
  row.append(make("td", { className: "acts" }, ...acts(one, picture)));
  if (at) find(`[aria-label="${CSS.escape(at)}"]`, row)?.focus();
}

function ended({ state, reason }) {
  if (state === "failed") return `Failed: ${reason ?? "no reason was given"}`;
  return reason && reason !== "cancelled" ? `Cancelled. ${reason}` : "Cancelled.";
}

function progress(row, one, count) {
  const cell = find(".doing", row), bar = find("progress", row);
  cell.colSpan = count;
  write(find(".size", row), about(one));
  if (one.state === "running" && Number.isFinite(one.part)) bar.value = one.part;
  else bar.removeAttribute("value");
  bar.hidden = one.state === "waiting";
  const waits = one.place ? `waiting, number ${one.place} in the queue` : "waiting";
  const runs = [one.stage ?? "working", left(one.left)].filter(Boolean).join(", ");
  write(find(".doing span", row), one.state === "waiting" ? waits : runs);
}

function about({ row, scale, state, width, height, seconds }) { // "gamma · ×2 · 512×512 · 1.2 s"
  const study = row?.includes("/") ? row.split("/")[0] : "";
  const made = state === "done" ? [width && `${width}×${height}`, seconds && time(seconds)] : [];
  return [study, scale && `×${scale}`, ...made].filter(Boolean).map((fact) => fact.replace(" ", "\u00a0")).join(" · ");
}

function thumb(cell, one, picture) {
  if (!one.image) return cell.replaceChildren();
  const picture_ = `${one.name} of ${picture.name}`;
  const image = make("img", { src: one.small ?? one.image, alt: "", loading: "lazy", width: 56, height: 56 });
  cell.replaceChildren(make("a", {
    href: one.image, target: "_blank", rel: "noopener", title: "Full size in a new tab",
    "aria-label": `${picture_}, full size in a new tab`,
  }, image));
}

function score(one, metric, results) {
  const told = one.scores?.[metric.name], label = { "data-label": metric.label };
  if (!Number.isFinite(told?.value)) {
    const why = told?.reason ?? "";
    return make("td", { ...label, className: "none", ...(why && { title: why }) }, "–", why ? make("span", { className: "unseen" }, ` ${why}`) : null);
  }
  const top = told.value === best(metric, results) && one.row;
  const text = make(top ? "b" : "span", {}, number(told.value, { digits: metric.digits }));
  if (top) text.append(make("span", { className: "unseen" }, " best"));
  if (!metric.name.startsWith("viqet") || !one.row) return make("td", label, text);
  const ask = make("button", { type: "button", className: "plain", title: "Its features", "aria-label": `${number(told.value, metric)}, features of ${one.name}` }, text);
  ask.onclick = () => features(one);
  return make("td", label, ask);
}

function acts(one, picture) {
  if (!one.row) return [];
  const named = `${one.name} of ${picture.name}`;
  const away = make("button", { type: "button", title: "Remove", "aria-label": `Remove ${named}` }, "×");
  away.onclick = () => quietly(remove(`/api/results/${one.id}`));
  if (one.state !== "done") return [away];
  const open = make("button", { type: "button", title: "Scores and provenance", "aria-label": `Scores and provenance of ${named}` }, "i");
  open.onclick = () => details(one, all);
  return [open, make("a", { href: `${one.image}?download=1`, download: "", title: "Download", "aria-label": `Download ${named}` }, "↓"), away];
}

let all = [];

export function know(metrics) { // for the details of a result
  all = metrics;
}
