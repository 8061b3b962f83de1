// Runs chats of one version of the npm package `ai` against a server, and prints what each of them sees, as JSON.
// node ui_client.mjs FOLDER_OF_THE_PACKAGE MAJOR SERVER SCENARIO…
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, sdk, server, ...scenarios] = process.argv.slice(2);
const resolve = createRequire(pathToFileURL(join(folder, 'package.json'))).resolve;
const ai = await import(pathToFileURL(resolve('ai')));
const { AbstractChat, DefaultChatTransport } = ai.AbstractChat ? ai : ai.default;
const major = sdk[0];

const copy = (value) => structuredClone(value);

class State {
  constructor(messages) {
    this.status = 'ready';
    this.error = undefined;
    this.messages = messages;
    this.snapshot = copy;
    this.waiting = [];
  }
  changed() {
    this.waiting = this.waiting.filter(([test, done]) => !(test() && (done(), true)));
  }
  pushMessage = (message) => { this.messages = [...this.messages, message]; this.changed(); };
  popMessage = () => { this.messages = this.messages.slice(0, -1); this.changed(); };
  replaceMessage = (index, message) => {
    this.messages = this.messages.map((one, at) => (at === index ? copy(message) : one));
    this.changed();
  };
}

class Chat extends AbstractChat {
  constructor(scenario, { messages = [], id = `${scenario}-${sdk.replaceAll('.', '_')}`, ...options } = {}) {
    const state = new State(messages);
    const data = [];
    const seen = { statuses: [] };
    const transport = new DefaultChatTransport({
      api: `${server}/chat`,
      body: { sdk, scenario },
      fetch: async (url, init) => {
        const response = await fetch(`${url}${init?.method === 'GET' || !init?.body ? `?sdk=${sdk}` : ''}`, init);
        seen.statuses.push(response.status);
        return response;
      },
    });
    super({ id, state, transport, onData: (part) => data.push(part), onError: () => {}, ...options });
    this.kept = state;
    this.data = data;
    this.seen = seen;
  }
  until(test) {
    return new Promise((done) => {
      this.kept.waiting.push([() => test(this), done]);
      this.kept.changed();
    });
  }
  result() {
    return {
      status: this.status,
      error: this.error?.message,
      messages: this.messages,
      data: this.data,
      statuses: this.seen.statuses,
    };
  }
}

const settled = (chat) => chat.until(() => chat.status === 'ready' || chat.status === 'error');
// `status` is a setter of AbstractChat's: the state learns of it a moment later.
const tick = setInterval(() => chats.forEach((chat) => chat.kept.changed()), 2);
const chats = [];
const make = (...args) => { const chat = new Chat(...args); chats.push(chat); return chat; };
const say = (chat, text = 'Hi') => chat.sendMessage({ text });
const text = (chat) => (chat.messages.at(-1)?.parts ?? []).filter((p) => p.type === 'text').map((p) => p.text).join('');
const part = (chat, name) => chat.messages.at(-1)?.parts.find((p) => p.type === `tool-${name}`);
const open = (gate) => fetch(`${server}/gate/${gate}`, { method: 'POST' });

