package verify_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/cmd/pond/internal/verify"
	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondclient"
)

// A liar is a server with a history, which breaks its promises as a test says.
type liar struct {
	history bool
	// mangle returns the frames that are sent instead of one.
	mangle func(m *liarMember, frame string, replayed bool) []string
	// recovered returns where a replay after an offset begins, and what the server says
	// about it. Without it, the server does what it says.
	recovered func(after int) (from int, ack string)

	mu      sync.Mutex // guards the following fields
	log     []string   // frames, by offset from 1
	members map[string]*liarMember
	number  int
}

// A liarMember is one connection.
type liarMember struct {
	number    int
	joined    bool
	publishes bool // it sent a message
	stream    func(text string)
	sent      int // frames
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost:
		body, _ := io.ReadAll(r.Body)
		l.mu.Lock()
		m := l.members[r.Header.Get("X-Connection-ID")]
		l.mu.Unlock()
		if m == nil {
			http.Error(w, "unknown", http.StatusNotFound)
			return
		}
		var list []json.RawMessage
		if json.Unmarshal(body, &list) != nil {
			list = []json.RawMessage{body}
		}
		for _, message := range list {
			l.take(m, message)
		}
		w.WriteHeader(http.StatusNoContent)
	case ws.IsUpgrade(r):
		h, _ := ws.ParseHandshake(r, false)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Time{})
		_, _ = conn.Write(ws.AppendSwitchingProtocols(nil, h, nil))
		m, id := l.enter(func(text string) { _, _ = conn.Write(ws.AppendFrame(nil, ws.Text, false, []byte(text))) })
		defer l.leave(id)
		read(rw.Reader, func(data []byte) { l.take(m, data) }, func(data []byte) { _, _ = conn.Write(ws.AppendFrame(nil, ws.Pong, false, data)) })
	default:
		w.Header().Set("Content-Type", "text/event-stream")
		_, id := l.enter(func(text string) {
			_, _ = io.WriteString(w, "data: "+text+"\n\n")
			_ = http.NewResponseController(w).Flush()
		})
		<-r.Context().Done()
		l.leave(id)
	}
}

// A sink takes what a WebSocket of a client sends.
type sink struct{ message, ping func([]byte) }

func (s sink) Message(_ ws.Opcode, data []byte) error { s.message(data); return nil }
func (s sink) Control(op ws.Opcode, data []byte) error {
	if op == ws.Ping {
		s.ping(data)
	}
	return nil
}
func (sink) PeerClosed(int, string) error { return io.EOF }

func read(r *bufio.Reader, message, ping func([]byte)) {
	var d ws.Decoder
	d.Init(&ws.Config{}, ws.Server, false)
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		if n > 0 && d.Feed(buf[:n], sink{message, ping}) != nil || err != nil {
			return
		}
	}
}

func (l *liar) enter(stream func(string)) (*liarMember, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.number++
	m := &liarMember{number: l.number, stream: stream}
	id := fmt.Sprint("c", l.number)
	if l.members == nil {
		l.members = map[string]*liarMember{}
	}
	l.members[id] = m
	features := ""
	if l.history {
		features = `,"features":["recover"]`
	}
	stream(fmt.Sprintf(`{"action":"CONNECT","event":"CONNECTION","channelName":"ENDPOINT","requestId":"x","payload":{"id":%q,"connectionId":%q%s}}`, id, id, features))
	return m, id
}

func (l *liar) leave(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.members, id)
}

func (l *liar) send(m *liarMember, frame string, replayed bool) {
	frames := []string{frame}
	if l.mangle != nil {
		frames = l.mangle(m, frame, replayed)
	}
	for _, f := range frames {
		m.stream(f)
	}
	m.sent++
}

func (l *liar) take(m *liarMember, data []byte) {
	var f struct {
		Action, Event, ChannelName, RequestID string
		Payload                               json.RawMessage
		From                                  *struct{ Offset int }
	}
	if json.Unmarshal(data, &f) != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch f.Action {
	case "JOIN_CHANNEL":
		ack, from := "{}", len(l.log)
		switch {
		case !l.history:
		case f.From == nil:
			ack = fmt.Sprintf(`{"recover":{"epoch":"e","offset":%d}}`, len(l.log))
		case l.recovered != nil:
			from, ack = l.recovered(f.From.Offset)
		default:
			from = f.From.Offset
			ack = fmt.Sprintf(`{"recover":{"epoch":"e","offset":%d,"to":%d,"recovered":true}}`, from, len(l.log))
		}
		m.joined = true
		m.stream(system("ACKNOWLEDGE", f.ChannelName, f.RequestID, ack))
		for _, frame := range l.log[min(from, len(l.log)):] {
			l.send(m, frame, true)
		}
		if strings.Contains(ack, `"recovered":true`) {
			m.stream(system("RECOVERED", f.ChannelName, "x", fmt.Sprintf(`{"epoch":"e","offset":%d}`, len(l.log))))
		}
	case "LEAVE_CHANNEL":
		m.joined = false
		m.stream(system("EXIT_ACKNOWLEDGE", f.ChannelName, f.RequestID, "{}"))
	case "BROADCAST":
		m.publishes = true
		frame := fmt.Sprintf(`{"action":"BROADCAST","event":"said","channelName":%q,"requestId":%q,"payload":%s`, f.ChannelName, f.RequestID, f.Payload)
		if l.history {
			frame += fmt.Sprintf(`,"offset":%d`, len(l.log)+1)
		}
		l.log = append(l.log, frame+"}")
		for _, m := range l.members {
			if m.joined {
				l.send(m, frame+"}", false)
			}
		}
	}
}

