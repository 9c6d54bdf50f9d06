// The form that asks for a key, on every page: it stays until the service knows the key.

import * as service from "./service.js";
import { text } from "./text.js";

const $ = (id) => document.getElementById(id);
let whenKnown;

// Calls `then` with what the service says of itself as soon as it has accepted a key.
export async function unlock(then) {
  whenKnown = then;
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    service.useKey($("key").value);
    $("key").value = "";
    enter();
  });
  if (service.takeKey()) await enter();
  else askForKey("");
}

export function askForKey(fault) {
  $("main").hidden = true;
  $("key-form").hidden = false;
  $("key-fault").textContent = fault;
  $("key").focus();
}

async function enter() {
  let information;
  try {
    information = await service.information();
  } catch (error) {
    if (error.status === 401) {
      service.forgetKey();
      askForKey(text("fault_key"));
    } else askForKey(error.status ? error.message : text("fault_network"));
    return;
  }
  $("key-form").hidden = true;
  $("main").hidden = false;
  await whenKnown(information);
}
