package model_test

import (
	"slices"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/pondtest"
)

// A cause is the reason why a connection ends.
type cause int

const (
	wasReset   cause = iota // the client reset the connection
	wentAway                // the client closed it
	serverDone              // the server closed it
	silent                  // the client did not answer heartbeats
	slow                    // the client did not read
)

func (why cause) reason() pond.LeaveReason {
	if why == slow {
		return pond.LeaveSlow
	}
	return pond.LeaveDisconnected
}

// The number of unread bytes decides whether a connection ends. There is a margin,
// because only a part of the bytes in transit inside the server counts, and a message that
// is partly written counts as a whole.
const (
	mayBlock     = pipenet.DefaultBuffer - 8<<10
	mustBlock    = pipenet.DefaultBuffer + 4<<10
	mayOverflow  = pipenet.DefaultBuffer + outboxBytes - largeBytes - 8<<10
	mustOverflow = pipenet.DefaultBuffer + outboxBytes + 2*largeBytes + outboxBytes
)

// causes returns the causes for which the connection of a client can end now.
func (x *search) causes(w *world, c int) []cause {
	cl, s := &w.clients[c], &x.scripts[w.round]
	if !cl.up {
		return nil
	}
	var all []cause
	socket := x.history.clients[c].transport == pondtest.WebSocket
	done := cl.next == len(s.clients[c])
	if s.endings[c] == reset && (socket || done) { // a reset discards data in transit
		all = append(all, wasReset)
	}
	if s.endings[c] == goAway && done {
		all = append(all, wentAway)
	}
	if cl.code != 0 {
		all = append(all, serverDone)
	}
	if s.stalled[c] && s.waits && socket {
		all = append(all, silent)
	}
	if s.stalled[c] && (cl.unread > mayOverflow || s.waits && cl.unread > mayBlock) {
		all = append(all, slow)
	}
	return all
}

// mustEnd reports whether the connection of a client must end.
func (x *search) mustEnd(w *world, c int) bool {
	s := &x.scripts[w.round]
	sent := w.clients[c].unread
	if x.history.clients[c].deflate {
		sent = sent * 7 / 10
	}
	return slices.ContainsFunc(x.causes(w, c), func(why cause) bool {
		return why != slow || sent > mustOverflow || s.waits && sent > mustBlock
	})
}

// mayLose reports whether a client may never receive the frames that are sent to it now.
func (x *search) mayLose(w *world, c int) bool {
	s := &x.scripts[w.round]
	return s.stalled[c] || s.endings[c] != ""
}

func (x *search) stalled(w *world, c int) bool { return x.scripts[w.round].stalled[c] }

// end starts to end a connection.
func (x *search) end(w *world, c int, why cause) bool {
	if code := x.seen.clients[c].code; !x.stalled(w, c) && !slices.Contains(x.codes(w, c, why), code) {
		return x.note(w, "c%d was closed with %d, want one of %v", c, code, x.codes(w, c, why))
	}
	cl := &w.clients[c]
	cl.leaving = false
	cl.task = task{phase: leavingAll, reason: why.reason()}
	return x.endStream(w, c)
}

// endStream ends the frames of a client.
func (x *search) endStream(w *world, c int) bool {
	cl := &w.clients[c]
	if cl.ended {
		return true
	}
	cl.ended = true
	for q, frames := range x.seen.clients[c].frames {
		if n := cl.seen[q]; n < len(frames) {
			return x.note(w, "c%d received %v on %s after the end", c, frames[n], channelNames[q])
		}
	}
	return true
}

// codes returns the close codes that a client can receive.
func (x *search) codes(w *world, c int, why cause) []int {
	socket := x.history.clients[c].transport == pondtest.WebSocket
	switch {
	case why == wasReset:
		return []int{1006}
	case why == wentAway && socket:
		return []int{1000}
	case why == serverDone && x.scripts[w.round].endings[c] == reset:
		return []int{w.clients[c].code, 0, 1006}
	case why == serverDone && socket:
		return []int{w.clients[c].code}
	default:
		return []int{0}
	}
}
