// The routes of the server that this page came from.
// Rules: the key goes into a header and never into an address; nothing is asked of any other server.

import { Lost } from "./chunks.js";

const KEY = "promptport.key";

// The server answered, and said no, with a sentence for people.
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export class Server {
  // `askForKey(wrong)` resolves to a key, or to null when the person gave none.
  constructor(askForKey) {
    this.askForKey = askForKey;
    this.asking = null;
  }

  async models() {
    const response = await this.#fetch("v1/models", {});
    const { data } = await response.json();
    return namesOf(data);
  }

  post(body, signal) {
    const headers = { "content-type": "application/json" };
    return this.#fetch("chat", { method: "POST", headers, body: JSON.stringify({ ...body, sdk: "7" }), signal });
  }

  // The response of the thread that is under way, or the last one; null where the server has none.
  async replay(thread, signal) {
    const response = await this.#fetch(`chat/${encodeURIComponent(thread)}/stream?sdk=7&last=true`, { signal });
    return response.status === 204 ? null : response;
  }

  async stop(thread) {
    const response = await this.#fetch(`chat/${encodeURIComponent(thread)}/stop`, { method: "POST" });
    return (await response.json()).stopped === true;
  }

  async #fetch(path, init) {
    for (;;) {
      const key = sessionStorage.getItem(KEY);
      const headers = { ...init.headers, ...(key === null ? {} : { authorization: `Bearer ${key}` }) };
      let response;
      try {
        response = await fetch(new URL(path, document.baseURI), { ...init, headers, cache: "no-store", credentials: "omit" });
      } catch (error) {
        throw init.signal?.aborted ? error : new Lost("the server cannot be reached");
      }
      if (response.ok) return response;
      const text = (await response.text().catch(() => "")).slice(0, 500);
      if (response.status !== 401 || !(await this.#newKey(key))) throw new Refused(response.status, text);
    }
  }

  // Asks for the key once, for all requests that miss it. `used`: the key that was not enough.
  async #newKey(used) {
    if (sessionStorage.getItem(KEY) !== used) return true; // somebody else was given one meanwhile
    this.asking ??= this.askForKey(used !== null).finally(() => {
      this.asking = null;
    });
    const key = await this.asking;
    if (key === null) return false;
    sessionStorage.setItem(KEY, key);
    return true;
  }
}

// A model that was named by its provider and id has two names. One is enough to choose from.
function namesOf(models) {
  const names = new Set(models.map((model) => model.id));
  return [...names].filter((name) => !models.some((one) => one.id === name && names.has(`${one.owned_by}/${name}`)));
}
