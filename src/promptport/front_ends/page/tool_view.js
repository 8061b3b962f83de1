// A tool call: its arguments as they come, its state, its progress and outcome, and the question whether it may run.
// Rules: what the model and the tool wrote is shown as text, with each unseen character written out; nothing runs but by
// the button that says so.

import { element, setText, visible } from "./elements.js";
import { shown } from "./json_text.js";

const MOST = 20_000;

const STATES = {
  "input-streaming": ["writing", "Writing arguments"],
  "input-available": ["running", "Running"],
  "approval-requested": ["asking", "Needs your approval"],
  "approval-responded": ["decided", "Decided"],
  "output-available": ["done", "Done"],
  "output-error": ["failed", "Failed"],
  "output-denied": ["denied", "Denied"],
};

// How a call stands: a word for the style, and words for people. `live`: its run goes on.
export function stateOf(part, live) {
  if (part.state === "output-available" && part.preliminary) return live ? ["running", "Running"] : ["failed", "No result"];
  if (part.state === "approval-responded") {
    if (part.approval?.approved === false) return ["denied", "Denied"];
    return live ? ["running", "Approved, running"] : ["decided", "Approved"];
  }
  if (!live && (part.state === "input-streaming" || part.state === "input-available")) return ["failed", "No result"];
  return STATES[part.state] ?? ["failed", "Unknown"];
}

export class ToolView {
  // `decide(approved, reason)` is called with the person's decision.
  constructor(part, decide) {
    this.part = part;
    this.decide = decide;
    this.name = visible(String(part.toolName).slice(0, 200));
    this.state = element("span", { class: "state" });
    this.arguments = new Fold("Arguments");
    this.result = new Fold("Result");
    this.approval = null;
    this.node = element(
      "div",
      { class: "tool", role: "group", tabindex: -1, "aria-label": `Tool call ${this.name}` },
      element("div", { class: "line" }, element("bdi", { class: "name" }, this.name), this.state),
      this.arguments.node,
      this.result.node,
    );
  }

  update(live, last) {
    const { part } = this;
    const [word, text] = stateOf(part, live);
    const asks = part.state === "approval-requested" && last && !live;
    const [style, label] = part.state === "approval-requested" && !asks && !live ? ["denied", "Not approved"] : [word, text];
    this.node.dataset.state = style;
    setText(this.state, label);
    this.arguments.show(part.argumentText ?? part.rawInput ?? part.input, { open: asks });
    this.#outcome();
    if (asks && this.approval === null) this.#ask();
    else if (!asks && this.approval !== null) {
      const focused = this.approval.contains(document.activeElement);
      this.approval.remove();
      this.approval = null;
      if (focused) this.node.focus();
    }
  }

  #outcome() {
    const { part } = this;
    if (part.state === "output-available") {
      this.result.show(part.output, { title: part.preliminary ? "Progress" : "Result", open: Boolean(part.preliminary) });
    } else if (part.state === "output-error") {
      this.result.show(part.errorText, { title: "Error", open: true });
    } else if (part.approval?.approved === false && part.approval.reason) {
      this.result.show(part.approval.reason, { title: "Reason", open: true });
    }
  }

  #ask() {
    const text = element("p", { id: `ask-${this.part.approval.id}` }, "The model wants to call ", element("bdi", {}, this.name), ". Allow it?");
    const reason = element("input", { type: "text", maxlength: 1000, autocomplete: "off", placeholder: "Reason to deny (optional)", "aria-label": "Reason to deny (optional)" });
    const approve = element("button", { type: "button", class: "main" }, "Approve");
    const deny = element("button", { type: "submit" }, "Deny");
    // Enter in the field denies: nothing is approved by a key that was meant for something else.
    this.approval = element("form", { class: "approval", role: "group", "aria-labelledby": text.id }, text, element("div", { class: "buttons" }, approve, deny, reason));
    approve.addEventListener("click", () => this.decide(true, ""));
    this.approval.addEventListener("submit", (event) => {
      event.preventDefault();
      this.decide(false, reason.value.trim());
    });
    this.node.append(this.approval);
  }
}

// A part of a call that can be opened: shown as soon as there is something in it.
class Fold {
  constructor(title) {
    this.title = element("summary", {}, title);
    this.code = element("code");
    this.more = null;
    this.all = false;
    this.opened = false;
    this.text = null;
    this.pre = element("pre", { tabindex: 0, role: "group", "aria-label": title, dir: "ltr" }, this.code);
    this.node = element("details", { hidden: true }, this.title, this.pre);
  }

  show(value, { title, open }) {
    const text = shown(value);
    if (title !== undefined) {
      setText(this.title, title);
      this.pre.setAttribute("aria-label", title);
    }
    if (open !== this.opened) this.node.open = this.opened = open; // and else as the reader left it
    if (text === this.text) return;
    this.text = text;
    this.node.hidden = text === "";
    const cut = !this.all && text.length > MOST;
    setText(this.code, visible(cut ? text.slice(0, MOST) : text));
    this.more?.remove();
    this.more = null;
    if (cut) {
      const left = (text.length - MOST).toLocaleString("en");
      this.more = element("button", { type: "button" }, `Show ${left} more characters`);
      this.more.addEventListener("click", () => {
        this.all = true;
        this.text = null;
        this.show(value, { title, open });
        this.pre.focus();
      });
      this.node.append(this.more);
    }
  }
}
