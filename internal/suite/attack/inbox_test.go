package attack_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// The size of queued messages includes their names, not only their payloads.
func TestAttackLongNamesForASlowHandler(t *testing.T) {
	const messages, size = 60, 1 << 18
	p, _, l := kit.NewPond(pond.WithMaxEventName(1 << 20))
	var release chan struct{}
	l.OnMessage("wait", func(*pond.EventContext) error { <-release; return nil })
	l.OnMessage("n/*", func(ctx *pond.EventContext) error { return ctx.Reply("n", nil) })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		release = make(chan struct{})
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.Join("/chat/1", nil)
		s.Send("/chat/1", "wait", nil)
		name := `"n/` + strings.Repeat("x", size) + `"`
		before := kit.Heap()
		go func() {
			for i := range messages {
				s.SendRaw([]byte(say(name, fmt.Sprintf(`"%d"`, i), "{}")))
			}
		}()
		synctest.Wait()
		if grown := kit.Heap() - before; grown > 5<<20 { // four are queued, one is being read, one is being sent
			t.Errorf("memory has grown by %d bytes", grown)
		}
		close(release)
		for i := range messages {
			if m := s.Receive(); m.Event != "n" || m.RequestID != strconv.Itoa(i) {
				t.Fatalf("message %d: got %v", i, m)
			}
		}
	})
}
