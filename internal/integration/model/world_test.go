package model_test

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pondsocket/pond"
)

// A world is one state that the server can be in, according to the observations.
type world struct {
	rooms     []room
	open      [rooms]int // index in rooms of the open room with a name, or none
	clients   []client
	outsiders [outsiders]outsiderState
	storm     stormState
	eviction  eviction
	debts     []debt
	round     int
	explained int // number of explained frames and leave handlers
}

const none = -1

// A room is one lifetime of a channel, from its first join to its end.
type room struct {
	name    int
	refs    int // pending joins, and memberships until their leave handlers return
	closed  bool
	members []member
	roster  []member // tracked members in the order of tracking, with their presence
}

// A member is a client and its assigned value.
type member struct {
	client int
	value  value
}

func find(members []member, c int) int {
	return slices.IndexFunc(members, func(m member) bool { return m.client == c })
}

// list returns the presence of a room as clients receive it.
func (r *room) list() string {
	var values []string
	for _, m := range r.roster {
		values = append(values, m.value.json())
	}
	return "[" + strings.Join(values, ",") + "]"
}

// A client is a connection and the state of its handlers.
type client struct {
	known   bool // it has connected
	up      bool // it is connected, and registered at the server
	ended   bool // it receives nothing more
	lost    bool // a frame was not received, so the connection must end
	leaving bool // it must leave all rooms, because of a shutdown
	code    int  // close code that the server sends, or 0
	unread  int  // bytes sent since it stalled

	next       int // index of its next message in this round
	complaints int // number of answered invalid messages in this round
	task       task
	gone       []departed // memberships that another actor ended, and whose leave handlers have not run

	seen [queues]int // number of explained frames
	ran  int         // number of explained leave handlers
}

type departed struct {
	room int // index in world.rooms
	departure
}

// A task is the state of the handlers of one client, up to the next step that other
// actors can observe.
type task struct {
	phase    phase
	action   *action
	room     int
	at       int  // index of the next effect
	half     bool // the first half of the effect is done
	accepted bool
	value    value // the value that was read, or that accept will assign
	failed   int   // status, or 0
	gone     departed
	reason   pond.LeaveReason // for leaving all rooms
}

type phase int

const (
	idle      phase = iota
	handling        // the effects run
	answering       // the result of the handler is sent
	departing       // the leave handler runs next
	releasing       // a reference to the room is released next
	closing         // the room has no references any more
	leavingAll
)

// An outsiderState is the progress of an outsider in this round.
type outsiderState struct {
	next int
	room int // room of the current action, or none
	at   int
	half bool
}

// A storm sends broadcasts concurrently with the action that started it. The action
// waits for the end of the storm.
type stormState struct {
	action *action // or nil
	room   int
	value  value
	sent   int
}

// An eviction is an eviction in progress. It sends two messages to the client, and two
// to the other members. Between them, only one other message is possible: the answer to
// a message that failed, which does not go through the channel.
type eviction struct {
	room, client int
	reason       string
	stage        evictionStage
}

type evictionStage int

const (
	noEviction evictionStage = iota
	told                     // the first message to the client was sent
	expelled                 // the first message to the other members was sent
)

// A debt is a list of presence that a client received with a change, although it was
// not the list at that time. The room must have had this list before the client received
// it, because lists are encoded when they are written.
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

// membership returns the room with a name that the client is a member of.
func (w *world) membership(c, name int) int {
	return slices.IndexFunc(w.rooms, func(r room) bool { return r.name == name && find(r.members, c) >= 0 })
}

// memberships returns all rooms that a client is a member of.
func (w *world) memberships(c int) []int {
	var all []int
	for i := range w.rooms {
		if find(w.rooms[i].members, c) >= 0 {
			all = append(all, i)
		}
	}
	return all
}

// acquire returns the room that a join uses, with a reference that must be released.
func (w *world) acquire(name int) int {
	if w.open[name] == none {
		w.open[name] = len(w.rooms)
		w.rooms = append(w.rooms, room{name: name})
	}
	w.rooms[w.open[name]].refs++
	return w.open[name]
}

// release drops a reference to a room, and reports whether it was the last one.
func (w *world) release(i int) (last bool) {
	r := &w.rooms[i]
	r.refs--
	if r.refs == 0 {
		w.forget(i)
	}
	return r.refs == 0
}

func (w *world) forget(i int) {
	if name := w.rooms[i].name; w.open[name] == i {
		w.open[name] = none
	}
}

// unlist removes a client from the list of a room without notifying the members.
func (w *world) unlist(i, c int) {
	r := &w.rooms[i]
	if at := find(r.roster, c); at >= 0 {
		r.roster = slices.Delete(r.roster, at, at+1)
		w.listed(i)
	}
}

// state returns the value that [stage.state] must return.
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
