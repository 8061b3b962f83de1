// One message of the conversation: its parts in order, each with a view of its own.

import { element, readable, setText, visible } from "./elements.js";
import { TextView } from "./text_view.js";
import { ToolView, stateOf } from "./tool_view.js";

const CUT_OFF = {
  length: "The response reached its length limit.",
  "content-filter": "The provider's content filter ended the response.",
};

export class MessageView {
  // `page` has `decide(part, approved, reason)` and the `announcer`.
  constructor(message, page) {
    this.message = message;
    this.page = page;
    this.views = new Map();
    const user = message.role === "user";
    this.parts = element("div", { class: "parts" });
    this.facts = element("p", { class: "facts", hidden: true });
    this.node = element("li", { class: `message ${user ? "user" : "assistant"}` }, element("h2", { class: "unseen" }, user ? "You" : "Model"), this.parts, this.facts);
    this.working = element("p", { class: "working" }, element("span", { class: "unseen" }, "The model is working."), ...[1, 2, 3].map(() => element("span", { class: "dot" })));
  }

  // `live`: the message is being written now. `last`: no other comes after it.
  update({ changed = null, live = false, last = false } = {}) {
    const { parts } = this.message;
    if (changed === null || changed.has(null)) {
      for (const [part, view] of this.views) {
        if (parts.includes(part)) continue;
        view.node.remove();
        this.views.delete(part);
      }
    }
    for (const part of parts) {
      let view = this.views.get(part);
      const fresh = view === undefined;
      if (fresh) {
        view = this.#viewOf(part, live);
        if (view === null) continue;
        this.views.set(part, view);
        this.parts.append(view.node);
      }
      if (fresh || changed === null || changed.has(part)) this.#refresh(view, part, live, last);
    }
    this.node.classList.toggle("live", live);
    if (live) this.node.append(this.working);
    else this.working.remove();
    if (!live) this.#facts();
  }

  #refresh(view, part, live, last) {
    if (part.type !== "dynamic-tool") {
      view.update(live);
      return;
    }
    view.update(live, last);
    const [, text] = stateOf(part, live);
    if (live && view.said !== text) this.page.announcer.say(`Tool call ${view.name}: ${text}.`);
    view.said = text;
  }

  #viewOf(part, live) {
    if (part.type === "text" && this.message.role === "user") {
      const node = element("p", { class: "plain", dir: "auto" }, readable(part.text));
      return { node, update() {} };
    }
    const tell = (text) => live && this.page.announcer.say(text);
    if (part.type === "text") return new TextView(part, tell);
    if (part.type === "reasoning") return new ReasoningView(part);
    if (part.type === "dynamic-tool") return new ToolView(part, (approved, reason) => this.page.decide(part, approved, reason));
    if (part.type === "source-url" || part.type === "source-document") return new SourceView(part);
    return null;
  }

  #facts() {
    const { metadata, finishReason, end } = this.message;
    const usage = metadata?.usage ?? {};
    const facts = [end === "stopped" ? "You stopped this response." : CUT_OFF[finishReason]];
    if (typeof metadata?.model === "string") facts.push(visible(metadata.model.slice(0, 100)));
    if (Number.isFinite(usage.inputTokens)) facts.push(`${usage.inputTokens.toLocaleString("en")} tokens in`);
    if (Number.isFinite(usage.outputTokens)) facts.push(`${usage.outputTokens.toLocaleString("en")} out`);
    const said = facts.filter((fact) => fact !== undefined);
    setText(this.facts, said.join(" · "));
    this.facts.hidden = said.length === 0;
  }
}

class ReasoningView {
  constructor(part) {
    this.part = part;
    this.title = element("summary");
    this.seen = 0;
    this.text = document.createTextNode("");
    this.node = element("details", { class: "reasoning" }, this.title, element("p", { class: "plain", dir: "auto" }, this.text));
  }

  update(live) {
    const thinking = live && this.part.state === "streaming";
    this.node.classList.toggle("thinking", thinking);
    setText(this.title, thinking ? "Thinking…" : "Reasoning");
    this.text.appendData(readable(this.part.text.slice(this.seen)));
    this.seen = this.part.text.length;
    this.node.hidden = this.part.text === "" && !thinking;
  }
}

class SourceView {
  constructor(part) {
    const title = readable(String(part.title ?? part.url ?? "Source").slice(0, 300));
    const url = part.type === "source-url" && /^https?:\/\//i.test(part.url) && URL.canParse(part.url) ? new URL(part.url) : null;
    const host = url === null ? [] : [element("span", { class: "host" }, ` (${url.host})`)];
    const name = url === null ? element("bdi", {}, title) : element("a", { href: url.href, target: "_blank", rel: "noopener noreferrer nofollow", title: url.href }, title);
    this.node = element("p", { class: "source" }, "Source: ", name, ...host);
  }

  update() {}
}
