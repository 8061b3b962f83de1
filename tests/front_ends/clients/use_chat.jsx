// A page with the real `useChat` of the AI SDK, against a server of another origin: ?server=ADDRESS&chat=ID
import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport, lastAssistantMessageIsCompleteWithApprovalResponses } from "ai";
import React from "react";
import { createRoot } from "react-dom/client";

const asked = new URLSearchParams(location.search);
const [server, id] = [asked.get("server"), asked.get("chat")];
const transport = new DefaultChatTransport({ api: `${server}/chat`, body: { sdk: "7" } });
const kept = JSON.parse(localStorage.getItem(id) ?? "[]");

function Part({ part, answer }) {
  if (part.type === "text") return <p className="text">{part.text}</p>;
  if (part.type === "reasoning") return <p className="reasoning">{part.text}</p>;
  if (!part.type.startsWith("tool-")) return null;
  return (
    <section className="tool" aria-label={part.type}>
      <b className="state">{part.state}</b>
      <code className="output">{JSON.stringify(part.output ?? part.errorText ?? null)}</code>
      {part.state === "approval-requested" && (
        <>
          <button onClick={() => answer({ id: part.approval.id, approved: true })}>Approve</button>
          <button onClick={() => answer({ id: part.approval.id, approved: false, reason: "not today" })}>Deny</button>
        </>
      )}
    </section>
  );
}

function Chat() {
  const [text, setText] = React.useState("");
  const { messages, sendMessage, status, error, addToolApprovalResponse } = useChat({
    id,
    messages: kept,
    resume: true,
    transport,
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
  });
  React.useEffect(() => {
    const runs = status === "streaming" || status === "submitted";
    const whole = runs && messages.at(-1)?.role === "assistant" ? messages.slice(0, -1) : messages;
    localStorage.setItem(id, JSON.stringify(whole)); // a page keeps what is complete, and reads the rest again
  }, [messages, status]);
  return (
    <main>
      {messages.map((message) => (
        <article key={message.id} className={message.role}>
          {message.parts.map((part, index) => <Part key={index} part={part} answer={addToolApprovalResponse} />)}
        </article>
      ))}
      <output>{status}</output>
      <p className="error">{error?.message}</p>
      <form onSubmit={(event) => { event.preventDefault(); sendMessage({ text }); setText(""); }}>
        <input aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} />
      </form>
      <button onClick={() => fetch(`${server}/chat/${id}/stop`, { method: "POST" })}>Stop</button>
    </main>
  );
}

createRoot(document.getElementById("root")).render(<Chat />);
