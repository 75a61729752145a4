// begin react
import { useEffect, useMemo, useState, useSyncExternalStore } from "react";

/** Joins a channel while a component that uses it is mounted. */
export function useChannel(pond, name) {
  const channel = useMemo(() => pond.channel(name), [pond, name]);
  const snapshot = useSyncExternalStore(channel.subscribe, channel.getSnapshot, channel.getSnapshot);
  return [channel, snapshot];
}

export function Chat({ pond, name }) {
  const [channel, { status, presence }] = useChannel(pond, name);
  const [messages, setMessages] = useState([]);

  useEffect(() => channel.on("say", (message) => setMessages((before) => [...before, message])), [channel]);
  useEffect(() => channel.onGap(() => setMessages([])), [channel]); // and load them, if the server keeps them

  return (
    <section>
      <p>{status}, {presence.length} here</p>
      <ul>{messages.map(({ id, text }) => <li key={id}>{text}</li>)}</ul>
      <button disabled={status !== "joined"} onClick={() => channel.send("say", { id: crypto.randomUUID(), text: "hello" })}>
        Say hello
      </button>
    </section>
  );
}
// end react
