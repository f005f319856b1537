// How scores are shown, and where they and a result come from.

import { find, make, number, tell } from "./make.js";
import { ask } from "./server.js";

export const arrow = (metric) => ({ higher: "↑", lower: "↓" }[metric.better] ?? "");

export const wanted = (metric) => // which way it is better
  (arrow(metric) ? `${metric.better} is better` : "neither way is better");

// The metrics that have a column: those that can be computed here; with an original only if there is one.
export function columns(metrics, picture) {
  return metrics.filter((metric) => !metric.missing && (!metric.reference || picture.original));
}

export function best(metric, results) { // the ids with the best value, if there are several values
  const values = results.map((one) => one.scores?.[metric.name]?.value).filter(Number.isFinite);
  if (values.length < 2 || !arrow(metric)) return null;
  return metric.better === "higher" ? Math.max(...values) : Math.min(...values);
}

export function brief(scores, metrics) { // "PSNR-Y 31.96 dB; NIMA 5.12"
  return metrics.filter(({ name }) => Number.isFinite(scores?.[name]?.value))
    .map((metric) => `${metric.label} ${number(scores[metric.name].value, metric)}`).join("; ");
}

export function details(result, metrics) {
  const list = make("dl");
  const add = (name, value) => list.append(make("dt", {}, name), make("dd", {}, value));
  for (const metric of metrics) {
    const score = result.scores?.[metric.name];
    if (!score) continue;
    const told = [number(score.value, metric), score.reason, score.protocol && `under ${score.protocol}`, score.note];
    add(metric.label, told.filter(Boolean).join(" · "));
  }
  for (const [name, value] of flat(result.provenance ?? {})) add(name, value);
  tell(`${result.name} ×${result.scale}`, list);
}

function* flat(facts, before = "") { // nested facts, one a line
  for (const [name, value] of Object.entries(facts)) {
    if (value && typeof value === "object" && !Array.isArray(value)) yield* flat(value, `${before}${name}.`);
    else if (value !== null && String(value) !== "") yield [before + name, Array.isArray(value) ? value.join(", ") : String(value)];
  }
}

export async function features(result) { // VIQET's, computed when asked for
  const wait = make("p", { role: "status" }, "Computing VIQET’s features…");
  const body = tell(`VIQET: ${result.name} ×${result.scale}`, wait);
  try {
    let told = await ask(`/api/results/${result.id}/viqet`);
    while (told.state === "running" && wait.isConnected && find("#dialog").open) {
      await new Promise((done) => setTimeout(done, 400));
      told = await ask(`/api/results/${result.id}/viqet`);
    }
    if (wait.isConnected && told.state === "failed") wait.textContent = told.reason;
    else if (wait.isConnected && told.state !== "running") body.replaceChildren(...listed(told));
  } catch (error) {
    wait.textContent = error.message;
  }
}

function listed({ mos, features: all }) {
  const rows = all.map(({ name, value, unit, place }) => make("tr", {},
    make("th", { scope: "row" }, name.replaceAll("_", " ")),
    make("td", {}, number(value, { unit })),
    make("td", {}, Number.isFinite(place)
      ? make("meter", { min: 0, max: 1, value: place, "aria-label": `${name}, place in its range` }) : "")));
  return [make("p", {}, "Predicted mean opinion score: ", make("b", {}, number(mos)), " of 5."),
    make("table", { className: "features" }, make("tbody", {}, ...rows))];
}
