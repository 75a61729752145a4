/** A client for pond and other servers of the PondSocket protocol. */

/** The payloads of a channel's events by name. A pair is a request and its response. */
export type Events = object;

type Name<E extends Events> = Extract<keyof E, string>;
type Payload<T> = T extends readonly [infer Request, unknown] ? Request : T;
/** The arguments after the name of an event. A payload without required members may be omitted. */
type Arguments<T, O> = {} extends T ? [payload?: T, options?: O] : [payload: T, options?: O];
type Response<T> = T extends readonly [unknown, infer Answer] ? Answer : any;

export type Transport = "websocket" | "stream";

/**
 * The reaction to a status with which a connection or a join failed: retry after a delay, retry
 * with a new token, or stop until the application tries again.
 */
export type Reaction = "retry" | "refresh" | "stop";

/**
 * The reactions to HTTP statuses and WebSocket close codes. All others are "retry". A close
 * code from 4000 to 4999 counts as the HTTP status that is 4000 lower. Override entries with
 * the option `reactions`.
 */
export const reactions: Readonly<Record<number, Reaction>>;

/** A code of {@link PondError}: one of the client, or one of the server. */
export type ErrorCode =
  /** The program called close. */
  | "CLOSED"
  /** The last handle of the channel was released. */
  | "LEFT"
  /** The program called clearQueue. */
  | "CLEARED"
  /** The channel was declined, removed or closed, so it cannot send messages. */
  | "NOT_JOINED"
  /** The queue is full: the message was not sent. */
  | "QUEUE_FULL"
  /** The message was queued for longer than `queue.age`: it was not sent. */
  | "EXPIRED"
  /** The connection was lost before the answer: the server may have handled the message, or not. */
  | "OUTCOME_UNKNOWN"
  /** No answer or no connection in time. */
  | "TIMEOUT"
  /** No answer to a join in time. The client joins again. */
  | "JOIN_TIMEOUT"
  /** No data arrived in time, not even an answer to a probe. */
  | "SILENT"
  /** The connection ended; `status` is the close code of a WebSocket. */
  | "DISCONNECTED"
  /** The server rejected the connection or a message; `status` is the HTTP status. */
  | "REJECTED"
  /** The network failed. */
  | "NETWORK"
  /** There is no event stream at this URL. */
  | "NO_STREAM"
  /** There is no WebSocket class, and no other transport is allowed. */
  | "NO_TRANSPORT"
  /** The token, `params` or `headers` could not be evaluated, or the URL is invalid. `cause` contains the reason. */
  | "SETUP"
  /** Messages were lost, and there is no onGap listener. */
  | "GAP"
  /** A numbered message arrived twice or in the wrong order. The client joins again from the last position. */
  | "ORDER"
  /** The server sent something that is not a message. */
  | "INVALID_FRAME"
  | (string & {});

/** An error of the client or of the server. */
export class PondError extends Error {
  constructor(code: ErrorCode, message: string, status?: number, options?: ErrorOptions);
  readonly name: "PondError";
  readonly code: ErrorCode;
  /** The HTTP status or WebSocket close code; 0 if there is none. */
  readonly status: number;
  /** The delay in milliseconds that the server advised, if any. The client obeys it. */
  readonly retryAfter: number | undefined;
}

/** A token, or a token with its lifetime in seconds. The lifetime is a duration, so a wrong clock does not matter. */
export type Token = string | { value: string; expiresIn?: number };

/**
 * A fixed token, or a function that fetches one. It is called when there is no token, or when the token expired or
 * was rejected.
 */
export type TokenSource = string | (() => Token | Promise<Token>);

/** The arguments of functions that compute options. */
export interface TokenContext {
  token: string | undefined;
}

/** What the client uses of a WebSocket. The classes of browsers, of Node, and of the package ws have it. */
export type WebSocketClass = new (url: string) => {
  readonly readyState: number;
  readonly bufferedAmount: number;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(code?: number): void;
};

