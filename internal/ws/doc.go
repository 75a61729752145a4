// Package ws is the WebSocket protocol without the network: RFC 6455 frames and
// handshake, and RFC 7692 compression without context takeover.
//
// Nothing here reads or writes. A [Decoder] is fed whatever bytes arrived and
// tells a [Sink] what they meant; the Append functions build the bytes to send.
// TCP, TLS, in-memory pipes and HTTP/2 streams are therefore served alike, and
// an idle connection costs one small struct.
//
// A Decoder belongs to one goroutine at a time. Everything else may be used by
// many at once.
package ws
