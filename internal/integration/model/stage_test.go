package model_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond"
)

// Limits that a history can reach.
const (
	maxMemberships = 2
	outboxBytes    = 32 << 10
	inboxSize      = 2
)

// Times, each much longer than all of those before it in a history.
const (
	napTime      = time.Millisecond
	roundTime    = time.Second
	writeTimeout = time.Hour
	pingInterval = 24 * time.Hour
	waitTime     = 3 * pingInterval
)

// secret is what no client may ever see: the text of errors, and what is assigned.
const secret = "hunter2"

var errSecret = errors.New(secret)

// A stage is the server under test. Its handlers have the effects that the
// history says.
type stage struct {
	pond     *pond.Pond
	endpoint *pond.Endpoint
	actions  []action // by their number
	running  atomic.Int32
	storms   sync.WaitGroup

	mu     sync.Mutex // guards the following fields
	ids    []string   // of users, by client
	left   [][]departure
	faults []string
}

// A departure is what a leave handler was told.
type departure struct {
	room   int
	reason pond.LeaveReason
	detail string
	value  value // that was assigned
}

func newStage(h history) *stage {
	s := &stage{
		pond: pond.New(pond.WithLogger(slog.New(slog.DiscardHandler))),
		left: make([][]departure, len(h.clients)),
		ids:  make([]string, len(h.clients)),
	}
	for _, round := range h.rounds {
		s.actions = append(s.actions, round...)
	}
	s.endpoint = s.pond.Endpoint("/socket", s.connect, pond.WithMaxChannels(maxMemberships),
		pond.WithOutboxSize(outboxBytes), pond.WithInboxSize(inboxSize), pond.WithCompression(100),
		pond.WithWriteTimeout(writeTimeout), pond.WithPingInterval(pingInterval))
	l := s.endpoint.Lobby("/room/:name", observed(s, s.join))
	l.OnMessage("do", observed(s, s.event))
	l.OnOutgoing("masked", observed(s, mask))
	l.OnLeave(observed(s, s.leave))
	return s
}

// observed counts handlers that run.
func observed[C any](s *stage, h pond.Handler[C]) pond.Handler[C] {
	return func(ctx C) error {
		s.running.Add(1)
		defer s.running.Add(-1)
		return h(ctx)
	}
}

func (s *stage) fault(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, text)
}

func (s *stage) id(c int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[c]
}

// who is the key under which a client is assigned its number, and what is that
// of values.
const (
	who  = "who"
	what = "what"
)

func (s *stage) connect(ctx *pond.ConnectionContext) error {
	c, err := strconv.Atoi(ctx.Query().Get(who))
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.ids[c] = ctx.UserID()
	s.mu.Unlock()
	ctx.Assign(who, c)
	ctx.Assign("password", secret)
	return ctx.Reply("hello", nil)
}

func (s *stage) join(ctx *pond.JoinContext) error {
	accepted := false
	a := s.action(ctx.Payload())
	defer s.calm(a)
	for _, e := range a.do {
		var err error
		switch {
		case e.what == accept:
			if err = ctx.Accept(); accepted && err == pond.ErrDecided { //nolint:errorlint // it is returned as it is
				err = nil
			} else if accepted {
				s.fault("Accept was possible twice")
			}
			accepted = err == nil
		case e.what == decline:
			err = ctx.Decline(403, "declined")
		case e.what == assign && e.to == nil:
			ctx.Assign(what, a.value(e))
		default:
			err = s.effect(ctx, ctx.Channel(), a, e)
		}
		if errors.Is(err, pond.ErrNotAccepted) && !accepted {
			continue
		}
		if err != nil {
			return err
		}
		if !accepted && needsMember(e) {
			s.fault(e.what + " was possible before Accept")
		}
	}
	return nil
}

// needsMember reports whether an effect at the door needs Accept.
func needsMember(e effect) bool {
	switch e.what {
	case toAll, toOthers, reply, read, whisper, toMasked:
		return true
	case track:
		return e.to == nil
	default:
		return false
	}
}

func (s *stage) event(ctx *pond.EventContext) error {
	a := s.action(ctx.Payload())
	defer s.calm(a)
	for _, e := range a.do {
		if err := s.eventEffect(ctx, a, e); err != nil {
			return err
		}
	}
	return nil
}

// eventEffect has the effects on the sender itself that only events can have.
func (s *stage) eventEffect(ctx *pond.EventContext, a action, e effect) error {
	if e.to == nil {
		switch e.what {
		case update:
			return ctx.Update(presence(a.value(e)))
		case untrack:
			return ctx.Untrack()
		case assign:
			return ctx.Assign(what, a.value(e))
		}
	}
	return s.effect(ctx, ctx.Channel(), a, e)
}

// action returns the action that sent a payload.
func (s *stage) action(payload json.RawMessage) action {
	var sent struct{ N int }
	if err := json.Unmarshal(payload, &sent); err != nil {
		s.fault("a handler saw the payload " + string(payload))
	}
	return s.actions[sent.N]
}

// leave takes down who left and why, and tells the others.
func (s *stage) leave(ctx *pond.LeaveContext) error {
	c := ctx.Get(who).(int)
	d := departure{reason: ctx.Reason(), detail: ctx.Detail(), room: roomNumber(ctx.Channel().Name())}
	d.value, _ = ctx.Get(what).(value)
	s.mu.Lock()
	s.left[c] = append(s.left[c], d)
	s.mu.Unlock()
	return ctx.Broadcast("left", json.RawMessage(d.json(c)))
}

func (d departure) json(c int) string {
	return `{"who":` + strconv.Itoa(c) + `,"why":"` + string(d.reason) + `"}`
}

// mask is the handler for outgoing events: every third client does not get them,
// and another third gets them late and changed.
func mask(ctx *pond.OutgoingContext) error {
	switch c := ctx.Get(who).(int); c % 3 {
	case 1:
		doze()
		return ctx.Transform(json.RawMessage(masked(string(ctx.Payload()), c)))
	case 2:
		ctx.Block()
	}
	return nil
}

func masked(payload string, c int) string {
	return `{"for":` + strconv.Itoa(c) + `,"was":` + payload + `}`
}

func presence(v value) json.RawMessage { return json.RawMessage(v.json()) }

func roomNumber(name string) int {
	for i, n := range roomNames {
		if n == name {
			return i
		}
	}
	return -1
}

// leaves returns how many leave handlers have run.
func (s *stage) leaves() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, left := range s.left {
		n += len(left)
	}
	return n
}

// state returns what the server says about its channels.
func (s *stage) state() string {
	var lines []string
	for ch := range s.endpoint.Channels() {
		var members []string
		for u := range ch.Users() {
			v, _ := u.Get(what).(value)
			members = append(members, fmt.Sprintf("c%d v=%d", u.Get(who), v))
		}
		slices.Sort(members)
		var list []string
		for id, value := range ch.Presence() {
			list = append(list, fmt.Sprintf("c%d %s", slices.Index(s.ids, id), value))
		}
		if n := ch.Len(); n != len(members) {
			s.fault(fmt.Sprintf("Len is %d, but there are %d users", n, len(members)))
		}
		lines = append(lines, fmt.Sprint(ch.Name(), members, list))
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ") + fmt.Sprintf("; %d clients", s.endpoint.Len())
}
