package channel_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A logBuffer keeps what is logged.
type logBuffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// take returns the records since the last call.
func (b *logBuffer) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.text.Reset()
	return strings.Split(strings.TrimSuffix(b.text.String(), "\n"), "\n")
}

// A handler that always panics logs one stack per second, and how many panics it did not
// log, for each of the five kinds of handlers. It does not suppress records of other
// handlers, and messages of clients do not make the records long.
func TestFault21_PanicsDoNotFillTheLog(t *testing.T) {
	const times = 50
	large := strings.Repeat("x", 100_000)
	for kind, provoke := range map[string]func(d *pondtest.Driver, s *pondtest.Session){
		"connection": func(d *pondtest.Driver, _ *pondtest.Session) { d.Declined(pondtest.SSE, "/panic") },
		"join":       func(_ *pondtest.Driver, s *pondtest.Session) { s.Join("/panic/join", nil) },
		"message": func(_ *pondtest.Driver, s *pondtest.Session) {
			s.Request("/chat/1", "panic", map[string]string{"x": large})
		},
		"outgoing": func(_ *pondtest.Driver, s *pondtest.Session) { s.Request("/chat/1", "filtered", nil) },
		"leave":    func(_ *pondtest.Driver, s *pondtest.Session) { s.Join("/panic/leave", nil); s.Leave("/panic/leave") },
	} {
		t.Run(kind, func(t *testing.T) {
			var log logBuffer
			p := pond.New(pond.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
			e := p.Endpoint("/socket", kit.Accept, pond.WithMaxConns(9))
			p.Endpoint("/panic", func(*pond.ConnectionContext) error { panic("connection") }, pond.WithMaxConns(9))
			e.Lobby("/panic/join", func(*pond.JoinContext) error { panic("join") })
			e.Lobby("/panic/leave", kit.Admit).OnLeave(func(*pond.LeaveContext) error { panic("leave") })
			l := e.Lobby("/chat/:room", kit.Admit)
			l.OnMessage("panic", func(ctx *pond.EventContext) error { panic("message " + string(ctx.Payload())) })
			l.OnMessage("other", func(*pond.EventContext) error { panic("other") })
			l.OnOutgoing("filtered", func(*pond.OutgoingContext) error { panic("outgoing") })
			l.OnMessage("filtered", func(ctx *pond.EventContext) error {
				_ = ctx.Broadcast("filtered", nil) // nobody receives it
				return ctx.Reply("sent", nil)
			})
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				s := d.Connect(pondtest.WebSocket, "/socket")
				s.Join("/chat/1", nil)
				for second := range 3 {
					for range times {
						provoke(d, s)
					}
					s.Request("/chat/1", "other", nil)
					synctest.Wait()
					var mine, others int
					for _, record := range log.take() {
						if strings.Contains(record, `error="panic: other\n`) {
							others++
							continue
						}
						mine++
						if !strings.Contains(record, `error="panic: `+kind) || !strings.Contains(record, "runtime/debug.Stack") || len(record) > 8<<10 {
							t.Errorf("second %d: record %.300s of %d bytes", second, record, len(record))
						}
						if want := fmt.Sprintf(" suppressed=%d", times-1); strings.Contains(record, " suppressed=") != (second > 0) || second > 0 && !strings.HasSuffix(record, want) {
							t.Errorf("second %d: not %q: ...%s", second, want, record[max(0, len(record)-100):])
						}
					}
					if mine != 1 || others != 1 {
						t.Errorf("second %d: %d records, and %d of another handler", second, mine, others)
					}
					time.Sleep(time.Second)
				}
			})
		})
	}
}
