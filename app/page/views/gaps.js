// Proposed keywords: a click takes a photo out, or puts it back, also after a reload. Gradio passes element and trigger.
const said = JSON.parse(sessionStorage.getItem("sg-lora-gaps") ?? "{}"); // whether a photo gets its keyword, by both
const both = (photo) => `${photo.closest("[role=group]").ariaLabel} ${photo.dataset.key}`;
const kept = (part = element) => [...part.querySelectorAll('[data-key][aria-pressed="true"]')];
function count() {
  for (const words of element.querySelectorAll("[data-words]")) {
    words.textContent = words.dataset.words.replace("{n}", kept(words.closest("details") ?? element).length);
  }
}
element.addEventListener("click", (event) => {
  const photo = event.target.closest("[data-key]");
  if (photo) {
    said[both(photo)] = photo.getAttribute("aria-pressed") === "false";
    photo.setAttribute("aria-pressed", said[both(photo)]);
    sessionStorage.setItem("sg-lora-gaps", JSON.stringify(said));
    count();
  }
  if (event.target.closest("[data-write]")) trigger("written", { keys: kept().map((button) => button.dataset.key) });
});
element.addEventListener("drawn", () => {
  for (const photo of element.querySelectorAll("[data-key]")) {
    if (both(photo) in said) photo.setAttribute("aria-pressed", said[both(photo)]);
  }
  count();
});
