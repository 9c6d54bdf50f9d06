// The calibration assistant: board, views, rig. What was seen stays on this page; the service finds and judges.

import { grab, listCameras, showCamera, stopCameras } from "./cameras.js";
import { askForKey, unlock } from "./key.js";
import * as service from "./service.js";
import { loadText, text } from "./text.js";

const $ = (id) => document.getElementById(id);
const VIEWS = ["first", "second"];
// ChArUco comes first: it may leave the picture, and that none is there is seen many times sooner than with a chessboard.
const USUAL = { chessboard: [9, 6, 25], charuco: [8, 6, 28], circles: [4, 11, 18] };
const LEAST = 6;
const PAUSE_MS = 120;
const MARKS = { good: "\u2713", usable: "!", not_good_enough: "\u2715" };
const state = { shots: [], before: null, sizes: null, running: false, round: 0, made: null };

const videos = () => VIEWS.map((view) => $(`video-${view}`));
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function start() {
  await loadText();
  listen();
  usual();
  await unlock((information) => {
    if (!information.scopes.includes("calibrate")) askForKey(text("fault_scope"));
  });
}

function listen() {
  $("board-kind").addEventListener("change", () => { usual(); over(); });
  for (const name of ["columns", "rows", "spacing"]) $(`board-${name}`).addEventListener("change", over);
  $("board-print").addEventListener("click", () => tell("fault", printBoard));
  for (const input of document.querySelectorAll("input[name=views]")) input.addEventListener("change", () => choose(input.value));
  $("cameras-start").addEventListener("click", () => tell("fault", startCameras));
  $("cameras-stop").addEventListener("click", stop);
  for (const view of VIEWS) {
    $(`camera-${view}`).addEventListener("change", () => tell("fault", showBoth));
    $(`pictures-${view}`).addEventListener("change", () => tell("fault", readPictures));
  }
  $("over").addEventListener("click", over);
  $("rig-make").addEventListener("click", () => tell("rig-fault", makeRig));
  $("rig-save").addEventListener("click", () => save("rig.json", "application/json", state.made.text));
  $("rig-report").addEventListener("click", () => save("rig.html", "text/html", state.made.report));
  $("rig-use").addEventListener("click", () => { service.keepRig(state.made.text); location.href = "./"; });
}

// Does something and says in `place` what went wrong with it.
async function tell(place, what) {
  $(place).textContent = "";
  try {
    await what();
  } catch (error) {
    stop();
    $(place).textContent = error.status === 0 ? text("fault_network") : error.message;
    if (error.status === 401) askForKey(text("fault_key"));
  }
}

function usual() {
  const [columns, rows, spacing] = USUAL[$("board-kind").value];
  Object.assign($("board-columns"), { value: columns });
  Object.assign($("board-rows"), { value: rows });
  Object.assign($("board-spacing"), { value: spacing });
}

const board = () => ({
  kind: $("board-kind").value,
  columns: Number($("board-columns").value),
  rows: Number($("board-rows").value),
  spacing_mm: Number($("board-spacing").value),
});

async function printBoard() {
  save("board.pdf", "application/pdf", await service.printedBoard({ ...board(), paper: $("board-paper").value }));
}

function save(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function choose(source) {
  stop();
  for (const name of ["cameras", "pictures"]) $(`views-${name}`).hidden = name !== source;
  $("fault").textContent = "";
}

// Other boards and other cameras make what was seen worthless.
function over() {
  state.round++;
  Object.assign(state, { shots: [], before: null, sizes: null, made: null });
  $("guide").textContent = state.running ? text("views_begin") : "";
  $("findings").replaceChildren();
  $("verdict").replaceChildren(paragraph("quiet", text("rig_none")));
  for (const view of VIEWS) $(`pictures-${view}`).value = "";
  showState([], 0);
  $("progress-row").hidden = true;
}

async function startCameras() {
  const found = await listCameras().catch(() => { throw new Error(text("cameras_denied")); });
  if (found.length < 2) throw new Error(text("cameras_one"));
  for (const [index, view] of VIEWS.entries()) {
    $(`camera-${view}`).replaceChildren(...found.map((camera, i) => new Option(camera.label || `${i + 1}`, camera.deviceId)));
    $(`camera-${view}`).selectedIndex = index;
  }
  $("cameras").hidden = $("cameras-stop").hidden = false;
  $("cameras-start").hidden = true;
  await showBoth();
  $("guide").textContent = text("views_begin");
  if (!state.running) await look();
}

async function showBoth() {
  over();
  await Promise.all(VIEWS.map((view) => showCamera($(`video-${view}`), $(`camera-${view}`).value)));
}

function stop() {
  state.running = false;
  stopCameras(...videos());
  $("cameras").hidden = $("cameras-stop").hidden = true;
  $("cameras-start").hidden = false;
}

async function look() {
  state.running = true;
  while (state.running) {
    const [first, second] = await grab(videos(), null);
    const view = await patiently(() => service.findBoard({ first, second }, seen(true)));
    if (!state.running) return;
    draw(view);
    enter(view);
    guide(view);
    if (!view.missing.length) stop();
    await pause(PAUSE_MS);
  }
}

const seen = (live) => ({ board: board(), shots: state.shots, before: state.before, live });

// A service that is busy or too slow just now is asked again after a while.
async function patiently(ask) {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (error.status !== 429 && error.status !== 503) throw error;
      await pause(1000);
    }
  }
}

