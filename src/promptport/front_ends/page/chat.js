// One conversation: what is sent, what comes back, and how it goes on after a reload, a lost connection or a failure.
// Rules: a response belongs to the server, and is read again until it is over; nothing is sent twice unless a person asks
// for that; a response that was cut is an error.

import { Answer, newMessage } from "./answer.js";
import { Lost, chunksOf } from "./chunks.js";
import { keyOf, load, newThread, save } from "./kept.js";
import { Refused } from "./server.js";

const IDLE = 60_000;
const WAITS = [300, 700, 1_500, 3_000, 6_000];
const TRIES_WITHOUT_RESPONSE = 2;
const MOST_READS = 40;

// The server has no response to what was sent last.
class Gone extends Error {}

export class Chat {
  // `page` is told of all that changes: opened, began, changed, ended, reconnecting, restored.
  constructor(server, page) {
    this.server = server;
    this.page = page;
    this.thread = "";
    this.messages = [];
    this.model = "";
    this.problem = null; // {text}: what a person can try again
    this.run = null;
    addEventListener("storage", (event) => this.#elsewhere(event));
    addEventListener("pagehide", () => this.run !== null && this.#save(true));
  }

  get busy() {
    return this.run !== null;
  }

  open(thread) {
    if (this.run !== null) this.#save(true);
    this.run?.abort.abort();
    this.run = null;
    const kept = load(thread);
    this.thread = thread;
    this.messages = kept?.messages ?? [];
    this.model = kept?.model ?? this.model;
    this.problem = kept?.problem ?? null;
    this.page.opened();
    if (kept?.waiting === true) this.#start({});
  }

  send(text) {
    this.messages.push({ id: newThread(), role: "user", parts: [{ type: "text", text }] });
    this.#start({ post: true, sent: text });
  }

  // A person's decision about one call. The response goes on when all of its calls are decided.
  decide(part, approved, reason) {
    const message = this.messages.at(-1);
    if (this.busy || part.state !== "approval-requested" || !message.parts.includes(part)) return;
    part.state = "approval-responded";
    part.approval = { id: part.approval.id, approved, ...(reason === "" ? {} : { reason }) };
    if (message.parts.some((one) => one.state === "approval-requested")) {
      this.#save(false);
      this.page.changed(message, new Set([part]));
    } else {
      this.#start({ post: true });
    }
  }

  retry() {
    if (this.busy || this.problem === null) return;
    const last = this.messages.at(-1);
    if (last?.role === "assistant" && last.end === "failed") this.messages.pop();
    // Where it is not known how far the server came, its response is looked for before anything is sent again.
    this.#start({ post: true, looks: this.problem.unsure === true });
  }

  // The first time the server is asked to stop; the second time the page does not wait for it.
  stop() {
    const { run } = this;
    if (run === null) return;
    if (run.stopping) run.abort.abort();
    run.stopping = true;
    if (!run.posting) this.#stopAtServer(run);
  }

  async #stopAtServer(run) {
    try {
      await this.server.stop(this.thread);
    } catch {
      run.abort.abort();
    }
  }

  // ---------------------------------------------------------------------------------------- one response

  async #start({ post = false, sent = null, looks = false }) {
    const run = { abort: new AbortController(), post, sent, looks, posting: false, stopping: false, answer: null, reads: 0 };
    this.run = run;
    this.problem = null;
    if (post) this.#save(true);
    this.page.began();
    let failure = null;
    try {
      await this.#follow(run);
    } catch (error) {
      failure = error;
    }
    if (this.run === run) this.#over(run, failure);
  }

