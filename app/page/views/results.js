// Results that move, enlarge and can be marked. Gradio passes element and trigger.
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const SECONDS = 0.8;
let touched = false; // whether the visitor has done anything: before that, the page stays at its top
for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, () => (touched = true), { capture: true, once: true });
let question = null;
let places = {}; // places in the last answer, by column and photo

// A photo slides from its last place: in the last answer to the same question, else without the adapter.
function slide() {
  const panel = element.querySelector("[data-question]");
  if (!panel) return;
  const same = panel.dataset.question === question;
  const before = same ? places : {};
  question = panel.dataset.question;
  places = {};
  for (const column of element.querySelectorAll("section[data-title]")) {
    const cards = [...column.querySelectorAll("[data-key]")];
    const slots = cards.map((card) => card.getBoundingClientRect());
    const known = before[column.dataset.title];
    places[column.dataset.title] = Object.fromEntries(cards.map((card) => [card.dataset.key, +card.dataset.rank]));
    if (calm.matches || !slots.length) continue;
    cards.forEach((card, i) => {
      const from = (known?.[card.dataset.key] ?? +(card.dataset.from || card.dataset.rank)) - 1;
      if (from === i || from + 1 === +card.dataset.rank) return;
      const start = slots[Math.min(from, slots.length - 1)];
      const x = start.x - slots[i].x;
      const y = start.y - slots[i].y + (from < slots.length ? 0 : start.height);
      const steps = [{ transform: `translate(${x}px, ${y}px)`, zIndex: 2 }, { transform: "none", zIndex: 2 }];
      card.animate(steps, { duration: 1000 * SECONDS, easing: "cubic-bezier(.25, .8, .3, 1)" });
    });
  }
  // A taught name or a weight changes the results, but the visitor goes on in its panel.
  const goesOn = document.activeElement?.closest("#names, #line, .sg-weights");
  if (touched && !goesOn && panel.getBoundingClientRect().top > innerHeight * 0.75) {
    const top = ["#recall p", ".sg-options"].map((name) => document.querySelector(name)).find((part) => part?.offsetParent);
    (top ?? panel).scrollIntoView({ behavior: calm.matches ? "auto" : "smooth", block: "start" });
  }
  stale();
}

// Marks the results as stale if they do not answer what is typed now.
function stale() {
  const panel = element.querySelector("[data-question]");
  if (!panel) return;
  const typed = (id) => document.querySelector(`#${id} textarea, #${id} input`)?.value.trim().replace(/\s+/g, " ");
  const words = panel.dataset.kind === "words";
  const other = typed("description") !== panel.dataset.description || (words && typed("query") !== panel.dataset.question);
  panel.classList.toggle("sg-stale", other);
}
document.addEventListener("input", stale);
element.addEventListener("drawn", () => {
  const more = document.querySelector("#show-more:focus-visible");
  requestAnimationFrame(slide);
  document.dispatchEvent(new Event("sg-results"));
  // The button goes once all is shown. The keyboard goes on at the last photo.
  if (more) setTimeout(() => more.offsetParent || [...element.querySelectorAll(".sg-open")].at(-1)?.focus(), 300);
});

// The enlarged photo is the visitor's own file. Arrow keys step through the column; Escape and the browser's Back close it.
const view = document.createElement("dialog");
view.className = "sg-view";
view.innerHTML = "<img alt=''><p aria-live='polite'></p><div></div>";
document.body.append(view);
const bar = view.querySelector("div");
let shown = null;
let pushed = false; // whether the browser's history has an entry for the enlarged photo
function enlarge(card) {
  const small = card?.querySelector("img");
  if (!small) return;
  shown = card;
  const large = view.querySelector("img");
  large.onerror = () => { large.onerror = null; large.src = small.src; };
  large.src = small.dataset.full;
  large.alt = small.alt;
  view.querySelector("p").textContent = `${card.dataset.rank}. ${small.dataset.place}`;
  view.dataset.key = card.dataset.key;
  if ("opens" in small.dataset) trigger("original", { key: card.dataset.key });
  if (!view.open) {
    bar.replaceChildren(element.querySelector("template").content.cloneNode(true));
    view.showModal();
    history.pushState({ enlarged: true }, "");
    pushed = true;
  }
  for (const button of bar.querySelectorAll("[data-step]")) {
    button.setAttribute("aria-disabled", !neighbour(card, +button.dataset.step));
  }
}
// As a blob, since the server names its files differently.
async function download(photo) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await fetch(photo.src).then((answer) => answer.blob()));
  link.download = photo.alt;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
