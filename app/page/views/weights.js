// Weights of experts by hand: drag a bar, or click it to leave the expert out. Gradio passes element and trigger.
const bars = () => [...element.querySelectorAll("[data-expert]")];
const find = (name) => bars().find((bar) => bar.dataset.expert === name);
const read = () => Object.fromEntries(bars().map((bar) => [bar.dataset.expert, Number(bar.dataset.weight)]));
const slider = (bar) => bar.querySelector("[type=range]");
const MOST = 0.99; // of one expert beside others: a drag may go back
const STILL = 4; // pixels that a click may move

function show(weights) {
  for (const bar of bars()) {
    const weight = weights[bar.dataset.expert] ?? 0;
    const percent = `${Math.round(100 * weight)} %`;
    bar.dataset.weight = weight;
    bar.style.setProperty("--weight", percent.replace(" ", ""));
    bar.classList.toggle("sg-left-out", !weight);
    slider(bar).value = 100 * weight;
    slider(bar).setAttribute("aria-valuetext", percent);
    bar.querySelector("b")?.replaceChildren(percent);
  }
}
// The event reads the box when it begins: of many moves during an answer, only the last one is computed.
function send(text) {
  const box = document.querySelector("#weights textarea");
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  setTimeout(() => trigger("weigh")); // Gradio takes the value first
}
// One expert gets a share; the others of these weights share what is left.
function give(name, share, weights) {
  const others = Object.keys(weights).filter((each) => each !== name && weights[each] > 0);
  if (!others.length) return;
  const rest = others.reduce((sum, each) => sum + weights[each], 0);
  share = Math.min(Math.max(share, 0), MOST);
  const now = { [name]: share };
  for (const each of others) now[each] = (weights[each] / rest) * (1 - share);
  show(now);
  if (drag) drag.now = now;
  const lines = Object.entries(now).map(([each, weight]) => [each, weight.toFixed(4)]).filter(([, weight]) => weight > 0);
  send([element.querySelector("[data-sentence]").dataset.sentence, ...lines.map((line) => line.join("="))].join("\n"));
}
function add(name) {
  const weights = read();
  give(name, 1 / (1 + Object.values(weights).filter((weight) => weight > 0).length), weights);
}

let drag = null;
element.addEventListener("pointerdown", (event) => {
  const bar = event.target.closest("[data-expert]");
  if (!bar || event.button) return;
  drag = { name: bar.dataset.expert, from: event.clientX, box: bar.getBoundingClientRect(), weights: read() };
  element.setPointerCapture(event.pointerId); // an answer may replace the bar meanwhile
  slider(bar).focus({ preventScroll: true });
  event.preventDefault();
});
element.addEventListener("pointermove", (event) => {
  if (!drag || (!drag.moved && Math.abs(event.clientX - drag.from) < STILL)) return;
  drag.moved = true;
  give(drag.name, (event.clientX - drag.box.left) / drag.box.width, drag.weights);
});
element.addEventListener("pointerup", () => {
  if (drag && !drag.moved) drag.weights[drag.name] > 0 ? give(drag.name, 0, drag.weights) : add(drag.name);
  drag = null;
});
element.addEventListener("pointercancel", () => (drag = null));
element.addEventListener("input", ({ target }) => {
  target.setCustomValidity("");
  if (target.type === "range") give(target.closest("li").dataset.expert, target.value / 100, read());
});
element.addEventListener("change", ({ target }) => {
  if (!target.list || !target.value) return;
  const typed = target.value.trim().toLowerCase();
  const words = ({ value, label }) => [value, label].map((each) => each.toLowerCase());
  const options = [...target.list.options];
  const option = options.find((each) => words(each).includes(typed)) ?? options.find((each) => words(each).some((text) => text.includes(typed)));
  if (option) return add(option.value);
  target.setCustomValidity(target.dataset.none.replace("{words}", target.value));
});
element.addEventListener("keydown", ({ key, target }) => {
  if (key === "Enter" && target.list) setTimeout(() => target.reportValidity()); // after the change that it makes
});
element.addEventListener("click", (event) => event.target.closest("[data-reset]") && send(""));

// The keyboard stays at its expert when an answer draws the bars again.
let focused = null;
element.addEventListener("focusin", ({ target }) => {
  focused = target.closest("[data-expert]")?.dataset.expert;
  if (target.matches("[list]") && !target.list) trigger("names");
});
element.addEventListener("focusout", ({ target }) => target.isConnected && (focused = null));
element.addEventListener("drawn", () => {
  if (drag?.now) show(drag.now);
  else for (const bar of bars()) slider(bar).value = slider(bar).getAttribute("value"); // the one that was moved keeps its own
  const now = document.activeElement; // it may have become another expert's
  if (focused && find(focused) && (now === document.body || element.contains(now))) slider(find(focused)).focus({ preventScroll: true });
});
