package model_test

import (
	"slices"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/pondtest"
)

// A cause is why a connection ends.
type cause int

const (
	cutOff    cause = iota // by the client, without a goodbye
	wentAway               // by the client, with one
	dismissed              // by the server, with a goodbye
	silent                 // it did not answer heartbeats
	slow                   // it did not read
)

func (why cause) reason() pond.LeaveReason {
	if why == slow {
		return pond.LeaveSlow
	}
	return pond.LeaveDisconnected
}

// How much a client has not read decides about its end, but for a margin: what
// is on its way in the server counts only partly.
const (
	mayBlock     = pipenet.DefaultBuffer - 8<<10
	mustBlock    = pipenet.DefaultBuffer + 4<<10
	mayOverflow  = pipenet.DefaultBuffer + outboxBytes - 8<<10
	mustOverflow = pipenet.DefaultBuffer + outboxBytes + 2*largeBytes + outboxBytes
)

// causes returns why the connection of a client may end now.
func (x *search) causes(w *world, c int) []cause {
	cl, s := &w.clients[c], &x.scripts[w.round]
	if !cl.up {
		return nil
	}
	var all []cause
	socket := x.history.clients[c].transport == pondtest.WebSocket
	done := cl.next == len(s.clients[c])
	if s.endings[c] == cut && (socket || done) { // a cut destroys what is on its way
		all = append(all, cutOff)
	}
	if s.endings[c] == goAway && done {
		all = append(all, wentAway)
	}
	if cl.goodbye != 0 {
		all = append(all, dismissed)
	}
	if s.stalled[c] && s.waits && socket {
		all = append(all, silent)
	}
	if s.stalled[c] && (cl.unread > mayOverflow || s.waits && cl.unread > mayBlock) {
		all = append(all, slow)
	}
	return all
}

// mustEnd reports whether the connection of a client cannot live on.
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

// mayLose reports whether a client may never see what it is sent now.
func (x *search) mayLose(w *world, c int) bool {
	s := &x.scripts[w.round]
	return s.stalled[c] || s.endings[c] != ""
}

func (x *search) stalled(w *world, c int) bool { return x.scripts[w.round].stalled[c] }

// end begins with the end of a connection.
func (x *search) end(w *world, c int, why cause) bool {
	if code := x.seen.clients[c].code; !x.stalled(w, c) && !slices.Contains(x.codes(w, c, why), code) {
		return x.note(w, "c%d was closed with %d, want one of %v", c, code, x.codes(w, c, why))
	}
	cl := &w.clients[c]
	cl.leaving = false
	cl.task = task{phase: leavingAll, reason: why.reason()}
	return x.deafen(w, c)
}

// deafen ends what a client is sent.
func (x *search) deafen(w *world, c int) bool {
	cl := &w.clients[c]
	if cl.deaf {
		return true
	}
	cl.deaf = true
	for q, frames := range x.seen.clients[c].frames {
		if n := cl.seen[q]; n < len(frames) {
			return x.note(w, "c%d has got %v on %s after the end", c, frames[n], channelNames[q])
		}
	}
	return true
}

// codes returns the codes with which a client may see its connection end.
func (x *search) codes(w *world, c int, why cause) []int {
	socket := x.history.clients[c].transport == pondtest.WebSocket
	switch {
	case why == cutOff:
		return []int{1006}
	case why == wentAway && socket:
		return []int{1000}
	case why == dismissed && x.scripts[w.round].endings[c] == cut:
		return []int{w.clients[c].goodbye, 0, 1006}
	case why == dismissed && socket:
		return []int{w.clients[c].goodbye}
	default:
		return []int{0}
	}
}
