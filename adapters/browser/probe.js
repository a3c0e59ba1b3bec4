// Looks at the page and returns what it shows, as one plain object. Changes nothing, waits for nothing.
(markers) => {
  const isVisible = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && element.checkVisibility({visibilityProperty: true});
  };
  const isShown = (selector) => {
    try {
      return Array.from(document.querySelectorAll(selector)).slice(0, 50).some(isVisible);
    } catch {
      return false; // not a selector, or a page that has replaced these functions
    }
  };
  const first = (selectors) => selectors.find(isShown) ?? null;
  const dig = (value, keys) =>
    keys.reduce((at, key) => (at !== null && typeof at === "object" ? at[key] : undefined), value);
  const isFilled = (value) => !["", "0", 0, null, undefined, false].includes(value);
  const stateOf = (place) => {
    try {
      const element = document.getElementById(place.script);
      return element ? JSON.parse(element.textContent) : window[place.script];
    } catch {
      return undefined; // half of it has come
    }
  };
  let login = null;
  let username = null;
  for (const place of markers.page_states) {
    const context = dig(stateOf(place), place.context);
    if (context === null || typeof context !== "object") continue;
    const user = dig(context, place.user) ?? {};
    login = place.id_keys.some((key) => isFilled(user[key]));
    if (login) username = place.name_keys.map((key) => user[key]).find(isFilled) ?? null;
    break;
  }
  return {
    protocol: location.protocol,
    host: location.hostname,
    path: location.pathname,
    is_complete: document.readyState === "complete",
    dom_in: first(markers.dom_in),
    dom_out: first(markers.dom_out),
    challenge: first(markers.challenge),
    state_login: login,
    username: username === null ? null : String(username).slice(0, 100),
  };
}
