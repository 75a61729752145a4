import { PondError, toPondError } from "./errors.js";
import type { Link, LinkEvents, Outgoing } from "./wire.js";

/** The characters of a POST with several messages, well below the limit of a server. */
const BATCH = 32_768;

const POST_TIMEOUT = 30_000;

/** The number of times that the server may ask to send a POST again later. */
const MAX_RETURNS = 5;

type Request = (init: RequestInit) => Promise<Response>;

/** Opens an event stream that is read with fetch. Messages to the server are POSTs, one at a time. */
export function openStream(request: Request, events: LinkEvents): Link {
  const abort = new AbortController();
  const { signal } = abort;
  let id = "";
  let batch = false;
  let busy = false;
  let returns = 0;
  let backlog: Outgoing[] = [];

  const lost = (error: unknown) => {
    abort.abort();
    events.lost(toPondError(error, "NETWORK"));
  };

  const read = async () => {
    const response = await request({ headers: { accept: "text/event-stream" }, signal });
    const { status, headers, body } = response;
    if (status !== 200) throw await rejection(response);
    if (!body || !headers.get("content-type")?.startsWith("text/event-stream")) {
      throw new PondError("NO_STREAM", "not an event stream", 406);
    }
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    let data = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (signal.aborted) return;
      if (done) throw new PondError("DISCONNECTED", "the event stream ended");
      events.heard();
      const lines = (rest + value).split(/\r\n|\n|\r/);
      rest = lines.pop()!;
      for (const line of lines) {
        if (line.startsWith("data:")) data += `${line.slice(5)}\n`;
        else if (!line && data) {
          events.text(data);
          data = "";
        }
      }
    }
  };

  const post = async (messages: Outgoing[]): Promise<void> => {
    const texts = messages.map(({ text }) => text);
    for (const message of messages) message.sent = true;
    const timer = setTimeout(() => lost(new PondError("TIMEOUT", "no answer to a POST", 408)), POST_TIMEOUT);
    const error = await request({
      method: "POST",
      headers: { "content-type": "application/json", "x-connection-id": id },
      body: texts.length > 1 ? `[${texts}]` : texts[0]!,
      signal,
    })
      .then((response) => (response.ok ? null : rejection(response)))
      .finally(() => clearTimeout(timer));
    if (!error) {
      returns = 0;
      for (const message of messages) message.taken?.();
      return;
    }
    const { status, retryAfter = 1000 } = error;
    const alone = messages.length === 1;
    if (status < 500 && ![401, 404, 429].includes(status) && alone) return messages[0]!.failed?.(error);
    if (status >= 500 && status !== 503) throw error;
    // None was taken. If they were several, each goes alone, so that only the bad one fails.
    for (const message of messages) message.sent = false;
    backlog.unshift(...messages);
    if (status === 404) throw new PondError("NETWORK", "unknown event stream");
    if (status === 401 || (status === 503 && ++returns > MAX_RETURNS)) throw error;
    if (alone) await new Promise((resolve) => setTimeout(resolve, Math.min(retryAfter, POST_TIMEOUT)));
    else batch = false;
  };

  const pump = async () => {
    if (busy || !id) return;
    busy = true;
    try {
      while (!signal.aborted) {
        backlog = backlog.filter(({ done }) => !done);
        if (!backlog.length) break;
        let size = backlog[0]!.text.length;
        let count = 1;
        while (batch && count < backlog.length && (size += backlog[count]!.text.length) < BATCH) count++;
        await post(backlog.splice(0, count));
      }
    } catch (error) {
      lost(error); // it is unknown whether the server received the messages
    }
    busy = false;
  };

  read().catch(lost);
  return {
    waiting: 0, // the backlog counts as queued
    welcome(secret, several) {
      id = secret;
      batch = several;
      void pump();
    },
    send(message) {
      backlog.push(message);
      void pump();
    },
    close: () => abort.abort(),
  };
}

async function rejection(response: Response): Promise<PondError> {
  const { status, headers } = response;
  const text = (await response.text().catch(() => "")).slice(0, 500).trim();
  const error = new PondError("REJECTED", text || `status ${status}`, status);
  const seconds = Number(headers.get("retry-after")); // a date would depend on the clock
  if (seconds > 0) error.retryAfter = seconds * 1000;
  return error;
}
