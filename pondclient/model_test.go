package pondclient_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/pondclient"
)

var histories = flag.Int("histories", 60, "number of random histories that the model plays")

// The model: clients of a channel with a history, a network that breaks, a server
// that restarts. Each client gets every message once and in order, or a gap where
// messages are missing; and it gets a gap only after an event that can lose messages.
func TestModel(t *testing.T) {
	for seed := range *histories {
		synctest.Test(t, func(t *testing.T) {
			m := &model{t: t, seed: uint64(seed), random: rand.New(rand.NewPCG(uint64(seed), 7))}
			m.play()
		})
	}
}

type model struct {
	t        *testing.T
	seed     uint64
	random   *rand.Rand
	site     *site
	keep     int // messages in the history
	restarts bool
	players  []*player

	mu      sync.Mutex // guards the following fields
	n       int        // messages published so far
	restart []int      // n at each restart
}

// A player is one client of the model.
type player struct {
	m      *model
	name   string
	client *pondclient.Client
	line   *line
	slow   bool // the program does not keep up

	mu   sync.Mutex // guards the following fields
	seen []string   // for failures
	last int        // the last message
	gaps []gap      // since then
	fail string

	epochs int // gaps because the history started again
}

type gap struct {
	reason pondclient.GapReason
	after  int // the message before it
}

func (m *model) play() {
	m.keep = []int{20, 1000}[m.random.IntN(2)]
	m.restarts = m.random.IntN(2) == 0
	m.site = newSite(m.t, chat(pond.WithHistory(pond.History{Messages: m.keep})))
	for i := range 2 + m.random.IntN(4) {
		m.join(i)
	}
	ctx, cancel := context.WithCancel(m.t.Context())
	var tasks sync.WaitGroup
	tasks.Go(func() { m.publish(ctx) })
	for range 30 + m.random.IntN(50) {
		m.disturb(m.players[m.random.IntN(len(m.players))])
		time.Sleep(time.Duration(m.random.IntN(8000)) * time.Millisecond)
	}
	cancel()
	tasks.Wait()
	for _, p := range m.players {
		p.line.each((*pipenet.Conn).Plug)
		p.line.each((*pipenet.Conn).Release)
	}
	time.Sleep(10 * time.Minute) // until all clients are connected
	m.say()                      // so that clients that lack messages notice it
	time.Sleep(10 * time.Minute)
	synctest.Wait()
	for _, p := range m.players {
		p.judge()
	}
}

// join adds a player, before the first message.
func (m *model) join(i int) {
	over := bothTransports[m.random.IntN(2)]
	p := &player{m: m, name: fmt.Sprint(i, " ", over), slow: m.random.IntN(6) == 0}
	p.client, p.line = m.site.client(over)
	opts := []pondclient.JoinOption{}
	if p.slow {
		opts = append(opts, pondclient.WithBuffer(5, 1<<20))
	}
	ch, err := p.client.Join(within(m.t, time.Minute), room, opts...)
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	pauses := rand.New(rand.NewPCG(m.seed, uint64(100+i)))
	go func() {
		defer close(done)
		for ev, err := range ch.Events(ctx) {
			if err == nil {
				p.take(ev)
			}
			if p.slow {
				time.Sleep(time.Duration(pauses.IntN(500)) * time.Millisecond)
			}
		}
	}()
	m.t.Cleanup(func() { cancel(); <-done })
	m.players = append(m.players, p)
}

// publish publishes at a random pace, and restarts the server at times.
func (m *model) publish(ctx context.Context) {
	random := rand.New(rand.NewPCG(m.seed, 8))
	for ctx.Err() == nil {
		for range random.IntN(4) {
			m.say()
		}
		if m.restarts && random.IntN(60) == 0 {
			m.site.stop()
			m.mu.Lock()
			m.restart = append(m.restart, m.n)
			m.mu.Unlock()
			time.Sleep(time.Duration(random.IntN(5000)) * time.Millisecond)
			m.site.start()
		}
		time.Sleep(time.Duration(random.IntN(600)) * time.Millisecond)
	}
}

func (m *model) say() {
	m.mu.Lock()
	m.n++
	n := m.n
	m.mu.Unlock()
	if err := m.site.endpoint.Publish(context.Background(), room, "said", map[string]int{"n": n}); err != nil {
		m.t.Errorf("seed %d: publish: %v", m.seed, err)
	}
}

// disturb causes a failure in the network of a client.
func (m *model) disturb(p *player) {
	for range 1 + m.random.IntN(3) {
		switch m.random.IntN(8) {
		case 0, 1:
			p.line.cut()
		case 2:
			p.line.each((*pipenet.Conn).Unplug) // until the client detects it
		case 3:
			p.line.each((*pipenet.Conn).Plug)
		case 4:
			p.line.each((*pipenet.Conn).Hold)
		case 5:
			p.line.each((*pipenet.Conn).Release)
		case 6:
			d := time.Duration(m.random.IntN(300)) * time.Millisecond
			p.line.mu.Lock()
			p.line.delay = d
			p.line.mu.Unlock()
		case 7:
			p.client.Wake()
		}
	}
}

// take checks an event against the previous one.
func (p *player) take(ev pondclient.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, describe(ev))
	switch ev := ev.(type) {
	case *pondclient.Gap:
		p.gaps = append(p.gaps, gap{ev.Reason, p.last})
		if !p.mayHave(ev.Reason) {
			p.problem("a gap for no reason")
		}
	case *pondclient.Message:
		var payload struct{ N int }
		if err := ev.Bind(&payload); err != nil {
			p.problem(err.Error())
		}
		switch {
		case payload.N <= p.last:
			p.problem("a message came again, or late")
		case payload.N > p.last+1 && len(p.gaps) == 0:
			p.problem("messages are missing without a gap")
		}
		p.last, p.gaps = payload.N, nil
	}
}

// mayHave reports whether an event explains a gap.
func (p *player) mayHave(reason pondclient.GapReason) bool {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	switch reason {
	case pondclient.GapEpoch:
		p.epochs++
		return p.epochs <= len(p.m.restart)
	case pondclient.GapExpired:
		return p.m.n-p.last > p.m.keep
	case pondclient.GapOverflow:
		return p.slow
	default:
		return false
	}
}

func (p *player) problem(text string) {
	if p.fail == "" {
		p.fail = text + ": " + strings.Join(p.seen[max(0, len(p.seen)-12):], " ")
	}
}

// judge fails the test unless the client has all messages up to the last one.
func (p *player) judge() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != p.m.n {
		p.problem(fmt.Sprintf("it ends at %d of %d", p.last, p.m.n))
	}
	if p.fail != "" {
		p.m.t.Errorf("seed %d, client %s (history of %d, restarts %v): %s", p.m.seed, p.name, p.m.keep, p.m.restarts, p.fail)
	}
}
