// “Is this Shrek?”, and the line between the results that the answers draw. Gradio passes element and trigger.
let answered = null; // the button that was pressed: the keyboard goes on there
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-mark]");
  if (!button || answered !== null) return;
  const { mark } = button.dataset;
  const { key } = button.closest("[data-key]").dataset;
  answered = mark;
  for (const thumb of document.querySelectorAll(`#results [data-key="${key}"] [data-mark]`)) {
    thumb.setAttribute("aria-pressed", thumb.dataset.mark === mark);
  }
  trigger("answered", { key, value: mark });
});
function draw() {
  document.querySelector("#results .sg-line")?.remove();
  const drawn = element.querySelector("[data-line]");
  const cards = [...document.querySelectorAll("#results section:last-of-type [data-rank]")];
  const below = drawn && cards.find((card) => +card.dataset.rank > +drawn.dataset.line);
  if (!below) return;
  const line = document.createElement("li");
  line.className = "sg-line";
  line.textContent = drawn.dataset.words;
  below.before(line);
}
element.addEventListener("drawn", () => {
  if (answered !== null) (element.querySelector(`[data-mark="${answered}"]`) ?? element.querySelector("p"))?.focus();
  answered = null;
  draw();
});
document.addEventListener("sg-results", draw);
