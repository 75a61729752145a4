/** Shares one connection between the tabs of an origin. */

import type { PondOptions, WebSocketClass } from "./pond.js";

/**
 * Options for a Pond that shares one connection with the other tabs of the origin, in a shared
 * worker whose script is this module. The default script is the module's own URL. With a
 * bundler, pass the URL where the module is served; if the page enforces Trusted Types, pass a
 * TrustedScriptURL. If the browser has no shared workers, the options have no effect, and each
 * tab has its own connection.
 */
export function shared(script?: string | URL | { toString(): string }): Pick<PondOptions, "WebSocket" | "transports">;

/** Serves one tab, for a shared worker with your own script: `onconnect = ({ ports }) => serve(ports[0])`. */
export function serve(port: MessagePort, environment?: { WebSocket?: WebSocketClass; fetch?: typeof fetch }): void;
