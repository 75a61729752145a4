package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

// said is the answer of the model of the tests: a hundred words, one per second.
func said(ctx context.Context, _ string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for n := range 100 {
			select {
			case <-ctx.Done():
				yield("", ctx.Err())
				return
			case <-time.After(time.Second):
			}
			if !yield(fmt.Sprintf("%d ", n), nil) {
				return
			}
		}
	}
}

func whole() string {
	var b strings.Builder
	for n := range 100 {
		fmt.Fprintf(&b, "%d ", n)
	}
	return b.String()
}

func serve(t *testing.T, test func(t *testing.T, d *pondtest.Driver)) {
	p := pond.New()
	runs, mux := handler(p, said)
	pondtest.Run(t, mux, func(t *testing.T, d *pondtest.Driver) {
		defer p.Shutdown(t.Context())
		defer runs.Stop()
		test(t, d)
	})
}

func ask(t *testing.T, d *pondtest.Driver) (channel string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/ask", strings.NewReader("why?"))
	if err != nil {
		t.Fatal(err)
	}
	req.RequestURI = ""
	resp := d.Do(req)
	body, _ := io.ReadAll(resp.Body)
	var answer struct{ Channel string }
	if err := json.Unmarshal(body, &answer); err != nil || answer.Channel == "" {
		t.Fatalf("status %d: %s", resp.StatusCode, body)
	}
	return answer.Channel
}

// A tab behaves like app.js.
type tab struct {
	s      *pondtest.Session
	target string
	id     string // the last event ID
	answer strings.Builder
	done   bool
}

func open(d *pondtest.Driver, channel string) *tab {
	p := &tab{target: "/socket?last=10000&join=" + channel}
	p.s = d.Connect(pondtest.SSE, p.target)
	return p
}

// reconnect acts like an EventSource after it lost its connection.
func (p *tab) reconnect(d *pondtest.Driver) {
	p.s = d.Connect(pondtest.SSE, p.target, pondtest.Header("Last-Event-ID", p.id))
}

func (p *tab) read(t *testing.T) {
	t.Helper()
	for _, m := range p.s.Drain() {
		switch m.Event {
		case "ACKNOWLEDGE":
			var ack struct{ Recover struct{ Recovered bool } }
			m.Bind(t, &ack)
			if !ack.Recover.Recovered {
				p.answer.Reset()
			}
		case "token":
			var v Token
			m.Bind(t, &v)
			p.answer.WriteString(v.Text)
		case "done":
			p.done = true
		}
	}
	if events := p.s.Events(); len(events) > 0 {
		p.id = events[len(events)-1].ID
	}
}

func TestPageShowsTheWholeAnswer(t *testing.T) {
	serve(t, func(t *testing.T, d *pondtest.Driver) {
		channel := ask(t, d)
		time.Sleep(10*time.Second + time.Second/2)
		stays, reloads, drops := open(d, channel), open(d, channel), open(d, channel)
		for range 12 {
			time.Sleep(7 * time.Second)
			drops.read(t)
			drops.s.Reset()
			reloads.s.Close()
			time.Sleep(time.Second)
			reloads = open(d, channel)
			drops.reconnect(d)
		}
		second := open(d, channel)
		time.Sleep(time.Hour / 2)
		for name, p := range map[string]*tab{"stays": stays, "reloads": reloads, "drops": drops, "second": second, "late": open(d, channel)} {
			p.read(t)
			if got := p.answer.String(); got != whole() || !p.done {
				t.Errorf("the page that %s shows %q", name, got)
			}
		}
	})
}

func TestAnswersExpire(t *testing.T) {
	serve(t, func(t *testing.T, d *pondtest.Driver) {
		channel := ask(t, d)
		time.Sleep(100*time.Second + time.Hour + time.Second)
		p := open(d, channel)
		p.read(t)
		if p.answer.Len() > 0 {
			t.Errorf("after an hour: %q", p.answer.String())
		}
	})
}

func TestCut(t *testing.T) {
	serve(t, func(t *testing.T, d *pondtest.Driver) {
		p := open(d, ask(t, d))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/cut", strings.NewReader(p.s.ID()))
		if err != nil {
			t.Fatal(err)
		}
		if resp := d.Do(req); resp.StatusCode != http.StatusOK {
			t.Errorf("status %d", resp.StatusCode)
		}
		synctest.Wait()
		if !p.s.Ended() {
			t.Error("the stream goes on")
		}
	})
}

func TestStopEndsAnswers(t *testing.T) {
	serve(t, func(t *testing.T, d *pondtest.Driver) {
		p := open(d, ask(t, d))
		_ = p
		time.Sleep(3 * time.Second)
		// The driver fails the test if Stop leaves a goroutine.
	})
}