func system(event, channel, id, payload string) string {
	return fmt.Sprintf(`{"action":"SYSTEM","event":%q,"channelName":%q,"requestId":%q,"payload":%s}`, event, channel, id, payload)
}

// TestLiars has every fault that verify promises to find, over each transport alone.
func TestLiars(t *testing.T) {
	every := func(n int, fault func(frame string) []string) func(*liarMember, string, bool) []string {
		count := 0
		return func(m *liarMember, frame string, _ bool) []string {
			if count++; count%n == 0 {
				return fault(frame)
			}
			return []string{frame}
		}
	}
	type result = verify.Result
	for name, tc := range map[string]struct {
		build func() *liar
		err   string // of the result
		check func(r *result) bool
		calm  bool // verify breaks no connections
	}{
		"nothing": {
			func() *liar { return &liar{history: true} }, "",
			func(r *result) bool { return r.Recovered > 0 && r.Announced == 0 }, false,
		},
		"nothing, without history": {
			func() *liar { return &liar{} }, "",
			func(r *result) bool { return r.Announced > 0 }, false,
		},
		"one in a thousand": {
			func() *liar { return &liar{history: true, mangle: every(1000, func(string) []string { return nil })} },
			"lost silently", func(r *result) bool { return r.Lost >= 2 && len(r.Examples) > 0 }, false,
		},
		"after a reconnect": {
			func() *liar {
				return &liar{history: true, mangle: func(m *liarMember, frame string, replayed bool) []string {
					if replayed && m.sent == 0 {
						return nil
					}
					return []string{frame}
				}}
			},
			"lost silently", func(r *result) bool { return r.Lost > 0 }, false,
		},
		"live after a reconnect": {
			func() *liar {
				return &liar{mangle: func(m *liarMember, frame string, _ bool) []string {
					if m.number > 10 && m.sent == 20 {
						return nil
					}
					return []string{frame}
				}}
			},
			"lost silently", func(r *result) bool { return r.Lost > 0 }, false,
		},
		"the last messages": {
			func() *liar {
				began := time.Now()
				return &liar{mangle: func(m *liarMember, frame string, _ bool) []string {
					if d := time.Since(began); m.number == 5 && d > 19900*time.Millisecond && d < 20*time.Second {
						return nil
					}
					return []string{frame}
				}}
			},
			"lost silently", func(r *result) bool { return r.Lost > 0 }, true,
		},
		"everything in the end": {
			func() *liar {
				began := time.Now()
				return &liar{history: true, mangle: func(m *liarMember, frame string, _ bool) []string {
					if m.number == 1 && time.Since(began) > 19900*time.Millisecond {
						return nil
					}
					return []string{frame}
				}}
			},
			"lost silently", func(r *result) bool { return r.Lost > 0 }, true,
		},
		"twice": {
			func() *liar {
				return &liar{history: true, mangle: every(1000, func(f string) []string { return []string{f, f} })}
			},
			"more than once", func(r *result) bool { return r.Contradictions >= 2 && r.Lost == 0 }, false,
		},
		"twice, without history": {
			func() *liar { return &liar{mangle: every(1000, func(f string) []string { return []string{f, f} })} },
			"duplicated", func(r *result) bool { return r.Duplicated >= 2 }, false,
		},
		"twice after a reconnect": {
			func() *liar {
				return &liar{history: true, mangle: func(m *liarMember, frame string, replayed bool) []string {
					if replayed && m.sent == 0 {
						return []string{frame, frame}
					}
					return []string{frame}
				}}
			},
			"more than once", func(r *result) bool { return r.Contradictions > 0 && r.Lost == 0 }, false,
		},
		"reordered": {
			func() *liar { return &liar{history: true, mangle: swap(1)} },
			"out of order", func(r *result) bool { return r.Contradictions > 0 && r.Lost == 0 }, true,
		},
		"reordered, without history": {
			func() *liar { return &liar{mangle: swap(1)} },
			"out of order", func(r *result) bool { return r.Disordered > 0 && r.Lost == 0 }, true,
		},
		"another room": {
			func() *liar {
				return &liar{history: true, mangle: every(1000, func(f string) []string {
					return []string{strings.Replace(f, "/chat/verify", "/chat/other", 1)}
				})}
			},
			"lost silently", func(r *result) bool { return r.Lost >= 2 }, false,
		},
		"recovered nothing": {
			func() *liar {
				l := &liar{history: true}
				l.recovered = func(after int) (int, string) {
					return len(l.log), fmt.Sprintf(`{"recover":{"epoch":"e","offset":%d,"to":%d,"recovered":true}}`, after, len(l.log))
				}
				return l
			},
			"lost silently", func(r *result) bool { return r.Lost > 0 }, false,
		},
		"recovered from the top": { // the client does not believe it
			func() *liar {
				l := &liar{history: true}
				l.recovered = func(int) (int, string) {
					return len(l.log), fmt.Sprintf(`{"recover":{"epoch":"e","offset":%d,"to":%d,"recovered":true}}`, len(l.log), len(l.log))
				}
				return l
			},
			"contradict", func(r *result) bool { return r.Announced > 0 && r.Lost == 0 }, false,
		},
		"invalid messages": {
			func() *liar {
				return &liar{history: true, mangle: every(1000, func(f string) []string { return []string{f[:len(f)-1]} })}
			},
			"invalid", func(r *result) bool { return r.Announced >= 2 }, false,
		},
	} {
		for _, transport := range []pondclient.Transport{pondclient.WebSocket, pondclient.SSE} {
			t.Run(name+" over "+string(transport), func(t *testing.T) {
				if kit.Race && (len(name)%2 == 0) != (transport == pondclient.SSE) {
					t.Skip("the race detector needs one transport, and long runs exhaust it")
				}
				synctest.Test(t, func(t *testing.T) {
					c := newCluster(t)
					c.serve("one.test", tc.build())
					cfg := c.config()
					cfg.Transports = []pondclient.Transport{transport}
					if tc.calm {
						cfg.Cut = 0
					}
					r, err := verify.Run(t.Context(), cfg)
					if err != nil {
						t.Fatal(err)
					}
					switch err := r.Err(); {
					case tc.err == "" && err != nil, tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
						t.Errorf("error %v, want %q: %+v", err, tc.err, r)
					case !tc.check(r):
						t.Errorf("%+v", r)
					}
				})
			})
		}
	}
}

