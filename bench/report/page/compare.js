// Comparison of pictures of one scene: slider, blink, side by side, difference; zoom, pan, keys.
//
// In a report: <div class="compare" data-title="..."> with one <figure><img alt="name"><figcaption>
// for each picture. Without this script they stand beside each other. On the page of `bench web`:
// new Comparison(root, [{name, told, url, width, height}], options), pictures fetched when shown.
// The first is shown as A, the second as B. Pictures of another size than the largest are drawn at
// its size, and that is said.
"use strict";

const MODES = { split: "Slider", blink: "Blink", beside: "Side by side", difference: "Difference", all: "All" };
const GAP = 4; // between pictures that stand side by side
const GAINS = [1, 4, 16];
const CLEAR = 3; // screen pixels an image pixel from which on it is drawn as a square
const MOST = 32;
const BLINK = 500; // milliseconds; slower than three flashes a second
const MOST_PIXELS = 2 ** 24; // of a difference; larger ones are computed smaller
const FIGURE = 280; // least width of one picture of a figure
const LINES = 4; // of scores below it
// Black, violet, orange, yellow, white: lightness grows steadily, for any colour vision.
const HEAT = [[0, 0, 0], [70, 20, 110], [190, 60, 70], [245, 160, 30], [255, 255, 220]];
const KEYS = [
  ["← →", "another B; with Shift another A"], ["1 to 9", "B is the first to the ninth"],
  ["s b n d l", "slider, blink, side by side, difference, all"], ["space", "blinking: hold, and turn by hand"],
  ["+ − 0", "larger, smaller, as large as fits"], ["w a x e", "move up, left, down, right"],
  ["f", "fill the screen, and back"],
];

class Comparison {
  // options: title, and the state to begin with (a, b, mode, gain, at, zoom, x, y);
  // alone: wheel and fingers never scroll the page; changed(): after each change of the state;
  // step(by): the arrows up and down ask for another scene.
  constructor(root, pictures = figuresOf(root), options = {}) {
    this.root = root;
    this.options = options;
    this.title = options.title ?? root.dataset.title;
    this.pictures = pictures;
    this.mode = options.mode in MODES ? options.mode : "split";
    this.gain = GAINS.includes(options.gain) ? options.gain : GAINS[1];
    this.at = clamp(options.at ?? 50, 0, 100);
    this.zoom = clamp(options.zoom ?? 0, 0, MOST); // 0: as large as fits
    [this.x, this.y] = [options.x ?? 0.5, options.y ?? 0.5]; // in the middle, as a part of the picture
    this.a = clamp(options.a ?? 0, 0, pictures.length - 1);
    this.b = clamp(options.b ?? 1, 0, pictures.length - 1);
    this.build();
    this.watch();
    this.show();
  }

  // --- what stands on the page ---

  build() {
    this.bar = element("div", { className: "compare-bar" });
    this.choices = ["A", "B"].map((side) => {
      const choice = element("select", { ariaLabel: `Picture ${side} of ${this.title}` });
      this.bar.append(element("label", {}, `${side} `, choice));
      return choice;
    });
    this.name();
    this.modes = buttons("Way of comparing", MODES, (mode) => this.set({ mode }));
    this.gains = buttons("Gain of the difference",
      Object.fromEntries(GAINS.map((gain) => [gain, `×${gain}`])), (gain) => this.set({ gain: Number(gain) }));
    this.bar.append(this.modes, this.gains, ...this.tools());
    this.buildStage();
    this.told = element("p", { className: "compare-told" });
    this.whole = element("div", { className: "compare-whole" }, this.bar, this.stage, this.range, this.told);
    this.root.prepend(this.whole);
    this.root.classList.add("ready");
  }

