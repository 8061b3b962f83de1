// Tells people who listen to the page what happens on it.
// Rule: complete blocks of text, and not each word; at most once in a while, so that a screen reader keeps up.

const PAUSE = 700;
const LONGEST = 1_000;

export class Announcer {
  constructor(polite, urgent) {
    this.polite = polite;
    this.urgent = urgent;
    this.waiting = [];
    this.timer = null;
  }

  say(text) {
    this.waiting.push(text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);
    this.timer ??= setTimeout(() => this.#speak(), PAUSE);
  }

  // At once, before what else waits.
  urge(text) {
    this.urgent.textContent = text;
  }

  #speak() {
    this.timer = null;
    this.polite.textContent = this.waiting.splice(0).join("\n");
    this.urgent.textContent = "";
  }
}
