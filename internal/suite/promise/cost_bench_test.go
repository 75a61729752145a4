package promise_test

import (
	"io"
	"net/http/httptest"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
)

// benchmark runs a benchmark with a client that is a member of /chat/1 and reads all
// that it gets. send sends the client's message n times.
func benchmark(b *testing.B, o *pond.Observer, handlers func(l *pond.Lobby), run func(b *testing.B, ch *pond.Channel, send func(message string, n int))) {
	b.Helper()
	p := pond.New(pond.WithLogger(kit.Silent), pond.WithObserver(o))
	e := p.Endpoint("/socket", kit.Accept)
	handlers(e.Lobby("/chat/:room", kit.Admit))
	server := httptest.NewServer(p)
	defer server.Close()
	conn, err := kit.Joined(server.Listener.Addr().String(), 1)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	ch, ok := e.Channel("/chat/1")
	if !ok {
		b.Fatal("the channel is missing")
	}
	b.ReportAllocs()
	run(b, ch, func(message string, n int) {
		frame := append([]byte{0x81, byte(0x80 | len(message)), 0, 0, 0, 0}, message...)
		var batch []byte
		for len(batch) < 16<<10 && n > 0 {
			batch = append(batch, frame...)
			n--
			if len(batch) >= 16<<10 || n == 0 {
				if _, err := conn.Write(batch); err != nil {
					b.Error(err)
					return
				}
				batch = batch[:0]
			}
		}
	})
}

var observers = map[string]*pond.Observer{
	"unobserved": nil,
	"observed":   {Sent: func(*pond.Channel, string, int) {}},
}

// BenchmarkSend measures a broadcast without its deliveries.
func BenchmarkSend(b *testing.B) {
	for name, o := range observers {
		b.Run(name, func(b *testing.B) {
			benchmark(b, o, func(*pond.Lobby) {}, func(b *testing.B, ch *pond.Channel, _ func(string, int)) {
				payload := map[string]string{"text": "hello"}
				for b.Loop() {
					if err := ch.To("nobody").Broadcast("said", payload); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkHandler measures a message from the socket to the end of its handler.
func BenchmarkHandler(b *testing.B) {
	var done chan struct{}
	left := 0
	benchmark(b, nil, func(l *pond.Lobby) {
		l.OnMessage("do", func(*pond.EventContext) error {
			if left--; left == 0 {
				close(done)
			}
			return nil
		})
	}, func(b *testing.B, _ *pond.Channel, send func(string, int)) {
		left, done = b.N, make(chan struct{})
		b.ResetTimer()
		send(`{"action":"BROADCAST","event":"do","channelName":"/chat/1","requestId":"1","payload":{}}`, b.N)
		<-done
	})
}

// BenchmarkOutgoing measures a broadcast to one member through a handler for outgoing
// events.
func BenchmarkOutgoing(b *testing.B) {
	ran := make(chan struct{}, 64)
	benchmark(b, nil, func(l *pond.Lobby) {
		l.OnOutgoing("said", func(*pond.OutgoingContext) error { ran <- struct{}{}; return nil })
	}, func(b *testing.B, ch *pond.Channel, _ func(string, int)) {
		payload := map[string]string{"text": "hello"}
		waiting := 0
		for range b.N {
			if waiting == cap(ran)/2 {
				<-ran
				waiting--
			}
			if err := ch.Broadcast("said", payload); err != nil {
				b.Fatal(err)
			}
			waiting++
		}
		for range waiting {
			<-ran
		}
	})
}
