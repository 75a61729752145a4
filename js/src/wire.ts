import type { PondError } from "./errors.js";

/** A message in either direction. A server's has an offset if its channel has history. */
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

/** crypto.randomUUID would do, but browsers have it only on localhost and over HTTPS. */
export const newId = (): string => crypto.getRandomValues(new Uint32Array(4)).join("-");

/** Servers of the protocol have different words for the refusal of a join, and for the end of a membership. */
export const REFUSALS = ["UNAUTHORIZED", "NOT_FOUND", "INTERNAL_ERROR"];
export const REMOVALS = ["kicked_out", "EVICTED", "evicted", "destroyed"];

/** The name of a channel that no one joins: to leave it is a question that the server answers. */
export const PROBE = "pond.js/probe";

/** A message without an effect that a server answers, by the name of the sender of its first message. */
export const probeFor = (sender: string): string =>
  sender === "GATEWAY" ? '{"action":"ping"}' : encode("LEAVE_CHANNEL", PROBE, newId(), {});

/** Evaluates an option that may be a function of the token. */
export const evaluate = async <T>(value: T | ((context: { token: string | undefined }) => T | Promise<T>), token: string | undefined): Promise<T> =>
  typeof value === "function" ? (value as Function)({ token }) : value;

/** A message for a link to send. */
export interface Outgoing {
  readonly text: string;
  /** Whether the server may have it; set by the link. */
  sent?: boolean;
  /** Whether it need not be sent any more; set by the owner. */
  done?: boolean;
  /** The link handed it over. */
  taken?(): void;
  /** The server rejects it. */
  failed?(error: PondError): void;
}

/** One connection over one transport. */
export interface Link {
  /** Bytes that the transport has accepted and not sent yet. */
  readonly waiting: number;
  /** Takes the facts of the server's first message: the secret of an event stream, and whether a POST may have several messages. */
  welcome(id: string, batch: boolean): void;
  send(message: Outgoing): void;
  close(): void;
}

/** The events of a link. Nothing follows lost. */
export interface LinkEvents {
  /** A WebSocket is open. */
  opened(): void;
  /** Something arrived, if only a heartbeat. */
  heard(): void;
  text(data: unknown): void;
  /** The connection ended. */
  lost(error: PondError): void;
}
