// Marks the set of samples that is searched and the example that was asked. Gradio passes element and props.
let watched = null;
function mark() {
  const chosen = [...new URLSearchParams(props.value).values()];
  for (const item of document.querySelectorAll("#sets .gallery-item, #examples .gallery-item")) {
    const pressed = String(chosen.includes(item.textContent.trim()));
    if (item.getAttribute("aria-pressed") !== pressed) item.setAttribute("aria-pressed", pressed);
  }
}
element.addEventListener("drawn", () => {
  mark();
  if (watched) return;
  watched = document.querySelector(".sg-samples"); // Gradio draws the items again
  new MutationObserver(mark).observe(watched, { childList: true, subtree: true, characterData: true });
});
