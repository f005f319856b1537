// What pictures are enhanced with: methods, published weights and trials, and the scale.

import { find, keep, make, many, number, write } from "./make.js";

const GROUPS = { trained: "Trained here", published: "Published weights", classical: "Without training" };
const MANY = 12; // rows from which on they can be filtered
const KEPT = "bench.rows";

export class Rows {
  constructor(facts, changed) {
    this.rows = facts.rows;
    this.metrics = Object.fromEntries(facts.metrics.map((one) => [one.name, one]));
    this.changed = changed;
    this.scale = this.scales().includes(2) ? 2 : this.scales()[0];
    this.chosen = new Set(this.begin());
    this.build();
  }

  scales() {
    const named = this.rows.flatMap((row) => row.scales ?? []);
    return [...new Set(named.length ? named : [2, 3, 4])].sort((a, b) => a - b);
  }

  begin() { // the last choice, or bicubic and the best that was trained here
    const ids = this.rows.map((row) => row.id);
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "[]").filter((id) => ids.includes(id));
    if (kept.length) return kept;
    const usable = this.rows.filter((row) => !this.refusal(row));
    const best = usable.find((row) => row.best) ?? usable.find((row) => row.group !== "classical");
    const plain = usable.find((row) => row.name === "bicubic");
    return [plain, best].filter(Boolean).map((row) => row.id);
  }

  refusal(row) { // why a row cannot be chosen now
    if (row.missing) return row.missing;
    return row.scales && !row.scales.includes(this.scale) ? `only ${row.scales.map((s) => `×${s}`).join(", ")}` : null;
  }

  ready() {
    return this.rows.filter((row) => this.chosen.has(row.id) && !this.refusal(row)).map((row) => row.id);
  }

  build() {
    for (const scale of this.scales()) {
      const choice = make("input", { type: "radio", name: "scale", value: scale, checked: scale === this.scale });
      choice.onchange = () => { this.scale = scale; this.show(); };
      find("#scales").append(make("label", {}, choice, make("span", {}, `×${scale}`)));
    }
    const filter = find("#filter");
    filter.hidden = this.rows.length <= MANY;
    filter.oninput = () => this.show();
    for (const [group, title] of Object.entries(GROUPS)) {
      const rows = this.rows.filter((row) => row.group === group);
      if (rows.length) find("#rows").append(this.group(title, rows));
    }
    this.show();
  }

  group(title, rows) { // the best of each study first, its others behind a word
    const first = rows.filter((row) => row.best || !row.study);
    const others = Map.groupBy(rows.filter((row) => !first.includes(row)), (row) => row.study);
    const whole = make("fieldset", {}, make("legend", {}, title), ...first.map((row) => this.line(row)));
    for (const [study, trials] of others) {
      const more = make("details", { className: "more" },
        make("summary", {}, many(trials.length, `other trial of ${study}`, `other trials of ${study}`)), ...trials.map((row) => this.line(row)));
      more.open = trials.some((row) => this.chosen.has(row.id));
      whole.append(more);
    }
    return whole;
  }

  line(row) {
    const tick = make("input", { type: "checkbox", value: row.id, checked: this.chosen.has(row.id) });
    tick.onchange = () => {
      this.chosen[tick.checked ? "add" : "delete"](row.id);
      localStorage.setItem(KEPT, JSON.stringify([...this.chosen]));
      this.show();
    };
    const said = make("span", { className: "said" },
      make("b", {}, row.name), make("span", { className: "quiet told" }, row.told ?? ""), make("span", { className: "numbers" }),
      make("span", { className: "refusal" }));
    return make("label", { className: "row", "data-row": row.id }, tick, said);
  }

  show() {
    const words = find("#filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of this.rows) {
      const line = find(`[data-row="${CSS.escape(row.id)}"]`), refusal = this.refusal(row);
      if (!line) continue;
      find("input", line).disabled = Boolean(refusal);
      line.classList.toggle("missing", Boolean(refusal));
      write(find(".refusal", line), refusal ?? "");
      this.numbers(find(".numbers", line), row);
      const text = `${row.name} ${row.told} ${row.study}`.toLowerCase();
      line.hidden = !words.every((word) => text.includes(word));
    }
    for (const more of find("#rows").querySelectorAll("details, fieldset")) {
      more.hidden = ![...more.querySelectorAll(".row")].some((line) => !line.hidden);
      if (words.length && more.tagName === "DETAILS") more.open = true;
    }
    this.changed();
  }

  numbers(place, row) { // of its table: the first set of the chosen scale
    const table = row.table ?? [];
    const { dataset } = table.find((one) => one.dataset.endsWith(` x${this.scale}`)) ?? table[0] ?? {};
    const shown = table.filter((one) => one.dataset === dataset);
    keep(place, dataset ? [{ dataset }, ...shown] : [], (one) => `${one.dataset} ${one.metric}`, (one) => make("span", {},
      one.metric ? `${this.metrics[one.metric]?.label ?? one.metric} ` : `${dataset.replace(/ x(\d)$/, " ×$1")}:`,
      one.metric ? make("b", {}, number(one.value, this.metrics[one.metric] ?? { unit: one.unit })) : ""));
  }
}
