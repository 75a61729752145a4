package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
)

// smallBuffers gives connections small buffers in the kernel, so that little data is
// enough to notice a client that does not read.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(16 << 10)
	}
	return conn, err
}

// A tickServer serves a lobby with KeepLatest over real sockets.
type tickServer struct {
	*httptest.Server
	endpoint *pond.Endpoint
	lagging  chan struct{} // closed when messages to as many clients as expected were dropped
	rounds   int

	mu      sync.Mutex
	dropped map[string]int // messages, by user
	left    []pond.LeaveReason
}

func serveTicks(t *testing.T, lagging int, start func(*httptest.Server)) *tickServer {
	s := &tickServer{dropped: map[string]int{}, lagging: make(chan struct{})}
	p := pond.New(pond.WithLogger(kit.Silent), pond.WithObserver(&pond.Observer{
		Dropped: func(_ *pond.Channel, u pond.User, n int) {
			s.mu.Lock()
			defer s.mu.Unlock()
			known := len(s.dropped)
			if s.dropped[u.ID] += n; known < lagging && len(s.dropped) == lagging {
				close(s.lagging)
			}
		},
		Left: func(_ *pond.Channel, _ pond.User, reason pond.LeaveReason) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.left = append(s.left, reason)
		},
	}))
	s.endpoint = p.Endpoint("/socket", kit.Accept, kit.NoPings())
	s.endpoint.Lobby("/chat/:room", kit.Admit, pond.WithSlowClients(pond.KeepLatest(byName)))
	s.Server = httptest.NewUnstartedServer(p)
	s.Listener = smallBuffers{s.Listener}
	start(s.Server)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

const tickNames = 10

// round sends the next value of each name.
func (s *tickServer) round(t *testing.T) {
	t.Helper()
	s.rounds++
	ch, ok := s.endpoint.Channel("/chat/1")
	if !ok {
		t.Fatal("the channel has no members")
	}
	for i := range tickNames {
		if err := ch.Broadcast("tick", tick{strconv.Itoa(i), s.rounds, strings.Repeat("x", 1<<10)}); err != nil {
			t.Fatal(err)
		}
	}
}

// check checks that only the clients that were meant to lag do.
func (s *tickServer) check(t *testing.T, lagging int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.dropped) != lagging {
		t.Errorf("messages to %d clients were dropped, want %d", len(s.dropped), lagging)
	}
	if len(s.left) > 0 {
		t.Errorf("members left: %v", s.left)
	}
}

// A tickReader reads the ticks of one client.
type tickReader struct {
	*bufio.Reader
	latest [tickNames]int
	last   int // in the order in which ticks were sent
	count  int
}

func newTickReader(r io.Reader) *tickReader {
	return &tickReader{Reader: bufio.NewReaderSize(r, 4<<10)}
}

var tickPattern = regexp.MustCompile(`"name":"(\d)","n":(\d+),`)

// until reads until the round of all names is there. Ticks must be in order.
func (r *tickReader) until(round int) error {
	for done := 0; done < tickNames; {
		text, err := r.ReadString('}')
		if err != nil {
			return fmt.Errorf("after %d ticks, the latest of which were %v: %w", r.count, r.latest, err)
		}
		found := tickPattern.FindStringSubmatch(text)
		if found == nil {
			continue
		}
		name, _ := strconv.Atoi(found[1])
		n, _ := strconv.Atoi(found[2])
		if n*tickNames+name <= r.last {
			return fmt.Errorf("%d of name %d came after %v", n, name, r.latest)
		}
		r.latest[name], r.last = n, n*tickNames+name
		r.count++
		if n == round {
			done++
		}
	}
	return nil
}

// 10 of 200 clients on real sockets, and of 1,000 in "make stress", stop reading, and then see the newest values.
// Nobody is closed, the others get everything, and what is queued for the 10 is bounded.
func TestKeepLatestOfManyClients(t *testing.T) {
	const clients, stalled = 1000 / kit.Slowdown, 10
	s := serveTicks(t, stalled, (*httptest.Server).Start)
	addr := s.Listener.Addr().String()
	conns := kit.Clients(t, addr, clients)
	readers := make([]*tickReader, clients)
	for i, conn := range conns {
		defer conn.Close()
		readers[i] = newTickReader(conn)
	}
	readAll := func(readers []*tickReader) {
		t.Helper()
		var wg sync.WaitGroup
		for _, r := range readers {
			wg.Go(func() {
				if err := r.until(s.rounds); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	before := kit.Heap()
	for lagging := false; !lagging; {
		s.round(t)
		readAll(readers[stalled:])
		select {
		case <-s.lagging:
			lagging = true
		default:
		}
	}
	// An outbox would be 1 MiB per client.
	if used := kit.Heap() - before; used > stalled*256<<10 {
		t.Errorf("%d clients that do not read take %d KiB", stalled, used>>10)
	}
	s.round(t)
	readAll(readers)
	s.round(t)
	readAll(readers)
	for i, r := range readers {
		if all := s.rounds * tickNames; i < stalled && r.count == all || i >= stalled && r.count != all {
			t.Errorf("client %d got %d ticks of %d", i, r.count, all)
		}
	}
	s.check(t, stalled)
}

// The same over all transports, with one client of each kind.
func TestKeepLatestOverTransports(t *testing.T) {
	small := func(t *testing.T, srv *httptest.Server, h2 bool) io.Reader {
		tr := &http.Transport{
			Protocols: new(http.Protocols), ReadBufferSize: 4 << 10,
			HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10},
		}
		tr.Protocols.SetHTTP1(!h2)
		tr.Protocols.SetHTTP2(h2)
		return joinStreamWith(t, srv, tr)
	}
	modes := map[string]struct {
		start func(*httptest.Server)
		join  func(*testing.T, *httptest.Server) io.Reader
	}{
		"WebSocket":             {(*httptest.Server).Start, joinWebSocket},
		"WebSocket over TLS":    {(*httptest.Server).StartTLS, joinWebSocket},
		"event stream":          {(*httptest.Server).Start, func(t *testing.T, srv *httptest.Server) io.Reader { return small(t, srv, false) }},
		"event stream over TLS": {(*httptest.Server).StartTLS, func(t *testing.T, srv *httptest.Server) io.Reader { return small(t, srv, false) }},
		"HTTP/2": {
			func(srv *httptest.Server) { srv.EnableHTTP2 = true; srv.StartTLS() },
			func(t *testing.T, srv *httptest.Server) io.Reader { return small(t, srv, true) },
		},
	}
	for name, mode := range modes {
		for _, procs := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s, %d processors", name, procs), func(t *testing.T) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				s := serveTicks(t, 1, mode.start)
				stalled, reads := newTickReader(mode.join(t, s.Server)), newTickReader(mode.join(t, s.Server))
				for _, r := range []*tickReader{stalled, reads} {
					if err := kit.Expect(r.Reader, "ACKNOWLEDGE"); err != nil {
						t.Fatal(err)
					}
				}
				await := func(r *tickReader) {
					t.Helper()
					if err := r.until(s.rounds); err != nil {
						t.Fatal(err)
					}
				}
				for lagging := false; !lagging; {
					s.round(t)
					await(reads)
					select {
					case <-s.lagging:
						lagging = true
					default:
					}
				}
				s.round(t)
				await(reads)
				await(stalled)
				s.round(t)
				await(reads)
				await(stalled)
				if all := s.rounds * tickNames; reads.count != all || stalled.count >= all {
					t.Errorf("the client that reads got %d ticks of %d, and the other one %d", reads.count, all, stalled.count)
				}
				s.check(t, 1)
			})
		}
	}
}
