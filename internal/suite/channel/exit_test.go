package channel_test

import (
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A handler that calls runtime.Goexit, as t.FailNow does, affects only its own
// event.
func TestHandlersThatExit(t *testing.T) {
	left := 0
	server := func() *pond.Pond {
		left = 0
		p, e, l := kit.NewPond()
		l.OnMessage("exit", func(*pond.EventContext) error { runtime.Goexit(); return nil })
		l.OnLeave(func(*pond.LeaveContext) error { left++; runtime.Goexit(); return nil })
		e.Lobby("/exit/:room", func(*pond.JoinContext) error { runtime.Goexit(); return nil })
		return p
	}
	kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s, other := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		other.Join("/chat/1", nil)
		s.SendRaw([]byte(`{"action":"JOIN_CHANNEL","channelName":"/exit/1","requestId":"1","event":"JOIN_CHANNEL","payload":{}}`))
		if got := kit.Status(t, s.ReceiveEvent("UNAUTHORIZED")); got != 500 {
			t.Errorf("a join was refused with %d, want 500", got)
		}
		s.Join("/chat/1", nil)
		s.Join("/chat/2", nil)
		s.Send("/chat/1", "exit", nil)
		if got := kit.Status(t, s.ReceiveEvent("HANDLER_NOT_FOUND")); got != 500 {
			t.Errorf("the sender was told %d, want 500", got)
		}
		s.Send("/chat/1", "say", map[string]string{"text": "still here"})
		s.Expect("said")
		other.Expect("said")
		s.Close()
		synctest.Wait()
		if left != 2 {
			t.Errorf("%d leave handlers have run, want 2", left)
		}
	})
}
