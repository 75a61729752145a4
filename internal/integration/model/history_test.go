package model_test

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pondsocket/pond/pondtest"
)

// A history is what clients and the server's own code do. What is in one round
// happens at once, and the next round begins when nothing moves any more.
type history struct {
	clients []wiring   // in the order in which they connect
	rounds  [][]action // the last one has the shutdown
}

// A wiring is how a client is connected.
type wiring struct {
	transport pondtest.Transport
	deflate   bool
}

// An action is one thing that somebody does.
type action struct {
	n    int // its place in the history, which names its request and its payload
	by   int // the client, or one of the outsiders
	what verb
	room int
	do   []effect
}

// Outsiders are goroutines of the server that are no handlers. Actions of one
// client or outsider happen one after the other.
const (
	outsider  = 100
	outsiders = 2
)

// A verb says what is done.
type verb string

// What clients send.
const (
	join    verb = "join" // the handler has the effects, of which one may be accept
	send    verb = "send" // an event whose handler has the effects
	unknown verb = "send-unknown"
	leave   verb = "leave"
	garbage verb = "send-garbage"
	ping    verb = "send-ping" // the heartbeat of an old client, which is no message
)

// How clients end.
const (
	cut    verb = "cut"
	goAway verb = "close"
)

// What outsiders do.
const (
	act        verb = "act"        // the effects
	disconnect verb = "disconnect" // the client that is the target of the only effect
	shutdown   verb = "shutdown"
)

// What happens alone, in a round of its own.
const (
	connect verb = "connect"
	stall   verb = "stall"
	resume  verb = "resume"
	trickle verb = "trickle" // fills the pipe of a stalled client, but not its outbox
	flood   verb = "flood"   // fills both
	wait    verb = "wait"    // for days of heartbeats
)

func (v verb) alone() bool {
	switch v {
	case connect, stall, resume, trickle, flood, wait:
		return true
	default:
		return false
	}
}

// floods returns how many large messages v is.
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

// An effect is what a handler or an outsider does with a channel. Without a
// target it concerns the client itself.
type effect struct {
	what   string
	to     []int
	detail int // its place among the effects of one action
}

const (
	nap       = "nap" // lets others come in between
	toAll     = "all"
	storm     = "storm" // many broadcasts to all, at the same time as what follows
	toOthers  = "others"
	toThese   = "to"
	toExcept  = "except"
	toMasked  = "masked" // all, through the handler for outgoing events
	reply     = "reply"
	whisper   = "whisper" // a reply through the handler for outgoing events
	track     = "track"
	update    = "update"
	upsert    = "upsert"
	untrack   = "untrack"
	assign    = "assign"
	read      = "read" // what was assigned, and reply with it
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

// A value is what an effect broadcasts, tracks or assigns; no other one has it.
type value int

// Values tell where they come from.
const (
	maxEffects = 10        // of an action
	storms     = 50        // broadcasts of a storm
	stormy     = 1_000_000 // from here on they are in a storm
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
	rooms   = 3 // that can be joined
	nowhere = rooms
)

// GoString is how rapid shows a history.
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