const run = {
  async default(name) {
    const chat = make(name);
    await say(chat);
    return chat.result();
  },
  async parallel(name) {
    const chat = make(name);
    const over = say(chat);
    await chat.until(() => text(chat).includes('text goes on'));
    const during = copy(chat.messages.at(-1).parts);
    await open(chat.id);
    await over;
    return { ...chat.result(), during };
  },
  async progress(name) {
    const chat = make(name);
    const over = say(chat);
    await chat.until(() => part(chat, 'count')?.output?.done === 1);
    const during = copy(part(chat, 'count'));
    await open(chat.id);
    await over;
    return { ...chat.result(), during };
  },
  async approve(name) {
    const chat = make(name, {
      sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithApprovalResponses,
    });
    await say(chat);
    const asked = copy(part(chat, 'book'));
    const posted = chat.seen.statuses.length;
    await chat.addToolApprovalResponse({ id: asked.approval.id, approved: name === 'approve', reason: 'not today' });
    await chat.until(() => chat.seen.statuses.length > posted && text(chat).includes('Done'));
    await settled(chat);
    const result = chat.result();
    // What was decided is decided: the same post again reads the run that it began.
    const again = await fetch(`${server}/chat`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        id: chat.id, sdk, scenario: name, trigger: 'submit-message', messages: [{
          ...chat.messages.at(-1),
          parts: [{ ...asked, state: 'approval-responded', input: { seats: 999 },
            approval: { ...asked.approval, approved: true } }],
        }],
      }),
    });
    return { ...result, asked, again: [again.status, await again.text()] };
  },
  async deny(name) { return run.approve(name); },
  async two_approvals(name) {
    const chat = make(name, {
      sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithApprovalResponses,
    });
    await say(chat);
    const [first, second] = chat.messages.at(-1).parts.filter((one) => one.type === 'tool-book');
    const posted = chat.seen.statuses.length;
    await chat.addToolApprovalResponse({ id: second.approval.id, approved: false, reason: 'one is enough' });
    const between = chat.seen.statuses.length - posted;
    await chat.addToolApprovalResponse({ id: first.approval.id, approved: true });
    await chat.until(() => text(chat).includes('Done'));
    await settled(chat);
    return { ...chat.result(), between };
  },
  async mixed(name) {
    const chat = make(name, {
      sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithApprovalResponses,
      onToolCall: ({ toolCall }) => {
        if (toolCall.toolName !== 'place') return;
        void chat.addToolOutput({ tool: 'place', toolCallId: toolCall.toolCallId, output: { place: 'Oslo' } });
      },
    });
    await say(chat);
    const asked = copy(chat.messages.at(-1).parts);
    await chat.addToolApprovalResponse({ id: part(chat, 'book').approval.id, approved: true });
    await chat.until(() => text(chat).includes('Done'));
    await settled(chat);
    return { ...chat.result(), asked };
  },
  async resume_approval(name) {
    const first = make(name, {
      sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithApprovalResponses,
    });
    await say(first);
    const asked = copy(first.messages);
    await first.addToolApprovalResponse({ id: part(first, 'book').approval.id, approved: true });
    await first.until(() => text(first).includes('half'));
    await first.stop();
    const chat = make(name, { messages: asked });
    const again = chat.resumeStream();
    await chat.until(() => text(chat).includes('half'));
    await open(chat.id);
    await again;
    return chat.result();
  },
  async go_on_after_error(name) {
    const chat = make(name);
    await say(chat);
    const failed = chat.status;
    await say(chat, 'And now?');
    return { ...chat.result(), failed };
  },
  echo_outcomes: (name) => run.echo(name),
  async echo_denied(name) {
    const chat = make(name, {
      sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithApprovalResponses,
    });
    await say(chat);
    await chat.addToolApprovalResponse({ id: part(chat, 'book').approval.id, approved: false, reason: 'not today' });
    await chat.until(() => text(chat).includes('Well then'));
    await settled(chat);
    await say(chat, 'And now?');
    return chat.result();
  },
  async undecided(name) {
    const chat = make(name);
    await say(chat);
    await say(chat, 'Never mind');
    return chat.result();
  },
  async client_tool(name) {
    const chat = make(name, {
      sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithToolCalls,
      onToolCall: ({ toolCall }) => {
        const give = chat.addToolOutput ?? chat.addToolResult;
        void give.call(chat, { tool: toolCall.toolName, toolCallId: toolCall.toolCallId, output: { place: 'Paris' } });
      },
    });
    await say(chat);
    await chat.until(() => text(chat).includes('Done'));
    await settled(chat);
    return chat.result();
  },
  async resume(name) {
    const first = make(name);
    const over = say(first);
    await first.until(() => text(first).includes('half'));
    await first.stop();
    await over;
    const chat = make(name, { messages: first.messages.slice(0, 1) });
    const again = chat.resumeStream();
    await chat.until(() => text(chat).includes('half'));
    await open(chat.id);
    await again;
    const last = make(name, { messages: copy(chat.messages) });
    await last.resumeStream();
    return { ...chat.result(), first: first.result(), last: last.result() };
  },
  async resume_over(name) {
    // The same instance has half of the message.
    const chat = make(name);
    const over = say(chat);
    await chat.until(() => text(chat).includes('half'));
    await chat.stop();
    await over;
    const again = chat.resumeStream();
    await open(chat.id);
    await again;
    return chat.result();
  },
  async stop(name) {
    const chat = make(name);
    const over = say(chat);
    await chat.until(() => text(chat).includes('half'));
    const stopped = await fetch(`${server}/chat/${chat.id}/stop`, { method: 'POST' });
    await over;
    return { ...chat.result(), stopped: await stopped.json() };
  },
  async echo(name) {
    const chat = make(name);
    await say(chat);
    await say(chat, 'And now?');
    return chat.result();
  },
  async busy(name) {
    const first = make(name);
    const over = say(first);
    await first.until(() => text(first).includes('half'));
    const chat = make(name);
    await say(chat, 'Too soon');
    await open(first.id);
    await over;
    return chat.result();
  },
};

const results = {};
await Promise.all(scenarios.map(async (name) => {
  try {
    const late = new Promise((_, fail) => setTimeout(() => fail(new Error(`${name} does not end`)), 20_000).unref());
    results[name] = await Promise.race([(run[name] ?? run.default)(name), late]);
  } catch (error) {
    results[name] = { crashed: String(error?.stack ?? error) };
  }
}));
clearInterval(tick);
console.log(JSON.stringify(results));
process.exit(0);
