// Package pondclient is a client for Ponds and for other PondSocket servers. It
// connects over a WebSocket, or over Server-Sent Events where WebSockets do not get
// through.
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
// A [Client] keeps one connection. When it is lost, the client connects again after a
// random delay and joins its channels again. If a channel has a history (see
// [github.com/pondsocket/pond.WithHistory]), the client asks for the messages that it
// missed. Each rejoin ends with a [*Recovered] event, when all of them were delivered,
// or with a [*Gap], if messages may be missing. A program that keeps state must handle
// gaps.
//
// What the client does when it cannot connect depends on the status or close code: it
// retries, gets a new token, or stops. [DefaultAction] is the rule, and [WithPolicy]
// changes it.
//
// # Contexts
//
// The context of a method is for that call. When it is done, the method returns, and
// the connection and everything else goes on. [WithContext] sets the context that ends
// the client.
//
// # Concurrency
//
// All methods are safe for concurrent use. Events wait in a bounded buffer for each
// [Channel], so a slow program delays neither other channels nor the connection, and
// it can call any method from a loop over events.
//
// # Delivery
//
// A message is sent at most once. Messages that cannot be sent yet wait in a bounded
// queue. [Channel.Send] does not wait, and [Channel.Request] waits for an answer. If it
// is not known whether a message arrived, that is what the error says. [Client.Close]
// sends what is queued, or reports it.
package pondclient
