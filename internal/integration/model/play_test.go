package model_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/pondtest"
)

// play plays a history in its own bubble. If the bubble fails, for example because of an
// invalid message or a goroutine that remains, play returns an error, so that rapid can
// continue to shrink. The test t has failed in this case.
func play(t *testing.T, h history) (s *seen, err error) {
	p := &player{history: h, stage: newStage(h)}
	ended := make(chan struct{})
	go func() { // a failed bubble ends its goroutine
		defer close(ended)
		err = fmt.Errorf("pondtest failed the test")
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("%v", v)
			}
		}()
		pondtest.Run(t, p.stage.pond, p.play)
		err = nil
	}()
	<-ended
	return &p.seen, err
}

// A player plays a history.
type player struct {
	history  history
	stage    *stage
	driver   *pondtest.Driver
	sessions []*pondtest.Session
	leaves   int // number of leave handlers that ran before Shutdown returned

	mu   sync.Mutex // guards seen.results
	seen seen
}

func (p *player) play(t *testing.T, d *pondtest.Driver) {
	p.driver = d
	p.seen.results = map[int][]int{}
	for _, round := range p.history.rounds {
		if round[0].what.alone() {
			p.alone(round[0])
		} else {
			p.together(t, round)
		}
		time.Sleep(roundTime)
		p.look()
	}
	for _, s := range p.sessions {
		s.Resume()
	}
	time.Sleep(roundTime)
	p.look()
	for c, s := range p.sessions {
		p.seen.clients[c].code, _ = s.Closed()
	}
	p.inspect()
}

// alone performs an action that runs alone in its round.
func (p *player) alone(a action) {
	switch a.what {
	case connect:
		w := p.history.clients[a.by]
		opts := []pondtest.Option{pondtest.Query(clientKey, fmt.Sprint(a.by))}
		if w.deflate {
			opts = append(opts, pondtest.Header("Sec-WebSocket-Extensions", "permessage-deflate"))
		}
		p.sessions = append(p.sessions, p.driver.Connect(w.transport, "/socket", opts...))
		p.seen.clients = append(p.seen.clients, witness{
			arrived: make([][queues]int, len(p.seen.states)),
			ran:     make([]int, len(p.seen.states)),
		})
	case stall:
		p.sessions[a.by].Stall()
	case resume:
		p.sessions[a.by].Resume()
	case trickle, flood:
		p.flood(a)
	case wait:
		time.Sleep(waitTime)
	}
}

// large is the payload for stalled clients; see [verb.floods]. It hardly compresses.
var large = json.RawMessage(`{"text":"` + base64.StdEncoding.EncodeToString(noise(largeBytes/4*3)) + `"}`)

const largeBytes = 24 << 10

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // never fails
	return b
}

func (p *player) flood(a action) {
	ch, ok := p.stage.endpoint.Channel(roomNames[a.room])
	if !ok {
		return
	}
	for range a.what.floods() {
		_ = ch.To(p.stage.id(a.by)).Broadcast("flood", large) // fails after the last member left
		synctest.Wait()                                       // the server writes as much as it can
	}
}

// together runs the actions of clients and outsiders concurrently.
func (p *player) together(t *testing.T, round []action) {
	scripts := map[int][]action{}
	var actors []int
	for _, a := range round {
		if scripts[a.by] == nil {
			actors = append(actors, a.by)
		}
		scripts[a.by] = append(scripts[a.by], a)
	}
	var all sync.WaitGroup
	for _, actor := range actors[1:] {
		all.Go(func() { p.perform(t, scripts[actor]) })
	}
	p.perform(t, scripts[actors[0]])
	all.Wait()
}

func (p *player) perform(t *testing.T, script []action) {
	for _, a := range script {
		switch a.what {
		case shutdown:
			p.shutdown(t)
		case disconnect:
			err := p.stage.endpoint.Disconnect(p.stage.id(a.do[0].to[0]), kicked, "kicked")
			p.result(a, status(err))
		case act:
			p.act(a)
		case reset:
			p.sessions[a.by].Reset()
		case goAway:
			p.sessions[a.by].Close()
		default:
			p.sessions[a.by].SendRaw(a.message())
		}
	}
}

// kicked is the close code for disconnected clients.
const kicked = 4001

// message returns the message that a client sends.
func (a action) message() []byte {
	const form = `{"action":%q,"event":%q,"channelName":%q,"requestId":%q,"payload":%s}`
	message := func(action, event string) []byte {
		return fmt.Appendf(nil, form, action, event, roomNames[a.room], a.request(), a.payload())
	}
	switch a.what {
	case join:
		return message("JOIN_CHANNEL", "JOIN_CHANNEL")
	case leave:
		return message("LEAVE_CHANNEL", "LEAVE_CHANNEL")
	case send:
		return message("BROADCAST", "do")
	case unknown:
		return message("BROADCAST", "unknown")
	case ping:
		return []byte(`{"action":"ping"}`)
	default:
		return []byte(`{"action":`)
	}
}

func (p *player) act(a action) {
	ch, ok := p.stage.endpoint.Channel(roomNames[a.room])
	if !ok {
		return
	}
	defer p.stage.calm(a)
	for _, e := range a.do {
		target := ""
		if len(e.to) > 0 {
			target = p.stage.id(e.to[0])
		}
		p.result(a, status(p.stage.channelEffect(ch, target, a, e)))
	}
}

func (p *player) result(a action, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen.results[a.n] = append(p.seen.results[a.n], status)
}

func (p *player) shutdown(t *testing.T) {
	if err := p.stage.pond.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		p.stage.fault("Shutdown: " + err.Error())
	}
	if n := p.stage.running.Load(); n != 0 {
		p.stage.fault("Shutdown returned before all handlers")
	}
	p.leaves = p.stage.leaves()
}

// look records the observations at the end of a round.
func (p *player) look() {
	for c, s := range p.sessions {
		w := &p.seen.clients[c]
		w.arrive(s.Unread(), p.stage.ids)
		w.left = p.stage.left[c]
		w.ran = append(w.ran, len(w.left))
	}
	p.seen.states = append(p.seen.states, p.stage.state())
}

// inspect checks the messages for violations that are independent of the history.
func (p *player) inspect() {
	for c, s := range p.sessions {
		if f, found := overtaken(s.Unread(), func(n int) int { return p.stage.actions[n].by }); found {
			p.stage.fault(fmt.Sprintf("c%d received %v after a later message", c, f))
		}
		for _, m := range s.Unread() {
			if strings.Contains(string(m.Raw), secret) {
				p.stage.fault("a client received the secret: " + m.String())
			}
			for other, o := range p.sessions {
				if other != c && strings.Contains(string(m.Raw), o.ConnectionID()) {
					p.stage.fault("a client received the connection ID of another: " + m.String())
				}
			}
		}
	}
	if n := p.stage.leaves(); n != p.leaves {
		p.stage.fault("a leave handler ran after Shutdown returned")
	}
	p.seen.faults = p.stage.faults
}

// doze lets other goroutines run.
func doze() { time.Sleep(napTime) }
