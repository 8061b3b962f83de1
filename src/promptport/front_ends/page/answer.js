// Puts the chunks of one response together to a message: what the page shows, and sends back as history.
// Rule: pure. A chunk that is not known is skipped; one about a part that is not there is too.

export const newMessage = (id) => ({ id, role: "assistant", parts: [] });

const ENDS = { finish: "finished", abort: "stopped", error: "failed" };

export class Answer {
  constructor(message) {
    this.message = message;
    this.changed = new Set(); // parts that the view has to look at
    this.end = null; // finished, stopped or failed
    this.error = ""; // the sentence of a response that failed
    this.open = new Map();
    this.calls = new Map(message.parts.filter((part) => part.type === "dynamic-tool").map((part) => [part.toolCallId, part]));
  }

  feed(chunk) {
    const kind = chunk.type;
    if (ENDS[kind] !== undefined) this.#ends(chunk);
    else if (kind === "start-step") this.message.parts.push({ type: "step-start" });
    else if (kind === "reset-step") this.#reset();
    else if (kind.startsWith("text-") || kind.startsWith("reasoning-")) this.#text(chunk, ...kind.split("-"));
    else if (kind.startsWith("tool-")) this.#tool(chunk, kind.slice(5));
    else if (kind === "source-url" || kind === "source-document") this.#add({ ...chunk });
    else if (kind.startsWith("data-") && chunk.transient !== true) this.#add({ ...chunk });
  }

  // Everything that is open stays as it is: the connection broke, or the page gave up.
  cut() {
    for (const part of this.open.values()) part.state = "done";
  }

  #add(part) {
    this.message.parts.push(part);
    this.changed.add(part);
    return part;
  }

  #reset() {
    const begin = this.message.parts.findLastIndex((part) => part.type === "step-start");
    for (const part of this.message.parts.splice(begin + 1)) this.calls.delete(part.toolCallId);
    this.open.clear();
    this.changed.add(null); // all of it
  }

  #text(chunk, kind, event) {
    if (event === "start") {
      this.open.set(chunk.id, this.#add({ type: kind, text: "", state: "streaming" }));
      return;
    }
    const part = this.open.get(chunk.id);
    if (part === undefined) return;
    this.changed.add(part);
    if (event === "delta") {
      part.text += chunk.delta;
    } else if (event === "end") {
      part.state = "done";
      if (chunk.providerMetadata !== undefined) part.providerMetadata = chunk.providerMetadata;
      this.open.delete(chunk.id);
    }
  }

  #tool(chunk, event) {
    let part = this.calls.get(chunk.toolCallId);
    if (part === undefined) {
      if (!event.startsWith("input-") || event === "input-delta") return;
      part = { type: "dynamic-tool", toolName: chunk.toolName, toolCallId: chunk.toolCallId, state: "input-streaming" };
      this.calls.set(chunk.toolCallId, this.#add(part));
    }
    this.changed.add(part);
    switch (event) {
      case "input-delta":
        part.argumentText = (part.argumentText ?? "") + chunk.inputTextDelta;
        break;
      case "input-available":
        part.state = "input-available";
        part.input = chunk.input;
        if (chunk.providerMetadata !== undefined) part.callProviderMetadata = chunk.providerMetadata;
        delete part.argumentText;
        break;
      case "input-error":
        Object.assign(part, { state: "output-error", rawInput: chunk.input, errorText: chunk.errorText });
        delete part.argumentText;
        break;
      case "approval-request":
        Object.assign(part, { state: "approval-requested", approval: { id: chunk.approvalId } });
        break;
      case "approval-response":
        part.approval = { id: chunk.approvalId, approved: chunk.approved, reason: chunk.reason };
        break;
      case "output-available":
        Object.assign(part, { state: "output-available", output: chunk.output });
        if (chunk.preliminary) part.preliminary = true;
        else delete part.preliminary;
        break;
      case "output-error":
        Object.assign(part, { state: "output-error", errorText: chunk.errorText });
        delete part.preliminary;
        break;
      case "output-denied":
        part.state = "output-denied";
        break;
    }
  }

  #ends(chunk) {
    this.end = ENDS[chunk.type];
    this.message.end = this.end;
    if (this.end === "failed") this.error = String(chunk.errorText);
    if (chunk.messageMetadata !== undefined) this.message.metadata = chunk.messageMetadata;
    if (chunk.finishReason !== undefined) this.message.finishReason = chunk.finishReason;
    this.cut();
  }
}
