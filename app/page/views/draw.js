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
let newest = 0; // the highest number of an answer of its tab
const missing = new Set(); // the lower numbers that did not come: lost, or on their way
// Gradio's client can lose an answer, if its stream closes while an event is sent. So some seconds after the last event, the page
// asks twice whether it has the last answer.
let timers = [];
let checking = false; // its question is on its way
let quiet = false; // nothing was sent after it
// Gradio waits for an answer that does not come, and does not send that event again, until `lost` frees it. An event that waited
// for it is still not sent: then the page asks what the controls say.
let freed = false;
let acted = 0; // when the visitor last did something, which may be on its way
for (const kind of ["pointerdown", "keydown", "input", "change"]) addEventListener(kind, () => (acted = Date.now()), { capture: true });
const still = () => Date.now() - acted > 5_000;
function checks() {
  timers.forEach(clearTimeout);
  timers = [5_000, 20_000].map((wait) => setTimeout(check, wait));
}
function check() {
  if (freed && !still()) return checks();
  checking = quiet = true;
  trigger(freed ? "again" : "check", { missed: missing.size > 0, since: last.n });
  freed = false;
}
new PerformanceObserver((sent) => {
  const joins = sent.getEntries().filter((each) => each.name.includes("/queue/join")).length;
  const own = checking && joins === 1; // another event's, if that was sent before and took long: then the page is not quiet
  checking &&= !joins;
  if (joins && !own) checks((quiet = false));
}).observe({ type: "resource" });
watch("value", () => {
  const answer = JSON.parse(props.value);
  const same = answer.tab === last.tab;
  if (!same) missing.clear();
  for (let n = newest + 1; same && n < answer.n; n++) missing.add(n);
  newest = same ? Math.max(newest, answer.n) : answer.n;
  missing.delete(answer.n);
  // One answer overtook another, or the server forgot this tab: the page asks for everything.
  if (same ? answer.n < last.n || (answer.before && answer.before !== last.n) : answer.before)
    return trigger("behind", same && { since: Math.min(last.n, answer.n - 1) });
  if (missing.size && quiet && answer.idle && still()) {
    missing.clear();
    freed = true;
    trigger("lost");
  }
  if (missing.size || freed) checks();
  last = answer;
  Object.assign(html, answer.html);
  Object.keys(answer.html).forEach(show);
  hide(answer.hidden);
  if (answer.count) trigger("count");
});
