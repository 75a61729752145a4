package transport

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond/internal/ws"
)

// Config is the configuration of all connections of a hub. The caller sets all fields:
// there are no defaults here.
type Config struct {
	MaxMessage   int           // bytes of one message from a client, even after inflating
	MaxFragments int           // frames that a message may be split into
	OutboxBytes  int           // bytes that may be queued for one client
	Backlog      int64         // bytes that may be queued in one shard before [Hub.Pace] waits
	WriteTimeout time.Duration // limits the time of one write
	CloseTimeout time.Duration // limits the time to receive the last frame, and the time to close its side
	ControlRate  float64       // control frames per second from one client; 0 is no limit
	ControlBurst int           // control frames that a client may send at once
	PingInterval time.Duration // between heartbeats; a WebSocket that misses one is aborted
	Compress     bool          // negotiate permessage-deflate
	CompressFrom int           // bytes from which a message is compressed
}

// A Hub is the set of connections of one endpoint. It spreads them over shards.
type Hub struct {
	cfg    Config
	frames ws.Config
	shards []*shard
	next   atomic.Uint32
	tasks  Tasks
	yields yielder // shared by all shards; safe for concurrent use

	crowdedBytes int // crowdedBytes, or the size of an outbox if it is smaller
	segmentBytes int // segmentBytes, or half the size of an outbox if it is smaller
}

// NewHub returns a hub without connections. It starts no goroutines.
func NewHub(cfg Config) *Hub {
	h := &Hub{
		cfg:          cfg,
		frames:       ws.Config{MaxMessage: cfg.MaxMessage, MaxFragments: cfg.MaxFragments},
		yields:       yielder{began: time.Now()},
		crowdedBytes: min(crowdedBytes, cfg.OutboxBytes),
		segmentBytes: min(segmentBytes, cfg.OutboxBytes/2),
	}
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

// Pace waits while the queues of the hub are too long. The goroutine that handles a
// client's messages calls it between two messages, so that clients that send too fast
// are slowed down and do not fill memory.
func (h *Hub) Pace() {
	for _, s := range h.shards {
		s.pace(h.cfg.Backlog)
	}
}

// Overloaded reports whether the queues are so long that senders that cannot wait must
// not add to them.
func (h *Hub) Overloaded() bool {
	for _, s := range h.shards {
		if s.backlog.Load() > 16*h.cfg.Backlog {
			return true
		}
	}
	return false
}

// AbortAll aborts all connections that were started, including those that are
// closing.
func (h *Hub) AbortAll(cause error) {
	for _, s := range h.shards {
		for _, c := range s.connections() {
			c.Abort(cause)
		}
	}
}

// Wait waits until all goroutines of the hub ended, or until ctx is done. They end when
// all connections are closed.
func (h *Hub) Wait(ctx context.Context) error { return h.tasks.Wait(ctx) }
