// Markdown → nodes of the page.
// Rules: what the model wrote becomes text nodes and a fixed set of elements. A link leads to http and https addresses
// alone, and shows its host where its text says another. Nothing is loaded: an image is a link. HTML is text.
// Each text is read in time that grows with its length, whatever stands in it.

import { closesFence, fenceOf, unindented } from "./blocks.js";
import { codeBlock } from "./code_block.js";
import { element, readable, visible } from "./elements.js";

const DEEPEST = 6;
const WIDEST = 4_000; // letters of an address, or of the line below a table's head
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)/;
const RULE = /^ {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|(\d{1,9})[.)])([ \t]+|$)/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

// The nodes of a source. `place.level` is the level of the last heading, so that no level is left out.
export const renderMarkdown = (source, place = { level: 2 }) => blocks(source.split("\n"), place, 0);

function blocks(lines, place, depth) {
  const out = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    if (line.trim() === "") {
      at += 1;
      continue;
    }
    const read = fenced(lines, at) ?? heading(line, place) ?? nested(lines, at, place, depth) ?? table(lines, at);
    if (read !== null) {
      out.push(read.node);
      at += read.length ?? 1;
      continue;
    }
    let end = at + 1;
    while (end < lines.length && !interrupts(lines, end)) end += 1;
    out.push(element("p", { dir: "auto" }, ...inline(lines.slice(at, end).join("\n").trim())));
    at = end;
  }
  return out;
}

function interrupts(lines, at) {
  const line = lines[at];
  if (line.trim() === "" || fenceOf(line) !== null || HEADING.test(line) || RULE.test(line) || QUOTE.test(line)) return true;
  const item = ITEM.exec(line);
  return item !== null && item[4] !== "" && (item[3] === undefined || item[3] === "1");
}

function fenced(lines, at) {
  const fence = fenceOf(lines[at]);
  if (fence === null) return null;
  let end = at + 1;
  while (end < lines.length && !closesFence(lines[end], fence)) end += 1;
  const text = lines.slice(at + 1, end).map((line) => `${unindented(line, fence.indent)}\n`).join("");
  const block = codeBlock(fence.info);
  block.add(text);
  return { node: block.node, length: end + 1 - at };
}

function heading(line, place) {
  if (RULE.test(line)) return { node: element("hr") };
  const found = HEADING.exec(line);
  if (found === null) return null;
  place.level = Math.min(found[1].length + 2, place.level + 1, 6);
  return { node: element(`h${place.level}`, { dir: "auto" }, ...inline(withoutMarks(line.slice(found[0].length)))) };
}

// A heading's text without the marks that might stand behind it.
function withoutMarks(text) {
  const rest = text.trim();
  let end = rest.length;
  while (rest[end - 1] === "#") end -= 1;
  return end === 0 || /\s/.test(rest[end - 1]) ? rest.slice(0, end).trimEnd() : rest;
}

function nested(lines, at, place, depth) {
  if (depth >= DEEPEST) return null;
  if (QUOTE.test(lines[at])) return quote(lines, at, place, depth);
  return ITEM.test(lines[at]) ? list(lines, at, place, depth) : null;
}

function quote(lines, at, place, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return { node: element("blockquote", {}, ...blocks(inner, place, depth + 1)), length: end - at };
}

function list(lines, at, place, depth) {
  const first = ITEM.exec(lines[at]);
  const ordered = first[3] !== undefined;
  const node = ordered ? element("ol", { start: first[3] === "1" ? null : Number(first[3]) }) : element("ul");
  let end = at;
  while (end < lines.length) {
    const item = ITEM.exec(lines[end]);
    if (item === null || (item[3] !== undefined) !== ordered) break;
    const indent = item[1].length + item[2].length + Math.min(Math.max(item[4].length, 1), 4);
    const inner = [lines[end].slice(item[0].length)];
    end += 1;
    while (end < lines.length && belongs(lines, end, inner)) {
      inner.push(unindented(lines[end], indent));
      end += 1;
    }
    node.append(element("li", { dir: "auto" }, ...itemNodes(inner, place, depth)));
  }
  return { node, length: end - at };
}

// Whether a line goes on with the item: it is indented, blank before such a line, or the rest of a paragraph.
function belongs(lines, at, inner) {
  const line = lines[at];
  if (line.trim() === "") return at + 1 < lines.length && (/^\s{2,}\S/.test(lines[at + 1]) || ITEM.test(lines[at + 1]));
  if (/^\s{2,}/.test(line)) return true;
  return inner.at(-1).trim() !== "" && !ITEM.test(line) && !interrupts(lines, at);
}

