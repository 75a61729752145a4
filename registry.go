package pond

import (
	"container/heap"
	"sync"
	"time"

	"github.com/pondsocket/pond/internal/pattern"
)

// A registry holds the channels of an endpoint by name, and decides when a channel is
// created and ends. A channel is live while there are references to it: a join or a
// call of Publish in progress, a member, or an identity in its grace. After that, a
// channel lingers until its history expires, or for a short time for its subscription to
// a broker. The registry's lock is never
// held together with a channel's.
type registry struct {
	budget *historyBudget

	mu        sync.Mutex // guards the following fields, and refs, stage, expiry, idleUntil and index of the channels
	channels  map[string]*Channel
	closing   map[string]*occupancy // of closed channels that still have references, by name
	lingering expiryQueue
	idle      int         // lingering channels that are kept only for their subscription
	timer     *time.Timer // runs while channels linger
	closed    bool        // no channel lingers any more
}

// A channelStage is a stage in the life of a channel.
type channelStage uint8

const (
	channelLive      channelStage = iota // there are references to it
	channelLingering                     // it is kept for its history
	channelGone                          // it is not in the registry any more
)

// lingeringCost is the memory of a channel without members, in addition to its messages
// and its group. It counts as history, so the number of such channels is limited, too.
const lingeringCost = 1 << 10

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
	switch {
	case ch == nil:
		o := r.closing[name]
		if o == nil {
			o = &occupancy{}
		}
		ch = newChannel(l, name, params, o)
		if r.channels == nil {
			r.channels = map[string]*Channel{}
		}
		r.channels[name] = ch
	case ch.stage == channelLingering:
		r.reviveLocked(ch)
		ch.stage = channelLive
	}
	ch.refs++
	return ch
}

// retain adds a reference to a channel that has one.
func (r *registry) retain(ch *Channel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch.refs++
}

// release drops a reference to ch. After the last one, the channel lingers, or is
// closed and removed: clients can no longer join it, and sending to a stored
// *Channel returns [ErrClosed].
func (r *registry) release(ch *Channel) {
	if r.releaseOnly(ch) {
		ch.end()
		return
	}
	r.makeRoom(0) // a lingering channel needs memory as well
}

// releaseOnly removes a reference. It reports whether the channel must end, or has ended.
func (r *registry) releaseOnly(ch *Channel) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch.refs--
	if ch.refs > 0 {
		return false
	}
	switch {
	case ch.stage == channelGone:
		r.vacatedLocked(ch)
	case ch.stage == channelLive && !r.closed && r.lingerLocked(ch):
		return false
	}
	r.removeLocked(ch)
	return true
}

// remove makes room for a new channel with the same name, which shares the occupancy
// of ch as long as there are references to ch.
func (r *registry) remove(ch *Channel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ch.refs > 0 && ch.stage != channelGone && ch.lobby.hasEdges() {
		if r.closing == nil {
			r.closing = map[string]*occupancy{}
		}
		r.closing[ch.name] = ch.occupancy
		ch.occupancy.closed++
	}
	r.removeLocked(ch)
}

// vacatedLocked notes that a closed channel has no references any more.
func (r *registry) vacatedLocked(ch *Channel) {
	o := ch.occupancy
	if o.closed == 0 {
		return
	}
	if o.closed--; o.closed == 0 {
		delete(r.closing, ch.name)
	}
}

// isGone reports whether the channel was removed.
func (r *registry) isGone(ch *Channel) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return ch.stage == channelGone
}

func (r *registry) removeLocked(ch *Channel) {
	switch ch.stage {
	case channelGone:
		return
	case channelLingering:
		r.reviveLocked(ch)
	}
	ch.stage = channelGone
	delete(r.channels, ch.name)
}

// The subscription of a channel outlives its last reference for a while, so that a client
// that joins again, or a join handler that declines, does not cost a subscription each
// time. The number of such channels is limited.
const (
	idleTime = 5 * time.Second
	maxIdle  = 1000
)

