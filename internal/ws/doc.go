// Package ws implements the WebSocket protocol without the network: RFC 6455 frames and
// handshake, and RFC 7692 compression without context takeover.
//
// The package does no I/O. A [Decoder] decodes the bytes that arrived and passes
// messages to a [Sink]; the Append functions encode the bytes to send. So the package
// works in the same way for TCP, TLS and in-memory pipes, and an idle connection costs
// one small struct.
//
// A Decoder belongs to one goroutine at a time. Everything else is safe for concurrent
// use.
package ws
