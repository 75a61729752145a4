/** Shares one connection between the tabs of an origin. */

import type { PondOptions } from "./pond.js";

/**
 * Options for a Pond that shares one connection with the other tabs of the origin, in a shared worker whose script is
 * this module. The script is its own URL; with a bundler, give the URL where it is served, and under Trusted Types a
 * TrustedScriptURL. Where there are no shared workers, the options change nothing: each tab has its own connection.
 */
export function shared(script?: string | URL | { toString(): string }): Pick<PondOptions, "WebSocket" | "transports">;

/** Serves one tab, for a shared worker with a script of your own: `onconnect = ({ ports }) => serve(ports[0])`. */
export function serve(port: MessagePort, environment?: { WebSocket?: typeof WebSocket; fetch?: typeof fetch }): void;
