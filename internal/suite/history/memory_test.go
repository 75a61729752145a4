package history_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A history uses at most 1.5 times the memory of the frames that it keeps.
func TestHistoryMemory(t *testing.T) {
	const channels, messages = 10_000 / kit.Slowdown, 100
	_, e, _ := newPond(pond.History{}, pond.WithHistoryLimit(4<<30))
	text := strings.Repeat("x", 200-len(`{"text":""}`))
	const request = 36 // the ID that Publish chooses
	frame := 4 + len(`{"action":"BROADCAST","event":"said","channelName":"/log/1000","requestId":"","payload":,"offset":12}`) + request + 200
	before := heap()
	for n := range messages {
		for c := range channels {
			if err := e.Publish(t.Context(), fmt.Sprintf("/log/%d", c), "said", map[string]string{"text": text}); err != nil {
				t.Fatal(n, err)
			}
		}
	}
	used := float64(heap()-before) / float64(channels*messages)
	t.Logf("%d bytes a frame, %.0f bytes of memory: %.2f", frame, used, used/float64(frame))
	if used > 1.5*float64(frame) {
		t.Errorf("a message of %d bytes costs %.0f bytes of memory", frame, used)
	}
	runtime.KeepAlive(e)
}

// The memory of all histories is limited: channels without members are removed
// first, and then old messages.
func TestHistoryLimit(t *testing.T) {
	const limit = 1 << 20
	reached := 0
	p := pond.New(pond.WithLogger(kit.Silent), pond.WithObserver(&pond.Observer{Limited: func(_ *pond.Endpoint, l pond.Limit) {
		if l == pond.LimitHistory {
			reached++
		}
	}}))
	e := p.Endpoint("/socket", kit.Accept, pond.WithHistoryLimit(limit))
	e.Lobby("/log/:room", kit.Admit, pond.WithHistory(pond.History{Messages: 1 << 20, Bytes: 1 << 30, Newcomers: 1 << 20}))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.Join("/log/live", nil)
		publish := func(channel string) {
			if err := e.Publish(t.Context(), channel, "said", map[string]string{"text": strings.Repeat("x", 1000)}); err != nil {
				t.Fatal(err)
			}
		}
		kept := func(channel string) (n int) {
			for _, err := range e.History(t.Context(), channel, pond.Last(1<<20)) {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
			return n
		}
		for n := range 100 {
			publish("/log/live")
			publish(fmt.Sprintf("/log/idle%d", n))
			time.Sleep(time.Second) // so that they expire one after the other
		}
		if live, idle := kept("/log/live"), kept("/log/idle0"); live != 100 || idle != 1 {
			t.Fatalf("below the limit: %d and %d messages", live, idle)
		}
		if reached > 0 {
			t.Error("the limit was reported before it was reached")
		}
		for n := range 5000 {
			publish("/log/live")
			if n%500 == 0 {
				synctest.Wait() // or the member would be disconnected, because it lags
			}
		}
		if first, last := kept("/log/idle0"), kept("/log/idle99"); first != 0 || last != 0 {
			t.Errorf("above the limit channels without members keep %d and %d messages", first, last)
		}
		if n := kept("/log/live"); n < 800 || n > limit/1000 {
			t.Errorf("a limit of %d bytes keeps %d messages of 1 KB", limit, n)
		}
		if reached == 0 {
			t.Error("the limit was not reported")
		}
		s.Drain()
	})
}

// Channels that were used once leave nothing when their history expired, and
// Shutdown frees all histories.
func TestHistoryExpires(t *testing.T) {
	p, e, _ := newPond(pond.History{Age: time.Minute})
	var left uint64
	pondtest.Run(t, p, func(t *testing.T, _ *pondtest.Driver) {
		before := heap()
		for c := range 1000 {
			for range 10 {
				if err := e.Publish(t.Context(), fmt.Sprintf("/log/%d", c), "said", map[string]string{"text": strings.Repeat("x", 1000)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if used := heap() - before; used < 8<<20 {
			t.Fatalf("10 MB of messages use %d bytes", used)
		}
		time.Sleep(time.Minute + time.Second)
		now := heap()
		left = now - min(before, now)
	})
	if left > 2<<20 {
		t.Errorf("%d bytes are left after the histories expired", left)
	}
	if err := e.Publish(t.Context(), room, "said", nil); err == nil {
		t.Error("Publish after Shutdown returned no error")
	}
}
