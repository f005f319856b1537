// Pictures come in: dropped, pasted, chosen, or taken from a benchmark set.

import { bytes, find, make, note } from "./make.js";
import { post, send } from "./server.js";

const TYPES = /^image\/(png|jpeg|webp|tiff|bmp|x-ms-bmp)$/;
const NAMES = /\.(png|jpe?g|webp|tiff?|bmp)$/i;

export function receive(facts) {
  const { limits } = facts;
  find("#limits").textContent = "PNG, JPEG, WebP, TIFF or BMP, " +
    `up to ${bytes(limits.bytes)} and ${Math.round(limits.pixels / 1e6)} megapixels. Kept on this server for a day at most, and sent nowhere else.`;
  const files = find("#files");
  find("#choose").onclick = () => files.click();
  files.onchange = () => {
    take([...files.files], limits);
    files.value = "";
  };
  document.addEventListener("paste", (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])];
    if (pasted.length) take(pasted, limits);
  });
  dropped(limits);
  offerSets(facts.sets);
}

function dropped(limits) { // anywhere on the page
  const body = document.body;
  let depth = 0;
  const over = (change) => body.classList.toggle("over", (depth = Math.max(0, depth + change)) > 0);
  document.addEventListener("dragenter", (event) => {
    if (event.dataTransfer?.types.includes("Files")) over(1);
  });
  document.addEventListener("dragleave", () => over(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(-depth);
    take([...(event.dataTransfer?.files ?? [])], limits);
  });
}

export async function take(files, limits) {
  if (!location.hash.match(/^#?\/?$/)) location.hash = "#/";
  for (const file of files) { // one after the other: in their order
    const why = refusal(file, limits);
    if (why) note(`${file.name}: ${why}`);
    else await send("/api/pictures", file).catch((error) => note(`${file.name}: ${error.message}`));
  }
}

export function refusal(file, limits) {
  if (file.size > limits.bytes) return `${bytes(file.size)} are too many. At most ${bytes(limits.bytes)} can be sent.`;
  if (!file.size) return "the file is empty, or a folder.";
  if (!TYPES.test(file.type) && !NAMES.test(file.name)) return "not a PNG, JPEG, WebP, TIFF or BMP.";
  return null;
}

function offerSets(sets) {
  const form = find("#sample"), { set, image, scale } = form.elements;
  form.hidden = !sets.length;
  sets.forEach((one, k) => set.add(new Option(one.name, k)));
  const fill = () => {
    const one = sets[set.value];
    image.replaceChildren(...one.images.map((name, k) => new Option(name, k)));
    scale.replaceChildren(...one.scales.map((s) => make("option", { value: s }, `×${s}`)));
  };
  set.onchange = fill;
  if (sets.length) fill();
  form.onsubmit = (event) => {
    event.preventDefault();
    const name = encodeURIComponent(sets[set.value].name);
    post(`/api/sets/${name}/${image.value}?scale=${scale.value}`).catch((error) => note(error.message));
  };
}