function itemNodes(inner, place, depth) {
  const task = /^\[([ xX])\] +/.exec(inner[0]);
  if (task !== null) inner[0] = inner[0].slice(task[0].length);
  const nodes = blocks(inner, place, depth + 1);
  // A tight item has its text without a paragraph around it.
  const tight = !inner.some((line) => line.trim() === "");
  const flat = tight ? nodes.flatMap((node) => (node.tagName === "P" ? [...node.childNodes] : [node])) : nodes;
  return task === null ? flat : [task[1] === " " ? "☐ " : "☑ ", ...flat];
}

// ------------------------------------------------------------------------------------------------ tables

function table(lines, at) {
  if (at + 1 >= lines.length || !lines[at].includes("|")) return null;
  if (lines[at + 1].length > WIDEST || !DELIMITERS.test(lines[at + 1])) return null;
  const head = cells(lines[at]);
  const marks = cells(lines[at + 1]);
  if (head.length !== marks.length) return null;
  let end = at + 2;
  while (end < lines.length && lines[end].trim() !== "" && lines[end].includes("|")) end += 1;
  const sides = marks.map((mark) => (mark.endsWith(":") ? (mark.startsWith(":") ? "middle" : "right") : null));
  const row = (line, tag) =>
    element("tr", {}, ...head.map((_, index) => element(tag, { class: sides[index], dir: "auto" }, ...inline(line[index] ?? ""))));
  const body = lines.slice(at + 2, end).map((line) => row(cells(line), "td"));
  const node = element("table", {}, element("thead", {}, row(head, "th")), element("tbody", {}, ...body));
  return { node: element("div", { class: "table", tabindex: 0, role: "group", "aria-label": "Table" }, node), length: end - at };
}

const cells = (line) =>
  line
    .trim()
    .replace(/^\|/, "")
    .replace(/(?<!\\)\|$/, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll("\\|", "|"));

// ------------------------------------------------------------------------------------------ inside a line

