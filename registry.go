package pond

import (
	"sync"

	"github.com/pondsocket/pond/internal/pattern"
)

// A registry holds the channels of an endpoint by name, and decides when a channel
// begins and ends. A channel exists while something refers to it: a join in
// progress or a member. Its lock is never held together with a channel's.
type registry struct {
	mu       sync.Mutex // guards the following field, and refs and state of the channels
	channels map[string]*Channel
}

// A channelState is a stage in the life of a channel. It only grows.
type channelState uint8

const (
	channelLive channelState = iota // clients can join
	channelGone                     // not in the registry any more
)

// find returns the channel with this name, or nil.
func (r *registry) find(name string) *Channel {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.channels[name]
}

// all returns the channels, in no particular order.
func (r *registry) all() []*Channel {
	r.mu.Lock()
	defer r.mu.Unlock()
	channels := make([]*Channel, 0, len(r.channels))
	for _, ch := range r.channels {
		channels = append(channels, ch)
	}
	return channels
}

// acquire returns the channel with this name, and creates it if there is none. The
// caller must release it.
func (r *registry) acquire(l *Lobby, name string, params pattern.Params) *Channel {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch := r.channels[name]
	if ch == nil {
		ch = newChannel(l, name, params)
		if r.channels == nil {
			r.channels = map[string]*Channel{}
		}
		r.channels[name] = ch
	}
	ch.refs++
	return ch
}

// release drops a reference to ch. After the last one, the channel is closed and
// removed: clients can no longer join it, and sending to a stored *Channel returns
// [ErrClosed].
func (r *registry) release(ch *Channel) {
	r.mu.Lock()
	ch.refs--
	last := ch.refs == 0
	if last {
		r.removeLocked(ch)
	}
	r.mu.Unlock()
	if last {
		ch.end()
	}
}

// remove makes room for a new channel with the same name.
func (r *registry) remove(ch *Channel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removeLocked(ch)
}

func (r *registry) removeLocked(ch *Channel) {
	if ch.state != channelGone {
		ch.state = channelGone
		delete(r.channels, ch.name)
	}
}
