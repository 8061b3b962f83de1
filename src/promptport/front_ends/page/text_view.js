// The text of a response, while it grows: complete blocks stay, and only the open one is made anew.

import { BlockSplitter, closesFence } from "./blocks.js";
import { codeBlock } from "./code_block.js";
import { element } from "./elements.js";
import { renderMarkdown } from "./markdown.js";

export class TextView {
  // `onBlock` is told of each complete block: for those who listen.
  constructor(part, onBlock) {
    this.part = part;
    this.onBlock = onBlock;
    this.seen = 0;
    this.splitter = new BlockSplitter();
    this.place = { level: 2 };
    this.openNode = element("div", { class: "open" });
    this.node = element("div", { class: "text" }, this.openNode);
    this.code = null;
  }

  update() {
    const { splitter } = this;
    const done = this.part.state !== "streaming";
    const more = this.part.text.slice(this.seen) + (done && !this.over ? "\n\n" : "");
    this.over ||= done;
    this.seen = this.part.text.length;
    for (const block of splitter.feed(more)) this.#complete(block);
    if (done && splitter.lines.length > 0) this.#complete({ source: splitter.lines.splice(0).join("\n") });
    if (this.code !== null) {
      this.code.setTail(closesFence(splitter.partial, splitter.fence) ? "" : splitter.partial);
      this.openNode.replaceChildren();
    } else {
      this.openNode.replaceChildren(...renderMarkdown(splitter.open, { ...this.place }));
    }
  }

  #complete(block) {
    if (block.source !== undefined) {
      const nodes = renderMarkdown(block.source, this.place);
      this.openNode.before(...nodes);
      for (const node of nodes) this.onBlock(node.matches(".code") ? "Code." : node.textContent);
      return;
    }
    if (block.begin) {
      this.code = codeBlock(block.info);
      this.openNode.before(this.code.node);
      this.onBlock("Code.");
    }
    if (block.code !== "") this.code?.add(block.code);
    if (block.end) {
      this.code?.setTail("");
      this.code = null;
    }
  }
}