function enter(view) {
  const shot = { first: view.first, second: view.second };
  state.before = view.first && view.second ? shot : null;
  state.sizes = [view.first_size, view.second_size];
  if (view.taken) state.shots.push(shot);
  showState(view.missing, view.enough);
}

function showState(missing, enough) {
  $("progress-row").hidden = false;
  Object.assign($("progress"), { max: enough || 1, value: state.shots.length });
  $("count").textContent = text("views_count", { taken: state.shots.length, enough });
  $("missing-box").hidden = !missing.length;
  $("missing").replaceChildren(...missing.map((sentence) => Object.assign(document.createElement("li"), { textContent: sentence })));
  $("rig-make").disabled = state.shots.length < LEAST;
  offer();
}

// A rig that is not good enough may be kept and looked at, but is not handed on.
function offer() {
  for (const name of ["save", "report"]) $(`rig-${name}`).hidden = !state.made;
  $("rig-use").hidden = !state.made || state.made.grade === "not_good_enough";
}

function guide(view) {
  const sees = view.first ? (view.second ? "both" : "first_only") : view.second ? "second_only" : "none";
  let sentence = sees === "both" ? view.missing[0] ?? text("views_enough") : text(`views_${sees}`);
  if (sees === "both" && !view.steady) sentence = text("views_hold");
  // A screen reader says only what changed.
  if ($("guide").textContent !== sentence) $("guide").textContent = sentence;
}

function draw(view) {
  for (const [index, name] of VIEWS.entries()) {
    const canvas = $(`seen-${name}`);
    const [width, height] = index ? view.second_size : view.first_size;
    Object.assign(canvas, { width, height });
    const plane = canvas.getContext("2d");
    const dot = (radius, colour, points) => {
      plane.fillStyle = colour;
      for (const [x, y] of points) {
        plane.beginPath();
        plane.arc(x, y, radius, 0, 7);
        plane.fill();
      }
    };
    for (const shot of state.shots) dot(width / 320, "#f2a65a99", shot[name].pixels);
    if (view[name]) dot(width / 130, "#5ce08a", view[name].pixels);
  }
}

async function readPictures() {
  const [first, second] = VIEWS.map((view) => [...$(`pictures-${view}`).files].sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true })));
  if (!first.length || !second.length) return;
  if (first.length !== second.length) throw new Error(text("views_unequal", { first: first.length, second: second.length }));
  Object.assign(state, { shots: [], before: null, made: null });
  const round = ++state.round;
  for (const [index, picture] of first.entries()) {
    const view = await patiently(() => service.findBoard({ first: picture, second: second[index] }, seen(false)));
    if (round !== state.round) return; // others were chosen meanwhile
    enter(view);
    $("guide").textContent = `${picture.name}, ${second[index].name}`;
  }
  $("guide").textContent = "";
}

async function makeRig() {
  $("rig-make").disabled = true;
  $("findings").replaceChildren();
  $("verdict").replaceChildren(paragraph("quiet", text("rig_busy")));
  try {
    const made = await patiently(() => service.makeRig({
      board: board(), shots: state.shots, first_size: state.sizes[0], second_size: state.sizes[1],
      first_spectrum: $("spectrum-first").value, second_spectrum: $("spectrum-second").value,
    }));
    state.made = { ...made, text: JSON.stringify(made.rig, null, 1) };
    showRig(made);
  } catch (error) {
    $("verdict").replaceChildren(paragraph("quiet", text("rig_none")));
    throw error;
  } finally {
    $("rig-make").disabled = false;
  }
}

function showRig(made) {
  const mark = Object.assign(document.createElement("span"), { className: "mark", textContent: MARKS[made.grade] });
  mark.setAttribute("aria-hidden", "true");
  const line = paragraph(`word ${made.grade}`, "");
  line.append(mark, made.headline);
  $("verdict").replaceChildren(line, paragraph("under", made.sentence));
  $("findings").replaceChildren(...made.findings.map((finding) => {
    const item = Object.assign(document.createElement("li"), { className: finding.grade, textContent: finding.found });
    if (finding.advice) item.append(paragraph("advice", finding.advice));
    return item;
  }));
  offer();
}

function paragraph(className, textContent) {
  return Object.assign(document.createElement("p"), { className, textContent });
}

start();
