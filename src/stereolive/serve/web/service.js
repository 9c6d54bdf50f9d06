// Calls to the service. The key comes with the address's hash (which browsers send nowhere) or is typed in; it stays in this tab.

const BASE = "../v1";
let key = "";

export class ServiceError extends Error {
  constructor(status, problem) {
    super(problem.detail);
    this.status = status;
    this.code = (problem.type ?? "").split(":").pop();
  }
}

export function takeKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given) {
    history.replaceState(null, "", location.pathname + location.search);
    sessionStorage.setItem("stereolive-key", given);
  }
  key = sessionStorage.getItem("stereolive-key") ?? "";
  return key !== "";
}

export function useKey(given) {
  key = given.trim();
  sessionStorage.setItem("stereolive-key", key);
}

export function forgetKey() {
  key = "";
  sessionStorage.removeItem("stereolive-key");
}

async function send(path, options = {}) {
  let answer;
  try {
    answer = await fetch(BASE + path, { ...options, headers: { Authorization: `Bearer ${key}`, ...options.headers } });
  } catch {
    throw new ServiceError(0, { detail: "" });
  }
  if (!answer.ok) throw new ServiceError(answer.status, await answer.json().catch(() => ({ detail: `${answer.status}` })));
  return answer;
}

const call = async (path, options) => (await send(path, options)).json();

export const information = () => call("/service");

// Unlike randomUUID this works where the page has no TLS, too.
const requestName = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function form({ first, second, rig }) {
  const body = new FormData();
  body.append("first", first, "first");
  body.append("second", second, "second");
  body.append("rig", rig);
  return body;
}

export function check(pair, relief) {
  return call(`/checks?relief=${relief}`, { method: "POST", body: form(pair), headers: { "Idempotency-Key": requestName() } });
}

// Live pairs go through a session: its nonce and end are what shows the service that they are fresh.
let session = null;

export async function checkInSession(pair, relief) {
  if (!session?.nonce || new Date(session.expires_at) < new Date(Date.now() + 5000)) session = await call("/sessions", { method: "POST" });
  const body = form(pair);
  body.append("nonce", session.nonce);
  const options = { method: "POST", body, headers: { "Idempotency-Key": requestName() } };
  try {
    session = await call(`/sessions/${session.id}/pairs?relief=${relief}`, options);
  } catch (error) {
    session = null;
    throw error;
  }
  return session.result;
}

export async function gallery() {
  const answer = await fetch("gallery");
  return answer.ok ? answer.json() : [];
}

export async function galleryPair(id) {
  const part = async (name) => (await fetch(`gallery/${encodeURIComponent(id)}/${name}`)).blob();
  const [first, second, rig] = await Promise.all([part("first"), part("second"), part("rig")]);
  return { first, second, rig: await rig.text() };
}

// The calibration assistant: the service keeps nothing, so what was seen so far goes along.
export function findBoard({ first, second }, seen) {
  const body = new FormData();
  body.append("first", first, "first");
  body.append("second", second, "second");
  body.append("state", JSON.stringify(seen));
  return call("/calibration/views", { method: "POST", body });
}

export function makeRig(views) {
  return call("/calibration/rigs", { method: "POST", body: JSON.stringify(views), headers: { "Content-Type": "application/json" } });
}

export async function printedBoard(choice) {
  return (await send(`/calibration/board.pdf?${new URLSearchParams(choice)}`)).blob();
}

export const calibratedRig = () => sessionStorage.getItem("stereolive-rig");
export const keepRig = (rig) => sessionStorage.setItem("stereolive-rig", rig);
