// A response of the server → the chunks of its UI message stream.
// Rule: a response that ends before its last chunk is lost, and not complete.

import { readJSON } from "./json_text.js";

const LONGEST = 32 << 20;
const VALUES = /"(?:input|output)":/;

export class Lost extends Error {}

export async function* chunksOf(response, { idle, signal }) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await next(reader, idle, signal);
      if (done) throw new Lost("the response ended early");
      rest += decoder.decode(value, { stream: true });
      let begin = 0;
      for (let end; (end = rest.indexOf("\n\n", begin)) >= 0; begin = end + 2) {
        const event = rest.slice(begin, end);
        if (event === "data: [DONE]") return;
        if (event.startsWith("data: ")) yield chunkOf(event.slice(6));
      }
      rest = rest.slice(begin);
      if (rest.length > LONGEST) throw new Error("a chunk is too long");
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// The server says something every 15 seconds at least. A connection that is silent for longer is dead.
async function next(reader, idle, signal) {
  let timer;
  const silence = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Lost("the connection is silent")), idle);
  });
  try {
    return await Promise.race([reader.read(), silence]);
  } catch (error) {
    throw signal.aborted || error instanceof Lost ? error : new Lost("the connection broke");
  } finally {
    clearTimeout(timer);
  }
}

function chunkOf(text) {
  const chunk = VALUES.test(text) ? readJSON(text) : JSON.parse(text);
  if (typeof chunk?.type !== "string") throw new Error("a chunk has no type");
  return chunk;
}
