// Conversations in the browser's storage, so that a reload loses nothing.
// Rule: storage may be full, off or damaged; then the conversation goes on without it.

import { readJSON } from "./json_text.js";

const PREFIX = "promptport.chat.";
const LAST = "promptport.last";
const MOST = 20;

export const newThread = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

export const keyOf = (thread) => PREFIX + thread;

export function lastThread() {
  try {
    return localStorage.getItem(LAST);
  } catch {
    return null;
  }
}

// What is kept of a thread: {messages, model, waiting}, or null.
export function load(thread) {
  try {
    const kept = readJSON(localStorage.getItem(keyOf(thread)));
    return Array.isArray(kept?.messages) && kept.messages.every(isMessage) ? kept : null;
  } catch {
    return null;
  }
}

const isMessage = (one) => typeof one?.id === "string" && typeof one.role === "string" && Array.isArray(one.parts);

// Keeps it; whether there was room.
export function save(thread, kept) {
  const text = JSON.stringify({ ...kept, saved: Date.now() });
  for (let room = MOST; room > 0; room = Math.floor(room / 2)) {
    try {
      prune(thread, room);
      localStorage.setItem(keyOf(thread), text);
      localStorage.setItem(LAST, thread);
      return true;
    } catch {
      // Full: the older half goes.
    }
  }
  try {
    localStorage.removeItem(keyOf(thread)); // half of the truth would be worse than nothing
  } catch {
    // There is no storage at all.
  }
  return false;
}

function prune(thread, room) {
  const others = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX) && key !== keyOf(thread));
  const ages = others.map((key) => [Number(/"saved":(\d+)\}$/.exec(localStorage.getItem(key))?.[1] ?? 0), key]);
  ages.sort(([one], [other]) => other - one);
  for (const [, key] of ages.slice(room - 1)) localStorage.removeItem(key);
}
