// The studies of this machine: their reports, and the pictures of a benchmark set by all rows.

import { find, make, note, number, write } from "./make.js";
import { arrow } from "./scores.js";
import { ask } from "./server.js";
import { query } from "./viewing.js";

const part = encodeURIComponent;

export async function showStudies() {
  const list = find("#list");
  if (!list.children.length) list.replaceChildren(make("p", { className: "quiet" }, "Looking…"));
  try {
    const studies = await ask("/api/studies");
    const none = make("p", { className: "quiet" }, "No study has been swept here yet. `bench sweep studies/NAME.yaml` makes one.");
    list.replaceChildren(...(studies.length ? studies.map(study) : [none]));
  } catch (error) {
    list.replaceChildren(make("p", { className: "quiet" }, error.message));
  }
}

function study(one) {
  const trials = one.of ? `${one.trials} of ${one.of} trials` : `${one.trials} trials`;
  const facts = [trials, one.state, one.updated && `updated ${new Date(one.updated).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}`];
  const report = one.report
    ? make("a", { href: one.report, target: "_blank", rel: "noopener", className: "strong" }, "Open the report")
    : make("span", { className: "quiet" }, `No report: ${one.why_no_report}`);
  const sets = one.sets.map((set) => make("a", { href: `#/studies/${part(one.name)}/${part(set)}` }, `Pictures of ${set}`));
  return make("article", { className: "card study" }, make("h2", {}, one.name),
    question(one.question),
    make("p", { className: "quiet" }, facts.filter(Boolean).join(" · ")), make("p", { className: "acts" }, report, ...sets));
}

function question(text) { // long ones open
  if (!text || text.length < 200) return text ? make("p", {}, text) : null;
  const cut = text.lastIndexOf(" ", 150);
  return make("details", { className: "question" }, make("summary", {}, `${text.slice(0, cut)} …`), `… ${text.slice(cut + 1)}`);
}

// --- the pictures of a set ---

let gallery = null; // what was fetched last, and of what

export async function fetched(name, set) {
  const of = `${name}/${set}`;
  if (gallery?.of !== of) gallery = { of, ...await ask(`/api/studies/${part(name)}/gallery?set=${part(set)}`) };
  return gallery;
}

export async function showGallery(name, set) {
  const view = find("#gallery"), form = find(".sorts", view);
  write(find("h1", view), `${name}: ${set}`);
  find("#pictures").replaceChildren(make("p", { className: "quiet" }, "Looking…"));
  try {
    const told = await fetched(name, set), kept = form.elements.metric.value;
    form.elements.metric.replaceChildren(...told.metrics.map((one) => new Option(`${one.label} ${arrow(one)}`, one.name)));
    if (told.metrics.some((one) => one.name === kept)) form.elements.metric.value = kept;
    form.onchange = () => draw(told, name, set, form);
    draw(told, name, set, form);
  } catch (error) {
    find("#pictures").replaceChildren(make("p", { className: "quiet" }, error.message));
  }
}

function draw(told, name, set, form) {
  const metric = told.metrics.find((one) => one.name === form.elements.metric.value);
  const sign = (metric?.better === "higher" ? -1 : 1) * (form.elements.order.value === "best" ? 1 : -1);
  const value = (image, row) => image.rows[row]?.scores?.[metric?.name] ?? NaN;
  const mean = (image) => {
    const all = told.rows.map((row) => value(image, row.id)).filter(Number.isFinite);
    return all.length ? all.reduce((sum, one) => sum + one, 0) / all.length : NaN;
  };
  const images = [...told.images].sort((a, b) => order(mean(a), mean(b), sign));
  write(find("[role=status]", form), metric ? `Images by the mean of all rows, rows by ${metric.label}` : "");
  find("#pictures").replaceChildren(...images.map((image) => {
    const rows = [...told.rows].sort((a, b) => order(value(image, a.id), value(image, b.id), sign));
    const path = `#/studies/${part(name)}/${part(set)}/${part(image.name)}`;
    return make("section", { className: "scene" },
      make("h2", {}, image.name, make("small", { className: "quiet" }, Number.isFinite(mean(image)) ? ` mean ${number(mean(image), metric)}` : "")),
      make("div", { className: "strip" }, ...original(image, path), ...rows.map((row) => tile(image, row, metric, path))));
  }));
}

function order(a, b, sign) { // what has no number is the last either way
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
  return sign * (a - b);
}

function original(image, path) {
  if (!image.original) return [];
  const small = make("img", { src: image.small ?? image.original, alt: "", loading: "lazy" });
  return [make("figure", {}, make("a", { href: `${path}?a=original`, "aria-label": `Compare the original of ${image.name}` }, small),
    make("figcaption", {}, "original"))];
}

function tile(image, row, metric, path) {
  const one = image.rows[row.id] ?? {}, value = one.scores?.[metric?.name];
  const told = make("figcaption", {}, make("span", {}, row.name),
    make("b", {}, number(value, metric)));
  if (!one.image) return make("figure", {}, make("div", { className: "absent" }, one.why ?? "no picture kept"), told);
  const address = `${path}?${new URLSearchParams({ a: image.original ? "original" : row.id, b: row.id })}`;
  const small = make("img", { src: one.small ?? one.image, alt: "", loading: "lazy" });
  return make("figure", {}, make("a", { href: address, "aria-label": `Compare ${row.name} of ${image.name}` }, small), told);
}

export async function sceneOfStudy(name, set, of) {
  const told = await fetched(name, set), path = `#/studies/${part(name)}/${part(set)}`;
  const at = told.images.findIndex((one) => one.name === of), image = told.images[at];
  if (!image) throw new Error(`${set} of ${name} has no image ${of}.`);
  const step = (by) => {
    const next = told.images[(at + by + told.images.length) % told.images.length];
    location.hash = `${path}/${part(next.name)}?${query()}`;
  };
  const scores = (row) => told.metrics.filter((one) => Number.isFinite(row.scores?.[one.name]))
    .map((one) => `${one.label} ${number(row.scores[one.name], one)}`).join("; ");
  return {
    path: `${path}/${part(of)}`, title: `${of}, ${set} of ${name}`, back: path, step: told.images.length > 1 ? step : null,
    pictures: [
      ...(image.original ? [{ key: "original", name: "original", url: image.original, small: image.small }] : []),
      ...told.rows.filter((row) => image.rows[row.id]?.image).map((row) => ({
        key: row.id, name: row.name, told: scores(image.rows[row.id]), url: image.rows[row.id].image,
        small: image.rows[row.id].small,
      })),
    ],
  };
}

export const failed = (error) => note(error.message);
