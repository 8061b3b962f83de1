// Runs agents of one version of `@ag-ui/client` against a server, and prints what each of them sees, as JSON.
// node agui_client.mjs FOLDER_OF_THE_PACKAGE VERSION SERVER SCENARIO…
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, version, server, ...scenarios] = process.argv.slice(2);
const { HttpAgent } = createRequire(pathToFileURL(join(folder, 'package.json')))('@ag-ui/client');
console.warn = () => {};
console.error = () => {};

const open = (gate) => fetch(`${server}/gate/${gate}`, { method: 'POST' });

function make(scenario) {
  const threadId = `${scenario}-agui-${version.replaceAll('.', '_')}`;
  const agent = new HttpAgent({ url: `${server}/agui`, threadId });
  agent.seen = [];
  agent.subscribe({
    onEvent: ({ event }) => {
      agent.seen.push(structuredClone(event));
      agent.onSeen?.(event);
    },
  });
  return agent;
}

async function go(agent, scenario, more = {}) {
  try {
    await agent.runAgent({ forwardedProps: { scenario }, ...more });
  } catch (error) {
    agent.threw = String(error?.message ?? error);
  }
}

const result = (agent) => ({ messages: agent.messages, events: agent.seen, threw: agent.threw });
const user = (content = 'Hi') => ({ id: `user-${content}`, role: 'user', content });
const when = (agent, test) => new Promise((done) => {
  let all = '';
  agent.onSeen = (event) => {
    if (event.type === 'TEXT_MESSAGE_CONTENT') all += event.delta;
    if (test(event, all)) done();
  };
});

const run = {
  async default(name) {
    const agent = make(name);
    agent.addMessage(user());
    await go(agent, name);
    return result(agent);
  },
  async gated(name, test) {
    const agent = make(name);
    agent.addMessage(user());
    const seen = when(agent, test);
    const over = go(agent, name);
    await seen;
    await open(agent.threadId);
    await over;
    return result(agent);
  },
  parallel: (name) => run.gated(name, (event, all) => all.includes('text goes on')),
  progress: (name) => run.gated(name, (event) => event.type === 'CUSTOM' && event.name === 'tool_progress'),
  async approve(name) {
    const agent = make(name);
    agent.addMessage(user());
    await go(agent, name);
    const finished = agent.seen.at(-1);
    const payload = { approved: name === 'approve', reason: 'not today' };
    const resume = finished.outcome.interrupts.map((one) => ({ interruptId: one.id, status: 'resolved', payload }));
    await go(agent, name, { resume });
    return { ...result(agent), finished };
  },
  deny: (name) => run.approve(name),
  async two_approvals(name) {
    const agent = make(name);
    agent.addMessage(user());
    await go(agent, name);
    const finished = agent.seen.at(-1);
    const resume = finished.outcome.interrupts.map((one, index) => ({
      interruptId: one.id,
      status: 'resolved',
      payload: index === 0 ? { approved: true } : { approved: false, reason: 'one is enough' },
    }));
    await go(agent, name, { resume });
    return { ...result(agent), finished };
  },
  async mixed(name) {
    const agent = make(name);
    agent.addMessage(user());
    const tools = [{ name: 'place', description: 'Where', parameters: { type: 'object', properties: {} } }];
    await go(agent, name, { tools });
    const finished = agent.seen.at(-1);
    agent.addMessage({ id: 'result-1', role: 'tool', toolCallId: 'p1', content: 'Oslo' });
    const payload = { approved: true };
    const resume = finished.outcome.interrupts.map((one) => ({ interruptId: one.id, status: 'resolved', payload }));
    await go(agent, name, { tools, resume });
    return { ...result(agent), finished };
  },
  async cancelled(name) {
    const agent = make(name);
    agent.addMessage(user());
    await go(agent, name);
    const finished = agent.seen.at(-1);
    const resume = finished.outcome.interrupts.map((one) => ({ interruptId: one.id, status: 'cancelled' }));
    await go(agent, name, { resume });
    return { ...result(agent), finished };
  },
  go_on_after_error: (name) => run.echo(name),
  echo_outcomes: (name) => run.echo(name),
  async echo_denied(name) {
    const agent = make(name);
    agent.addMessage(user());
    await go(agent, name);
    const payload = { approved: false, reason: 'not today' };
    const resume = agent.seen.at(-1).outcome.interrupts.map((one) => ({ interruptId: one.id, status: 'resolved', payload }));
    await go(agent, name, { resume });
    agent.addMessage(user('And now?'));
    await go(agent, name);
    return result(agent);
  },
  async client_tool(name) {
    const agent = make(name);
    agent.addMessage(user());
    const tools = [{ name: 'place', description: 'Where', parameters: { type: 'object', properties: {} } }];
    await go(agent, name, { tools });
    const finished = agent.seen.at(-1);
    agent.addMessage({ id: 'result-1', role: 'tool', toolCallId: 'c1', content: 'Paris' });
    await go(agent, name, { tools });
    return { ...result(agent), finished };
  },
  async stop(name) {
    const agent = make(name);
    agent.addMessage(user());
    const seen = when(agent, (event, all) => all.includes('half'));
    const over = go(agent, name);
    await seen;
    await fetch(`${server}/agui/${agent.threadId}/stop`, { method: 'POST' });
    await over;
    return result(agent);
  },
  async resume(name) {
    const first = make(name);
    first.addMessage(user());
    const seen = when(first, (event, all) => all.includes('half'));
    const over = go(first, name);
    await seen;
    first.abortRun();
    await over.catch(() => {});
    const agent = make(name);
    agent.addMessage(user());
    agent.url = `${server}/agui/${agent.threadId}/stream`;
    agent.requestInit = () => ({ method: 'GET', signal: agent.abortController.signal });
    const again = when(agent, (event, all) => all.includes('half'));
    const reading = go(agent, name);
    await again;
    await open(agent.threadId);
    await reading;
    return result(agent);
  },
  async echo(name) {
    const agent = make(name);
    agent.addMessage(user());
    await go(agent, name);
    agent.addMessage(user('And now?'));
    await go(agent, name);
    return result(agent);
  },
};

const results = {};
process.on('uncaughtException', (error) => { results.uncaught = { crashed: String(error?.stack ?? error) }; });
await Promise.all(scenarios.map(async (name) => {
  try {
    const late = new Promise((_, fail) => setTimeout(() => fail(new Error(`${name} does not end`)), 20_000).unref());
    results[name] = await Promise.race([(run[name] ?? run.default)(name), late]);
  } catch (error) {
    results[name] = { crashed: String(error?.stack ?? error) };
  }
}));
console.log(JSON.stringify(results));
process.exit(0);
