package transport_test

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/ws"
)

func TestMessagesBothWays(t *testing.T) {
	s := serve(t, testConfig())
	c := dial(t, s, "")
	p := receive(t, s.conns)
	c.send("hello")
	if got := receive(t, p.msgs); got != "hello" {
		t.Fatalf("got %q", got)
	}
	p.Send(frame(`{"a":1}`))
	if got := c.next(); got != `{"a":1}` {
		t.Fatalf("got %q", got)
	}
	_, _ = c.Write(ws.AppendMasked(nil, ws.Ping, true, false, [4]byte{}, []byte("are you there")))
	if got := c.next(); got != "pong are you there" {
		t.Fatalf("got %q", got)
	}
}

// A client may send its first messages together with the handshake.
func TestEarlyBytesAreNotLost(t *testing.T) {
	s := serve(t, testConfig())
	var early []byte
	for _, text := range []string{"first", "second"} {
		early = ws.AppendMasked(early, ws.Text, true, false, [4]byte{1, 2, 3, 4}, []byte(text))
	}
	c := dialWith(t, s, "", string(early))
	p := receive(t, s.conns)
	c.send("third")
	for _, want := range []string{"first", "second", "third"} {
		if got := receive(t, p.msgs); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestCloseByServer(t *testing.T) {
	s := serve(t, testConfig())
	c := dial(t, s, "")
	p := receive(t, s.conns)
	p.Send(frame("{}"))
	p.Close(ws.CloseGoingAway, "bye", transport.ErrClosed)
	p.Send(frame("too late"))
	if end := c.closed(); end.Code != ws.CloseGoingAway || end.Reason != "bye" {
		t.Fatalf("closed with %v", end)
	}
	if len(c.got) != 1 || c.got[0] != "{}" {
		t.Fatalf("got %q", c.got)
	}
	if cause := receive(t, p.closed); !errors.Is(cause, transport.ErrClosed) {
		t.Fatalf("cause %v", cause)
	}
}

func TestCloseByClient(t *testing.T) {
	s := serve(t, testConfig())
	c := dial(t, s, "")
	p := receive(t, s.conns)
	_, _ = c.Write(ws.AppendMasked(nil, ws.Close, true, false, [4]byte{}, append([]byte{0x03, 0xe8}, "done"...)))
	if end := c.closed(); end.Code != ws.CloseNormal {
		t.Fatalf("closed with %v", end)
	}
	cause, _ := errors.AsType[*ws.CloseError](receive(t, p.closed))
	if cause == nil || cause.Code != ws.CloseNormal || cause.Reason != "done" {
		t.Fatalf("cause %v", cause)
	}
	select {
	case again := <-p.closed:
		t.Fatalf("closed twice: %v", again)
	default:
	}
}

func TestProtocolErrorIsAnsweredAndClosed(t *testing.T) {
	cfg := testConfig()
	cfg.MaxMessage = 1000
	for name, test := range map[string]struct {
		bytes []byte
		code  int
	}{
		"unmasked":  {[]byte{0x81, 0x01, 'x'}, ws.CloseProtocolError},
		"oversize":  {ws.AppendMasked(nil, ws.Text, true, false, [4]byte{}, make([]byte, 1001)), ws.CloseTooBig},
		"not UTF-8": {ws.AppendMasked(nil, ws.Text, true, false, [4]byte{}, []byte{0xff}), ws.CloseInvalidPayload},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, cfg)
			c := dial(t, s, "")
			p := receive(t, s.conns)
			_, _ = c.Write(test.bytes)
			if broken := receive(t, p.broken); broken.Code != test.code {
				t.Fatalf("broken %v", broken)
			}
			if end := c.closed(); end.Code != test.code {
				t.Fatalf("closed with %v", end)
			}
			receive(t, p.closed)
		})
	}
}

