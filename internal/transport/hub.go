package transport

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond/internal/ws"
)

// Config holds what the connections of one hub have in common. All fields are
// set by the caller: there are no defaults here.
type Config struct {
	MaxMessage   int           // bytes of one message from a client, also when inflated
	MaxFragments int           // frames that a message may be cut into
	OutboxBytes  int           // bytes that may wait for one client
	Backlog      int64         // bytes that may wait in one shard before [Hub.Pace] waits
	WriteTimeout time.Duration // how long a client may keep a write waiting
	CloseTimeout time.Duration // how long a client may take to say goodbye
	PingInterval time.Duration // between heartbeats; a client that misses one is cut off
	Compress     bool          // negotiate permessage-deflate
	CompressFrom int           // bytes from which a message is worth compressing
}

// A Hub is the set of connections that share shards.
type Hub struct {
	cfg    Config
	frames ws.Config
	shards []*shard
	next   atomic.Uint32
	tasks  Tasks
}

// NewHub returns a hub without connections. It starts nothing.
func NewHub(cfg Config) *Hub {
	h := &Hub{cfg: cfg, frames: ws.Config{MaxMessage: cfg.MaxMessage, MaxFragments: cfg.MaxFragments}}
	h.shards = make([]*shard, min(runtime.GOMAXPROCS(0), maxShards))
	for i := range h.shards {
		s := &shard{hub: h, index: i}
		s.drained.L = &s.mu
		s.wheel.interval = cfg.PingInterval
		h.shards[i] = s
	}
	return h
}

// nextShard spreads connections evenly.
func (h *Hub) nextShard() *shard {
	return h.shards[h.next.Add(1)%uint32(len(h.shards))]
}

// Pace waits while more is waiting to be written than the hub gets rid of. Who
// handles what clients send calls it between two messages, so that clients that
// send too fast are slowed down instead of memory being filled.
func (h *Hub) Pace() {
	for _, s := range h.shards {
		s.pace(h.cfg.Backlog)
	}
}

// Overloaded reports whether so much is waiting that nothing should be added,
// by whoever cannot be made to wait.
func (h *Hub) Overloaded() bool {
	for _, s := range h.shards {
		if s.backlog.Load() > 16*h.cfg.Backlog {
			return true
		}
	}
	return false
}

// Cut cuts all connections that have been started, those included that have been
// told goodbye.
func (h *Hub) Cut(cause error) {
	for _, s := range h.shards {
		for _, c := range s.connections() {
			c.Cut(cause)
		}
	}
}

// Wait waits until all goroutines of the hub have ended, which they do when all
// connections are closed, or until ctx is done.
func (h *Hub) Wait(ctx context.Context) error { return h.tasks.Wait(ctx) }
