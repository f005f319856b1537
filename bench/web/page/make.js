// Elements, and the few ways in which this page writes numbers. Names of files and pictures are text,
// never markup.

export const find = (selector, root = document) => root.querySelector(selector);

export function make(tag, facts = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(facts)) {
    if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function write(element, text) { // only what changed, so that nothing is read out twice
  if (element.textContent !== text) element.textContent = text;
}

// Keeps one child for each item, made once and updated in place: focus and open menus stay.
export function keep(parent, items, key, made, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = null;
  for (const item of items) {
    const name = String(key(item));
    const child = old.get(name) ?? made(item);
    child.dataset.key = name;
    old.delete(name);
    const place = before ? before.nextSibling : parent.firstChild;
    if (place !== child) parent.insertBefore(child, place);
    update?.(child, item);
    before = child;
  }
  for (const child of old.values()) {
    const lost = child.contains(document.activeElement); // who is there by keys stays near
    child.remove();
    if (lost) parent.closest("[tabindex]")?.focus({ preventScroll: true });
  }
}

export const many = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;

export function time(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export function left(seconds) { // in steps, or it would flicker
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 1.5) return "about 1 s left";
  return `about ${time(seconds < 20 ? Math.round(seconds) : 5 * Math.round(seconds / 5)).replace(".0", "")} left`;
}

export function bytes(count) {
  return count < 1e6 ? `${Math.max(1, Math.round(count / 1e3))} kB` : `${Math.round(count / 1e6)} MB`;
}

export function number(value, metric) { // with its unit, "–" for none
  if (!Number.isFinite(value)) return "–";
  const digits = metric?.digits ?? (Math.abs(value) < 10 ? 3 : 2);
  return `${value.toFixed(digits)}${metric?.unit ? ` ${metric.unit}` : ""}`;
}

export function tell(title, ...body) { // in the dialog
  const dialog = find("#dialog");
  find("h2", dialog).textContent = title;
  find(".body", dialog).replaceChildren(...body);
  if (!dialog.open) dialog.showModal();
  return find(".body", dialog);
}

export function note(text) { // what went wrong, until it is put away
  const away = make("button", { type: "button", "aria-label": `Put away: ${text}` }, "×");
  const line = make("li", {}, make("span", {}, text), away);
  away.onclick = () => line.remove();
  const same = [...find("#notes").children].find((one) => one.firstChild.textContent === text);
  same?.remove();
  find("#notes").append(line);
}
