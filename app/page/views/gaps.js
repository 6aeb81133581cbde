// Proposed keywords: a click takes a photo out, or puts it back. Gradio passes element and trigger.
const kept = (part = element) => [...part.querySelectorAll('[data-key][aria-pressed="true"]')];
function count() {
  for (const words of element.querySelectorAll("[data-words]")) {
    words.textContent = words.dataset.words.replace("{n}", kept(words.closest("details") ?? element).length);
  }
}
element.addEventListener("click", (event) => {
  const photo = event.target.closest("[data-key]");
  if (photo) {
    photo.setAttribute("aria-pressed", photo.getAttribute("aria-pressed") === "false");
    count();
  }
  if (event.target.closest("[data-write]")) trigger("written", { keys: kept().map((button) => button.dataset.key) });
});
element.addEventListener("drawn", count);
