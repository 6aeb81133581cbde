// The line that folds the sentence on a phone; it tells what is typed. Gradio passes element and trigger.
const column = element.closest(".column");
element.addEventListener("click", (event) => {
  const line = event.target.closest("button");
  line?.setAttribute("aria-expanded", line.getAttribute("aria-expanded") !== "true");
  // While it is hidden, Gradio cannot fit the box to its sentence.
  const box = column.querySelector("textarea");
  box.style.height = `${box.scrollHeight + box.offsetHeight - box.clientHeight}px`;
});
column.addEventListener("input", (event) => {
  if (event.target.closest("#description")) setTimeout(() => trigger("typed")); // Gradio takes the value first
});
// A new sentence folds what was open. The keyboard goes on at the line.
element.addEventListener("drawn", () => {
  const within = column.contains(document.activeElement);
  if (within) requestAnimationFrame(() => element.querySelector("button")?.focus({ preventScroll: true }));
});
