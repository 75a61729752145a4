package main

import (
	"encoding/json"

	"github.com/pondsocket/pond"
)

// A Bus sends messages to all servers, including the sender: Redis, NATS or PostgreSQL
// (LISTEN and NOTIFY) can do this.
type Bus interface {
	Publish(m Message) error
	Subscribe(receive func(m Message))
}

// A Message is an event for the members of a channel, on all servers.
type Message struct {
	Channel string          `json:"channel"`
	Event   string          `json:"event"`
	Payload json.RawMessage `json:"payload"`
}

// say publishes instead of broadcasting.
func say(bus Bus) pond.Handler[*pond.EventContext] {
	return func(ctx *pond.EventContext) error {
		return bus.Publish(Message{ctx.Channel().Name(), "said", ctx.Payload()})
	}
}

// relay broadcasts the messages of the bus to the members on this server.
func relay(bus Bus, e *pond.Endpoint) {
	bus.Subscribe(func(m Message) {
		if ch, ok := e.Channel(m.Channel); ok {
			_ = ch.Broadcast(m.Event, m.Payload) // fails if the channel just ended
		}
	})
}
