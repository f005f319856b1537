// Comparison of pictures of one scene. Without this script they stand beside each other.
//
// <div class="compare" data-title="..."> with one <figure><img alt="name"><figcaption> for each
// picture, all of the same scene and size. The first is shown as A, the second as B.
"use strict";

const MODES = { split: "Slider", blink: "Blink", beside: "Side by side", difference: "Difference" };
const GAINS = [1, 4, 16];
const CLEAR = 2; // screen pixels an image pixel from which on it is drawn as a square
const MOST = 32;
const BLINK = 500; // milliseconds; slower than three flashes a second
// Black, violet, orange, yellow, white: lightness grows steadily, for any colour vision.
const HEAT = [[0, 0, 0], [70, 20, 110], [190, 60, 70], [245, 160, 30], [255, 255, 220]];

class Comparison {
  constructor(root) {
    this.root = root;
    this.pictures = [...root.querySelectorAll("figure")].map((figure) => ({
      name: figure.querySelector("img").alt,
      image: figure.querySelector("img"),
      told: figure.querySelector("figcaption")?.dataset.scores || "",
    }));
    this.a = 0;
    this.b = Math.min(1, this.pictures.length - 1);
    this.mode = "split";
    this.gain = GAINS[1];
    this.at = 50;
    this.zoom = 0; // 0: as large as fits
    this.x = this.y = 0.5; // what is in the middle, as a part of the picture
    this.build();
    this.watch();
    this.show();
  }

  // --- what stands on the page ---

