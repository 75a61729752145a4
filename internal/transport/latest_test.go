package transport_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/ws"
)

// keyed returns a frame of about size bytes with a key.
func keyed(space *transport.KeySpace, key, value string, size int) *transport.Frame {
	f := frame(fmt.Sprintf("%s=%s %s", key, value, strings.Repeat("x", size)))
	f.SetKey(space, key)
	return f
}

// A reader receives frames from one end of a pipe, which has no buffer. It takes up to
// 4 KiB more than it returns.
type reader struct {
	conn net.Conn
	br   *bufio.Reader
	dec  ws.Decoder
	got  []string // the first word of each frame
	end  *ws.CloseError
}

// latestPipe returns a connection that keeps the newest frames, and its client. The
// connection has frames in its queue before it is started.
func latestPipe(t *testing.T, cfg transport.Config, before ...*transport.Frame) (*peer, *reader) {
	t.Helper()
	near, far := net.Pipe()
	p := newPeer()
	c, err := transport.NewHub(cfg).AcceptWebSocket(hijackable{conn: far}, ws.Handshake{Key: "dGhlIHNhbXBsZSBub25jZQ=="}, p)
	if err != nil {
		t.Fatal(err)
	}
	p.Conn = c
	p.KeepLatest(time.Minute)
	for _, f := range before {
		p.Send(f)
	}
	p.Start()
	r := &reader{conn: near, br: bufio.NewReader(near)}
	r.dec.Init(&ws.Config{}, ws.Client, false)
	if _, err := http.ReadResponse(r.br, nil); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return p, r
}

func (r *reader) Message(_ ws.Opcode, data []byte) error {
	word, _, _ := strings.Cut(string(data), " ")
	r.got = append(r.got, word)
	return nil
}
func (r *reader) Control(ws.Opcode, []byte) error { return nil }
func (r *reader) PeerClosed(code int, reason string) error {
	r.end = &ws.CloseError{Code: code, Reason: reason}
	return nil
}

// read reads n bytes.
func (r *reader) read(t *testing.T, n int) {
	t.Helper()
	buf := make([]byte, n)
	if _, err := io.ReadFull(r.br, buf); err != nil {
		t.Fatal(err)
	}
	if err := r.dec.Feed(buf, r); err != nil {
		t.Fatal(err)
	}
}

// all reads everything that is sent, and returns the frames since the last call.
func (r *reader) all(t *testing.T) []string {
	t.Helper()
	buf := make([]byte, 64<<10)
	for {
		synctest.Wait()
		_ = r.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		n, err := r.br.Read(buf)
		if err := r.dec.Feed(buf[:n], r); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			got := r.got
			r.got = nil
			return got
		}
	}
}

// Frames that the writer took from the queue, but has not begun to write, are dropped as
// well when a write took long.
func TestKeepLatestDropsWhatTheWriterTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, r := latestPipe(t, testConfig())
		defer r.conn.Close()
		space := new(transport.KeySpace)
		send := func(key, value string) { p.Send(keyed(space, key, value, 8<<10)) }
		send("first", "1") // is being written
		synctest.Wait()
		for i := range 7 { // the next write takes some of them
			send(fmt.Sprint("k", i), "1")
		}
		r.read(t, 4+len("first=1 ")+(8<<10)) // with the header
		synctest.Wait()
		time.Sleep(time.Second)
		for i := range 7 {
			send(fmt.Sprint("k", i), "2")
		}
		got := r.all(t)
		i := slices.Index(got, "k0=2")
		if i < 2 || i > 5 || len(got) != i+7 {
			t.Errorf("got %q", got)
		}
		for j, word := range got[max(0, i):] {
			if want := fmt.Sprintf("k%d=2", j); word != want {
				t.Errorf("got %s, want %s", word, want)
			}
		}
	})
}

