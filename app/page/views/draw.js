// Draws what has changed: the HTML of parts, by id, and which components are hidden. Gradio passes props, trigger and watch.
const parts = {};
const html = {};
const style = document.head.appendChild(document.createElement("style"));
function show(id) {
  const part = parts[id];
  if (!part || !(id in html) || part.props.value === html[id]) return;
  part.props.value = html[id];
  setTimeout(() => part.element.dispatchEvent(new Event("drawn"))); // Gradio renders it first
}
function add(part) {
  const id = part.element.parentElement.closest("[id]").id;
  parts[id] = part;
  part.watch("value", () => show(id)); // Gradio sets a translated label again when it mounts a part, or learns a language
  show(id);
}
(window.sgParts ?? []).forEach(add);
window.sgParts = { push: add }; // parts on a tab that is not open come later
const hide = (ids) => (style.textContent = ids.map((id) => `#${id}`).join() + "{display:none!important}");
hide(JSON.parse(props.value).hidden);

let last = {}; // the last answer that was drawn
// Gradio's client can lose an answer, if its stream closes while an event is sent. So some seconds after the last event, the page
// asks twice whether it has the last answer.
let timers = [];
let checking = false;
new PerformanceObserver((sent) => {
  if (!sent.getEntries().some((each) => each.name.includes("/queue/join"))) return;
  if (checking) return (checking = false); // it was the page's own
  timers.forEach(clearTimeout);
  timers = [5_000, 20_000].map((wait) => setTimeout(() => trigger("check", (checking = true)), wait));
}).observe({ type: "resource" });
watch("value", () => {
  const answer = JSON.parse(props.value);
  const same = answer.tab === last.tab;
  // One answer overtook another, or the server forgot this tab: the page asks for everything.
  if (same ? answer.n < last.n || (answer.before && answer.before !== last.n) : answer.before) return trigger("behind");
  last = answer;
  Object.assign(html, answer.html);
  Object.keys(answer.html).forEach(show);
  hide(answer.hidden);
  if (answer.count) trigger("count");
});