  buildStage() {
    this.stage = element("div", { className: "compare-stage", tabIndex: 0 });
    this.stage.setAttribute("role", "group");
    this.stage.setAttribute("aria-label", `${this.title}: arrows change B, with Shift A; plus, minus, 0 zoom; ` +
      "s, b, n, d, l change the way of comparing; f fills the screen");
    this.panes = [0, 1].map(() => element("div", { className: "compare-pane" }));
    this.layers = this.panes.map((pane) => pane.appendChild(element("img", { alt: "", draggable: false })));
    this.map = this.panes[1].appendChild(element("canvas", {}));
    this.chips = this.panes.map((pane) => pane.appendChild(element("span", { className: "compare-name" })));
    this.rule = element("div", { className: "compare-rule" });
    this.seen = element("div", {});
    this.small = element("img", { alt: "" });
    this.mini = element("div", { className: "compare-mini", hidden: true }, this.small, this.seen);
    this.keys = element("dl", { className: "compare-keys", hidden: true });
    for (const [key, does] of [...KEYS, ...(this.options.step ? [["↑ ↓", "another picture"]] : [])]) {
      this.keys.append(element("dt", {}, key), element("dd", {}, does));
    }
    this.cells = element("div", { className: "compare-cells" });
    this.stage.append(...this.panes, this.cells, this.rule, this.mini, this.keys);
    this.range = element("input", { type: "range", min: 0, max: 100, step: 0.5, value: this.at });
    this.range.setAttribute("aria-label", `Where A ends and B begins in ${this.title}`);
  }

  name() { // the pictures in both choices
    for (const choice of this.choices) {
      choice.replaceChildren(...this.pictures.map((one, k) => new Option(one.name, k)));
    }
  }

  tools() {
    this.percent = element("span", { className: "compare-percent" });
    const tool = ([name, title, onclick]) => {
      const button = element("button", { type: "button", title, onclick }, name);
      button.setAttribute("aria-label", `${name}: ${title}`); // what is seen is in what is heard
      return button;
    };
    const [less, ...zooms] = [
      ["−", "Smaller", () => this.zoomTo(this.scale() / 1.5)],
      ["+", "Larger", () => this.zoomTo(this.scale() * 1.5)],
      ["Fit", "As large as fits", () => this.set({ zoom: 0 })],
      ["1:1", "One pixel of the screen for each", () => this.set({ zoom: 1 / devicePixelRatio })],
      ["Full screen", "Fill the screen, and back", () => this.fill()],
    ].map(tool);
    const saves = [
      ["Save crop", "Save what is seen as a picture", () => this.saveCrop()],
      ["Save figure", "Save what is seen of every picture as a labelled figure", () => this.saveFigure()],
      ["Copy figure", "Copy that figure to the clipboard", () => this.copyFigure()],
      ["Keys", "Show the keys, and hide them", () => { this.keys.hidden = !this.keys.hidden; }],
    ].map(tool);
    saves.at(-1).classList.add("compare-help");
    return [element("span", { className: "compare-group" }, less, this.percent, ...zooms),
      element("span", { className: "compare-group" }, ...saves)];
  }

  // --- what people do ---

