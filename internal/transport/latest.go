package transport

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"
)

// For some connections only the newest frames are kept while the client lags; see
// [Conn.KeepLatest]. A client lags if
//
//   - one write to it took slowAfter or longer: when it is done, the queue is pruned
//     before the next write, so that a client that stopped reading gets the newest
//     frames when it reads again;
//   - or more than crowdedBytes are queued while a writer waits for the client: the
//     queue is pruned when it has doubled, so that its memory is limited and each frame
//     is examined a limited number of times.
//
// Pruning a queue drops each frame that a later one with the same key replaces. All
// other frames keep their order.

// A KeySpace is the scope of the keys of frames, such as a channel.
type KeySpace struct {
	// Dropped, unless it is nil, is called with the number of frames that were not sent to
	// a client. It is called without locks, on a separate goroutine, and may be called
	// after the connection ended.
	Dropped func(r Receiver, n int)
}

// A frameKey identifies the frames that replace each other.
type frameKey struct {
	space *KeySpace
	name  string
}

// frameKeyCost is the memory of a key besides its name.
const frameKeyCost = 32

// SetKey makes f replace earlier frames with this key and space that are queued for a
// client that lags. It is called before the frame is sent. Of a long name only a hash is
// kept, because the name counts as bytes that are queued, also for a client that keeps up.
func (f *Frame) SetKey(space *KeySpace, name string) {
	if len(name) > maxKeyName {
		sum := sha256.Sum256([]byte(name))
		name = string(sum[:])
	}
	f.key = &frameKey{space, name}
	f.charge += frameKeyCost + len(name)
}

// maxKeyName is the length of the longest name of a key that is kept as it is.
const maxKeyName = 256

// crowdedBytes is the maximum queued for a client that does not lag.
const crowdedBytes = 64 << 10

// maxUnsent is the maximum of unsent bytes in the kernel: a write, and the next one.
// Only Linux has this limit.
const maxUnsent = 2 * chunkSize

// A keeper is the state of a connection for which only the newest frames are kept. It
// is guarded by the connection's mu.
type keeper struct {
	uses     int           // calls of KeepLatest without a call of KeepAll
	patience time.Duration // how long the client may read nothing

	// As of the last pruning. The sum of the first two is what was queued then.
	left    int // bytes in the queue
	taken   int // bytes that a writer had taken
	pruneAt int // bytes in both from which the queue is pruned again

	dropped map[*KeySpace]int // frames that were not reported; nil if there are none
}

// KeepLatest makes the connection drop queued frames that are outdated, while the client
// lags. Then the client may read nothing for patience, or [Config.WriteTimeout] if it is
// longer, and need not answer heartbeats in that time as long as its host does. Each call
// needs a call of KeepAll; the longest patience counts.
func (c *Conn) KeepLatest(patience time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keep == nil {
		c.keep = &keeper{pruneAt: c.hub.crowdedBytes}
		limitUnsent(c.net, maxUnsent) // frames in the socket cannot be dropped
	}
	c.keep.uses++
	c.keep.patience = max(c.keep.patience, patience)
}

// KeepAll ends the effect of one call of KeepLatest.
func (c *Conn) KeepAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keep.uses--; c.keep.uses == 0 {
		c.keep = nil
		unlimitUnsent(c.net)
	}
}

// makeRoomLocked decides about a frame of charge bytes that makes the queue larger than
// crowdedBytes. It returns false if it closed the connection instead.
func (c *Conn) makeRoomLocked(charge int) bool {
	limit := c.hub.cfg.OutboxBytes
	size, most := c.queuedBytes+charge, maxOutbox*limit
	if k := c.keep; k != nil {
		switch {
		case size <= k.pruneAt:
		case size > limit || c.writeBlocked.Load():
			c.pruneLocked()
			size = c.queuedBytes + charge
		default:
			c.shard.lagging.Store(true) // no writer has tried to write these bytes
		}
		most += k.taken
	}
	if size > most && c.queuedBytes > 0 {
		c.overflowLocked()
		return false
	}
	if size > limit {
		c.watchLocked()
	}
	return true
}

// fitsLocked reports whether the newest frames fit into an outbox, if only they are
// kept.
func (c *Conn) fitsLocked() bool {
	if c.keep == nil {
		return false
	}
	c.pruneLocked()
	return c.keep.left <= c.hub.cfg.OutboxBytes
}

