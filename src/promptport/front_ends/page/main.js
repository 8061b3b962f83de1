// The page: the conversation on the screen, the box to write in, and the keys.

import { Announcer } from "./announcer.js";
import { Chat } from "./chat.js";
import { setText, visible } from "./elements.js";
import { askForKey } from "./key_dialog.js";
import { lastThread, newThread } from "./kept.js";
import { MessageView } from "./message_view.js";
import { Scrolling } from "./scrolling.js";
import { Server } from "./server.js";

const $ = (id) => document.getElementById(id);
const [log, box, composer, notice, select] = ["log", "message", "composer", "notice", "model"].map($);
const announcer = new Announcer($("polite"), $("urgent"));
const scrolling = new Scrolling($("scroller"), $("jump"));
const views = new Map(); // by message
const changes = new Map(); // what is to be drawn: parts by message
let drawing = false;

const page = {
  announcer,
  decide: (part, approved, reason) => chat.decide(part, approved, reason),

  opened() {
    views.clear();
    changes.clear();
    log.replaceChildren();
    chooseModel();
    this.ended(null);
    scrolling.toEnd();
  },

  began() {
    showNotice(null);
    drawAll();
    scrolling.toEnd();
    announcer.say("Waiting for the response.");
  },

  changed(message, parts) {
    const all = changes.get(message) ?? new Set();
    for (const part of parts) all.add(part);
    changes.set(message, all);
    schedule();
  },

  reconnecting() {
    showNotice("The connection was lost. Reconnecting…", { retries: false });
  },

  restored(text) {
    if (box.value.trim() === "") write(text);
  },

  stored(room) {
    $("hint").dataset.full = room ? "" : "true";
    setText($("hint"), room ? HINT : "This conversation is too long for the browser's storage. A reload will lose it.");
  },

  ended(how) {
    drawAll();
    showNotice(chat.problem?.text ?? null);
    if (how === "finished") announcer.say(asking() ? "" : "The response is complete.");
    if (how === "stopped") announcer.say("The response was stopped.");
    if (asking()) tellAsking();
  },
};

const HINT = $("hint").textContent;
const server = new Server((wrong) => askForKey($("key"), wrong));
const chat = new Chat(server, page);

// ------------------------------------------------------------------------------------------------ drawing

function schedule() {
  if (drawing) return;
  drawing = true;
  const draw = () => {
    drawing = false;
    const began = performance.now();
    drawChanges();
    spent = performance.now() - began;
  };
  // A page that takes long to draw draws less often, so that keys and clicks are heard between.
  if (document.hidden || spent > 12) setTimeout(draw, Math.min(spent * 3, 1_000));
  else requestAnimationFrame(draw);
}
let spent = 0;

function drawChanges() {
  for (const [message, parts] of changes) draw(message, parts.has(null) ? null : parts);
  changes.clear();
  finishDrawing();
}

function drawAll() {
  changes.clear();
  for (const message of views.keys()) {
    if (chat.messages.includes(message)) continue;
    views.get(message).node.remove();
    views.delete(message);
  }
  for (const message of chat.messages) draw(message, null);
  finishDrawing();
}

function draw(message, changed) {
  if (!chat.messages.includes(message)) return;
  let view = views.get(message);
  if (view === undefined) {
    view = new MessageView(message, page);
    views.set(message, view);
    log.append(view.node);
  }
  const last = message === chat.messages.at(-1);
  view.update({ changed, last, live: last && chat.busy && message.role === "assistant" });
}

function finishDrawing() {
  const empty = chat.messages.length === 0;
  $("welcome").hidden = !empty;
  const waits = chat.busy && chat.messages.at(-1)?.role === "user";
  log.classList.toggle("waits", waits);
  const stops = $("stop");
  const focused = document.activeElement;
  $("send").hidden = chat.busy;
  stops.hidden = !chat.busy;
  if (focused === stops && stops.hidden) box.focus();
  if (focused === $("send") && $("send").hidden) box.focus();
  select.disabled = chat.busy || select.options.length === 0;
  scrolling.follow();
}

function showNotice(text, { retries = true } = {}) {
  const [line, button] = notice.children;
  if (notice.contains(document.activeElement) && (text === null || !retries)) box.focus();
  notice.hidden = text === null;
  if (text === null) return;
  setText(line, visible(text.slice(0, 500)));
  button.hidden = !retries;
  notice.classList.toggle("waits", !retries);
  scrolling.follow();
  if (retries) announcer.urge(line.textContent);
  else announcer.say(line.textContent);
}

const asking = () => !chat.busy && (chat.messages.at(-1)?.parts ?? []).some((part) => part.state === "approval-requested");

function tellAsking() {
  const calls = chat.messages.at(-1).parts.filter((part) => part.state === "approval-requested");
  const names = calls.map((part) => visible(String(part.toolName).slice(0, 100)));
  announcer.urge(`The model wants to call ${names.join(", ")}. Approve or deny ${names.length > 1 ? "each call" : "the call"}.`);
}

// ------------------------------------------------------------------------------------------------ the keys

function write(text) {
  box.value = text;
  fit();
}

function fit() {
  box.rows = Math.min(8, box.value.split("\n").length);
}

function submit() {
  const text = box.value.trim();
  if (text === "" || chat.busy) {
    if (chat.busy && text !== "") announcer.say("Wait for the response, or stop it.");
    return;
  }
  write("");
  chat.send(text.toWellFormed?.() ?? text);
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
box.addEventListener("input", fit);
box.addEventListener("keydown", (event) => {
  // While a word is composed (Chinese, Japanese …), Enter belongs to the keyboard.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  submit();
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && chat.busy && !$("key").open) chat.stop();
});
$("stop").addEventListener("click", () => chat.stop());
notice.querySelector("button").addEventListener("click", () => {
  if (modelsFailed) loadModels();
  else chat.retry();
  box.focus();
});
$("new").addEventListener("click", () => {
  location.hash = newThread();
  box.focus();
});
select.addEventListener("change", () => {
  chat.model = select.value;
});

// --------------------------------------------------------------------------------------------- the server

let modelsFailed = false;

// The model of the conversation, or the server's first where that one is not offered any more.
function chooseModel() {
  if (select.options.length === 0 || select.options[0].value === "") return;
  select.value = chat.model;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
  chat.model = select.value;
}

async function loadModels() {
  modelsFailed = false;
  try {
    const names = await server.models();
    select.replaceChildren(...names.map((name) => new Option(visible(name.slice(0, 200)), name)));
    chooseModel();
    select.disabled = chat.busy || names.length === 0;
    if (!chat.busy) showNotice(chat.problem?.text ?? null);
  } catch (error) {
    modelsFailed = true;
    showNotice(error.status === undefined ? "The server cannot be reached. Check that it is running." : error.message);
  }
}

// ------------------------------------------------------------------------------------------------- opening

const THREAD = /^#[0-9a-f]{32}$/;

function openHash() {
  const last = `#${lastThread()}`;
  if (!THREAD.test(location.hash)) history.replaceState(null, "", THREAD.test(last) ? last : `#${newThread()}`);
  const thread = location.hash.slice(1);
  if (thread !== chat.thread) chat.open(thread);
}

addEventListener("hashchange", openHash);
openHash();
loadModels();