  watch() {
    this.choices.forEach((choice, k) => choice.addEventListener("change", () =>
      this.set(k ? { b: Number(choice.value) } : { a: Number(choice.value) })));
    this.range.addEventListener("input", () => this.set({ at: Number(this.range.value) }));
    this.whole.addEventListener("keydown", (event) => this.key(event));
    this.stage.addEventListener("wheel", (event) => {
      const free = event.ctrlKey || this.options.alone || this.zoom || document.fullscreenElement;
      if (!free) return; // or nobody scrolls past
      event.preventDefault();
      this.zoomTo(this.scale() * 2 ** (-event.deltaY / 240), this.place(event));
    }, { passive: false });
    this.stage.addEventListener("dblclick", (event) =>
      this.zoom ? this.set({ zoom: 0 }) : this.zoomTo(4 * this.scale(), this.place(event)));
    this.stage.classList.toggle("alone", Boolean(this.options.alone));
    this.fingers = new Map();
    this.stage.addEventListener("pointerdown", (event) => this.press(event));
    this.stage.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      this.stage.addEventListener(end, (event) => this.fingers.delete(event.pointerId));
    }
    this.observer = new ResizeObserver(() => this.show());
    this.observer.observe(this.stage);
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("select")) return;
    const own = event.target === this.range ? /^(Arrow|Page|Home|End)/ : /^( |Enter)$/;
    if (event.target !== this.stage && own.test(event.key)) return; // what the browser does with it
    const count = this.pictures.length, key = event.key;
    const step = { ArrowRight: 1, ArrowLeft: count - 1 }[key], scene = { ArrowDown: 1, ArrowUp: -1 }[key];
    const mode = { s: "split", b: "blink", n: "beside", d: "difference", l: "all" }[key];
    const pan = { w: [0, -1], a: [-1, 0], x: [0, 1], e: [1, 0] }[key];
    if (step) this.set(event.shiftKey ? { a: (this.a + step) % count } : { b: (this.b + step) % count });
    else if (scene && this.options.step) this.options.step(scene);
    else if (mode) this.set({ mode });
    else if (key >= "1" && key <= "9" && key <= count) this.set({ b: key - 1 });
    else if (key === "+" || key === "=") this.zoomTo(this.scale() * 1.5);
    else if (key === "-") this.zoomTo(this.scale() / 1.5);
    else if (key === "0") this.set({ zoom: 0 });
    else if (key === " " && this.mode === "blink") this.turn();
    else if (key === "f") this.fill();
    else if (pan) this.pan(-60 * pan[0], -60 * pan[1]);
    else return;
    event.preventDefault();
  }

  press(event) {
    this.stage.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, event);
    // what fits cannot be moved, so that the rule goes to where it is pressed
    const near = Math.abs(event.clientX - this.stage.getBoundingClientRect().left - this.ruleAt()) < 24;
    this.sliding = this.mode === "split" && (near || !this.zoom);
    if (this.mode === "blink") this.turn();
    else if (this.sliding && event.pointerType === "mouse") this.slide(event);
  }

  drag(event) {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const others = [...this.fingers.values()].filter((one) => one.pointerId !== event.pointerId);
    if (others.length) { // two fingers zoom
      const apart = (one) => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY);
      this.zoomTo(this.scale() * apart(event) / Math.max(1, apart(before)), this.place(event));
    } else if (this.sliding) {
      this.slide(event);
    } else {
      this.pan(event.clientX - before.clientX, event.clientY - before.clientY);
    }
    this.fingers.set(event.pointerId, event);
  }

  slide(event) {
    const box = this.stage.getBoundingClientRect();
    this.set({ at: clamp(100 * (event.clientX - box.left) / box.width, 0, 100) });
  }

  pan(right, down) {
    const [width, height] = this.natural(), scale = this.scale();
    this.set({ x: this.x - right / (scale * width), y: this.y - down / (scale * height) });
  }

  zoomTo(zoom, place = [0.5, 0.5]) {
    const before = this.scale(), fit = this.fit();
    zoom = clamp(zoom, Math.min(fit, before), MOST);
    const [width, height] = this.natural(), [wide, high] = this.sizes();
    // what lies below the pointer stays there
    const shift = (1 / before - 1 / zoom);
    this.set({
      zoom: zoom === fit ? 0 : zoom,
      x: this.x + (place[0] - 0.5) * wide * shift / width,
      y: this.y + (place[1] - 0.5) * high * shift / height,
    });
  }

  fill() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.whole.requestFullscreen?.();
  }

  offer(pictures) { // others than before, some perhaps the same
    const place = (k) => Math.max(0, pictures.findIndex((one) => one.url === this.pictures[k].url));
    const [a, b] = [place(this.a), place(this.b)];
    const kept = new Map(this.pictures.map((one) => [one.url, one.image]));
    this.pictures = pictures.map((one) => ({ ...one, image: kept.get(one.url) }));
    this.name();
    Object.assign(this, { a, b });
    this.show();
  }

  end() {
    clearInterval(this.timer);
    this.observer.disconnect();
    this.whole.remove();
  }

  // --- what is taken away ---

  part() { // of the pictures that is seen: left, top, width, height in their pixels
    const [width, height] = this.natural(), [wide, high] = this.sizes(), scale = this.scale();
    const w = Math.min(width, Math.round(wide / scale)), h = Math.min(height, Math.round(high / scale));
    return [clamp(Math.round(this.x * width - w / 2), 0, width - w),
      clamp(Math.round(this.y * height - h / 2), 0, height - h), w, h];
  }

  async saveCrop() {
    const both = [this.pictures[this.a], this.pictures[this.b]], part = this.part(), [left, top, w, h] = part;
    const canvas = element("canvas", { width: 2 * w + 4, height: h }), pen = canvas.getContext("2d");
    pen.fillStyle = "white";
    pen.fillRect(0, 0, canvas.width, h);
    await Promise.all(both.map((one) => this.load(one).decode()));
    both.forEach((one, k) => this.draw(pen, one, part, [k * (w + 4), 0, w, h]));
    this.save(canvas, `${both.map(fileName).join("-")}-x${left}-y${top}-${w}x${h}.png`);
  }

  async saveFigure() {
    const [left, top, w, h] = this.part();
    this.save(await this.figure(), `${fileName({ name: this.title })}-x${left}-y${top}-${w}x${h}.png`);
  }

  async copyFigure() {
    try {
      const made = this.figure().then(pngOf);
      await navigator.clipboard.write([new ClipboardItem({ "image/png": made })]);
      this.say("The figure is in the clipboard.");
    } catch {
      this.say("This browser lets nothing be copied here. Save the figure instead.");
    }
  }

  async figure() { // what is seen of every picture, with its name below; a pixel is a whole square
    await Promise.all(this.pictures.map((one) => this.load(one).decode()));
    const part = this.part(), [, , w, h] = part, count = this.pictures.length;
    const times = Math.max(1, Math.floor(FIGURE / w)), wide = w * times, high = h * times;
    const columns = count <= 4 ? count : Math.ceil(count / Math.ceil(count / 5));
    const texts = this.pictures.map((one) => [...(one.told || "").split("; ").slice(0, LINES), ...this.drawn(one, "")]);
    const below = 26 + 16 * Math.max(...texts.map((lines) => lines.length));
    const canvas = element("canvas", {
      width: columns * (wide + 8) - 8, height: Math.ceil(count / columns) * (high + below),
    });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "white";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = "black";
    this.pictures.forEach((one, k) => {
      const x = (k % columns) * (wide + 8), y = Math.floor(k / columns) * (high + below);
      this.draw(pen, one, part, [x, y, wide, high]);
      pen.font = "600 14px system-ui, sans-serif";
      pen.fillText(shortened(pen, one.name, wide), x, y + high + 17);
      pen.font = "12px system-ui, sans-serif";
      texts[k].forEach((line, n) => pen.fillText(shortened(pen, line, wide), x, y + high + 34 + 16 * n));
    });
    return canvas;
  }

  draw(pen, one, [left, top, w, h], place) { // a part in pixels of the frame
    const [width, height] = this.natural(), [wide, high] = sizeOf(one);
    pen.imageSmoothingEnabled = place[2] <= w && wide !== width; // smaller pictures: bilinear
    pen.drawImage(one.image, left * wide / width, top * high / height, w * wide / width, h * high / height, ...place);
  }

  async save(canvas, download) {
    const href = URL.createObjectURL(await pngOf(canvas));
    element("a", { href, download }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
  }

  // --- what is seen ---

  set(change) {
    if (change.mode && this.timer === -1) this.timer = null; // chosen anew, it blinks again
    Object.assign(this, change);
    this.show();
    this.options.changed?.();
  }

  load(one) {
    if (!one.image) {
      one.image = element("img", { alt: "", src: one.url });
      one.image.addEventListener("error", () => { one.broken = true; this.show(); });
    }
    if (!one.image.complete && !one.waited) {
      one.waited = true;
      one.image.addEventListener("load", () => this.show());
    }
    return one.image;
  }

  natural() { // of the largest picture: the frame of all
    const area = ([width, height]) => width * height;
    return this.pictures.map(sizeOf).reduce((most, size) => area(size) > area(most) ? size : most);
  }

  stacked() { // side by side, on a screen that is higher than wide: one above the other
    return this.stage.clientHeight > this.stage.clientWidth;
  }

  sizes() { // of one pane, in CSS pixels
    const { clientWidth, clientHeight } = this.stage;
    if (this.mode === "all") return this.sizesOf(this.columns());
    if (this.mode !== "beside") return [clientWidth, clientHeight];
    return this.stacked() ? [clientWidth, (clientHeight - GAP) / 2] : [(clientWidth - GAP) / 2, clientHeight];
  }

  sizesOf(columns) { // of each pane, if all pictures stand in so many columns
    const rows = Math.ceil(this.pictures.length / columns), { clientWidth, clientHeight } = this.stage;
    return [(clientWidth - GAP * (columns - 1)) / columns, (clientHeight - GAP * (rows - 1)) / rows];
  }

  columns() { // that show all pictures the largest
    const [width, height] = this.natural();
    const fits = this.pictures.map((_, k) => {
      const [wide, high] = this.sizesOf(k + 1);
      return Math.min(wide / width, high / height);
    });
    return 1 + fits.indexOf(Math.max(...fits));
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
    const within = (away, size) => (away % (size + GAP)) / size;
    return [within(event.clientX - box.left, wide), within(event.clientY - box.top, high)];
  }

  ruleAt() {
    return this.stage.clientWidth * this.at / 100;
  }

  show() {
    const both = [this.pictures[this.a], this.pictures[this.b]];
    both.forEach((one, k) => {
      this.load(one);
      if (this.layers[k].dataset.url !== one.url) {
        this.layers[k].src = this.layers[k].dataset.url = one.url;
      }
      const text = `${"AB"[k]} ${one.name}${one.image.complete ? "" : " …"}`;
      if (this.chips[k].textContent !== text) this.chips[k].textContent = text;
    });
    this.fillCells();
    this.lay();
    this.stage.dataset.mode = this.mode;
    this.stage.classList.toggle("stacked", this.mode === "beside" && this.stacked());
    this.stage.style.setProperty("--at", `${this.at}%`);
    this.panes[1].style.clipPath = this.mode === "split" ? `inset(0 0 0 ${this.at}%)` : "";
    this.range.hidden = this.rule.hidden = this.mode !== "split";
    this.gains.hidden = this.mode !== "difference";
    this.range.value = this.at;
    this.range.setAttribute("aria-valuetext", `${Math.round(this.at)} % ${both[0].name}, the rest ${both[1].name}`);
    [this.choices[0].value, this.choices[1].value] = [this.a, this.b];
    pressed(this.modes, this.mode);
    pressed(this.gains, this.gain);
    if (this.mode === "difference") this.subtract(...both);
    this.blink();
    this.tell();
  }

  fillCells() { // a pane for each picture, where all are shown
    const shown = this.mode === "all" ? this.pictures : [], columns = this.columns(), [wide, high] = this.sizes();
    while (this.cells.children.length > shown.length) this.cells.lastChild.remove();
    shown.forEach((one, k) => {
      const cell = this.cells.children[k] ?? this.cells.appendChild(element("div", { className: "compare-pane" },
        element("img", { alt: "", draggable: false }), element("span", { className: "compare-name" })));
      this.load(one);
      if (cell.firstChild.dataset.url !== one.url) cell.firstChild.src = cell.firstChild.dataset.url = one.url;
      cell.lastChild.textContent = one.name;
      Object.assign(cell.style, {
        width: `${wide}px`, height: `${high}px`,
        left: `${(k % columns) * (wide + GAP)}px`, top: `${Math.floor(k / columns) * (high + GAP)}px`,
      });
    });
  }

  lay() { // each layer where it belongs, as large as the frame
    const [width, height] = this.natural(), [wide, high] = this.sizes(), scale = this.scale();
    // zoomed, any place may be in the middle: what lies below the pointer stays there
    [this.x, this.y] = this.zoom ? [clamp(this.x, 0, 1), clamp(this.y, 0, 1)] : [0.5, 0.5];
    const left = wide / 2 - this.x * width * scale, top = high / 2 - this.y * height * scale;
    for (const { style } of [...this.layers, this.map, ...this.cells.querySelectorAll("img")]) {
      style.width = `${width * scale}px`;
      style.height = `${height * scale}px`;
      style.transform = `translate(${left}px, ${top}px)`;
      style.imageRendering = this.clear() ? "pixelated" : "auto";
    }
    this.percent.textContent = `${Math.round(100 * scale * devicePixelRatio)} %`;
    this.mini.hidden = width * scale <= wide + 1 && height * scale <= high + 1;
    if (this.mini.hidden) return;
    const url = this.pictures[this.a].small ?? this.pictures[this.a].url;
    if (this.small.dataset.url !== url) this.small.src = this.small.dataset.url = url;
    this.mini.style.aspectRatio = `${width} / ${height}`;
    const [from, until] = [-left / scale / width, (wide - left) / scale / width].map((part) => clamp(part, 0, 1));
    const [above, below] = [-top / scale / height, (high - top) / scale / height].map((part) => clamp(part, 0, 1));
    Object.assign(this.seen.style, {
      left: `${100 * from}%`, top: `${100 * above}%`,
      width: `${100 * (until - from)}%`, height: `${100 * (below - above)}%`,
    });
  }

  clear() {
    return this.scale() * devicePixelRatio >= CLEAR;
  }

  blink() {
    if (this.mode !== "blink") {
      clearInterval(this.timer);
      this.timer = this.panes[1].style.visibility = this.chips[0].style.visibility = null;
    } else if (!this.timer) {
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      this.other();
      this.timer = still ? -1 : setInterval(() => this.other(), BLINK);
    }
  }

  other() { // the picture that was hidden
    const hidden = this.panes[1].style.visibility === "hidden";
    this.panes[1].style.visibility = hidden ? "visible" : "hidden";
    this.chips[0].style.visibility = hidden ? "hidden" : "visible";
    this.tell();
  }

  turn() { // by hand: blinking holds
    clearInterval(this.timer);
    this.timer = -1;
    this.other();
  }

  subtract(a, b) {
    if (![a, b].every((one) => one.image.complete && !one.broken)) return;
    const key = [a.url, b.url, this.gain].join(" ");
    if (this.map.dataset.key === key) return;
    const [wide, high] = this.natural(), less = Math.min(1, Math.sqrt(MOST_PIXELS / (wide * high)));
    const [width, height] = [Math.round(wide * less), Math.round(high * less)];
    const [first, second] = [a, b].map((one) => {
      const pen = element("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
      pen.drawImage(one.image, 0, 0, width, height);
      return pen.getImageData(0, 0, width, height).data;
    });
    const made = new ImageData(width, height), shown = new Uint32Array(made.data.buffer), ramp = heatRamp();
    let most = 0, sum = 0;
    for (let k = 0, p = 0; p < shown.length; k += 4, p++) {
      const red = Math.abs(first[k] - second[k]), green = Math.abs(first[k + 1] - second[k + 1]);
      const away = Math.max(red, green, Math.abs(first[k + 2] - second[k + 2]));
      shown[p] = ramp[Math.min(255, this.gain * away)];
      if (away > most) most = away;
      sum += away;
    }
    Object.assign(this.map, { width, height });
    this.map.getContext("2d").putImageData(made, 0, 0);
    this.map.dataset.key = key;
    this.away = `Largest ${most}, mean ${(sum / shown.length).toFixed(2)} levels` +
      (less < 1 ? `, computed at ${Math.round(100 * less)} % of the size` : "");
  }

  tell() {
    const [a, b] = [this.pictures[this.a], this.pictures[this.b]];
    const said = (one) => one.told ? `${one.name} (${one.told})` : one.name;
    const hidden = this.panes[1].style.visibility === "hidden";
    const [left, right] = this.stage.classList.contains("stacked") ? ["above", "below"] : ["left", "right"];
    const what = {
      split: `left ${said(a)}, right ${said(b)}`,
      blink: `now ${said(hidden ? a : b)}`,
      beside: `${left} ${said(a)}, ${right} ${said(b)}`,
      difference: `largest difference of R, G, B between ${a.name} and ${b.name}: black 0, ` +
        `white ${Math.ceil(255 / this.gain)} levels or more. ${this.away || ""}`,
      all: `the same place in all ${this.pictures.length}`,
    }[this.mode];
    this.say([what, ...(this.mode === "all" ? this.pictures : [...new Set([a, b])]).flatMap((one) => this.drawn(one))].join(". "), this.mode === "blink");
  }

  drawn(one, name = `${one.name} is `) { // what has to be said of one picture
    const [width, height] = sizeOf(one), [wide, high] = this.natural();
    if (one.broken) return [`${one.name} could not be loaded`];
    if (!one.image.complete || (width === wide && height === high)) return [];
    const how = this.clear() && this.mode !== "difference" ? "nearest" : "bilinear";
    return [`${name}${width}×${height}, drawn at ${wide}×${high} (${how})`];
  }

  say(text, quiet = false) { // who listens is not told of every blink
    this.told.setAttribute("aria-live", quiet ? "off" : "polite");
    if (this.told.textContent !== text) this.told.textContent = text;
  }
}

function figuresOf(root) {
  return [...root.querySelectorAll("figure")].map((figure) => {
    const image = figure.querySelector("img");
    return { name: image.alt, image, url: image.src, told: figure.querySelector("figcaption")?.dataset.scores };
  });
}

function sizeOf({ width, height, image }) {
  return [width || image?.naturalWidth || 1, height || image?.naturalHeight || 1];
}

function fileName({ name }) {
  return name.replace(/[^\w.-]+/g, "_");
}

function shortened(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  while (text && pen.measureText(`${text}…`).width > width) text = text.slice(0, -1);
  return `${text}…`;
}

function pngOf(canvas) {
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

function buttons(label, names, chosen) {
  const group = element("span", { className: "compare-group" });
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", label);
  for (const [key, name] of Object.entries(names)) {
    const button = element("button", { type: "button", onclick: () => chosen(key) }, name);
    button.dataset.key = key;
    group.append(button);
  }
  return group;
}

function element(tag, facts, ...children) {
  const made = Object.assign(document.createElement(tag), facts);
  made.append(...children);
  return made;
}

function pressed(group, key) {
  for (const button of group.children) button.setAttribute("aria-pressed", button.dataset.key === String(key));
}

function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}

function heatRamp() { // 256 colours, each as the four bytes of a pixel
  const bytes = new Uint8ClampedArray(1024);
  for (let k = 0; k < 256; k++) {
    const place = k / 255 * (HEAT.length - 1), low = Math.min(HEAT.length - 2, Math.floor(place));
    bytes.set([...HEAT[low].map((c, n) => c + (place - low) * (HEAT[low + 1][n] - c)), 255], 4 * k);
  }
  return new Uint32Array(bytes.buffer);
}

for (const root of document.querySelectorAll(".compare:has(> figure)")) new Comparison(root);