// swap swaps messages of one publisher now and then, for members that only listen. A publisher
// whose own message is kept waits for it, and sends the next one, which releases it, only after
// the end of the run.
func swap(publisher int) func(*liarMember, string, bool) []string {
	kept := map[*liarMember]string{}
	text, own := fmt.Sprintf("/%d/", publisher), map[*liarMember]int{}
	return func(m *liarMember, frame string, _ bool) []string {
		if !strings.Contains(frame, text) {
			return []string{frame}
		}
		if earlier := kept[m]; earlier != "" {
			delete(kept, m)
			return []string{frame, earlier}
		}
		if own[m]++; !m.publishes && own[m]%50 == 49 {
			kept[m] = frame
			return nil
		}
		return []string{frame}
	}
}

// Servers that do nothing wrong are not accused, whatever happens at the end.
func TestInnocents(t *testing.T) {
	restarts, interruptions := 5, 8
	if kit.Race {
		restarts, interruptions = 1, 2
	}
	start := func(t *testing.T) (*cluster, verify.Config) {
		c := newCluster(t)
		p, _ := newPond(broadcast, withHistory)
		c.start("one.test", p)
		cfg := c.config()
		cfg.Clients = 30
		return c, cfg
	}
	t.Run("a server that stays down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, cfg := start(t)
			cfg.Settle = 10 * time.Second
			var tasks sync.WaitGroup
			tasks.Go(func() {
				time.Sleep(18 * time.Second)
				c.stop("one.test")
			})
			r, err := verify.Run(t.Context(), cfg)
			tasks.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Err(); r.Lost != 0 || r.Absent != 32 || err == nil || !strings.Contains(err.Error(), "32 clients had not recovered") {
				t.Errorf("error %v: %+v", err, r)
			}
		})
	})
	t.Run("a restart at the beginning", func(t *testing.T) {
		for n := range restarts {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				first := make(chan struct{})
				var once sync.Once
				p, _ := newPond(func(*pond.EventContext) error {
					once.Do(func() { close(first) })
					return nil // it is lost with the server
				}, withHistory)
				c.start("one.test", p)
				cfg := c.config()
				var tasks sync.WaitGroup
				tasks.Go(func() {
					<-first
					time.Sleep(time.Duration(n*200) * time.Millisecond)
					c.stop("one.test")
					p, _ := newPond(broadcast, withHistory)
					c.start("one.test", p)
				})
				r, err := verify.Run(t.Context(), cfg)
				tasks.Wait()
				if err != nil || r.Err() != nil || r.Confirmed < 900 {
					t.Errorf("error %v: %+v", err, r)
				}
			})
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		for n := range interruptions {
			synctest.Test(t, func(t *testing.T) {
				c, cfg := start(t)
				cfg.Rate = 2000
				slow := cfg.Dial
				cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := slow(ctx, network, addr)
					if conn, ok := conn.(*pipenet.Conn); ok {
						conn.Delay(time.Duration(c.dials.Add(1)) * time.Millisecond)
					}
					return conn, err
				}
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Duration(1000+n)*time.Millisecond, cancel)
				r, err := verify.Run(ctx, cfg)
				if err != nil {
					t.Fatal(err)
				}
				if err := r.Err(); r.Lost != 0 || err == nil || err.Error() != "interrupted" {
					t.Errorf("error %v: %+v", err, r)
				}
			})
		}
	})
}
