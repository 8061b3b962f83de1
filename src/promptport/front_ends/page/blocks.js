// Cuts Markdown that is still being written into blocks that are complete, and the one that is open.
// Rule: pure. What was given away as complete does not change, whatever comes after it; and no open block grows without
// bound, so that the work for each piece of text stays small.

const LONGEST = 10_000;
const FENCE = /^( {0,3})(`{3,}|~{3,})(.*)$/;
const ANY_FENCE = /^\s*(`{3,}|~{3,})(.*)$/;
const ITEM = /^ {0,3}(?:[-*+]|\d{1,9}[.)])(?:\s|$)/;
const BEGINS_LIST = /^ {0,3}(?:[-*+]|1[.)])\s+\S/;

export function fenceOf(line) {
  const found = FENCE.exec(line);
  if (found === null || (found[2][0] === "`" && found[3].includes("`"))) return null;
  return { mark: found[2], indent: found[1].length, info: found[3].trim() };
}

export function closesFence(line, fence) {
  const text = line.trim();
  return text.length >= fence.mark.length && text === fence.mark[0].repeat(text.length);
}

export class BlockSplitter {
  constructor() {
    this.partial = ""; // the last line, as far as it came
    this.lines = []; // the complete lines of the open block
    this.fence = null; // the open code block: {mark, indent, info}
    this.size = 0;
    this.gap = false; // the open block ended in a blank line
    this.inner = null; // the mark of a code block inside a list
  }

  // Takes more text, and returns what it completed: {source}, or {code, info, begin, end} for lines of a code block.
  feed(text) {
    const out = [];
    const pieces = (this.partial + text).split("\n");
    this.partial = pieces.pop();
    for (const line of pieces) this.#line(line.endsWith("\r") ? line.slice(0, -1) : line, out);
    if (this.partial.length > LONGEST) {
      if (this.fence === null) {
        this.lines.push(this.partial);
        this.#flush(out);
      } else {
        this.#code(this.partial, out);
      }
      this.partial = "";
    }
    return out;
  }

  // The open block's source, apart from a code block's, whose lines were given away.
  get open() {
    if (this.fence !== null) return "";
    return [...this.lines, this.partial].join("\n");
  }

  #line(line, out) {
    if (this.fence !== null) {
      if (closesFence(line, this.fence)) {
        out.push({ code: "", end: true });
        this.fence = null;
      } else {
        this.#code(`${unindented(line, this.fence.indent)}\n`, out);
      }
      return;
    }
    if (this.inner !== null) {
      if (closesFence(line, { mark: this.inner })) this.inner = null;
      this.#keep(line, out);
      return;
    }
    const inList = this.lines.length > 0 && ITEM.test(this.lines[0]);
    if (line.trim() === "") {
      this.gap = this.lines.length > 0;
      if (this.gap) this.lines.push("");
      if (this.gap && !inList) this.#flush(out);
      return;
    }
    const within = inList && (/^\s{2,}/.test(line) || (ITEM.test(line) && sameKind(line, this.lines[0])));
    const fence = fenceOf(line);
    if (fence !== null && !within) {
      this.#flush(out);
      this.fence = fence;
      out.push({ code: "", info: fence.info, begin: true });
      return;
    }
    if ((this.gap && !within) || (!inList && BEGINS_LIST.test(line))) this.#flush(out);
    if (within) this.inner = ANY_FENCE.exec(line)?.[1] ?? null;
    this.gap = false;
    this.#keep(line, out);
  }

  #keep(line, out) {
    this.lines.push(line);
    this.size += line.length + 1;
    if (this.size > LONGEST) this.#flush(out);
  }

  #code(text, out) {
    const last = out.at(-1);
    if (last?.code !== undefined && !last.end) last.code += text;
    else out.push({ code: text });
  }

  #flush(out) {
    const source = this.lines.join("\n");
    if (source.trim() !== "") out.push({ source });
    this.lines = [];
    this.size = 0;
    this.gap = false;
    this.inner = null;
  }
}

const sameKind = (line, other) => /^\s*\d/.test(line) === /^\s*\d/.test(other);

export const unindented = (line, most) => line.slice(Math.min(most, line.length - line.trimStart().length));