// pruneLocked drops the outdated frames of the queue. Frames that a writer has taken
// are not in the queue any more.
func (c *Conn) pruneLocked() {
	k := c.keep
	left, dropped := 0, 0
	if c.queue != nil {
		left, dropped = c.queue.prune(c.noteDroppedLocked)
	}
	c.queuedBytes -= dropped
	k.prunedLocked(c, left)
}

// prunedLocked records that left bytes of the queue cannot be dropped. The queue is
// pruned again when it has doubled, or grown by the size of an outbox.
func (k *keeper) prunedLocked(c *Conn, left int) {
	k.left = left
	k.taken = max(0, c.queuedBytes-left)
	k.pruneAt = k.taken + max(c.hub.crowdedBytes, left+min(left, c.hub.cfg.OutboxBytes))
}

// takeLatestLocked is the part of [writer.take] that takes frames from the queue. It
// leaves frames in the queue that are not for the next write, because they can be
// dropped there.
func (c *Conn) takeLatestLocked() {
	if c.stalled {
		c.stalled = false
		c.untakeLocked()
		c.pruneLocked()
	}
	if c.sending != nil || c.queue == nil {
		return
	}
	c.sending, c.sent = c.queue, 0
	rest := c.queue.split(min(2*chunkSize, c.hub.cfg.OutboxBytes/2))
	if c.queue = rest; rest == nil {
		c.keep.prunedLocked(c, 0)
	}
}

// untakeLocked puts the frames that the writer has not begun to write back into the
// queue. The caller holds the right to write.
func (c *Conn) untakeLocked() {
	if c.sending == nil {
		return
	}
	if c.queue == nil {
		c.queue = queues.Get().(*queue)
	}
	c.queue.items = slices.Insert(c.queue.items, 0, c.sending.items[c.sent:]...)
	c.sending.release()
	c.sending = nil
}

// split leaves the first items in q, up to size bytes but at least one, and returns a
// queue of the others, or nil.
func (q *queue) split(size int) *queue {
	n := 0
	for n < len(q.items) && (n == 0 || size > 0) {
		size -= q.items[n].frame.charge
		n++
	}
	if n == len(q.items) {
		return nil
	}
	rest := queues.Get().(*queue)
	rest.items = append(rest.items, q.items[n:]...)
	clear(q.items[n:])
	q.items = q.items[:n]
	return rest
}

// keySets holds the sets of keys that were seen while a queue is pruned.
var keySets = sync.Pool{New: func() any { return map[frameKey]struct{}{} }}

// maxKeySet is the size of the largest set that is kept for reuse.
const maxKeySet = 1 << 10

// prune drops the items that a later one with the same key replaces, and calls drop for
// the space of each. It returns the bytes of the remaining items and of the others.
func (q *queue) prune(drop func(*KeySpace)) (left, dropped int) {
	seen := keySets.Get().(map[frameKey]struct{})
	first := len(q.items) // of the remaining items
	for _, it := range slices.Backward(q.items) {
		if key := it.frame.key; key != nil {
			if _, known := seen[*key]; known {
				dropped += it.frame.charge
				drop(key.space)
				continue
			}
			seen[*key] = struct{}{}
		}
		left += it.frame.charge
		first--
		q.items[first] = it
	}
	n := copy(q.items, q.items[first:])
	clear(q.items[n:])
	q.items = q.items[:n]
	if cap(q.items) > 256 && n < cap(q.items)/4 {
		q.items = append(make([]item, 0, 2*n), q.items...)
	}
	if len(seen) <= maxKeySet {
		clear(seen)
		keySets.Put(seen)
	}
	return left, dropped
}

// noteDroppedLocked counts a dropped frame, and schedules a report.
func (c *Conn) noteDroppedLocked(space *KeySpace) {
	if space.Dropped == nil {
		return
	}
	k := c.keep
	if k.dropped == nil {
		k.dropped = map[*KeySpace]int{}
		c.hub.tasks.Add()
		go c.reportDropped(k)
	}
	k.dropped[space]++
}

func (c *Conn) reportDropped(k *keeper) {
	defer c.hub.tasks.Done()
	c.mu.Lock()
	dropped := k.dropped
	k.dropped = nil
	c.mu.Unlock()
	for space, n := range dropped {
		space.Dropped(c.recv, n)
	}
}