// expires returns when a channel without references ends.
func (ch *Channel) expires() int64 {
	used := ch.used.Load()
	if ch.log == nil || used == 0 || ch.link != nil && ch.link.log != nil { // which the broker keeps
		return ch.idleUntil
	}
	return max(ch.idleUntil, used+int64(ch.log.limits.Age))
}

// lingerLocked keeps a channel without references for its history, or for its
// subscription. It reports false if there is nothing to keep.
func (r *registry) lingerLocked(ch *Channel) bool {
	if ch.link != nil && ch.link.attached.Load() && r.idle < maxIdle {
		ch.idleUntil = now() + int64(idleTime)
	}
	ch.expiry = ch.expires()
	if ch.expiry <= now() {
		return false
	}
	ch.stage = channelLingering
	if ch.idleUntil > 0 {
		r.idle++
	}
	heap.Push(&r.lingering, ch)
	r.budget.used.Add(ch.lingeringCost())
	r.armLocked()
	return true
}

func (ch *Channel) lingeringCost() int64 { return int64(lingeringCost + ch.group.Cost()) }

// reviveLocked ends the lingering of a channel.
func (r *registry) reviveLocked(ch *Channel) {
	heap.Remove(&r.lingering, ch.index)
	if ch.idleUntil > 0 {
		ch.idleUntil = 0
		r.idle--
	}
	r.budget.used.Add(-ch.lingeringCost())
}

// armLocked ensures that the timer runs. It may run for a channel that does not linger
// any more; it is set again when it fires.
func (r *registry) armLocked() {
	wait := time.Duration(r.lingering[0].expiry - now())
	if r.timer == nil {
		r.timer = time.AfterFunc(wait, r.expire)
	} else {
		r.timer.Reset(wait)
	}
}

// expire ends the channels whose history expired.
func (r *registry) expire() {
	var expired []*Channel
	r.mu.Lock()
	for ch := r.nextLocked(); ch != nil && ch.expiry <= now(); ch = r.nextLocked() {
		r.removeLocked(ch)
		expired = append(expired, ch)
	}
	switch {
	case len(r.lingering) > 0:
		r.armLocked()
	case r.timer != nil:
		r.timer.Stop()
		r.timer = nil
	}
	r.mu.Unlock()
	for _, ch := range expired {
		ch.end()
	}
}

// makeRoom ends channels without members until size more bytes fit into the limit of
// all histories. It reports whether they still exceed it.
func (r *registry) makeRoom(size int) (limited bool) {
	for r.budget.exceededWith(size) {
		limited = true
		ch := r.removeNext()
		if ch == nil {
			break
		}
		ch.end()
	}
	return limited
}

// nextLocked returns the lingering channel that expires next, or nil if there is none.
// Code that has a *Channel may have sent messages while the channel lingers, so
// nextLocked moves channels that expire later than expected.
func (r *registry) nextLocked() *Channel {
	for len(r.lingering) > 0 {
		ch := r.lingering[0]
		expiry := ch.expires()
		if expiry <= ch.expiry {
			return ch
		}
		ch.expiry = expiry
		heap.Fix(&r.lingering, 0)
	}
	return nil
}

// removeNext removes the lingering channel that expires next, and returns nil if
// there is none.
func (r *registry) removeNext() *Channel {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch := r.nextLocked()
	if ch != nil {
		r.removeLocked(ch)
	}
	return ch
}

// close ends the channels that linger. Later ones end with their last reference.
func (r *registry) close() {
	r.mu.Lock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	r.mu.Unlock()
	for ch := r.removeNext(); ch != nil; ch = r.removeNext() {
		ch.end()
	}
}

// An expiryQueue is a heap of channels by expiry.
type expiryQueue []*Channel //nolint:recvcheck // as package heap wants it

func (q expiryQueue) Len() int           { return len(q) }
func (q expiryQueue) Less(i, j int) bool { return q[i].expiry < q[j].expiry }

func (q expiryQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push appends a channel, for package heap.
func (q *expiryQueue) Push(x any) {
	ch := x.(*Channel)
	ch.index = len(*q)
	*q = append(*q, ch)
}

// Pop removes the last channel, for package heap.
func (q *expiryQueue) Pop() any {
	last := len(*q) - 1
	ch := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return ch
}
