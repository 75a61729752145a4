// Package pondclient is a client for Ponds and for other PondSocket servers. It
// connects over a WebSocket, or over Server-Sent Events if a proxy or firewall blocks
// WebSockets.
//
//	c, err := pondclient.Dial(ctx, "wss://example.com/socket")
//	if err != nil {
//		return err
//	}
//	defer c.Close(ctx)
//	ch, err := c.Join(ctx, "/chat/1")
//	if err != nil {
//		return err
//	}
//	for ev, err := range ch.Events(ctx) {
//		if err != nil {
//			return err
//		}
//		switch ev := ev.(type) {
//		case *pondclient.Message:
//			fmt.Println(ev.Event, string(ev.Payload))
//		case *pondclient.Gap:
//			reload() // messages may be missing
//		}
//	}
//
// # Connections
//
// A [Client] keeps one connection. When it is lost, the client reconnects after a
// random delay and joins its channels again. If a channel has a history (see
// [github.com/pondsocket/pond.WithHistory]), the client asks for the messages that it
// missed. Each rejoin results in a [*Recovered] event after all of them were delivered,
// or in a [*Gap] if messages may be missing. A program that keeps state must handle
// gaps.
//
// When a connection fails, the status or close code determines whether the client
// retries, gets a new token, or stops. [DefaultAction] returns the default, and
// [WithPolicy] changes it.
//
// # Contexts
//
// The context of a method applies to that call only. When it is done, the method
// returns, but the connection stays open. [WithContext] sets a context that closes the
// client.
//
// # Concurrency
//
// All methods are safe for concurrent use. Each [Channel] has a limited buffer for
// events, so a slow program delays neither other channels nor the connection, and it
// can call any method from a loop over events.
//
// # Delivery
//
// A message is sent at most once. Messages that cannot be sent yet are in a limited
// queue. [Channel.Send] does not wait, and [Channel.Request] waits for an answer. If it
// is unknown whether a message arrived, the error is [ErrUnknownOutcome].
// [Client.Close] sends the queued messages, or returns them.
package pondclient
