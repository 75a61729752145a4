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

// Durations. Each of them is much longer than the sum of the shorter ones in a history.
const (
	napTime      = time.Millisecond
	roundTime    = time.Second
	writeTimeout = time.Hour
	pingInterval = 24 * time.Hour
	waitTime     = 3 * pingInterval
)

// secret must never reach a client. It is the text of errors and an assigned value.
const secret = "hunter2"

var errSecret = errors.New(secret)

// A stage is the server under test. Its handlers have the effects of the history.
type stage struct {
	pond     *pond.Pond
	endpoint *pond.Endpoint
	actions  []action // by number
	running  atomic.Int32
	storms   sync.WaitGroup

	mu     sync.Mutex // guards the following fields
	ids    []string   // user IDs by client
	left   [][]departure
	faults []string
}

// A departure is what a leave handler observed.
type departure struct {
	room   int
	reason pond.LeaveReason
	detail string
	value  value // the assigned value
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
	l := s.endpoint.Lobby("/room/:name", counted(s, s.join))
	l.OnMessage("do", counted(s, s.event))
	l.OnOutgoing("masked", counted(s, mask))
	l.OnLeave(counted(s, s.leave))
	return s
}

// counted counts the running handlers.
func counted[C any](s *stage, h pond.Handler[C]) pond.Handler[C] {
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

// Keys of assigns: the number of the client, and values.
const (
	clientKey = "client"
	valueKey  = "value"
)

func (s *stage) connect(ctx *pond.ConnectionContext) error {
	c, err := strconv.Atoi(ctx.Query().Get(clientKey))
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.ids[c] = ctx.UserID()
	s.mu.Unlock()
	ctx.Assign(clientKey, c)
	ctx.Assign("password", secret)
	return errors.Join(ctx.Accept(), ctx.Reply("hello", nil))
}

func (s *stage) join(ctx *pond.JoinContext) error {
	accepted := false
	a := s.action(ctx.Payload())
	defer s.calm(a)
	for _, e := range a.do {
		var err error
		switch {
		case e.what == accept:
			if err = ctx.Accept(); accepted && err == pond.ErrDecided { //nolint:errorlint // it is returned unwrapped
				err = nil
			} else if accepted {
				s.fault("Accept succeeded twice")
			}
			accepted = err == nil
		case e.what == decline:
			err = ctx.Decline(403, "declined")
		case e.what == assign && e.to == nil:
			ctx.Assign(valueKey, a.value(e))
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
			s.fault(e.what + " succeeded before Accept")
		}
	}
	return nil
}

// needsMember reports whether an effect of a join handler requires Accept.
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

// eventEffect applies an effect, including those on the sender that only events have.
func (s *stage) eventEffect(ctx *pond.EventContext, a action, e effect) error {
	if e.to == nil {
		switch e.what {
		case update:
			return ctx.Update(a.value(e).raw())
		case untrack:
			return ctx.Untrack()
		case assign:
			return ctx.Assign(valueKey, a.value(e))
		}
	}
	return s.effect(ctx, ctx.Channel(), a, e)
}

// action returns the action that sent a payload.
func (s *stage) action(payload json.RawMessage) action {
	var sent struct{ N int }
	if err := json.Unmarshal(payload, &sent); err != nil {
		s.fault("a handler received the payload " + string(payload))
	}
	return s.actions[sent.N]
}

// leave records the departure and notifies the other members.
func (s *stage) leave(ctx *pond.LeaveContext) error {
	c := ctx.Get(clientKey).(int)
	d := departure{reason: ctx.Reason(), detail: ctx.Detail(), room: queueOf(ctx.Channel().Name())}
	d.value, _ = ctx.Get(valueKey).(value)
	s.mu.Lock()
	s.left[c] = append(s.left[c], d)
	s.mu.Unlock()
	return ctx.Broadcast("left", json.RawMessage(d.json(c)))
}

func (d departure) json(c int) string {
	return `{"who":` + strconv.Itoa(c) + `,"why":"` + string(d.reason) + `"}`
}

// mask is the outgoing handler.
func mask(ctx *pond.OutgoingContext) error {
	c := ctx.Get(clientKey).(int)
	switch maskOf(c) {
	case changed:
		err := ctx.Transform(json.RawMessage(masked(string(ctx.Payload()), c)))
		doze()
		return err
	case blocked:
		ctx.Block()
	}
	return nil
}

// The outgoing handler does one of these, depending on the client.
const (
	untouched = iota
	changed   // and delayed
	blocked
)

func maskOf(c int) int { return []int{changed, untouched, changed, blocked, changed}[c] }

func masked(payload string, c int) string {
	return `{"for":` + strconv.Itoa(c) + `,"was":` + payload + `}`
}

func (v value) raw() json.RawMessage { return json.RawMessage(v.json()) }

// leaves returns the number of leave handlers that ran.
func (s *stage) leaves() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, left := range s.left {
		n += len(left)
	}
	return n
}

// state describes the channels of the server.
func (s *stage) state() string {
	var lines []string
	for ch := range s.endpoint.Channels() {
		var members []string
		for u := range ch.Users() {
			v, _ := u.Get(valueKey).(value)
			members = append(members, fmt.Sprintf("c%d v=%d", u.Get(clientKey), v))
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
