package channel_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// The leave handler of a membership runs before the client joins the channel again,
// whatever ended the membership, even if the request to join was received before the
// end.
func TestFault12_LeaveBeforeJoin(t *testing.T) {
	self := func(end func(ch *pond.Channel, id string) error) func(ctx *pond.EventContext) error {
		return func(ctx *pond.EventContext) error { return end(ctx.Channel(), ctx.User().ID) }
	}
	evict := func(ch *pond.Channel, id string) error { return ch.Evict(id, "spam") }
	closeChannel := func(ch *pond.Channel, _ string) error { ch.Close(""); return nil }
	for name, test := range map[string]struct {
		event  func(ctx *pond.EventContext) error // that ends the membership
		during func(ch *pond.Channel, id string) error
		reason pond.LeaveReason
		joins  int
	}{
		"evicted by its own handler": {event: self(evict), reason: pond.LeaveEvicted, joins: 2},
		"evicted meanwhile":          {during: evict, reason: pond.LeaveEvicted, joins: 2},
		"closed by its own handler":  {event: self(closeChannel), reason: pond.LeaveChannelClosed, joins: 2},
		"closed meanwhile":           {during: closeChannel, reason: pond.LeaveChannelClosed, joins: 2},
		"slow": {event: func(ctx *pond.EventContext) error {
			for range 100 {
				_ = ctx.Reply("long", map[string]string{"text": strings.Repeat("x", 1<<20)})
			}
			return nil
		}, reason: pond.LeaveSlow, joins: 1},
	} {
		t.Run(name, func(t *testing.T) {
			var p *pond.Pond
			var e *pond.Endpoint
			var hold chan struct{}
			var events []string
			server := func() *pond.Pond {
				var l *pond.Lobby
				p, e = pond.New(pond.WithLogger(kit.Silent), pond.WithObserver(&pond.Observer{
					Joined: func(*pond.Channel, pond.User) { events = append(events, "Joined") },
					Left:   func(*pond.Channel, pond.User, pond.LeaveReason) { events = append(events, "Left") },
				})), nil
				e = p.Endpoint("/socket", kit.Accept)
				l = e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
					if ctx.Channel().Len() > 0 {
						t.Error("the member did not leave")
					}
					err := ctx.Accept()
					if err == nil {
						events = append(events, "join")
					}
					return err
				})
				events, hold = nil, nil
				l.OnMessage("end", func(ctx *pond.EventContext) error {
					<-hold
					if test.event != nil {
						return test.event(ctx)
					}
					return nil
				})
				l.OnLeave(func(ctx *pond.LeaveContext) error {
					events = append(events, "leave "+string(ctx.Reason()))
					return errors.New("no")
				})
				return p
			}
			kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
				hold = make(chan struct{})
				s := d.Connect(tr, "/socket")
				s.Join("/chat/1", nil)
				s.Send("/chat/1", "end", nil)
				s.SendJoin("/chat/1", nil)
				if test.reason == pond.LeaveSlow {
					s.Stall()
				}
				synctest.Wait()
				if test.during != nil {
					ch, _ := e.Channel("/chat/1")
					if err := test.during(ch, s.ID()); err != nil {
						t.Error(err)
					}
				}
				close(hold)
				time.Sleep(time.Minute) // a slow client needs time
				synctest.Wait()
				want := []string{"Joined", "join", "leave " + string(test.reason), "Left", "Joined", "join"}
				if test.joins == 1 {
					want = want[:4]
				}
				if fmt.Sprint(events) != fmt.Sprint(want) {
					t.Errorf("got %v, want %v", events, want)
				}
			})
		})
	}
}

// An application can keep a list of members in its join and leave handlers. The list is
// always right, even if clients join again as soon as they are evicted or the channel is
// closed.
func TestFault12_RejoinAtOnce(t *testing.T) {
	n, rounds := 500, 20/kit.Slowdown
	for name, end := range map[string]func(ch *pond.Channel){
		"EVICTED": func(ch *pond.Channel) {
			for u := range ch.Users() {
				_ = ch.Evict(u.ID, "spam")
			}
		},
		"destroyed": func(ch *pond.Channel) { ch.Close("") },
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex // guards the following variable
			members := map[string]int{}
			count := func(id string, change, want int) {
				mu.Lock()
				defer mu.Unlock()
				if members[id] += change; members[id] != want {
					t.Errorf("%d memberships of a client after a change by %d", members[id], change)
				}
			}
			p, e, _ := kit.NewPond()
			l := e.Lobby("/mine/:client", func(ctx *pond.JoinContext) error {
				count(ctx.User().ID, 1, 1)
				return ctx.Accept()
			})
			l.OnLeave(func(ctx *pond.LeaveContext) error { count(ctx.User().ID, -1, 0); return nil })
			server := httptest.NewServer(p)
			defer server.Close()
			var clients sync.WaitGroup
			for i, conn := range kit.Clients(t, server.Listener.Addr().String(), n) {
				clients.Go(func() {
					defer conn.Close()
					if err := rejoin(conn, fmt.Sprintf("/mine/%d", i), name, rounds); err != nil {
						t.Error(err)
					}
				})
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				clients.Wait()
			}()
			for running := true; running; {
				select {
				case <-done:
					running = false
				default:
					for ch := range e.Channels() {
						if ch.Lobby() == l {
							end(ch)
						}
					}
				}
			}
		})
	}
}

// rejoin joins a channel, and joins it again each time that the client receives the event
// notice, up to the given number of times.
func rejoin(conn net.Conn, channel, notice string, times int) error {
	join := strings.Replace(kit.JoinMessage(0), "/chat/1", channel, 1)
	frame := string([]byte{0x81, byte(0x80 | len(join)), 0, 0, 0, 0}) + join
	r := bufio.NewReader(conn)
	for range times {
		if _, err := io.WriteString(conn, frame); err != nil {
			return err
		}
		for _, event := range []string{"ACKNOWLEDGE", notice} {
			if err := kit.Expect(r, event); err != nil {
				return err
			}
		}
	}
	return nil
}
