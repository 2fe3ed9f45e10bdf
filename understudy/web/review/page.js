"use strict";
const by = (id) => document.getElementById(id);
const wish = by("wish"), list = by("cards"), told = by("told");
let cards = [], at = 0, page = 1, pages = 1, asked = 0;

async function ask(path, body) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  let reply;
  try { reply = await fetch(path, options); } catch { throw new Error("The review has ended: start it again, then reload."); }
  const found = await reply.json();
  if (!reply.ok) throw new Error(found.error);
  return found;
}

function tell(text, wrong = false) { told.textContent = text; told.classList.toggle("wrong", wrong); }

function asking() {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(wish)) if (value) query.set(name, value);
  return query;
}

async function load(toPage = 1, select = 0) {
  const turn = ++asked, query = asking();
  if (toPage > 1) query.set("page", toPage);
  history.replaceState(null, "", "#" + query);
  try {
    const found = await ask("pairs?" + query);
    if (turn !== asked) return;  // an older question was answered late
    ({ cards, page, pages } = found);
    list.replaceChildren(...cards.map((card, i) => draw(card, i)));
    by("page").textContent = `Page ${page} of ${pages}`;
    by("previous").disabled = page <= 1;
    by("next").disabled = page >= pages;
    const waiting = found.waiting ? ` ${found.waiting} changed; the next run applies that.` : "";
    tell(`${found.total} pair${found.total === 1 ? "" : "s"} found.${waiting}`);
    at = select < 0 ? cards.length - 1 : 0;
    mark(select !== 0 || toPage > 1);
  } catch (error) { tell(error.message, true); }
}

function draw(card, i) {
  const article = by("card").content.firstElementChild.cloneNode(true);
  const part = (name) => article.querySelector(name);
  article.classList.add(card.kept ? "kept" : "refused");
  article.dataset.pair = card.pair_id;
  part(".verdict").textContent = card.kept ? "kept" : `refused: ${card.gate}`;
  part(".split").textContent = card.split || "";
  part(".waiting").classList.toggle("hidden", !card.waiting);
  part(".title").textContent = card.title;
  part("h2").textContent = card.question;
  part(".reason").textContent = card.reason || "";
  part(".answer").innerHTML = card.answer_html;  // made by the server out of escaped text
  if (card.play) { part(".play").href = card.play; part(".play").textContent = `▶ ${card.at}`; }
  part(".restore").disabled = card.kept;
  article.addEventListener("click", () => { at = i; mark(false); });
  part(".edit").addEventListener("click", () => { at = i; edit(); });
  part(".reject").addEventListener("click", () => { at = i; reject(); });
  part(".restore").addEventListener("click", () => { at = i; restore(); });
  return article;
}

function mark(scroll) {
  [...list.children].forEach((article, i) => article.classList.toggle("current", i === at));
  if (!list.children[at]) return;
  if (document.activeElement !== by("search")) list.children[at].focus({ preventScroll: true });
  if (scroll) list.children[at].scrollIntoView({ block: "nearest" });
}

function move(rows) {
  const to = at + rows;
  if (to >= 0 && to < cards.length) { at = to; mark(true); }
  else if (to < 0 && page > 1) load(page - 1, -1);
  else if (to >= cards.length && page < pages) load(page + 1, 1);
}

async function decide(card, order) {

  const { document_id, question_sha256 } = card;
  const now = await ask("decide", { document_id, question_sha256, ...order });
  const place = cards.indexOf(card);
  if (place >= 0) {
    cards[place] = now;
    list.children[place].replaceWith(draw(now, place));
    if (place === at) mark(false);
  }
  tell("Kept. The next run applies it.");

}

function open(id, fill, order) {
  const card = cards[at], dialog = by(id), form = dialog.querySelector("form"), wrong = dialog.querySelector(".wrong");
  if (!card) return;
  wrong.textContent = "";
  fill(form.elements, card, dialog);
  form.onsubmit = async (event) => {
    event.preventDefault();
    try { await decide(card, order(form.elements)); dialog.close(); } catch (error) { wrong.textContent = error.message; }
  };
  dialog.showModal();
}

function edit() {
  open("edit", (fields, card) => { fields.question.value = card.question; fields.answer.value = card.answer; },
    (fields) => ({ action: "edit", question: fields.question.value.trim(), answer: fields.answer.value.trim() }));
}

function reject() {
  open("reject", (fields, card, dialog) => { fields.reason.value = ""; dialog.querySelector(".about-it").textContent = card.question; fields.reason.focus(); },
    (fields) => ({ action: "reject", reason: fields.reason.value.trim() }));
}

async function restore() {
  const card = cards[at];
  if (!card) return;
  if (card.kept) return tell("This pair is kept already.");
  try { await decide(card, { action: "restore" }); } catch (error) { tell(error.message, true); }
}

const KEYS = {
  j: () => move(1), k: () => move(-1), e: edit, r: reject, u: restore,
  "/": () => { by("search").focus(); by("search").select(); }, "?": () => by("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  const dialog = document.querySelector("dialog[open]");
  if (dialog && event.key === "Enter" && (event.ctrlKey || event.metaKey)) dialog.querySelector("form").requestSubmit();
  if (event.target === by("search") && (event.key === "Escape" || event.key === "Enter")) { event.preventDefault(); by("search").blur(); mark(true); }
  // The field of a dialog that has just closed may have the focus for a moment more.
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && !event.target.closest("dialog:not([open])");
  if (dialog || event.ctrlKey || event.metaKey || event.altKey || typing) return;
  const act = KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});

for (const button of document.querySelectorAll(".cancel")) button.addEventListener("click", () => button.closest("dialog").close());
by("help-button").addEventListener("click", () => by("help").showModal());
by("previous").addEventListener("click", () => load(page - 1).then(() => scrollTo(0, 0)));
by("next").addEventListener("click", () => load(page + 1).then(() => scrollTo(0, 0)));
wish.addEventListener("submit", (event) => event.preventDefault());
let soon;
wish.addEventListener("input", (event) => {
  clearTimeout(soon);
  soon = setTimeout(() => load(), event.target === by("search") ? 150 : 0);
});

function choices(name, rows) {
  const select = wish.elements[name];
  for (const [value, text] of rows) select.add(new Option(text, value));
}

async function begin() {
  try {
    const menu = await ask("menu");
    document.title = `Review ${menu.channel}`;
    by("channel").textContent = menu.channel;
    const gone = menu.gone ? `, ${menu.gone} decisions wait for a question that is not there now` : "";
    by("counts").textContent = `${menu.kept} of ${menu.pairs} pairs kept${gone}`;
    choices("gate", Object.entries(menu.gates).map(([gate, n]) => [gate, `${gate} (${n})`]));
    choices("split", ["train", "valid", "test", "none"].filter((s) => menu.splits[s]).map((s) => [s, `${s} (${menu.splits[s]})`]));
    choices("talk", menu.talks.map(([id, title, n]) => [id, `${title} (${n})`]));
  } catch (error) { return tell(error.message, true); }
  const query = new URLSearchParams(location.hash.slice(1));
  for (const [name, value] of query) if (wish.elements[name]) wish.elements[name].value = value;
  await load(Number(query.get("page")) || 1);
}
begin();
