// The colours, which each browser remembers for itself.
const KEY = "colours";

function show(choice) {
  Quasar.Dark.set(choice === "auto" ? "auto" : choice === "dark");
}

function remembered() {
  try { return localStorage.getItem(KEY) || "auto"; } catch { return "auto"; }
}

addEventListener("change", (event) => {
  if (event.target.id !== "colours") return;
  try { localStorage.setItem(KEY, event.target.value); } catch { /* then for this page alone */ }
  show(event.target.value);
});

// NiceGUI draws the page after this script has run.
new MutationObserver((_, observer) => {
  const select = document.getElementById("colours");
  if (!select || !window.Quasar) return;
  observer.disconnect();
  select.value = remembered();
  show(select.value);
}).observe(document.body, { childList: true, subtree: true });
