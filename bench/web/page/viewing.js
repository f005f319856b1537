// The view that compares the pictures of one scene. Its state stands in the address after #.

import { find, keep, make, write } from "./make.js";
import { brief } from "./scores.js";

const NUMBERS = ["at", "gain", "zoom", "x", "y"];
let shown = null; // the comparison, the address of its scene and its pictures' keys
let waiting = null;

// scene: {path, title, back, pictures: [{key, name, told, url, small, width, height}], step(by)}
export function compare(scene, query) {
  const view = find("#view");
  view.hidden = false;
  document.body.classList.add("viewing");
  write(find("h1", view), scene.title);
  find("#back").href = scene.back;
  for (const button of view.querySelectorAll("[data-step]")) {
    button.hidden = !scene.step;
    button.onclick = () => scene.step(Number(button.dataset.step));
  }
  if (shown?.path === scene.path) return renew(scene);
  leave(false);
  if (!scene.pictures.length) return write(find(".compare", view), "Nothing to compare yet.");
  write(find(".compare", view), "");
  begin(scene, query);
}

function begin(scene, query) {
  const keys = scene.pictures.map((one) => one.key);
  const start = { title: scene.title, alone: true, step: scene.step, changed: remember, mode: query.get("mode") ?? "split" };
  for (const name of NUMBERS) {
    if (Number.isFinite(parseFloat(query.get(name)))) start[name] = parseFloat(query.get(name));
  }
  const place = (name, otherwise) => (keys.includes(query.get(name)) ? keys.indexOf(query.get(name)) : otherwise);
  start.a = place("a", 0);
  start.b = place("b", keys.length - 1);
  const made = new Comparison(find("#view .compare"), scene.pictures, start);
  shown = { path: scene.path, made, keys };
  made.stage.focus({ preventScroll: true });
}

function renew(scene) { // a result was added or removed
  const keys = scene.pictures.map((one) => one.key);
  const urls = (pictures) => pictures.map((one) => one.url).join();
  if (urls(scene.pictures) === urls(shown.made.pictures) || !keys.length) return;
  shown.keys = keys;
  shown.made.offer(scene.pictures);
}

export function leave(gone = true) {
  shown?.made.end();
  shown = null;
  clearTimeout(waiting);
  waiting = null;
  if (!gone) return;
  find("#view").hidden = true;
  document.body.classList.remove("viewing");
}

export function query() { // of what is seen, for the next scene as well
  const { made, keys } = shown, round = (value, digits) => String(Number(value.toFixed(digits)));
  return new URLSearchParams({
    a: keys[made.a], b: keys[made.b], mode: made.mode,
    ...(made.mode === "split" && { at: round(made.at, 1) }), ...(made.mode === "difference" && { gain: made.gain }),
    ...(made.zoom && { zoom: round(made.zoom, 4), x: round(made.x, 5), y: round(made.y, 5) }),
  }).toString();
}

function remember() { // not at each pixel that a pointer moves
  waiting ??= setTimeout(() => {
    waiting = null;
    if (shown) history.replaceState(null, "", `${shown.path}?${query()}`);
  }, 150);
}

// --- scenes ---

export function sceneOf(picture, state, metrics) {
  const others = state.pictures.filter((one) => one.state === "ready");
  const step = (by) => {
    const next = others[(others.findIndex((one) => one.id === picture.id) + by + others.length) % others.length];
    location.hash = `#/compare/${next.id}?${query()}`;
  };
  return {
    path: `#/compare/${picture.id}`, title: picture.name, back: "#/", step: others.length > 1 ? step : null,
    pictures: [
      { key: "input", name: "input", told: brief(picture.scores, metrics), url: picture.image, small: picture.small,
        width: picture.width, height: picture.height },
      ...(picture.original && picture.original_image ? [{ key: "original", name: "original", url: picture.original_image,
        width: picture.original.width, height: picture.original.height }] : []),
      ...picture.results.filter((one) => one.state === "done").map((one) => ({
        key: `${one.row}@${one.scale}`, name: `${one.name} ×${one.scale}`, told: brief(one.scores, metrics),
        url: one.image, small: one.small, width: one.width, height: one.height,
      })),
    ],
  };
}