export interface PondOptions {
  /** Parameters for the query of the URL; a function is called for each attempt. The default is the token as `token`. */
  params?: Record<string, unknown> | ((context: TokenContext) => Record<string, unknown> | Promise<Record<string, unknown>>);
  token?: TokenSource | undefined;
  /** Transports in the order of preference. The default is ["websocket", "stream"]. */
  transports?: readonly Transport[];
  /** Headers for event streams; a function is called for each attempt. */
  headers?: Record<string, string> | ((context: TokenContext) => Record<string, string> | Promise<Record<string, string>>);
  /** Credentials mode of event streams. The default is "same-origin". */
  credentials?: "same-origin" | "include" | "omit";
  /**
   * Milliseconds from the start of an attempt to the first message of the server, and for the answer to a join. The
   * default is 10,000.
   */
  timeout?: number;
  /**
   * Milliseconds after which a WebSocket that is open counts as connected without a first
   * message of the server. Set it for old servers that send none. The default is never.
   */
  welcomeAfter?: number;
  /** Milliseconds for the answer to a request. The default is 30,000. */
  requestTimeout?: number;
  /**
   * Milliseconds of idle time before the client sends a probe, which the server answers; 0 turns it off. The
   * default is 40,000.
   */
  heartbeat?: number;
  /** The limits of the random delay before the first attempt and before later ones, in ms. The default is [1000, 30000]. */
  backoff?: readonly [first: number, limit: number];
  /**
   * The limits of the queue: the number of messages (1,000), their size in bytes (1 MiB), and
   * the time in milliseconds that each message waits (five minutes).
   */
  queue?: { messages?: number; bytes?: number; age?: number };
  /** Overrides entries of {@link reactions}. */
  reactions?: Readonly<Record<number, Reaction>>;
  /** The WebSocket class, if it is not a global. */
  WebSocket?: WebSocketClass;
  /** The fetch function, if it is not the global one. */
  fetch?: typeof fetch;
}

export interface PondSnapshot {
  /**
   * "idle" before the first attempt, "waiting" before the next one, "stopped" after the
   * reaction "stop", and "closed" after close.
   */
  readonly status: "idle" | "connecting" | "connected" | "waiting" | "stopped" | "closed";
  readonly transport: Transport | null;
  /** The client's own user ID; each connection has a new one. */
  readonly userId: string | null;
  /** The time of the next attempt, as returned by Date.now. */
  readonly retryAt: number | null;
  /** Why the client waits or stopped. */
  readonly error: PondError | null;
}

export interface ChannelOptions {
  /** The payload of the join; a function is called for each join. */
  params?: object | ((context: TokenContext) => object | Promise<object>);
  /** How many past messages to ask for with the first join, if the channel has history. */
  last?: number;
}

/** A tracked user. `id` is null if the server does not send it. */
export interface Member<P = any> {
  readonly id: string | null;
  /** The identity of the user, if the server publishes it. */
  readonly user?: string;
  readonly presence: P;
}

export interface PresenceChange<P = any> {
  readonly joins: readonly Member<P>[];
  readonly updates: readonly Member<P>[];
  readonly leaves: readonly Member<P>[];
}

/**
 * How a channel was joined: "recovered" if the server sends all missed messages, "gap" if
 * messages were lost, and "fresh" for the first join and for channels without history. Load the
 * state after each outcome except "recovered".
 */
export interface JoinOutcome {
  readonly status: "fresh" | "recovered" | "gap";
  /** Why messages cannot be recovered: "epoch", "expired", "limit" or "unavailable". */
  readonly reason?: string;
}

export interface ChannelSnapshot<P = any> {
  /**
   * "idle" while no handle uses the channel, "declined" after a permanent rejection, and
   * "removed" after the server ended the membership. After both, join tries again.
   */
  readonly status: "idle" | "joining" | "joined" | "declined" | "removed";
  readonly presence: readonly Member<P>[];
  /** Why the channel is not joined. */
  readonly error: PondError | null;
  /** The outcome of the latest join. */
  readonly outcome: JoinOutcome | null;
}

/** A whole message, for listeners that need more than its payload. */
export interface Message<T = any> {
  readonly action: string;
  readonly event: string;
  readonly channelName: string;
  readonly requestId: string;
  readonly payload: T;
  /** The number of a message that the channel keeps. */
  readonly offset?: number;
  /** Whether it was sent again after a join. */
  readonly replayed: boolean;
}

export interface SendOptions {
  /** Removes the message from the queue, and stops waiting for an answer. */
  signal?: AbortSignal;
  /** Whether the message may be sent again if it is unknown whether the server received it. The default is false. */
  idempotent?: boolean;
}

export interface RequestOptions extends SendOptions {
  /** Milliseconds for the answer, including the time in the queue. The default is `requestTimeout`. */
  timeout?: number;
}

