import { grab, listCameras, showCamera, stopCameras } from "./cameras.js";
import { askForKey, unlock } from "./key.js";
import { Relief } from "./relief.js";
import * as service from "./service.js";
import { loadText, number, text } from "./text.js";

const $ = (id) => document.getElementById(id);
const MARKS = { bona_fide: "\u2713", attack: "\u2715", no_response: "?" };
const MEASURES = ["distance_mm", "eye_distance_mm", "relief_mm", "plane_residual_mm", "depth_sd_mm"];
const TENTHS = new Set(["plane_residual_mm", "depth_sd_mm"]);
const CALIBRATED = "@calibrated";
const state = { source: "gallery", files: {}, rigText: null, info: null, busy: false, next: null, camerasOn: false };
let relief;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

async function start() {
  await loadText();
  relief = new Relief($("relief"));
  showNothing();
  listen();
  await unlock(enter);
}

async function enter(information) {
  state.info = information;
  listRigs();
  await listGallery();
}

function listRigs() {
  const names = Object.keys(state.info.rigs);
  $("rig").replaceChildren(...names.map((name) => element("option", { value: name, textContent: name })));
  if (state.info.own_rigs_allowed) {
    $("rig").append(element("option", { value: "", textContent: text("rig_from_file") }));
    if (service.calibratedRig()) $("rig").append(element("option", { value: CALIBRATED, textContent: text("rig_calibrated"), selected: true }));
  }
  $("rig-file").hidden = $("rig").value !== "";
}

async function listGallery() {
  const pairs = await service.gallery();
  if (!pairs.length) $("gallery").replaceWith(element("p", { className: "quiet", textContent: text("gallery_none") }));
  for (const pair of pairs) {
    const name = text(`species_${pair.species ?? "living"}`);
    const picture = (view) => element("img", { src: `gallery/${encodeURIComponent(pair.id)}/${view}`, alt: "", loading: "lazy" });
    const button = element(
      "button",
      { type: "button" },
      element("span", { className: "pictures" }, picture("first"), picture("second")),
      element("span", { className: "name", textContent: name }),
      element("span", { className: "light", textContent: text(`light_${pair.illumination}`) }),
    );
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      for (const other of $("gallery").querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
      run(async () => ({ ...(await service.galleryPair(pair.id)), shown: { label: pair.label, name } }), service.check);
    });
    $("gallery").append(element("li", {}, button));
  }
}

function listen() {
  for (const input of document.querySelectorAll("input[name=source]")) input.addEventListener("change", () => choose(input.value));
  for (const input of document.querySelectorAll("input[name=skin]")) input.addEventListener("change", () => relief.wear(input.value));
  for (const view of ["first", "second"]) listenToDrop(view);
  $("rig").addEventListener("change", () => { $("rig-file").hidden = $("rig").value !== ""; ready(); });
  $("rig-file").addEventListener("change", readRig);
  $("cameras-start").addEventListener("click", startCameras);
  for (const view of ["first", "second"]) $(`camera-${view}`).addEventListener("change", showBoth);
  $("check").addEventListener("click", () => {
    if (state.source === "cameras") run(livePair, service.checkInSession);
    else run(async () => ({ ...state.files, rig: rigText() }), service.check);
  });
}

function choose(source) {
  state.source = source;
  for (const name of ["gallery", "files", "cameras"]) $(`source-${name}`).hidden = name !== source;
  $("rig-row").hidden = $("check-row").hidden = source === "gallery";
  $("fault").textContent = "";
  if (source !== "cameras" && state.camerasOn) {
    stopCameras($("video-first"), $("video-second"));
    state.camerasOn = false;
    $("cameras").hidden = true;
    $("cameras-start").hidden = false;
  }
  ready();
}

const ownRig = () => ($("rig").value === CALIBRATED ? service.calibratedRig() : state.rigText);
const rigText = () => state.info.rigs[$("rig").value] ? $("rig").value : ownRig();

function ready() {
  const pair = state.source === "cameras" ? state.camerasOn : state.files.first && state.files.second;
  const lacking = pair ? (rigText() ? "" : "check_needs_rig") : state.source === "cameras" ? "check_needs_cameras" : "check_needs_pair";
  $("check").disabled = Boolean(lacking) || state.busy;
  $("check-lacks").textContent = lacking && text(lacking);
}

function listenToDrop(view) {
  const drop = $(`drop-${view}`);
  const input = drop.querySelector("input");
  input.addEventListener("change", () => take(view, input.files[0]));
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(view, event.dataTransfer.files[0]);
  });
}

function take(view, file) {
  if (!file) return;
  state.files[view] = file;
  const drop = $(`drop-${view}`);
  const image = drop.querySelector("img");
  image.src = URL.createObjectURL(file);
  image.hidden = false;
  // A browser shows no PGM; the name says then what was chosen.
  image.onerror = () => { image.hidden = true; };
  drop.querySelector(".file")?.remove();
  drop.append(element("span", { className: "file", textContent: file.name }));
  ready();
}

async function readRig() {
  $("fault").textContent = "";
  state.rigText = null;
  try {
    const given = await $("rig-file").files[0].text();
    JSON.parse(given);
    state.rigText = given;
  } catch (error) {
    $("fault").textContent = text("fault_rig", { detail: error.message });
  }
  if (state.camerasOn) await showBoth();
  ready();
}

function rigSizes() {
  const named = state.info.rigs[$("rig").value];
  if (named) return [[named[0], named[1]], [named[2], named[3]]];
  if (!ownRig()) return null;
  const { first, second } = JSON.parse(ownRig());
  return [[first?.width, first?.height], [second?.width, second?.height]];
}

