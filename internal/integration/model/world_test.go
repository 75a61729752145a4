package model_test

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pondsocket/pond"
)

// A world is one state that the server may be in, as far as anybody can tell.
type world struct {
	rooms     []room
	open      [rooms]int // which of rooms joins find under a name, or none
	clients   []client
	outsiders [outsiders]outsiderState
	storm     stormState
	eviction  eviction
	debts     []debt
	round     int
	explained int // frames and leave handlers
}

const none = -1

// A room is a channel from its first join to its end.
type room struct {
	name    int
	holds   int // joins that are not decided, and memberships until their leave handler has run
	closed  bool
	members []member
	roster  []member // those that are tracked, in that order, with their presence
}

// A member is a client and what was assigned to it.
type member struct {
	client int
	value  value
}

func find(members []member, c int) int {
	return slices.IndexFunc(members, func(m member) bool { return m.client == c })
}

// list is the presence of a room as clients see it.
func (r *room) list() string {
	var values []string
	for _, m := range r.roster {
		values = append(values, m.value.json())
	}
	return "[" + strings.Join(values, ",") + "]"
}

// A client is a connection and what its handlers are doing.
type client struct {
	known   bool // has connected
	up      bool // is, and the server has not forgotten it
	deaf    bool // nothing is sent any more
	lost    bool // something was not seen, for which the connection must have ended
	leaving bool // has to leave everything, because of a shutdown
	goodbye int  // with which the server ends the connection, or 0
	unread  int  // bytes, since it stalled

	next       int // of its messages in this round
	complaints int // of this round that were made
	task       task
	gone       []departed // memberships that somebody else has ended, and whose leave handler has not run

	seen [queues]int // frames that are explained
	ran  int         // leave handlers that are explained
}

type departed struct {
	room int // in world.rooms
	departure
}

// A task is what the handlers of one client are doing, up to the next moment at
// which others can notice.
type task struct {
	phase    phase
	action   *action
	room     int
	at       int  // of the effects
	half     bool // of the effect is done
	accepted bool
	value    value // read, or to be assigned by accept
	failed   int   // status, or 0
	gone     departed
	reason   pond.LeaveReason // of leaving everything
}

type phase int

const (
	idle      phase = iota
	handling        // effects
	answering       // what the handler has returned
	departing       // the leave handler is to run
	releasing       // a hold is to end
	closing         // nobody holds the room any more
	leavingAll
)

// An outsiderState is how far an outsider is in this round.
type outsiderState struct {
	next int
	room int // found for the current action, or none
	at   int
	half bool
}

// A storm is what broadcasts at the same time as the action that has begun it, and
// which waits for its end.
type stormState struct {
	action *action // or nil
	room   int
	value  value
	sent   int
}

// An eviction is one that is under way. It sends two messages to the client, and
// two to the others: between these, the answer to a message that has failed may
// come, which the channel knows nothing of, but nothing else.
type eviction struct {
	room, client int
	reason       string
	stage        evictionStage
}

type evictionStage int

const (
	noEviction evictionStage = iota
	told                     // the client has got the first
	expelled                 // the others have got the first
)

// A debt is a list of presence that a client has got with a change. It was not
// the list then, so it must have become it before the client got it: lists are
// made when they are written.
type debt struct {
	room  int
	list  string
	round int
}

func (w *world) clone() *world {
	c := *w
	c.rooms = slices.Clone(w.rooms)
	for i := range c.rooms {
		r := &c.rooms[i]
		r.members, r.roster = slices.Clone(r.members), slices.Clone(r.roster)
	}
	c.clients = slices.Clone(w.clients)
	for i := range c.clients {
		c.clients[i].gone = slices.Clone(c.clients[i].gone)
	}
	c.debts = slices.Clone(w.debts)
	return &c
}

// membership returns the room in which a client is a member under a name.
func (w *world) membership(c, name int) int {
	return slices.IndexFunc(w.rooms, func(r room) bool { return r.name == name && find(r.members, c) >= 0 })
}

// memberships returns all rooms in which a client is a member.
func (w *world) memberships(c int) []int {
	var all []int
	for i := range w.rooms {
		if find(w.rooms[i].members, c) >= 0 {
			all = append(all, i)
		}
	}
	return all
}

// hold returns the room that a join finds, and which lives until it is released.
func (w *world) hold(name int) int {
	if w.open[name] == none {
		w.open[name] = len(w.rooms)
		w.rooms = append(w.rooms, room{name: name})
	}
	w.rooms[w.open[name]].holds++
	return w.open[name]
}

// release ends a hold, and reports whether it was the last.
func (w *world) release(i int) (last bool) {
	r := &w.rooms[i]
	r.holds--
	if r.holds == 0 {
		w.forget(i)
	}
	return r.holds == 0
}

func (w *world) forget(i int) {
	if name := w.rooms[i].name; w.open[name] == i {
		w.open[name] = none
	}
}

// unlist takes a client off the list of a room without a word.
func (w *world) unlist(i, c int) {
	r := &w.rooms[i]
	if at := find(r.roster, c); at >= 0 {
		r.roster = slices.Delete(r.roster, at, at+1)
		w.listed(i)
	}
}

// state is what [stage.state] must return.
func (w *world) state() string {
	var lines []string
	for _, r := range w.rooms {
		if len(r.members) == 0 {
			continue
		}
		var members, list []string
		for _, m := range r.members {
			members = append(members, "c"+strconv.Itoa(m.client)+" v="+strconv.Itoa(int(m.value)))
		}
		slices.Sort(members)
		for _, m := range r.roster {
			list = append(list, "c"+strconv.Itoa(m.client)+" "+m.value.json())
		}
		lines = append(lines, roomNames[r.name]+"["+strings.Join(members, " ")+"] ["+strings.Join(list, " ")+"]")
	}
	up := 0
	for _, c := range w.clients {
		if c.up {
			up++
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ") + "; " + strconv.Itoa(up) + " clients"
}
