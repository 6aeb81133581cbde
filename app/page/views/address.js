// Keeps the tab and the question in the address; "/" moves to the question. Gradio passes element, trigger and props.
const SECONDS_BETWEEN = 10; // looks for another server
const MS_BETWEEN = 400; // keeping what is typed
const changed = (changes) => {
  const now = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) value ? now.searchParams.set(name, value) : now.searchParams.delete(name);
  return now;
};
// After a broken connection, Gradio reloads the page within two seconds. What the visitor typed until then is asked after that.
const { typed } = history.state ?? {};
const asked = () => history.replaceState({ ...history.state, typed: null }, ""); // a reload after Back asks it no more
if (typed && typed !== location.href) asked(), history.pushState(null, "", typed);
let kept = 0; // when it was kept: browsers allow a hundred changes of the history in 30 seconds
let later = null;
function keep() {
  const box = (name) => document.querySelector(`#${name} textarea, #${name} input`)?.value.trim() ?? "";
  history.replaceState({ ...history.state, typed: changed({ q: box("query"), about: box("description") }).href }, "");
  kept = Date.now();
}
document.addEventListener("input", (event) => {
  if (!event.target.closest("#query, #description")) return;
  clearTimeout(later);
  if (Date.now() - kept > MS_BETWEEN) keep();
  else later = setTimeout(keep, MS_BETWEEN);
});

let search = location.search;
// Back does not return to what the page showed by itself, when it was opened or when an answer came after one more step back.
let used = false;
for (const kind of ["pointerdown", "keydown", "input", "change"]) addEventListener(kind, () => (used = true), { capture: true });
const put = (changes) => {
  const now = changed(changes);
  const same = (href) => href.replace(/&?weights=[^&]*/, ""); // a drag has many answers: Back does not go through them
  const pushes = used && same(now.href) !== same(location.href);
  if (pushes) asked();
  if (now.href !== location.href) history[pushes ? "pushState" : "replaceState"](null, "", now);
  search = now.search;
};
const tabs = () => [...document.querySelectorAll("button[role=tab][id^=tab-]")];
const name = (tab) => tab.id.replace(/^tab-|-button$/g, "");
const open = () => {
  const wanted = new URLSearchParams(location.search).get("tab") ?? "search";
  tabs().find((tab) => name(tab) === wanted && tab.getAttribute("aria-selected") !== "true")?.click();
};

const ASKED = ["q", "about", "in", "folder", "since", "until", "k", "tau", "seed", "strength", "weights", "similar", "photo"];
const question = () => ASKED.map((key) => new URLSearchParams(location.search).get(key) ?? "").join("\n");
let shown = question();

// The drawer for researchers is not translated.
const inEnglish = () => document.querySelector("#more > [data-testid=accordion-content]")?.setAttribute("lang", "en");
setTimeout(inEnglish);

element.addEventListener("drawn", () => {
  inEnglish();
  const values = new URLSearchParams(props.value);
  put(Object.fromEntries(ASKED.map((key) => [key, values.get(key)])));
  shown = question();
});
// A link to a place on this page. Gradio's <base> would turn it into a link to another page.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#"]');
  const place = link && document.getElementById(link.getAttribute("href").slice(1));
  if (!place) return;
  event.preventDefault();
  for (let at = place; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  (place.querySelector("input, textarea") ?? place).focus({ preventScroll: true });
  place.scrollIntoView();
});
// A link to a tab opens the tab without loading the page again.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="?tab="]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  put({ tab: new URLSearchParams(link.getAttribute("href")).get("tab") });
  open();
});
document.addEventListener("click", (event) => {
  const tab = event.isTrusted && event.target.closest?.("button[role=tab][id^=tab-]");
  if (tab) put({ tab: name(tab) === "search" ? "" : name(tab) });
});
// Gradio's own panels (API, settings) lie over the page. Back closes them, and closing them goes back.
const panel = () => document.querySelector(".api-docs");
let overlaid = false;
new MutationObserver(() => {
  if (panel() && !overlaid) {
    overlaid = true;
    const view = location.href;
    history.replaceState(null, "", changed({ view: "" }));
    history.pushState(null, "", view);
  } else if (!panel() && overlaid) {
    overlaid = false;
    history.back();
  }
}).observe(document.body, { childList: true, subtree: true });
addEventListener("popstate", () => {
  clearTimeout(later); // what was typed belongs to the entry that was left
  if (panel() && !new URLSearchParams(location.search).has("view")) {
    overlaid = false;
    panel().querySelector(".backdrop").click();
  }
  // A link to a place starts from Gradio's <base>, which has no question and no tab.
  if (location.hash && !location.search) return history.replaceState(null, "", search + location.hash);
  search = location.search;
  open();
  if (question() === shown) return; // another tab, or a place on this page
  shown = question();
  used = false;
  trigger("go", { search: location.search });
});
// A restarted server does not know this tab. Gradio reloads the page only if an answer was on its way.
async function sameServer() {
  if (document.hidden) return;
  const server = await fetch("gradio_api/app_id").then((answer) => answer.json()).catch(() => null);
  if (server && server.app_id !== window.gradio_config.app_id) location.reload();
}
setInterval(sameServer, 1000 * SECONDS_BETWEEN);
addEventListener("online", sameServer);
document.addEventListener("visibilitychange", () => document.hidden || (sameServer(), trigger("look")));
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, textarea, select, [contenteditable]")) return;
  event.preventDefault();
  tabs()[0]?.click();
  document.querySelector("#query textarea, #query input")?.focus();
});
