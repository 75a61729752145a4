import type { PondError } from "./errors.js";

/** A message in either direction. A message of the server has an offset if its channel has history. */
export interface Message {
  action: string;
  event: string;
  channelName: string;
  requestId: string;
  payload: any;
  offset?: number;
}

export const encode = (action: string, channelName: string, requestId: string, payload: unknown, event = action, extra?: object): string =>
  JSON.stringify({ action, event, channelName, requestId, payload, ...extra });

/** crypto.randomUUID would be sufficient, but browsers have it only on localhost and over HTTPS. */
export const newId = (): string => crypto.getRandomValues(new Uint32Array(4)).join("-");

/** Servers of the protocol use different codes for a rejected join and for the end of a membership. */
export const REFUSALS = ["UNAUTHORIZED", "NOT_FOUND", "INTERNAL_ERROR"];
export const REMOVALS = ["kicked_out", "EVICTED", "evicted", "destroyed"];

/** The name of a channel that no client joins. The server answers a request to leave it. */
export const PROBE = "pond.js/probe";

/** A message that leaves a channel. */
export const encodeLeave = (channelName: string): string => encode("LEAVE_CHANNEL", channelName, newId(), {});

/** A message that a server answers, but that has no effect. It depends on the sender of the server's first message. */
export const probeFor = (sender: string): string =>
  sender === "GATEWAY" ? '{"action":"ping"}' : encodeLeave(PROBE);

/** Evaluates an option that may be a function of the token. */
export const evaluate = async <T>(value: T | ((context: { token: string | undefined }) => T | Promise<T>), token: string | undefined): Promise<T> =>
  typeof value === "function" ? (value as Function)({ token }) : value;

/** A message for a link to send. */
export interface Outgoing {
  readonly text: string;
  /** Whether the server may have received it; set by the link. */
  sent?: boolean;
  /** Whether it must not be sent any more; set by the owner. */
  done?: boolean;
  /** The link passed it to the network. */
  taken?(): void;
  /** The server rejected it. */
  failed?(error: PondError): void;
}

/** One connection over one transport. */
export interface Link {
  /** Bytes that the transport accepted, but did not send yet. */
  readonly waiting: number;
  /**
   * Passes data of the server's first message: the secret of an event stream, and whether a POST may contain
   * several messages.
   */
  welcome(id: string, batch: boolean): void;
  send(message: Outgoing): void;
  close(): void;
}

/** The events of a link. After lost or close, the owner ignores them. */
export interface LinkEvents {
  /** A WebSocket is open. */
  opened(): void;
  /** Data arrived, possibly only a heartbeat. */
  heard(): void;
  text(data: unknown): void;
  /** The connection ended. */
  lost(error: PondError): void;
}
