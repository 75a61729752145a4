package model_test

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pondsocket/pond/pondtest"
)

// A history has the actions of clients and of the server's own code. The actions of one
// round run concurrently. The next round starts when the server is idle.
type history struct {
	clients []wiring   // in the order in which they connect
	rounds  [][]action // the last one has the shutdown
}

// A wiring describes the connection of a client.
type wiring struct {
	transport pondtest.Transport
	deflate   bool
}

// An action is one action of a client or an outsider.
type action struct {
	n    int // its number in the history, which is part of its request ID and its payload
	by   int // the client, or one of the outsiders
	what verb
	room int
	do   []effect
}

// Outsiders are goroutines of the server that do not run handlers. The actions of one
// client or outsider run one after the other.
const (
	outsider  = 100
	outsiders = 2
)

// A verb is the kind of an action.
type verb string

// Messages of clients.
const (
	join    verb = "join" // its handler has the effects; one of them can be accept
	send    verb = "send" // an event; its handler has the effects
	unknown verb = "send-unknown"
	leave   verb = "leave"
	garbage verb = "send-garbage"
	ping    verb = "send-ping" // the heartbeat of an old client, which the server ignores
)

// Clients close their connections.
const (
	reset  verb = "reset"
	goAway verb = "close"
)

// Actions of outsiders.
const (
	act        verb = "act"        // it has the effects
	disconnect verb = "disconnect" // the target of its only effect
	shutdown   verb = "shutdown"
)

// Actions that run alone in their round.
const (
	connect verb = "connect"
	stall   verb = "stall"
	resume  verb = "resume"
	trickle verb = "trickle" // fills the pipe of a stalled client, but not its outbox
	flood   verb = "flood"   // fills the pipe and the outbox
	wait    verb = "wait"    // several days, with heartbeats
)

func (v verb) alone() bool {
	switch v {
	case connect, stall, resume, trickle, flood, wait:
		return true
	default:
		return false
	}
}

// floods returns the number of large messages that v sends.
func (v verb) floods() int {
	switch v {
	case trickle:
		return 3
	case flood:
		return 12
	default:
		return 0
	}
}

// An effect is one call of a handler or an outsider. Without a target, it applies to
// the client itself.
type effect struct {
	what   string
	to     []int
	detail int // its index among the effects of its action
}

const (
	nap       = "nap" // lets other goroutines run
	toAll     = "all"
	storm     = "storm" // many broadcasts to all members, concurrently with the following effects
	toOthers  = "others"
	toThese   = "to"
	toExcept  = "except"
	toMasked  = "masked" // all members, through the outgoing handler
	reply     = "reply"
	whisper   = "whisper" // a reply through the outgoing handler
	track     = "track"
	update    = "update"
	upsert    = "upsert"
	untrack   = "untrack"
	assign    = "assign"
	read      = "read" // reply with the assigned value
	evict     = "evict"
	closeRoom = "close"
	accept    = "accept"
	decline   = "decline"
	refuse    = "refuse" // return a typed error
	fail      = "fail"   // return any error
	panics    = "panic"
)

// request returns the name of the message that the action sends.
func (a action) request() string { return "r" + strconv.Itoa(a.n) }

// payload returns the payload of the message that the action sends.
func (a action) payload() string { return `{"n":` + strconv.Itoa(a.n) + `}` }

// A value is the unique value that an effect broadcasts, tracks or assigns.
type value int

// A value identifies the effect that it belongs to.
const (
	maxEffects = 10        // per action
	storms     = 50        // broadcasts per storm
	stormy     = 1_000_000 // the first value of a storm
)

func (a action) value(e effect) value { return value(a.n*maxEffects + e.detail + 1) }

// of returns the value of one broadcast of a storm.
func (v value) of(i int) value { return stormy + v*storms + value(i) }

// author returns the number of the action that v belongs to.
func (v value) author() int {
	if v >= stormy {
		v = (v - stormy) / storms
	}
	return int(v / maxEffects)
}

func (v value) json() string { return `{"v":` + strconv.Itoa(int(v)) + `}` }

var roomNames = []string{"/room/a", "/room/b", "/room/c", "/nowhere/d"}

const (
	rooms   = 3 // clients can join these
	nowhere = rooms
)

// GoString is called when rapid prints a history.
func (h history) GoString() string { return "\n" + h.String() }

func (h history) String() string {
	var b strings.Builder
	for i, round := range h.rounds {
		fmt.Fprintf(&b, "%3d. ", i)
		for j, a := range round {
			if j > 0 {
				b.WriteString("\n     & ")
			}
			b.WriteString(h.text(a))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (h history) text(a action) string {
	who := "c" + strconv.Itoa(a.by)
	if a.by >= outsider {
		who = "server" + strconv.Itoa(a.by-outsider)
	}
	var text strings.Builder
	text.WriteString(who + " " + string(a.what))
	switch a.what {
	case connect:
		text.WriteString(" " + string(h.clients[a.by].transport))
		if h.clients[a.by].deflate {
			text.WriteString(" deflate")
		}
	case join, send, unknown, leave, act, trickle, flood:
		text.WriteString(" " + roomNames[a.room])
	}
	for i, e := range a.do {
		if i == 0 {
			text.WriteString(":")
		}
		text.WriteString(" " + e.String())
	}
	if len(a.do) > 0 || a.what == leave {
		text.WriteString(" (" + a.request() + ")")
	}
	return text.String()
}

func (e effect) String() string {
	var text strings.Builder
	text.WriteString(e.what)
	for i, c := range e.to {
		text.WriteString(map[bool]string{true: "(c", false: ",c"}[i == 0] + strconv.Itoa(c))
	}
	if len(e.to) > 0 {
		text.WriteString(")")
	}
	return text.String()
}