async function startCameras() {
  $("fault").textContent = "";
  try {
    const found = await listCameras();
    if (found.length < 2) throw new Error(text("cameras_one"));
    for (const [index, view] of ["first", "second"].entries()) {
      const options = found.map((camera, i) => element("option", { value: camera.deviceId, textContent: camera.label || `${i + 1}` }));
      $(`camera-${view}`).replaceChildren(...options);
      $(`camera-${view}`).selectedIndex = index;
    }
    $("cameras").hidden = false;
    $("cameras-start").hidden = true;
    await showBoth();
    state.camerasOn = true;
  } catch (error) {
    $("fault").textContent = error.name === "Error" ? error.message : text("cameras_denied");
  }
  ready();
}

async function showBoth() {
  const sizes = rigSizes();
  await Promise.all(["first", "second"].map((view, i) => showCamera($(`video-${view}`), $(`camera-${view}`).value, sizes?.[i])));
}

async function livePair() {
  const [first, second] = await grab([$("video-first"), $("video-second")], rigSizes());
  return { first, second, rig: rigText() };
}

async function run(getPair, submit) {
  if (state.busy) {
    state.next = [getPair, submit]; // the last one asked for, when this one is shown
    return;
  }
  state.busy = true;
  ready();
  $("fault").textContent = "";
  showVerdict("no_response", text("busy"), [], true);
  try {
    const pair = await getPair();
    const result = await submit(pair, state.info.scopes.includes("details"));
    await showResult(result, pair);
  } catch (error) {
    showNothing();
    $("fault").textContent = error.status === 0 ? text("fault_network") : error.message;
    if (error.status === 401) askForKey(text("fault_key"));
  } finally {
    state.busy = false;
    ready();
  }
  const next = state.next;
  state.next = null;
  if (next) run(...next);
}

function showVerdict(decision, word, under, busy = false) {
  const mark = element("span", { className: "mark", textContent: busy ? "\u2026" : MARKS[decision] });
  mark.setAttribute("aria-hidden", "true");
  const line = element("p", { className: `word ${decision}${busy ? " busy" : ""}` }, mark, element("span", { textContent: word }));
  $("verdict").replaceChildren(line, ...under);
}

function showNothing() {
  clearResult();
  const steps = [1, 2, 3].map((step) => element("li", { textContent: text(`intro_${step}`) }));
  $("verdict").replaceChildren(element("p", { className: "quiet", textContent: text("result_none") }), element("ol", { className: "steps" }, ...steps));
}

function clearResult() {
  $("relief-box").hidden = $("measures").hidden = $("checked").hidden = true;
  $("reasons").replaceChildren();
}

async function showResult(result, pair) {
  clearResult();
  const details = result.details;
  const under = [];
  if (details?.score != null) under.push(text("score", { score: number(details.score, 2), threshold: number(details.threshold, 2) }));
  under.push(text("took", { ms: number(result.time_ms) }));
  const lines = [element("p", { className: "under", textContent: `${under.join(". ")}.` })];
  if (pair.shown) lines.unshift(judged(result.decision, pair.shown));
  showVerdict(result.decision, text(`decision_${result.decision}`), lines);
  const codes = details?.reasons ?? result.no_response_reasons;
  $("reasons").replaceChildren(...codes.map((code) => element("li", { textContent: text(`reason_${code}`) })));
  const measures = MEASURES.filter((name) => details?.[name] != null).map((name) => [
    text(`measure_${name}`),
    number(details[name], TENTHS.has(name) ? 1 : 0, "mm"),
  ]);
  measures.push([text("measure_model"), result.model]);
  const row = ([name, value]) => element("tr", {}, element("th", { scope: "row", textContent: name }), element("td", { textContent: value }));
  $("measures").tBodies[0].replaceChildren(...measures.map(row));
  $("measures").hidden = false;
  if (result.relief) {
    $("relief-box").hidden = false;
    $("relief-flat").hidden = !relief.isFlat;
    $("relief").setAttribute("aria-label", text("relief_label", { measures: measures.map((entry) => entry.join(" ")).join(", ") }));
    await relief.show(result.relief);
  }
  await showChecked(pair, details?.face);
  // On a phone the result lies below what was chosen, and above it where the gallery was scrolled.
  const { top } = $("result").getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) $("result").scrollIntoView({ block: "start" });
}

// An example's answer is known, so the page says whether the verdict was right.
function judged(decision, { label, name }) {
  const how = decision === "no_response" ? "open" : decision === label ? "right" : "wrong";
  return element("p", { className: `example ${how}`, textContent: text(`example_${how}`, { shown: name }) });
}

async function showChecked(pair, faces) {
  const figures = [];
  for (const view of ["first", "second"]) {
    const picture = await createImageBitmap(pair[view]).catch(() => null);
    if (!picture) continue;
    const canvas = element("canvas", { width: picture.width, height: picture.height });
    const plane = canvas.getContext("2d");
    plane.drawImage(picture, 0, 0);
    if (faces?.[view]) {
      plane.strokeStyle = "#f2a65a";
      plane.lineWidth = Math.max(2, picture.width / 160);
      plane.strokeRect(...faces[view]);
    }
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", text(`view_${view}`));
    figures.push(element("figure", {}, canvas, element("figcaption", { textContent: text(`view_${view}`) })));
  }
  $("checked").replaceChildren(...figures);
  $("checked").hidden = !figures.length;
}

start();
