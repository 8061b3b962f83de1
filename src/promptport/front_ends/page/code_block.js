// A block of code: its language, a button that copies it, and lines that scroll inside the block.

import { element, visible } from "./elements.js";

export function codeBlock(info) {
  const text = document.createTextNode("");
  const tail = document.createTextNode("");
  const code = element("code", {}, text, tail);
  const language = visible(info.split(/\s/, 1)[0].slice(0, 30));
  const bar = element("div", { class: "bar" }, element("span", {}, language));
  const node = element(
    "div",
    { class: "code" },
    bar,
    element("pre", { tabindex: 0, role: "group", "aria-label": language ? `Code, ${language}` : "Code", dir: "ltr" }, code),
  );
  if (navigator.clipboard !== undefined) bar.append(copyButton(code)); // it is missing where a page is not secure
  return {
    node,
    add: (more) => text.appendData(visible(more)),
    // The line that is still being written.
    setTail: (line) => {
      tail.data = visible(line);
    },
  };
}

function copyButton(code) {
  const button = element("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied";
    }
    setTimeout(() => {
      button.textContent = "Copy";
    }, 2_000);
  });
  return button;
}
