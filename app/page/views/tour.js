// A tour of “How it works” in five sentences, each beside its box. A visitor may leave it at any step. Gradio passes element and trigger.
const place = () => element.querySelector("[aria-live]");
const steps = () => [...element.querySelector("template").content.querySelectorAll("p")];
const marked = () => document.querySelectorAll(".sg-here");
let step = -1;
function show(number) {
  step = number < steps().length ? number : -1;
  for (const box of marked()) box.classList.remove("sg-here");
  element.querySelector("[data-start]").hidden = step >= 0;
  if (step < 0) {
    place().replaceChildren();
    return element.querySelector("[data-start]").focus();
  }
  const words = steps()[step];
  const buttons = [...element.querySelector("template").content.querySelectorAll("button")];
  place().replaceChildren(...[words, ...buttons].map((part) => part.cloneNode(true)));
  if (step === steps().length - 1) place().querySelector("[data-next]").remove();
  (place().querySelector("[data-next]") ?? place().querySelector("[data-leave]")).focus({ preventScroll: true });
  const box = document.getElementById(`box-${words.dataset.box}`);
  box?.classList.add("sg-here");
  (box ?? element).scrollIntoView({ block: "center", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}
element.addEventListener("click", ({ target }) => {
  if (target.closest("[data-start]")) show(0), trigger("start");
  else if (target.closest("[data-next]")) show(step + 1);
  else if (target.closest("[data-leave]")) show(-1);
});
element.addEventListener("keydown", (event) => event.key === "Escape" && step >= 0 && show(-1));