func TestDisconnectIsNoticed(t *testing.T) {
	s := serve(t, testConfig())
	c := dial(t, s, "")
	p := receive(t, s.conns)
	c.Close()
	if cause := receive(t, p.closed); !errors.Is(cause, io.EOF) {
		t.Fatalf("cause %v", cause)
	}
}

// seats joins connections to a group, and returns a broadcast function that
// commits under the lock that a channel would have.
func seats(s *server, peers []*peer) func(f *transport.Frame, except ...*transport.Seat) {
	var g transport.Group
	g.Init(s.hub)
	var mu sync.Mutex
	for _, p := range peers {
		g.Add(&transport.Seat{Conn: p.Conn})
	}
	return func(f *transport.Frame, except ...*transport.Seat) {
		var w transport.Work
		mu.Lock()
		g.Broadcast(&w, f, false, except...)
		mu.Unlock()
		w.Do()
	}
}

// Many publishers with direct sends in between: all receivers see the same order, and
// each publisher's direct sends at the correct positions.
func TestOneOrderForAll(t *testing.T) {
	for _, members := range []int{3, 40} { // drained inline, and by workers
		t.Run(strconv.Itoa(members), func(t *testing.T) {
			const publishers, each = 4, 300
			s := serve(t, testConfig())
			var clients []*client
			var peers []*peer
			for range members {
				clients = append(clients, dial(t, s, ""))
				peers = append(peers, receive(t, s.conns))
			}
			broadcast := seats(s, peers)
			var wg sync.WaitGroup
			for pub := range publishers {
				wg.Go(func() {
					for i := range each {
						broadcast(frame(fmt.Sprintf("%d:%d", pub, i)))
						if pub < members {
							peers[pub].Send(frame(fmt.Sprintf("reply %d:%d", pub, i)))
						}
					}
				})
			}
			all := make([][]string, members)
			for i, c := range clients {
				wg.Go(func() {
					direct := 0
					if i < publishers {
						direct = each
					}
					if err := c.read(func() bool { return len(c.got) == publishers*each+direct }); err != nil {
						t.Error(err)
						return
					}
					last := ""
					for _, msg := range c.got {
						if reply, ok := strings.CutPrefix(msg, "reply "); ok {
							if last != reply {
								t.Errorf("client %d: reply %s after %s", i, reply, last)
							}
							continue
						}
						if strings.HasPrefix(msg, strconv.Itoa(i)+":") {
							last = msg
						}
						all[i] = append(all[i], msg)
					}
				})
			}
			wg.Wait()
			for i := range all {
				if strings.Join(all[i], " ") != strings.Join(all[0], " ") {
					t.Errorf("client %d saw another order than client 0", i)
				}
			}
		})
	}
}

