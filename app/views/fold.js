// The line that folds the sentence on a phone. Gradio passes element and watch.
element.addEventListener("click", (event) => {
  const line = event.target.closest("button");
  line?.setAttribute("aria-expanded", line.getAttribute("aria-expanded") !== "true");
});
// A new sentence folds what was open. The keyboard goes on at the line.
watch("value", () => {
  const beside = element.closest(".column")?.contains(document.activeElement);
  if (beside) requestAnimationFrame(() => element.querySelector("button")?.focus({ preventScroll: true }));
});
