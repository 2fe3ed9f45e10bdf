"use strict";
const by = (id) => document.getElementById(id);
let now = null, busy = false;

async function ask(path, body) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  let reply;
  try { reply = await fetch(path, options); } catch { throw new Error("The comparison has ended: start it again, then open its new address. Nothing is lost."); }
  const found = await reply.json();
  if (!reply.ok) throw new Error(found.error);
  return found;
}

async function turn(path, body) {
  if (busy) return;
  busy = true;
  try { show(await ask(path, body)); by("told").textContent = ""; }
  catch (error) { by("told").textContent = error.message; }
  finally { busy = false; }
}

function show(view) {
  now = view;
  by("progress").max = view.total;
  by("progress").value = view.done;
  by("place").textContent = view.result ? `${view.total} of ${view.total} decided` : `Pair ${view.done + 1} of ${view.total}`;
  by("asking").hidden = Boolean(view.result);
  by("result").hidden = !view.result;
  if (view.result) return end(view.result);
  by("question").textContent = view.question;
  for (const name of ["first", "second", "reference"]) by(name).innerHTML = view[name];  // escaped by the server
  by("own").open = false;
  by("back").disabled = view.done === 0;
  scrollTo(0, 0);
  by("question").focus({ preventScroll: true });
}

function end(result) {
  by("meaning").textContent = result.meaning;
  const rows = [[result.tuned, result.wins], ["no difference", result.ties], [result.base, result.losses]];
  by("counts").replaceChildren(...rows.map(([name, count]) => {
    const row = document.createElement("tr");
    const head = row.appendChild(document.createElement("th"));
    head.scope = "row";
    head.textContent = name;
    row.appendChild(document.createElement("td")).textContent = count;
    return row;
  }));
  by("judge").textContent = result.judge || "";
  by("meaning").focus();
}

function choose(chosen) { if (now && now.pair_id) turn("choose", { pair_id: now.pair_id, chosen }); }
function back() { turn("back", {}); }

const KEYS = { 1: () => choose("1"), 2: () => choose("2"), 0: () => choose("tie"), t: () => choose("tie"), Backspace: back };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const act = KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});
for (const button of document.querySelectorAll("[data-chosen]")) button.addEventListener("click", () => choose(button.dataset.chosen));
by("back").addEventListener("click", back);
by("again").addEventListener("click", back);
turn("now");
