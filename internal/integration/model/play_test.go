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

// play lets a history happen in a bubble of its own. If something goes wrong in
// there, such as a message that no client would understand or a goroutine that is
// left, it returns an error, which lets rapid go on to shrink; the test t has
// failed in any case.
func play(t *testing.T, h history) (s *seen, err error) {
	p := &player{history: h, stage: newStage(h)}
	ended := make(chan struct{})
	go func() { // whose end a failed bubble would be
		defer close(ended)
		err = fmt.Errorf("pondtest has failed the test")
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

// A player does what a history says.
type player struct {
	history  history
	stage    *stage
	driver   *pondtest.Driver
	sessions []*pondtest.Session
	leaves   int // leave handlers that had run when Shutdown returned

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

// alone does what happens in a round of its own.
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

// large is what stalled clients are sent; see [verb.floods]. It can hardly be
// compressed.
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
		_ = ch.To(p.stage.id(a.by)).Broadcast("flood", large) // until the last member has left
		synctest.Wait()                                       // what can be written is written
	}
}

// together lets clients and outsiders act at once.
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
		case cut:
			p.sessions[a.by].Reset()
		case goAway:
			p.sessions[a.by].Close()
		default:
			p.sessions[a.by].SendRaw(a.message())
		}
	}
}

// kicked is the close code of those who were disconnected.
const kicked = 4001

// message returns what a client sends.
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
		return message("BROADCAST", "unheard-of")
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
		p.stage.fault("Shutdown has returned before all handlers had")
	}
	p.leaves = p.stage.leaves()
}

// look takes down what can be observed when nothing moves.
func (p *player) look() {
	for c, s := range p.sessions {
		w := &p.seen.clients[c]
		w.arrive(s.Unread(), p.stage.ids)
		w.left = p.stage.left[c]
		w.ran = append(w.ran, len(w.left))
	}
	p.seen.states = append(p.seen.states, p.stage.state())
}

// inspect finds what no client may ever see.
func (p *player) inspect() {
	for c, s := range p.sessions {
		if f, found := overtaken(s.Unread(), func(n int) int { return p.stage.actions[n].by }); found {
			p.stage.fault(fmt.Sprintf("c%d has got %v behind what came later", c, f))
		}
		for _, m := range s.Unread() {
			if strings.Contains(string(m.Raw), secret) {
				p.stage.fault("the secret got out: " + m.String())
			}
			for other, o := range p.sessions {
				if other != c && strings.Contains(string(m.Raw), o.ConnectionID()) {
					p.stage.fault("a connection ID got out: " + m.String())
				}
			}
		}
	}
	if n := p.stage.leaves(); n != p.leaves {
		p.stage.fault("a leave handler has run after Shutdown had returned")
	}
	p.seen.faults = p.stage.faults
}

// doze lets others come in between.
func doze() { time.Sleep(napTime) }