// A client that does not read is closed with a reason; the others receive all messages.
func TestSlowClientHurtsNobodyElse(t *testing.T) {
	cfg := testConfig()
	cfg.OutboxBytes = 64 << 10
	cfg.CloseTimeout = 100 * time.Millisecond
	s := serve(t, cfg)
	slow := dial(t, s, "")
	slowPeer := receive(t, s.conns)
	fast := dial(t, s, "")
	fastPeer := receive(t, s.conns)
	broadcast := seats(s, []*peer{slowPeer, fastPeer})
	text := strings.Repeat("x", 8<<10)
	const n = 4000 // 32 MB: more than any socket buffers
	done := make(chan error, 1)
	go func() { done <- fast.read(func() bool { return len(fast.got) == n }) }()
	for range n {
		s.hub.Pace()
		broadcast(frame(text))
		// A fast client still needs the time to read.
		for fastPeer.Queued() > cfg.OutboxBytes/2 {
			runtime.Gosched()
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if cause := receive(t, slowPeer.closed); !errors.Is(cause, transport.ErrSlow) {
		t.Fatalf("cause %v", cause)
	}
	_ = slow
}

func TestStreams(t *testing.T) {
	for _, test := range []struct{ proto, query, want string }{
		{"HTTP/1.1", "", "data: {}\n\n"},
		{"HTTP/1.1", "?named", "event: said\ndata: {}\n\n"},
		{"HTTP/1.0", "", "data: {}\n\n"},
		{"HTTP/1.0", "?named", "event: said\ndata: {}\n\n"},
	} {
		t.Run(test.proto+test.query, func(t *testing.T) {
			s := serve(t, testConfig())
			res, conn := openStream(t, s, test.proto, test.query)
			p := receive(t, s.conns)
			p.Send(frame("{}"))
			readBytes(t, res.Body, test.want)
			p.Close(0, "", transport.ErrClosed)
			if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
				t.Fatalf("after the end: %q, %v", rest, err)
			}
			conn.Close()
			receive(t, p.closed)
		})
	}
}

func TestStreamDisconnectIsNoticed(t *testing.T) {
	s := serve(t, testConfig())
	_, conn := openStream(t, s, "HTTP/1.1", "")
	p := receive(t, s.conns)
	conn.Close()
	receive(t, p.closed)
}

// A frame of several parts is equal to one of a single part, in every encoding.
func TestLazyFrame(t *testing.T) {
	s := serve(t, testConfig())
	c := dial(t, s, "")
	p := receive(t, s.conns)
	res, _ := openStream(t, s, "HTTP/1.1", "?named")
	stream := receive(t, s.conns)
	f := transport.NewLazyFrame("JOIN", 10, func() [3][]byte {
		return [3][]byte{[]byte(`{"list":`), []byte(`[1,2]`), []byte(`}`)}
	})
	p.Send(f)
	stream.Send(f)
	if got := c.next(); got != `{"list":[1,2]}` {
		t.Fatalf("got %q", got)
	}
	readBytes(t, res.Body, "event: JOIN\ndata: {\"list\":[1,2]}\n\n")
}

// A lazy frame that is queued for a client does not keep the parts that were used for
// another one: a presence list is long, and changes often.
func TestLazyFrameKeepsNothing(t *testing.T) {
	var made weak.Pointer[[1 << 20]byte]
	f := transport.NewLazyFrame("JOIN", 10, func() [3][]byte {
		list := new([1 << 20]byte)
		made = weak.Make(list)
		return [3][]byte{[]byte(`{"list":"`), list[:], []byte(`"}`)}
	})
	cfg := testConfig()
	cfg.Compress = true
	s := serve(t, cfg)
	for _, header := range []string{"", "Sec-WebSocket-Extensions: permessage-deflate\r\n"} {
		c := dial(t, s, header)
		receive(t, s.conns).Send(f)
		c.next()
		c.Close()
	}
	for i := 0; made.Value() != nil; i++ {
		if i == 100 {
			t.Fatal("the list is still in memory")
		}
		runtime.GC() // the goroutine that wrote it may still reference it
	}
	runtime.KeepAlive(f)
}

func TestCompressedFrameIsShared(t *testing.T) {
	cfg := testConfig()
	cfg.Compress = true
	s := serve(t, cfg)
	text := strings.Repeat("abc ", 200)
	var peers []*peer
	var clients []*client
	for _, header := range []string{"Sec-WebSocket-Extensions: permessage-deflate\r\n", "", "Sec-WebSocket-Extensions: permessage-deflate\r\n"} {
		clients = append(clients, dial(t, s, header))
		peers = append(peers, receive(t, s.conns))
	}
	broadcast := seats(s, peers)
	broadcast(frame(text))
	broadcast(frame("short"))
	for i, c := range clients {
		if got := c.next(); got != text {
			t.Errorf("client %d got %q", i, got)
		}
		if got := c.next(); got != "short" {
			t.Errorf("client %d got %q", i, got)
		}
	}
}

// The tasks of a hub can be waited for in one bubble after another.
func TestTasksInBubbles(t *testing.T) {
	var tasks transport.Tasks
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			tasks.Add()
			go func() {
				time.Sleep(time.Hour)
				tasks.Done()
			}()
			if err := tasks.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
