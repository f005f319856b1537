// What the server is asked. Whatever changes something has a header that no other site can send.

const OWN = { "X-Bench": "1" };

export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is `bench web` still running?");
  }
  if (answer.status === 401) throw new Error("Open the address with its token that `bench web` printed.");
  if (answer.ok) return answer.json();
  const told = await answer.json().catch(() => ({}));
  throw new Error(typeof told.detail === "string" ? told.detail : `The server said ${answer.status}.`);
}

export const remove = (path) => ask(path, { method: "DELETE", headers: OWN });

export const post = (path, body = {}) =>
  ask(path, { method: "POST", headers: { ...OWN, "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const send = (path, file) => // the bytes as they are
  ask(path, { method: "POST", headers: { ...OWN, "X-Name": encodeURIComponent(file.name || "pasted.png") }, body: file });

// Calls changed(state) at once and at every change, and lost(whether) when the server goes and comes.
export function watch(changed, lost) {
  const source = new EventSource("/api/events");
  source.addEventListener("state", (event) => {
    lost(false);
    changed(JSON.parse(event.data));
  });
  source.onerror = () => {
    lost(true);
    if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    setTimeout(() => watch(changed, lost), 2000);
  };
}
