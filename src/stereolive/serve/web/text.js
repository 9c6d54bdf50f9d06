// The page's words: one JSON with an object a language; the browser's first language that is in it is taken, else English.
// What the reason codes mean comes in English from the service; a language may hold its own as reason_CODE.

let words = {};

export async function loadText() {
  const [all, reasons] = await Promise.all(["strings.json", "reasons"].map(async (name) => (await fetch(name)).json()));
  const wanted = navigator.languages.flatMap((tag) => [tag, tag.split("-")[0]]);
  const language = wanted.find((tag) => tag in all) ?? "en";
  const explained = Object.fromEntries(Object.entries(reasons).map(([code, sentence]) => [`reason_${code}`, sentence]));
  words = { ...explained, ...all.en, ...all[language] };
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", text(element.dataset.label));
  document.title = `${document.querySelector("nav [aria-current]").textContent} \u2013 stereolive`;
}

export function text(key, values = {}) {
  const found = words[key] ?? key.replace(/^[a-z]+_/, "").replaceAll("_", " ");
  return found.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export function number(value, digits = 0, unit = "") {
  const shown = value.toLocaleString(document.documentElement.lang, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return unit ? `${shown}\u00a0${unit}` : shown;
}