const SPECIAL = /[\\`*_~[!<\n]|https?:\/\//g;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const WORD = /[\p{L}\p{N}]/u;

function inline(text, depth = 0, links = true) {
  const reader = new Inline(text, depth, links);
  reader.read();
  return reader.out;
}

class Inline {
  constructor(text, depth, links) {
    this.text = text;
    this.depth = depth;
    this.links = links;
    this.at = 0;
    this.plain = "";
    this.out = [];
    this.missing = new Set(); // what was looked for, and does not come any more
  }

  read() {
    const { text } = this;
    while (this.at < text.length) {
      SPECIAL.lastIndex = this.at;
      const found = SPECIAL.exec(text);
      const here = found === null ? text.length : found.index;
      this.plain += text.slice(this.at, here);
      this.at = here;
      if (found !== null && !this.#special(found[0])) {
        this.plain += found[0];
        this.at += found[0].length;
      }
    }
    this.#flush();
  }

  #special(mark) {
    switch (mark) {
      case "\\":
        return this.#escape();
      case "\n":
        return this.#lineBreak();
      case "`":
        return this.#code();
      case "[":
        return this.#link(this.at, "");
      case "!":
        return this.text[this.at + 1] === "[" && this.#link(this.at + 1, "Image: ");
      case "<":
        return this.#pointed();
      case "*":
      case "_":
      case "~":
        return this.#emphasis(mark);
      default:
        return this.#address();
    }
  }

  #flush() {
    if (this.plain !== "") this.out.push(readable(this.plain));
    this.plain = "";
  }

  #push(node, end) {
    this.#flush();
    this.out.push(node);
    this.at = end;
    return true;
  }

  // The next place of a text, looked for once where there is none.
  #find(what, from) {
    if (this.missing.has(what)) return -1;
    const found = this.text.indexOf(what, from);
    if (found < 0) this.missing.add(what);
    return found;
  }

  #escape() {
    const next = this.text[this.at + 1] ?? "";
    if (next === "\n") return this.#push(element("br"), this.at + 2);
    if (!PUNCTUATION.test(next)) return false;
    this.plain += next;
    this.at += 2;
    return true;
  }

  #lineBreak() {
    if (!this.plain.endsWith("  ")) return false;
    this.plain = this.plain.trimEnd();
    return this.#push(element("br"), this.at + 1);
  }

  #code() {
    const mark = /`+/y;
    mark.lastIndex = this.at;
    const ticks = mark.exec(this.text)[0];
    const begin = this.at + ticks.length;
    for (let end = this.#find(ticks, begin); end >= 0; end = this.text.indexOf(ticks, end)) {
      let after = end + ticks.length;
      while (this.text[after] === "`") after += 1;
      if (after === end + ticks.length) {
        const code = this.text.slice(begin, end).replaceAll("\n", " ");
        const padded = code.startsWith(" ") && code.endsWith(" ") && code.trim() !== "";
        const trimmed = padded ? code.slice(1, -1) : code;
        return this.#push(element("code", { dir: "auto" }, visible(trimmed)), after);
      }
      end = after;
    }
    this.missing.add(ticks);
    this.plain += ticks;
    this.at = begin;
    return true;
  }

  #emphasis(mark) {
    const { text, at } = this;
    const double = text[at + 1] === mark;
    if (mark === "~" && !double) return false;
    const sign = double ? mark + mark : mark;
    const begin = at + sign.length;
    if (this.depth >= DEEPEST || /^\s?$/.test(text[begin] ?? "")) return this.#asText(sign);
    if (mark === "_" && WORD.test(text[at - 1] ?? "")) return this.#asText(sign);
    const end = this.#closing(sign, begin);
    if (end < 0) return this.#asText(sign);
    const tag = mark === "~" ? "del" : double ? "strong" : "em";
    const inner = inline(text.slice(begin, end), this.depth + 1, this.links);
    return this.#push(element(tag, {}, ...inner), end + sign.length);
  }

  #closing(sign, begin) {
    if (this.missing.has(sign)) return -1;
    const mark = sign[0];
    for (let end = this.text.indexOf(sign, begin + 1); end >= 0; end = this.text.indexOf(sign, end)) {
      let after = end;
      while (this.text[after] === mark) after += 1;
      const run = after - end;
      const fits = sign.length === 2 ? run >= 2 : run !== 2;
      const inWord = mark === "_" && WORD.test(this.text[after] ?? "");
      // Of a longer run the last marks close, so that ***a*** is one inside the other.
      if (fits && !inWord && !/\s/.test(this.text[end - 1])) return after - sign.length;
      end = after;
    }
    this.missing.add(sign);
    return -1;
  }

  #asText(sign) {
    this.plain += sign;
    this.at += sign.length;
    return true;
  }

  // [label](address), at the bracket. With something before it that says what it is.
  #link(bracket, kind) {
    if (!this.links || this.depth >= DEEPEST) return false;
    const middle = this.#find("](", bracket);
    if (middle < 0) return false;
    const end = this.#addressEnd(middle + 2);
    if (end < 0) return false;
    const label = this.text.slice(bracket + 1, middle);
    const inside = label.lastIndexOf("[");
    if (inside >= 0 && !label.slice(inside).includes("]")) return false; // a later bracket is the one
    const address = this.text.slice(middle + 2, end).trim().replace(/\s+["'(].*$/s, "").replace(/^<(.*)>$/, "$1");
    const url = webAddress(address);
    if (url === null) return false;
    const nodes = label === "" ? [address] : inline(label, this.depth + 1, false);
    return this.#push(anchor(url, [kind, ...nodes], label), end + 1);
  }

  #addressEnd(from) {
    if (this.missing.has(")")) return -1;
    let depth = 0;
    const most = Math.min(this.text.length, from + WIDEST);
    for (let at = from; at < most; at += 1) {
      const letter = this.text[at];
      if (letter === "(") depth += 1;
      else if (letter === ")" && depth-- === 0) return at;
      else if (letter === "\n") return -1;
    }
    if (most === this.text.length) this.missing.add(")");
    return -1;
  }

  #pointed() {
    const end = this.#find(">", this.at);
    if (end < 0 || end - this.at > WIDEST) return false;
    const address = this.text.slice(this.at + 1, end);
    const url = /^https?:\/\/\S+$/i.test(address) && this.links ? webAddress(address) : null;
    return url !== null && this.#push(anchor(url, [readable(address)], address), end + 1);
  }

  #address() {
    const all = /https?:\/\/[^\s<>"'`|\\^{}]+/y;
    all.lastIndex = this.at;
    const found = all.exec(this.text)?.[0].slice(0, WIDEST) ?? "";
    const ends = found.includes("(") ? ".,;:!?*_~" : ".,;:!?*_~)";
    let end = found.length;
    while (ends.includes(found[end - 1] ?? " ")) end -= 1;
    const address = found.slice(0, end);
    const url = this.links && !WORD.test(this.text[this.at - 1] ?? "") ? webAddress(address) : null;
    return url !== null && this.#push(anchor(url, [readable(address)], address), this.at + address.length);
  }
}

function webAddress(text) {
  if (!/^https?:\/\//i.test(text)) return null;
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

function anchor(url, children, label) {
  const link = element("a", { href: url.href, target: "_blank", rel: "noopener noreferrer nofollow", title: url.href }, ...children);
  const named = /^\s*(?:[a-z]+:\/\/)?([^\s/?#]*\.[^\s/?#]+)/i.exec(label)?.[1];
  if (named === undefined || named.toLowerCase() === url.host) return link;
  return element("span", {}, link, element("span", { class: "host" }, ` (${url.host})`));
}
