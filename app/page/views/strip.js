// Photos for the next name. Shift, or a drag with the mouse, chooses all between two. Gradio passes element.
const chosen = (window.sgChosen ??= new Map()); // by key: its button, so that it stays when other results are shown
let last = null; // where a range begins
const buttons = () => [...element.querySelectorAll("[data-key]")];
const find = (key) => buttons().find((button) => button.dataset.key === key) ?? null;
const choose = (button, wanted = true) => (wanted ? chosen.set(button.dataset.key, button) : chosen.delete(button.dataset.key));
function show() {
  for (const button of buttons()) button.setAttribute("aria-pressed", chosen.has(button.dataset.key));
  const note = element.querySelector("[data-words]");
  if (note) note.textContent = chosen.size ? note.dataset.words.replace("{n}", chosen.size) : "";
}
function range(from, to) {
  const all = buttons();
  const [first, end] = [all.indexOf(from), all.indexOf(to)].sort((a, b) => a - b);
  for (const button of all.slice(Math.max(first, 0), end + 1)) choose(button);
}
function focus(button) {
  for (const each of buttons()) each.tabIndex = each === button ? 0 : -1;
  button.focus();
}
element.addEventListener("drawn", () => {
  const strip = element.querySelector(".sg-strip");
  for (const [key, button] of [...chosen].reverse()) {
    const now = find(key);
    if (now) chosen.set(key, now);
    else if (button) strip?.prepend(button);
  }
  show();
});
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-key]");
  if (!button) return;
  if (event.shiftKey && last) range(last, button);
  else choose(button, !chosen.has(button.dataset.key));
  last = button;
  focus(button);
  show();
});
let pressed = null;
element.addEventListener("pointerdown", (event) => (pressed = event.target.closest("[data-key]")));
element.addEventListener("pointerover", (event) => {
  const button = event.target.closest("[data-key]");
  if (event.pointerType !== "mouse" || event.buttons !== 1 || !pressed || !button || button === pressed) return;
  range(pressed, button);
  show();
});
const STEP = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
element.addEventListener("keydown", (event) => {
  const button = event.target.closest("[data-key]");
  const next = button && event.key in STEP && buttons()[buttons().indexOf(button) + STEP[event.key]];
  if (!next) return;
  event.preventDefault();
  if (event.shiftKey) range(button, next);
  last = next;
  focus(next);
  show();
});
// Photos are also chosen in the results. A name that was taught uses them up.
document.addEventListener("sg-chosen", show);
show();
