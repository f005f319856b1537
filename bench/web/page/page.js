// The page of `bench web`: pictures in, enhanced ones and their scores out, and the studies.

import { find, left, many, note, write } from "./make.js";
import { receive } from "./pictures.js";
import { chosen, know, showCards } from "./results.js";
import { Rows } from "./rows.js";
import { ask, post, remove, watch } from "./server.js";
import { failed, sceneOfStudy, showGallery, showStudies } from "./studies.js";
import { compare, leave, sceneOf } from "./viewing.js";

const FACE = "bench.face";
let facts = null, rows = null, state = null, ended = null;

// --- light and dark ---

function face() {
  const choice = find("#face"), put = () => {
    if (choice.value) document.documentElement.dataset.face = choice.value;
    else delete document.documentElement.dataset.face;
  };
  choice.value = localStorage.getItem(FACE) ?? "";
  choice.onchange = () => {
    localStorage.setItem(FACE, choice.value);
    put();
  };
  put();
}

// --- which view ---

async function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [place, ...rest] = path.split("/").filter(Boolean).map(decodeURIComponent);
  const studies = place === "studies";
  const view = place === "compare" || rest.length > 2 ? "view" : !studies ? "enhance" : rest.length > 1 ? "gallery" : "studies";
  if (view !== "view") leave();
  for (const name of ["enhance", "studies", "gallery"]) find(`#${name}`).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if ((link.hash === "#/studies") === studies) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const words = new URLSearchParams(query);
  if (view === "studies") showStudies();
  else if (view === "gallery") showGallery(...rest);
  else if (studies && view === "view") await sceneOfStudy(...rest).then((scene) => compare(scene, words)).catch(failed);
  else if (view === "view" && state) comparePicture(rest[0], words);
  document.title = view === "enhance" ? "bench" : `${rest[1] ?? rest[0] ?? "studies"} · bench`;
}

function comparePicture(id, words) {
  const picture = state.pictures.find((one) => one.id === id && one.state === "ready");
  if (picture) return compare(sceneOf(picture, state, facts.metrics), words);
  note("That picture is not here any more.");
  location.hash = "#/";
}

// --- what the server tells ---

function changed(next) {
  const first = !state;
  state = next;
  document.body.classList.toggle("empty", !state.pictures.length);
  find("#all").hidden = !state.pictures.some((one) => one.results.some((result) => result.state === "done"));
  showCards(state, facts.metrics, showGo);
  showQueue();
  showGo();
  hear();
  if (first || location.hash.startsWith("#/compare/")) route();
}

function showQueue() {
  const { waiting, running, left: rest } = state.queue;
  find("#queue").hidden = !waiting && !running;
  write(find("#queue span"), [`${running} running`, waiting ? `${waiting} waiting` : "", left(rest)].filter(Boolean).join(", "));
}

function showGo() {
  if (!state) return;
  const ready = chosen(state), used = rows.ready(), button = find("#go");
  button.disabled = !ready.length || !used.length;
  write(find("#used"), used.length ? `${many(used.length, "method")} at ×${rows.scale}` : "");
  write(button, ready.length > 1 ? `Enhance ${ready.length} pictures` : "Enhance");
  write(find("#why"), !state.pictures.length ? "Add a picture first." : !ready.length ? "Tick a picture that could be read."
    : !used.length ? "Choose at least one method." : "");
}

function hear() { // one short line for who listens, when something has ended
  const results = state.pictures.flatMap((one) => one.results);
  const done = results.filter((one) => one.state === "done").length;
  const failed = results.filter((one) => one.state === "failed").length;
  const now = `${done} of ${many(results.length, "result")} ready${failed ? `, ${failed} failed` : ""}`;
  if (ended !== null && ended !== now && done + failed) write(find("#heard"), now);
  ended = now;
}

function lost(away) {
  find("#lost").hidden = !away;
  write(find("#lost"), away ? "The connection to the server is lost. Trying again; nothing that it has made is gone." : "");
}

// --- what people ask for ---

async function enhance() {
  if (matchMedia("(max-width: 60rem)").matches) find("#with").open = false; // what comes is below it
  const used = rows.ready(), scales = Map.groupBy(chosen(state), (one) => one.scale ?? rows.scale);
  for (const [scale, pictures] of scales) { // a set's picture has a scale of its own
    const fitting = used.filter((id) => facts.rows.find((row) => row.id === id).scales?.includes(scale) ?? true);
    await post("/api/results", { pictures: pictures.map((one) => one.id), rows: fitting, scale })
      .catch((error) => note(error.message));
  }
}

async function begin() {
  face();
  try {
    facts = await ask("/api");
  } catch (error) {
    find("#lost").hidden = false;
    write(find("#lost"), error.message);
    return setTimeout(begin, 2000);
  }
  know(facts.metrics);
  rows = new Rows(facts, showGo);
  receive(facts);
  find("#go").onclick = enhance;
  find("#stop").onclick = () => remove("/api/queue").catch((error) => note(error.message));
  addEventListener("hashchange", () => {
    leave(false); // the same pictures may be asked for in another way
    route();
  });
  watch(changed, lost);
}

begin();