// A burst that no writer has tried to write is not dropped, up to the size of an outbox.
// If the client does not take it, it is dropped, except for what is being written and the
// newest frame.
func TestKeepLatestAfterABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := new(transport.KeySpace)
		dropped := 0
		space.Dropped = func(_ transport.Receiver, n int) { dropped += n }
		burst := make([]*transport.Frame, 100)
		for i := range burst {
			burst[i] = keyed(space, "k", fmt.Sprint(i), 8<<10)
		}
		p, r := latestPipe(t, testConfig(), burst...)
		defer r.conn.Close()
		if dropped > 0 {
			t.Fatalf("%d frames of a burst were dropped", dropped)
		}
		p.Send(keyed(space, "k", "newest", 8<<10))
		synctest.Wait()
		if queued := p.Queued(); queued > 160<<10 {
			t.Errorf("%d KiB are queued", queued>>10)
		}
		got := r.all(t)
		if len(got) > 20 || got[len(got)-1] != "k=newest" || dropped+len(got) != len(burst)+1 {
			t.Errorf("got %q, and %d were dropped", got, dropped)
		}
	})
}

// A burst that is larger than four outboxes does not close the connection, although no
// writer has tried to write it.
func TestKeepLatestOfAHugeBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := new(transport.KeySpace)
		burst := make([]*transport.Frame, 1000)
		for i := range burst {
			burst[i] = keyed(space, "k", fmt.Sprint(i), 8<<10)
		}
		p, r := latestPipe(t, testConfig(), burst...)
		defer r.conn.Close()
		if got := r.all(t); len(got) == 0 || got[len(got)-1] != "k=999" {
			t.Errorf("got %q", got)
		}
		if len(p.closed) > 0 {
			t.Errorf("closed: %v", <-p.closed)
		}
	})
}

// What a writer has taken does not count against the limit, even if it is one frame that
// is larger than all outboxes.
func TestKeepLatestBehindALargeFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.OutboxBytes = 1 << 10
		p, r := latestPipe(t, cfg)
		defer r.conn.Close()
		space := new(transport.KeySpace)
		p.Send(keyed(space, "large", "1", 64<<10))
		synctest.Wait()
		for i := range 100 {
			p.Send(keyed(space, "k", fmt.Sprint(i), 100))
			time.Sleep(100 * time.Millisecond)
		}
		if len(p.closed) > 0 {
			t.Fatalf("closed: %v", <-p.closed)
		}
		if got, want := r.all(t), []string{"large=1", "k=99"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// The longest patience counts until the last KeepAll.
func TestKeepAll(t *testing.T) {
	cfg := testConfig()
	cfg.PingInterval = time.Hour
	for name, tc := range map[string]struct {
		use   func(*peer)
		after time.Duration
	}{
		"none":     {func(*peer) {}, cfg.WriteTimeout},
		"shorter":  {func(p *peer) { p.KeepLatest(time.Second) }, cfg.WriteTimeout},
		"longest":  {func(p *peer) { p.KeepLatest(2 * time.Minute); p.KeepLatest(time.Minute) }, 2 * time.Minute},
		"one left": {func(p *peer) { p.KeepLatest(time.Minute); p.KeepLatest(time.Minute); p.KeepAll() }, time.Minute},
		"over":     {func(p *peer) { p.KeepLatest(time.Minute); p.KeepAll() }, cfg.WriteTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, near, _ := pipe(t, cfg, nil)
				defer near.Close()
				tc.use(p)
				began := time.Now()
				p.Send(frame("{}"))
				<-p.closed
				if took := time.Since(began); took != tc.after {
					t.Errorf("closed after %v, want %v", took, tc.after)
				}
			})
		})
	}
}

// A key counts in the outbox. A long one counts no more than its hash, so that a few short
// messages in a burst do not close a client that reads.
func TestKeysCount(t *testing.T) {
	for length, limit := range map[int]int{200: 300, 1 << 20: 100} {
		f := frame("{}")
		before := f.Charge()
		f.SetKey(new(transport.KeySpace), strings.Repeat("k", length))
		if cost := f.Charge() - before; cost < min(length, limit/2) || cost > limit {
			t.Errorf("a key of %d bytes counts as %d", length, cost)
		}
	}
}
