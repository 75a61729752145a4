package history_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/internal/ws"
)

// Members join a busy channel at random positions, lose their connections, are
// evicted and read slowly. Each of them receives every message once, in order, and
// none that reads is disconnected by the server.
func TestRecoveryUnderLoad(t *testing.T) {
	members, messages := 300, 400 // "make stress" repeats it with the race detector
	if kit.Slowdown == 1 {
		members = 1000
	}
	p, e, _ := newPond(pond.History{Messages: messages, Bytes: 1 << 30, Newcomers: messages}, kit.NoPings())
	srv := httptest.NewServer(p)
	defer srv.Close()
	defer func() { _ = p.Shutdown(t.Context()) }()

	var evicted, reconnected, received atomic.Int64
	var readers, joined sync.WaitGroup
	joined.Add(members)
	for i := range members {
		readers.Go(func() {
			c := &stressClient{addr: srv.Listener.Addr().String(), rng: rand.New(rand.NewPCG(uint64(i), 1)), last: rand.IntN(50), slow: i%10 == 0, received: &received, joined: sync.OnceFunc(joined.Done)}
			defer c.joined() // also if it fails
			for c.at.Offset < uint64(messages) {
				reason, err := c.connect(uint64(messages))
				switch {
				case err != nil:
					t.Errorf("member %d at %d: %v", i, c.at.Offset, err)
					return
				case reason == "evicted":
					evicted.Add(1)
				default:
					reconnected.Add(1)
				}
			}
		})
	}
	joined.Wait()
	for n := range messages {
		if n%10 == 0 { // go on when half of what was sent has been received
			kit.Eventually(t, "progress", func() bool { return received.Load() >= int64(n)*int64(members)/2 || t.Failed() })
		}
		for {
			err := e.Publish(t.Context(), room, "said", json.RawMessage(fmt.Sprintf(`{"n":%d}`, n+1)))
			if err == nil {
				break
			}
			if !errors.Is(err, pond.ErrOverloaded) {
				t.Fatal(err)
			}
		}
		if ch, ok := e.Channel(room); ok && n%7 == 0 {
			for u := range ch.Users() {
				_ = ch.Evict(u.ID, "stress") // it may have left
				break
			}
		}
	}
	readers.Wait()
	t.Logf("%d members, %d messages, %d evictions, %d connections", members, messages, evicted.Load(), reconnected.Load()+evicted.Load())
}

type position struct {
	Epoch  string `json:"epoch"`
	Offset uint64 `json:"offset"`
}

// A stressClient checks that it receives each message once and in order.
type stressClient struct {
	addr string
	rng  *rand.Rand
	at   position
	last int // messages that it asks for at first
	slow bool

	received *atomic.Int64
	joined   func()
}

// connect joins the channel and reads until a random message, the last one, or an
// eviction.
func (c *stressClient) connect(messages uint64) (reason string, err error) {
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		return "", err
	}
	defer func() {
		_ = conn.(*net.TCPConn).SetLinger(0) // a reset
		conn.Close()
	}()
	_ = conn.SetDeadline(time.Now().Add(2 * kit.Patience))
	from := fmt.Sprintf(`{"last":%d}`, c.last)
	if c.at.Epoch != "" {
		from = kit.MustJSON(c.at)
	}
	join := `{"action":"JOIN_CHANNEL","event":"JOIN","channelName":"/log/1","requestId":"j","payload":{},"want":["recover"],"from":` + from + `}`
	_, err = io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: pond\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"+
		string([]byte{0x81, 0x80 | 126, byte(len(join) >> 8), byte(len(join)), 0, 0, 0, 0})+join)
	if err != nil {
		return "", err
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return "", fmt.Errorf("handshake: %v: %w", resp, err)
	}
	s := &stressSink{client: c, until: min(messages, c.at.Offset+1+c.rng.Uint64N(messages/2))}
	var d ws.Decoder
	d.Init(&ws.Config{MaxMessage: 1 << 20, MaxFragments: 10}, ws.Client, false)
	buf := make([]byte, 64<<10)
	if c.slow {
		buf = buf[:100]
	}
	for s.reason == "" {
		n, err := in.Read(buf)
		if err != nil {
			return "", err
		}
		if err := d.Feed(buf[:n], s); err != nil {
			return "", err
		}
	}
	return s.reason, nil
}

type stressSink struct {
	client *stressClient
	until  uint64
	to     uint64 // where the announced replay ends
	told   bool
	reason string
}

func (s *stressSink) Message(_ ws.Opcode, data []byte) error {
	var m struct {
		Event   string
		Offset  uint64
		Payload struct {
			N       uint64
			Offset  uint64
			Recover struct {
				position
				To        uint64
				Recovered bool
				Reason    string
			}
		}
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	c, p := s.client, &m.Payload
	switch {
	case s.reason != "":
	case m.Event == "ACKNOWLEDGE":
		if !p.Recover.Recovered || c.at.Epoch != "" && c.at != p.Recover.position {
			return fmt.Errorf("at %+v, acknowledged with %s", c.at, data)
		}
		c.at, s.to = p.Recover.position, p.Recover.To
		c.joined()
	case m.Event == "RECOVERED":
		if s.told || p.Offset != s.to || c.at.Offset != s.to {
			return fmt.Errorf("at %d: %s, announced was %d", c.at.Offset, data, s.to)
		}
		s.told = true
		if c.at.Offset >= s.until {
			s.reason = "reset"
		}
	case m.Event == "said":
		if m.Offset != c.at.Offset+1 || p.N != m.Offset {
			return fmt.Errorf("at %d: received %s", c.at.Offset, data)
		}
		if m.Offset > s.to && !s.told {
			return fmt.Errorf("%s before RECOVERED, announced was %d", data, s.to)
		}
		c.received.Add(1)
		if c.at.Offset = m.Offset; c.at.Offset >= s.until && s.told {
			s.reason = "reset"
		}
	case m.Event == "EVICTED":
		s.reason = "evicted"
	case m.Event == "CONNECTION", m.Event == "kicked_out", m.Event == "kicked":
	default:
		return fmt.Errorf("unexpected %s", data)
	}
	return nil
}

func (s *stressSink) Control(ws.Opcode, []byte) error { return nil }

func (s *stressSink) PeerClosed(code int, reason string) error {
	return fmt.Errorf("the server closed with %d %s", code, reason)
}