  build() {
    const title = this.root.dataset.title;
    this.bar = element("div", { className: "compare-bar" });
    this.choices = ["A", "B"].map((side) => {
      const choice = element("select", { ariaLabel: `Picture ${side} of ${title}` });
      this.pictures.forEach((one, k) => choice.add(new Option(one.name, k)));
      this.bar.append(element("label", {}, `${side} `, choice));
      return choice;
    });
    this.modes = this.buttons(MODES, (mode) => this.set({ mode }));
    this.gains = this.buttons(
      Object.fromEntries(GAINS.map((gain) => [gain, `×${gain}`])),
      (gain) => this.set({ gain: Number(gain) }),
    );
    this.gains.setAttribute("aria-label", "Gain of the difference");
    this.bar.append(this.modes, this.gains, this.tools());
    this.stage = element("div", { className: "compare-stage", tabIndex: 0 });
    this.stage.setAttribute("role", "group");
    this.stage.setAttribute("aria-label", `${title}: arrows change B, with Shift A; plus, minus, 0 zoom; ` +
      "s, b, n, d change the way of comparing; f fills the screen");
    this.panes = [0, 1].map(() => element("div", { className: "compare-pane" }));
    this.layers = [0, 1].map((k) => this.panes[k].appendChild(element("img", { alt: "", draggable: false })));
    this.map = this.panes[1].appendChild(element("canvas", {}));
    this.rule = element("div", { className: "compare-rule" });
    this.range = element("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50 });
    this.range.setAttribute("aria-label", `Where A ends and B begins in ${title}`);
    this.stage.append(...this.panes, this.rule);
    this.told = element("p", { className: "compare-told" });
    this.told.setAttribute("aria-live", "polite");
    this.whole = element("div", { className: "compare-whole" }, this.bar, this.stage, this.range, this.told);
    this.root.prepend(this.whole);
    this.root.classList.add("ready");
  }

  buttons(names, chosen) {
    const group = element("span", { className: "compare-group" });
    group.setAttribute("role", "group");
    for (const [key, name] of Object.entries(names)) {
      const button = element("button", { type: "button", onclick: () => chosen(key) }, name);
      button.dataset.key = key;
      group.append(button);
    }
    return group;
  }

  tools() {
    const group = element("span", { className: "compare-group" });
    const tools = [
      ["−", "Smaller", () => this.zoomTo(this.scale() / 1.5)],
      ["Fit", "As large as fits", () => this.set({ zoom: 0, x: 0.5, y: 0.5 })],
      ["1:1", "One pixel of the screen for each", () => this.zoomTo(1 / devicePixelRatio)],
      ["+", "Larger", () => this.zoomTo(this.scale() * 1.5)],
      ["Full screen", "Fill the screen, and back", () => this.fill()],
      ["Save crop", "Save what is seen as a picture", () => this.save()],
    ];
    for (const [name, title, onclick] of tools) {
      const button = element("button", { type: "button", title, onclick }, name);
      button.setAttribute("aria-label", title);
      group.append(button);
    }
    return group;
  }

  // --- what people do ---

  watch() {
    this.choices.forEach((choice, k) => choice.addEventListener("change", () =>
      this.set(k ? { b: Number(choice.value) } : { a: Number(choice.value) })));
    this.range.addEventListener("input", () => this.set({ at: Number(this.range.value) }));
    this.stage.addEventListener("keydown", (event) => this.key(event));
    this.stage.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !this.zoom && !document.fullscreenElement) return; // or nobody scrolls past
      event.preventDefault();
      this.zoomTo(this.scale() * 2 ** (-event.deltaY / 240), this.place(event));
    }, { passive: false });
    this.stage.addEventListener("dblclick", (event) =>
      this.zoom ? this.set({ zoom: 0, x: 0.5, y: 0.5 }) : this.zoomTo(4 * this.scale(), this.place(event)));
    this.fingers = new Map();
    this.stage.addEventListener("pointerdown", (event) => {
      this.stage.setPointerCapture(event.pointerId);
      this.fingers.set(event.pointerId, event);
      this.sliding = this.mode === "split" && Math.abs(event.offsetX - this.ruleAt()) < 24;
    });
    this.stage.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      this.stage.addEventListener(end, (event) => this.fingers.delete(event.pointerId));
    }
    new ResizeObserver(() => this.show()).observe(this.stage);
    this.pictures.forEach(({ image }) => image.complete || image.addEventListener("load", () => this.show()));
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const count = this.pictures.length, step = { ArrowRight: 1, ArrowLeft: count - 1 }[event.key];
    const ways = { s: "split", b: "blink", n: "beside", d: "difference" };
    const pan = { w: [0, -1], a: [-1, 0], x: [0, 1], e: [1, 0] }[event.key];
    if (step) this.set(event.shiftKey ? { a: (this.a + step) % count } : { b: (this.b + step) % count });
    else if (ways[event.key]) this.set({ mode: ways[event.key] });
    else if (event.key >= "1" && event.key <= "9" && event.key <= count) this.set({ b: event.key - 1 });
    else if (event.key === "+" || event.key === "=") this.zoomTo(this.scale() * 1.5);
    else if (event.key === "-") this.zoomTo(this.scale() / 1.5);
    else if (event.key === "0") this.set({ zoom: 0, x: 0.5, y: 0.5 });
    else if (event.key === "f") this.fill();
    else if (pan) this.pan(-60 * pan[0], -60 * pan[1]);
    else return;
    event.preventDefault();
  }

  drag(event) {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const others = [...this.fingers.values()].filter((one) => one.pointerId !== event.pointerId);
    if (this.sliding && !others.length) {
      const [pane] = this.sizes();
      this.set({ at: clamp(100 * event.offsetX / pane, 0, 100) });
    } else if (others.length) { // two fingers zoom
      const apart = (one) => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY);
      this.zoomTo(this.scale() * apart(event) / Math.max(1, apart(before)), this.place(event));
    } else {
      this.pan(event.clientX - before.clientX, event.clientY - before.clientY);
    }
    this.fingers.set(event.pointerId, event);
  }

  pan(right, down) {
    const [width, height] = this.natural(), scale = this.scale();
    this.set({ x: this.x - right / (scale * width), y: this.y - down / (scale * height) });
  }

  zoomTo(zoom, place = [0.5, 0.5]) {
    const before = this.scale(), fit = this.fit();
    zoom = clamp(zoom, fit, MOST);
    const [width, height] = this.natural(), [wide, high] = this.sizes();
    // what lies below the pointer stays there
    const shift = (1 / before - 1 / zoom);
    this.set({
      zoom: zoom <= fit ? 0 : zoom,
      x: this.x + (place[0] - 0.5) * wide * shift / width,
      y: this.y + (place[1] - 0.5) * high * shift / height,
    });
  }

  fill() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.whole.requestFullscreen?.();
  }

  save() {
    const [width, height] = this.natural(), [wide, high] = this.sizes(), scale = this.scale();
    const w = Math.min(width, Math.round(wide / scale)), h = Math.min(height, Math.round(high / scale));
    const left = clamp(Math.round(this.x * width - w / 2), 0, width - w);
    const top = clamp(Math.round(this.y * height - h / 2), 0, height - h);
    const canvas = element("canvas", { width: 2 * w + 4, height: h }), pen = canvas.getContext("2d");
    pen.fillStyle = "white";
    pen.fillRect(0, 0, canvas.width, h);
    [this.a, this.b].forEach((one, k) =>
      pen.drawImage(this.pictures[one].image, left, top, w, h, k * (w + 4), 0, w, h));
    const names = [this.a, this.b].map((one) => this.pictures[one].name.replace(/[^\w.-]+/g, "_"));
    element("a", {
      href: canvas.toDataURL("image/png"), download: `${names.join("-")}-x${left}-y${top}-${w}x${h}.png`,
    }).click();
  }

  // --- what is seen ---

  set(change) {
    Object.assign(this, change);
    this.show();
  }

  natural() {
    const { image } = this.pictures[0];
    return [image.naturalWidth || 1, image.naturalHeight || 1];
  }

  sizes() { // of one pane, in CSS pixels
    const { clientWidth, clientHeight } = this.stage;
    return [this.mode === "beside" ? (clientWidth - 4) / 2 : clientWidth, clientHeight];
  }

  fit() {
    const [width, height] = this.natural(), [wide, high] = this.sizes();
    return Math.min(wide / width, high / height);
  }

  scale() {
    return this.zoom || this.fit();
  }

  place(event) { // of the pointer in its pane, as a part of it
    const box = this.stage.getBoundingClientRect(), [wide, high] = this.sizes();
    const across = event.clientX - box.left;
    return [(this.mode === "beside" && across > wide ? across - wide - 4 : across) / wide,
      (event.clientY - box.top) / high];
  }

  ruleAt() {
    return this.stage.clientWidth * this.at / 100;
  }

  show() {
    const [width, height] = this.natural(), [wide, high] = this.sizes(), scale = this.scale();
    // zoomed, any place may be in the middle: what lies below the pointer stays there
    [this.x, this.y] = this.zoom ? [clamp(this.x, 0, 1), clamp(this.y, 0, 1)] : [0.5, 0.5];
    const left = wide / 2 - this.x * width * scale, top = high / 2 - this.y * height * scale;
    [this.a, this.b].forEach((one, k) => {
      if (this.layers[k].dataset.shown !== String(one)) {
        this.layers[k].src = this.pictures[one].image.src;
        this.layers[k].dataset.shown = one;
      }
    });
    for (const layer of [...this.layers, this.map]) {
      layer.style.width = `${width * scale}px`;
      layer.style.height = `${height * scale}px`;
      layer.style.transform = `translate(${left}px, ${top}px)`;
      layer.style.imageRendering = scale * devicePixelRatio >= CLEAR ? "pixelated" : "auto";
    }
    this.stage.dataset.mode = this.mode;
    this.stage.style.setProperty("--at", `${this.at}%`);
    this.panes[1].style.clipPath = this.mode === "split" ? `inset(0 0 0 ${this.at}%)` : "";
    this.range.hidden = this.rule.hidden = this.mode !== "split";
    this.gains.hidden = this.mode !== "difference";
    this.range.value = this.at;
    this.range.setAttribute("aria-valuetext",
      `${Math.round(this.at)} % ${this.pictures[this.a].name}, the rest ${this.pictures[this.b].name}`);
    this.choices[0].value = this.a;
    this.choices[1].value = this.b;
    press(this.modes, this.mode);
    press(this.gains, this.gain);
    if (this.mode === "difference") this.subtract();
    this.blink();
    this.tell();
  }

  blink() {
    if (this.mode !== "blink") {
      clearInterval(this.timer);
      this.timer = this.panes[1].style.visibility = null;
    } else if (!this.timer) {
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      const turn = () => {
        const style = this.panes[1].style;
        style.visibility = style.visibility === "hidden" ? "visible" : "hidden";
        this.tell();
      };
      this.timer = still ? -1 : setInterval(turn, BLINK);
      if (still) this.stage.addEventListener("click", () => this.mode === "blink" && turn());
    }
  }

  subtract() {
    const key = [this.a, this.b, this.gain].join();
    if (this.map.dataset.key === key) return;
    const [width, height] = this.natural();
    const pixels = [this.a, this.b].map((one) => {
      const pen = element("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
      pen.drawImage(this.pictures[one].image, 0, 0);
      return pen.getImageData(0, 0, width, height).data;
    });
    const made = new ImageData(width, height), ramp = heatRamp();
    for (let k = 0; k < made.data.length; k += 4) {
      let away = 0;
      for (let c = 0; c < 3; c++) away = Math.max(away, Math.abs(pixels[0][k + c] - pixels[1][k + c]));
      made.data.set(ramp[Math.min(255, this.gain * away)], k);
    }
    Object.assign(this.map, { width, height });
    this.map.getContext("2d").putImageData(made, 0, 0);
    this.map.dataset.key = key;
  }

  tell() {
    const [a, b] = [this.pictures[this.a], this.pictures[this.b]];
    const percent = `${Math.round(100 * this.scale() * devicePixelRatio)} %`;
    const said = (one) => one.told ? `${one.name} (${one.told})` : one.name;
    const hidden = this.panes[1].style.visibility === "hidden";
    const what = {
      split: `left ${said(a)}, right ${said(b)}`,
      blink: `now ${said(hidden ? a : b)}`,
      beside: `left ${said(a)}, right ${said(b)}`,
      difference: `largest difference of R, G, B between ${a.name} and ${b.name}: black 0, ` +
        `white ${Math.ceil(255 / this.gain)} levels or more`,
    }[this.mode];
    this.told.textContent = `${what}. ${percent}`;
  }
}

function element(tag, facts, ...children) {
  const made = Object.assign(document.createElement(tag), facts);
  made.append(...children);
  return made;
}

function press(group, key) {
  for (const button of group.children) button.setAttribute("aria-pressed", button.dataset.key === String(key));
}

function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}

function heatRamp() {
  return Array.from({ length: 256 }, (_, k) => {
    const place = k / 255 * (HEAT.length - 1), low = Math.min(HEAT.length - 2, Math.floor(place));
    return [...HEAT[low].map((c, n) => c + (place - low) * (HEAT[low + 1][n] - c)), 255];
  });
}

for (const root of document.querySelectorAll(".compare")) new Comparison(root);