/**
 * A handle for a channel. Any number of handles share one membership. A handle uses the channel while it has a listener,
 * and from join until leave. (send and request on a handle without a listener also join.) The channel is joined while a
 * handle uses it, and is joined again after every lost connection.
 *
 * Functions that add a listener return one that removes it.
 */
export interface Channel<E extends Events = Record<string, any>, P = any> {
  readonly name: string;

  /** Calls the listener for each event of this name. */
  on<K extends Name<E>>(event: K, listener: (payload: Payload<E[K]>, message: Message<Payload<E[K]>>) => void): () => void;

  /** Calls the listener for all events. */
  onMessage(listener: (message: Message) => void): () => void;

  /** Calls the listener after each change of the presence list. The change is null if the whole list is new. */
  onPresence(listener: (presence: readonly Member<P>[], change: PresenceChange<P> | null) => void): () => void;

  /** Calls the listener after each join, before the messages that follow it. */
  onJoin(listener: (outcome: JoinOutcome) => void): () => void;

  /** Calls the listener when messages were lost: load the state again. Without a listener it is reported as an error. */
  onGap(listener: (gap: { readonly reason: string }) => void): () => void;

  /**
   * Calls the listener for errors that no promise reports, and for declined joins. Without a listener, they go to Pond.onError, and without
   * a listener there to the console.
   */
  onError(listener: (error: PondError) => void): () => void;

  /** Calls the listener after each change of the snapshot. It and getSnapshot need no `this`. */
  readonly subscribe: (listener: (snapshot: ChannelSnapshot<P>) => void) => () => void;

  /** The current state. The object stays the same until the state changes. */
  readonly getSnapshot: () => ChannelSnapshot<P>;

  readonly status: ChannelSnapshot["status"];
  readonly presence: readonly Member<P>[];

  /**
   * Joins the channel, even after it was declined or removed, and resolves when it is joined.
   * It rejects if the server declines. If the connection is lost, it continues to wait. An
   * abort releases the channel.
   */
  join(options?: { signal?: AbortSignal }): Promise<JoinOutcome>;

  /**
   * Sends an event, and joins first if necessary. It resolves when the message was passed to
   * the connection, which does not mean that the server received it. If you need certainty, use
   * request.
   */
  send<K extends Name<E>>(event: K, ...rest: Arguments<Payload<E[K]>, SendOptions>): Promise<void>;

  /** Sends an event and resolves to the payload of its answer, the first message with the same request ID. */
  request<K extends Name<E>>(event: K, ...rest: Arguments<Payload<E[K]>, RequestOptions>): Promise<Response<E[K]>>;

  /** Removes the listeners of this handle and releases the channel. The handle can be used again. */
  leave(): void;
}

/** A connection to an endpoint. It opens when the first channel is used, or with connect. */
export class Pond {
  /** The URL may be relative to the page. The schemes http and https are the same as ws and wss. */
  constructor(url: string | URL, options?: PondOptions);

  /**
   * Returns a handle, which causes no traffic until it is used. Options of later handles replace those of earlier
   * ones at the next join.
   */
  channel<E extends Events = Record<string, any>, P = any>(name: string, options?: ChannelOptions): Channel<E, P>;

  /** Connects now, without waiting for the first channel or the delay, even after the client stopped. */
  connect(): void;

  /** Closes the connection and all channels permanently. Messages without an answer reject. */
  close(): void;

  /** Replaces the token. If the old one was rejected, the client connects and joins again. */
  setToken(token: TokenSource | undefined): void;

  /** Calls the listener for messages of the connection handler, which do not belong to a channel. */
  on(event: string, listener: (payload: any, message: Message) => void): () => void;

  /** Calls the listener for errors without a listener of a channel. Without a listener here, they go to the console. */
  onError(listener: (error: PondError) => void): () => void;

  /** Calls the listener after each change of the snapshot. It and getSnapshot need no `this`. */
  readonly subscribe: (listener: (snapshot: PondSnapshot) => void) => () => void;

  /** The current state. The object stays the same until the state changes. */
  readonly getSnapshot: () => PondSnapshot;

  readonly status: PondSnapshot["status"];
  readonly userId: string | null;

  /** The number of queued messages. */
  readonly queued: { readonly messages: number; readonly bytes: number };

  /** Rejects the queued messages. */
  clearQueue(): void;
}