  // Reads until the response is over, through all connections that are lost.
  async #follow(run) {
    let posts = run.post && !run.looks;
    for (let lost = 0; ; lost += 1) {
      const { reads } = run;
      try {
        const response = await (posts ? this.#post(run) : this.server.replay(this.thread, run.abort.signal));
        if (response !== null && (await this.#read(run, response, !posts))) return;
        if (run.looks) {
          run.looks = false;
          posts = true;
          continue;
        }
        if (lost >= TRIES_WITHOUT_RESPONSE) throw new Gone();
      } catch (error) {
        if (!(error instanceof Lost) || run.abort.signal.aborted || run.reads > MOST_READS) throw error;
        if (run.reads > reads) lost = 0;
        if (lost >= WAITS.length) throw error;
      }
      posts = false;
      this.page.reconnecting();
      await pause(WAITS[Math.min(lost, WAITS.length - 1)], run.abort.signal);
    }
  }

  async #post(run) {
    const last = this.messages.at(-1);
    const goesOn = last.role === "assistant" ? { messageId: last.id } : {};
    const body = { id: this.thread, trigger: "submit-message", ...goesOn, messages: this.messages };
    run.posting = true;
    try {
      return await this.server.post(this.model === "" ? body : { ...body, model: this.model }, run.abort.signal);
    } finally {
      run.posting = false;
      if (run.stopping) this.#stopAtServer(run); // asked for before there was something to stop
    }
  }

  // Whether this was the response that is waited for, and is over now.
  async #read(run, response, again) {
    let answer = null;
    try {
      for await (const chunk of chunksOf(response, { idle: IDLE, signal: run.abort.signal })) {
        if (this.run !== run) return true;
        if (chunk.type === "start") {
          const message = this.#messageFor(String(chunk.messageId), again);
          if (message === null) return false;
          run.reads += 1;
          answer = run.answer = new Answer(message);
          this.page.changed(message, new Set([null]));
        } else if (answer !== null && answer.end === null) {
          answer.feed(chunk);
          this.page.changed(answer.message, answer.changed);
          answer.changed = new Set();
        }
      }
    } catch (error) {
      if (answer?.end == null) throw error;
    }
    if (answer?.end == null) throw new Lost("the response has no end");
    return true;
  }

  // The message that a response writes; null where that is an earlier one, whose response was kept.
  #messageFor(id, again) {
    const at = this.messages.findIndex((message) => message.id === id);
    if (at < 0) {
      const message = newMessage(id);
      this.messages.push(message);
      return message;
    }
    if (at !== this.messages.length - 1) return null;
    const message = this.messages[at];
    for (const key of ["end", "metadata", "finishReason"]) delete message[key];
    if (again) message.parts = []; // a replay has all of it
    return message;
  }

  #over(run, failure) {
    this.run = null;
    run.answer?.cut();
    if (failure === null && run.answer?.end === "failed") {
      this.problem = { text: run.answer.error };
    } else if (failure !== null && run.abort.signal.aborted) {
      if (run.answer !== null) run.answer.message.end = "stopped";
      else this.problem = { text: "You stopped waiting for the response.", unsure: true };
    } else if (failure instanceof Refused && failure.status === 409 && run.post) {
      this.#joined(run, failure);
      return;
    } else if (failure !== null) {
      this.problem = problemOf(failure, run);
    }
    if (run.post || load(this.thread)?.waiting === true) this.#save(false);
    this.page.ended(run.answer?.end ?? null);
  }

  // Another page has a response under way in this conversation: that one is shown, and what was written comes back.
  #joined(run, failure) {
    if (run.sent !== null) {
      this.messages.pop();
      this.page.restored(run.sent);
    }
    this.problem = { text: failure.message };
    this.page.ended(null);
    this.#start({});
  }

  // -------------------------------------------------------------------------------------------- storage

  #save(waiting) {
    const { messages, model, problem } = this;
    const kept = { messages, model, waiting, ...(problem === null ? {} : { problem }) };
    if (messages.length > 0) this.page.stored(save(this.thread, kept));
  }

  // Another tab has written this conversation.
  #elsewhere(event) {
    if (event.key === keyOf(this.thread) && event.newValue !== null && !this.busy) this.open(this.thread);
  }
}

function problemOf(failure, run) {
  if (failure instanceof Refused) return { text: failure.message || `The server refused the request (${failure.status}).` };
  if (failure instanceof Gone) {
    return { text: run.post ? "The server has no response to this message." : "The server does not have this response any more." };
  }
  if (failure instanceof Lost) return { text: "The server cannot be reached. Check that it is running.", unsure: true };
  return { text: "The server sent something that this page cannot read.", unsure: true };
}

function pause(milliseconds, signal) {
  return new Promise((done, fail) => {
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      fail(signal.reason);
    });
  });
}
