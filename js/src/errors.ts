import type { Reaction } from "../pond.js";

/** An error with a code to compare, a text to show, and the HTTP status or WebSocket close code, if there is one. */
export class PondError extends Error {
  override readonly name = "PondError";
  readonly code: string;
  readonly status: number;
  retryAfter: number | undefined;

  constructor(code: string, message: string, status = 0, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.status = status;
  }
}

/** Parses an error message of a server, in any form that servers of the protocol use. */
export function serverError({ event, payload }: { event: string; payload: any }): PondError {
  const { code, message, reason, status, error } = payload ?? {};
  return new PondError(
    typeof code === "string" ? code : event,
    message ?? error?.message ?? reason ?? (typeof error === "string" ? error : "rejected by the server"),
    Number(status ?? code) || 0,
  );
}

/**
 * How the client reacts to an HTTP status or a close code. For all others, it retries. A close
 * code from 4400 to 4599 counts as the HTTP status that is 4000 lower.
 */
export const reactions: Record<number, Reaction> = {
  204: "stop",
  400: "stop",
  401: "refresh",
  403: "stop",
  404: "stop",
  405: "stop",
  406: "stop",
  410: "stop",
  413: "stop",
  426: "stop",
  1000: "stop",
  1002: "stop",
  1003: "stop",
  1007: "stop",
  1008: "stop",
  1009: "stop",
};

export function reactionTo({ status }: PondError, custom?: Readonly<Record<number, Reaction>>): Reaction {
  const table = { ...reactions, ...custom };
  return table[status] ?? ((status > 4399 && status < 4600 && table[status - 4000]) || "retry");
}

/** Returns a PondError unchanged, and wraps an error of the application or the platform. */
export const toPondError = (error: any, code: string): PondError =>
  error instanceof PondError ? error : new PondError(code, error?.message, 0, { cause: error });