addEventListener("popstate", () => {
  pushed = false;
  if (view.open) view.close();
});
view.addEventListener("close", () => {
  if (pushed) history.back();
  shown?.querySelector(".sg-open")?.focus();
});
view.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.step) enlarge(neighbour(shown, +button.dataset.step));
  else if (button?.matches("[data-download]")) download(view.querySelector("img"));
  else if (button || event.target === view) view.close();
  if (button?.matches("[data-similar]")) trigger("similar", { key: shown.dataset.key });
  if (!button?.matches("[data-teach]")) return;
  chosen().clear();
  choose(shown.dataset.key, true);
  document.querySelector("#names > button:not(.open)")?.click();
  view.addEventListener("close", () => name(1200), { once: true }); // after the listener above, which goes to the photo
});

const STEP = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
const MARK = { "+": "up", "-": "down" };
function neighbour(card, step) {
  const cards = [...card.closest("ol").querySelectorAll("[data-key]")];
  return cards[cards.indexOf(card) + step];
}
view.addEventListener("keydown", (event) => {
  if (!(event.key in STEP)) return;
  event.preventDefault();
  event.stopPropagation();
  enlarge(neighbour(shown, STEP[event.key]));
});
// Ticked photos are chosen for the next name. Its panel may not be there yet, and takes a moment to unfold.
const chosen = () => (window.sgChosen ??= new Map()); // by key: its button in the panel, if it is there
function choose(key, wanted) {
  if (!wanted) chosen().delete(key);
  else if (!chosen().has(key)) chosen().set(key, null);
  document.dispatchEvent(new Event("sg-chosen"));
}
// Goes to the box as soon as it is there, for a minute, unless the visitor has gone elsewhere.
function name(tries) {
  document.querySelector("#names-name textarea, #names-name input")?.focus();
  const waits = [document.body, shown.querySelector(".sg-open")].includes(document.activeElement);
  if (tries && waits) setTimeout(name, 50, tries - 1);
}
function mark(card, value) {
  for (const same of element.querySelectorAll(`[data-key="${card.dataset.key}"]`)) {
    for (const thumb of same.querySelectorAll("[data-mark]")) {
      const pressed = thumb.dataset.mark === value && thumb.getAttribute("aria-pressed") !== "true";
      thumb.setAttribute("aria-pressed", pressed);
    }
  }
  choose(card.dataset.key, card.querySelector('[data-mark="up"][aria-pressed="true"]'));
  trigger("mark", { key: card.dataset.key, value });
}
element.addEventListener("click", (event) => {
  const card = event.target.closest("[data-key]");
  if (!card) return;
  const thumb = event.target.closest("[data-mark]");
  if (thumb) mark(card, thumb.dataset.mark);
  else if (event.target.closest(".sg-open")) enlarge(card);
});
// The Tab key stops once at a column; the arrow keys move inside it.
element.addEventListener("keydown", (event) => {
  const card = event.target.closest(".sg-open")?.closest("[data-key]");
  if (!card) return;
  if (event.key in MARK) mark(card, MARK[event.key]);
  const next = event.key in STEP && neighbour(card, STEP[event.key])?.querySelector(".sg-open");
  if (!next) return;
  event.preventDefault();
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});
