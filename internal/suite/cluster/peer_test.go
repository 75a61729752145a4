package cluster_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/clusterwire"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A peer is a server of another family: it sends what a test says, and nothing else.
type peer struct {
	c      *cluster
	id     string
	broker pond.Broker

	mu  sync.Mutex // guards the following fields
	got []clusterwire.Message
}

// A JavaScript server answers for users of others; its ID is not a UUID.
const javascript = "sxssoarrhm"

// peer adds a server that has subscribed to the room.
func (c *cluster) peer(id string) *peer {
	c.t.Helper()
	p := &peer{c: c, id: id, broker: c.bus.Broker(id)}
	if _, err := p.broker.Subscribe(c.t.Context(), topic, p); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = p.broker.Close(c.t.Context()) })
	return p
}

// Receive notes a message of another server.
func (p *peer) Receive(e pond.Entry) {
	m, err := clusterwire.Decode(e.Data, "socket", room, clusterwire.DefaultLimits)
	if err != nil {
		if bytes.Contains(e.Data, []byte(`"ext"`)) && !bytes.Contains(e.Data, []byte("unknown")) {
			p.c.t.Errorf("%s: %v", e.Data, err) // it is of a node of ours
		}
		return
	}
	if m.Source != p.id {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.got = append(p.got, m)
	}
}

// Gap does nothing.
func (p *peer) Gap(error) {}

// take returns what arrived since the last time: type and user.
func (p *peer) take() (list []string) {
	p.c.settle()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.got {
		var text strings.Builder
		text.WriteString(string(m.Type))
		if m.User != "" {
			text.WriteString(" " + m.User)
		}
		for _, u := range m.Users {
			text.WriteString(" " + u.ID)
		}
		list = append(list, text.String())
	}
	p.got = nil
	return list
}

// send sends a message about the room.
func (p *peer) send(m clusterwire.Message) {
	p.c.t.Helper()
	now := time.Now()
	m.ID, m.Source, m.Endpoint, m.Channel, m.Timestamp = clusterwire.NewID(now), p.id, "socket", room, now.UnixMilli()
	data, err := clusterwire.Append(nil, &m)
	if err != nil {
		p.c.t.Fatal(err)
	}
	if err := p.broker.Publish(p.c.t.Context(), topic, [][]byte{data}); err != nil {
		p.c.t.Fatal(err)
	}
	p.c.settle()
}

// sees checks the users of the room on a node.
func (c *cluster) sees(s *server, want ...string) {
	c.t.Helper()
	slices.Sort(want)
	if got := users(c.channel(s)); !slices.Equal(got, want) {
		c.t.Fatalf("node %s sees %q, want %q", s.name, got, want)
	}
}

// withPeer runs a test with one node and a peer.
func withPeer(t *testing.T, id string, test func(t *testing.T, c *cluster, s *server, p *peer)) {
	t.Helper()
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			runOne(t, 1, tr, func(t *testing.T, c *cluster, s []*server) { test(t, c, s[0], c.peer(id)) })
		})
	}
}

// W1: a node answers with its own users only, once for requests that come together.
func TestW1OwnUsersOnly(t *testing.T) {
	withPeer(t, javascript, func(t *testing.T, c *cluster, s *server, p *peer) {
		ann := c.join(s)
		p.send(clusterwire.Message{Type: clusterwire.UserJoined, User: "theirs"})
		c.sees(s, ann.ID(), "theirs")
		c.rest()
		p.take()
		for range 5 {
			p.send(clusterwire.Message{Type: clusterwire.StateRequest, FromNode: "x"})
		}
		c.rest()
		if got := p.take(); !slices.Equal(got, []string{"STATE_RESPONSE " + ann.ID()}) {
			t.Errorf("the node answered %q", got)
		}
		ann.Leave(room)
		p.take()
		p.send(clusterwire.Message{Type: clusterwire.StateRequest, FromNode: "x"})
		c.rest()
		if got := p.take(); len(got) > 0 {
			t.Errorf("a node without users answered %q", got)
		}
	})
}

// W2: after a loss, a node asks for the state, and tells its own.
func TestW2StateAfterLoss(t *testing.T) {
	withPeer(t, javascript, func(t *testing.T, c *cluster, s *server, p *peer) {
		ann := c.join(s)
		c.rest()
		p.take()
		s.broker.Disconnect()
		c.pass(time.Second)
		s.broker.Connect()
		c.pass(time.Second)
		if got := p.take(); !slices.Equal(got, []string{"STATE_REQUEST", "STATE_RESPONSE " + ann.ID()}) {
			t.Errorf("after a loss the node sent %q", got)
		}
	})
}

// W3 and W16: a server that took a node for dead, or has stopped listening to heartbeats,
// gets to know its users again.
func TestW3AnnouncedAgain(t *testing.T) {
	withPeer(t, javascript, func(t *testing.T, c *cluster, s *server, p *peer) {
		ann := c.join(s)
		c.rest()
		p.take()
		for range 5 {
			c.pass(nodeTimeout*4/3 + nodeTimeout/9)
			if got := p.take(); len(got) < 1 || len(got) > 2 || got[0] != "STATE_RESPONSE "+ann.ID() {
				t.Errorf("in one period the node sent %q", got)
			}
		}
	})
}

// A state of several parts of which one may be lost does not remove users.
func TestIncompleteState(t *testing.T) {
	withPeer(t, javascript, func(t *testing.T, c *cluster, s *server, p *peer) {
		ann := c.join(s)
		ours := func(part clusterwire.Part) clusterwire.Ext { return clusterwire.Ext{Boot: "b", Part: part} }
		for _, user := range []string{"u1", "u2", "u3"} {
			p.send(clusterwire.Message{Type: clusterwire.UserJoined, User: user, Ext: ours(0)})
		}
		part := func(p *peer, part clusterwire.Part, user string) {
			p.send(clusterwire.Message{Type: clusterwire.StateResponse, Users: []clusterwire.User{{ID: user}}, Ext: ours(part)})
		}
		part(p, clusterwire.FirstPart, "u1")
		p.send(clusterwire.Message{Type: clusterwire.UserJoined, User: "u4", Ext: ours(0)})
		s.broker.Disconnect()
		s.broker.Connect()
		c.settle()
		part(p, clusterwire.LastPart, "u2")
		c.sees(s, ann.ID(), "u1", "u2", "u3", "u4")

		part(p, clusterwire.FirstPart, "u1")
		p.send(clusterwire.Message{Type: clusterwire.UserJoined, User: "u5", Ext: ours(0)})
		part(p, clusterwire.LastPart, "u2")
		c.sees(s, ann.ID(), "u1", "u2", "u5")
	})
}

// W4: see TestNodeWithoutBroker, TestBackendStops and TestDeafNode. Here, any message is a
// sign that a node lives.
func TestW4MessagesAreHeartbeats(t *testing.T) {
	withPeer(t, javascript, func(t *testing.T, c *cluster, s *server, p *peer) {
		ann := c.join(s)
		p.send(clusterwire.Message{Type: clusterwire.UserJoined, User: "theirs"})
		for range 10 {
			c.pass(nodeTimeout * 3 / 4)
			p.send(clusterwire.Message{Type: clusterwire.StateRequest, FromNode: "x"})
		}
		c.sees(s, ann.ID(), "theirs")
		c.pass(deathTime)
		c.sees(s, ann.ID())
	})
}

// W5: users of whom a server only spoke are asked for when it is dead, and stay if their
// node answers.
func TestW5Hearsay(t *testing.T) {
	withPeer(t, javascript, func(t *testing.T, c *cluster, s *server, p *peer) {
		other := c.peer("01976d2c-9a5e-7c1b-8f44-0b6a9e3d2f70")
		ann := c.join(s)
		p.send(clusterwire.Message{Type: clusterwire.StateResponse, Users: []clusterwire.User{
			{ID: "own"}, {ID: "lives"}, {ID: "ghost"}, {ID: ann.ID(), Assigns: []byte(`{"wrong":true}`)},
		}})
		p.send(clusterwire.Message{Type: clusterwire.UserJoined, User: "own"})
		c.sees(s, ann.ID(), "own", "lives", "ghost")
		if u, _ := c.channel(s).User(ann.ID()); u.Get("wrong") != nil {
			t.Error("a node believes what another one says about its own user")
		}
		other.take()
		c.pass(deathTime)
		c.sees(s, ann.ID(), "lives", "ghost")
		if got := other.take(); !slices.Contains(got, "USER_GET_REQUEST lives") || !slices.Contains(got, "USER_GET_REQUEST ghost") {
			t.Errorf("the node asked %q", got)
		}
		other.send(clusterwire.Message{Type: clusterwire.UserGetResponse, User: "lives", RequestID: "r"})
		c.pass(time.Second)
		c.sees(s, ann.ID(), "lives")
		other.send(clusterwire.Message{Type: clusterwire.UserLeft, User: "lives"})
		c.sees(s, ann.ID())
	})
}

// W6: a node that stops tells that its users leave.
func TestW6UsersLeaveOnShutdown(t *testing.T) {
	withPeer(t, javascript, func(t *testing.T, c *cluster, s *server, p *peer) {
		ann, bob := c.join(s), c.join(s)
		c.rest()
		p.take()
		c.stop(s)
		got := p.take()
		slices.Sort(got)
		want := []string{"USER_LEFT " + ann.ID(), "USER_LEFT " + bob.ID()}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("the node sent %q, want %q", got, want)
		}
	})
}

// W7: after an outage, a node asks for the state of many channels bit by bit.
func TestW7StateRequestsAreSpread(t *testing.T) {
	runOne(t, 1, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		client := c.connect(s[0])
		for i := range 100 {
			client.Join(fmt.Sprint("/chat/", i), nil)
		}
		c.pass(time.Second)
		requests := func() (n int) {
			for i := range 100 {
				n += s[0].tap.counted(fmt.Sprint("publish socket:/chat/", i))
			}
			return n
		}
		s[0].broker.Disconnect()
		s[0].broker.Connect()
		before := requests()
		c.pass(500 * time.Millisecond)
		if n := requests() - before; n == 0 || n > 3*2*10 {
			t.Errorf("%d messages in half a second", n)
		}
		c.pass(5 * time.Second)
		if n := requests() - before; n < 100 {
			t.Errorf("%d messages at last, want at least 100", n)
		}
	})
}

// W8 and W9: while the broker is busy, changes of one user's presence become one.
func TestW9PresenceIsMerged(t *testing.T) {
	withPeer(t, javascript, func(t *testing.T, c *cluster, s *server, p *peer) {
		ann := c.join(s)
		ann.Send(room, "track", json.RawMessage(`{"n":0}`))
		c.rest()
		p.take()
		c.bus.Pause()
		for n := range 100 {
			ann.Send(room, "update", json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)))
		}
		c.settle()
		c.bus.Resume()
		c.settle()
		p.mu.Lock()
		last := string(p.got[len(p.got)-1].Presence)
		p.mu.Unlock()
		if got := p.take(); len(got) > 2 || last != `{"n":99}` {
			t.Errorf("100 changes were %d messages, the last one %s", len(got), last)
		}
	})
}

// W11: acknowledgements and errors for clients of others reach nobody here.
func TestW11NoticesOfOthers(t *testing.T) {
	withPeer(t, javascript, func(t *testing.T, c *cluster, s *server, p *peer) {
		ann := c.join(s)
		for _, event := range []string{"ACKNOWLEDGE", "UNAUTHORIZED"} {
			p.send(clusterwire.Message{
				Type: clusterwire.UserMessage, Event: event, From: clusterwire.FromChannel, RequestID: "r",
				Recipients: clusterwire.Recipients{To: clusterwire.AllUsers},
			})
		}
		ann.Quiet()
		p.send(clusterwire.Message{
			Type: clusterwire.UserMessage, Event: "said", From: "theirs", RequestID: "r", Payload: []byte(`{"n":1}`),
			Recipients: clusterwire.Recipients{To: clusterwire.AllUsers},
		})
		expect(t, ann, 1)
	})
}

// W13: a user that another server asks to evict is told once, leaves once, and all know
// it. A user on a server that evicts silently is gone for all a second later.
func TestW13Evictions(t *testing.T) {
	withPeer(t, javascript, func(t *testing.T, c *cluster, s *server, p *peer) {
		ann, bob := c.join(s), c.join(s)
		c.rest()
		p.take()
		for range 2 {
			p.send(clusterwire.Message{Type: clusterwire.EvictUser, User: bob.ID(), Reason: "spam"})
		}
		if got := kicks(t, bob); !slices.Equal(got, []string{"SYSTEM kicked_out", "SYSTEM EVICTED"}) {
			t.Errorf("the evicted client received %q", got)
		}
		if got := s.left[bob.ID()]; len(got) != 1 {
			t.Errorf("the leave handler ran %d times", len(got))
		}
		if got := p.take(); !slices.Equal(got, []string{"USER_LEFT " + bob.ID(), "USER_MESSAGE"}) {
			t.Errorf("the node sent %q", got)
		}

		p.send(clusterwire.Message{Type: clusterwire.UserJoined, User: "theirs"})
		if err := c.channel(s).Evict("theirs", "spam"); err != nil {
			t.Fatal(err)
		}
		if got := p.take(); !slices.Equal(got, []string{"EVICT_USER theirs"}) {
			t.Errorf("the node sent %q", got)
		}
		c.pass(time.Second)
		c.sees(s, ann.ID())
		if got := p.take(); !slices.Contains(got, "USER_LEFT theirs") {
			t.Errorf("the node sent %q", got)
		}
	})
}

// W21: what another server says about a user with the ID of a user here changes nothing for
// the latter, and counts when that one has left.
func TestW21SameID(t *testing.T) {
	withPeer(t, javascript, func(t *testing.T, c *cluster, s *server, p *peer) {
		ann := c.join(s)
		p.send(clusterwire.Message{Type: clusterwire.UserJoined, User: ann.ID(), Assigns: []byte(`{"theirs":1}`)})
		c.sees(s, ann.ID())
		p.send(clusterwire.Message{Type: clusterwire.UserLeft, User: ann.ID()})
		ann.Send(room, "say", number(1))
		expect(t, ann, 1)
		c.sees(s, ann.ID())

		other := c.join(s)
		p.send(clusterwire.Message{Type: clusterwire.UserJoined, User: ann.ID(), Assigns: []byte(`{"theirs":1}`)})
		ann.Leave(room)
		c.settle()
		c.sees(s, other.ID(), ann.ID())
		if u, _ := c.channel(s).User(ann.ID()); u.Get("theirs") != 1.0 {
			t.Errorf("assigns are %v", u.Assigns())
		}
	})
}

// A user is removed, and looked up, for a server that asks.
func TestRequestsOfOthers(t *testing.T) {
	withPeer(t, javascript, func(t *testing.T, c *cluster, s *server, p *peer) {
		ann := c.join(s)
		ann.Send(room, "track", json.RawMessage(`{"u":"ann"}`))
		c.rest()
		p.take()
		ann.Drain()
		p.send(clusterwire.Message{Type: clusterwire.UserGetRequest, User: ann.ID(), RequestID: "r1", FromNode: "x"})
		p.mu.Lock()
		answer := p.got[len(p.got)-1]
		p.mu.Unlock()
		if answer.RequestID != "r1" || string(answer.Presence) != `{"u":"ann"}` {
			t.Errorf("the answer was %+v", answer)
		}
		p.send(clusterwire.Message{Type: clusterwire.UserGetRequest, User: "unknown", RequestID: "r2", FromNode: "x"})
		p.send(clusterwire.Message{Type: clusterwire.UserRemove, User: ann.ID()})
		got := p.take()
		if want := []string{"USER_GET_RESPONSE " + ann.ID(), "USER_LEFT " + ann.ID()}; !slices.Equal(got, want) {
			t.Errorf("the node sent %q, want %q", got, want)
		}
		ann.Quiet()
		if got := s.left[ann.ID()]; len(got) != 1 {
			t.Errorf("the leave handler ran %d times", len(got))
		}
	})
}

// What others send in a broken form changes nothing.
func TestBrokenMessages(t *testing.T) {
	withPeer(t, javascript, func(t *testing.T, c *cluster, s *server, p *peer) {
		ann := c.join(s)
		head := `{"protocol":"pondsocket.distributed","version":1,"sourceNodeId":"x","messageId":"%d","timestamp":1,"endpointName":"socket","channelName":"` + room + `"`
		for i, text := range []string{
			`{}`, `[]`, `{"a":`,
			head + `,"type":"USER_MESSAGE","payload":{}}`,
			head + `,"type":"USER_MESSAGE","event":"said","payload":{},"recipientDescriptor":[]}`,
			head + `,"type":"USER_JOINED"}`,
			head + `,"type":"EVICT_USER","userId":"` + ann.ID() + `","ext":{"v":1,"action":"unknown"}}`,
			strings.Replace(head, room, "/chat/2", 1) + `,"type":"USER_JOINED","userId":"u"}`,
			strings.Replace(head, `"socket"`, `"other"`, 1) + `,"type":"USER_JOINED","userId":"u"}`,
		} {
			if strings.Contains(text, "%d") {
				text = fmt.Sprintf(text, i)
			}
			if err := p.broker.Publish(t.Context(), topic, [][]byte{[]byte(text)}); err != nil {
				t.Fatal(err)
			}
		}
		c.rest()
		ann.Quiet()
		c.sees(s, ann.ID())
		kit.Is(t, ann.Request(room, "ask", nil), "SYSTEM", "answer", "{}")
	})
}

// W14: a message that comes behind a later one of its node, because its batch was sent again,
// stays lost. The order of a sender counts more.
func TestW14LateMessages(t *testing.T) {
	withPeer(t, "01976d2c-9a5e-7c1b-8f44-0b6a9e3d2f70", func(t *testing.T, c *cluster, s *server, p *peer) {
		ann := c.join(s)
		for _, seq := range []uint64{1, 3, 2, 3, 4} {
			p.send(clusterwire.Message{
				Type: clusterwire.UserMessage, Event: "said", From: "theirs", RequestID: "r", Payload: number(int(seq)),
				Recipients: clusterwire.Recipients{To: clusterwire.AllUsers}, Ext: clusterwire.Ext{Boot: "b", Seq: seq},
			})
		}
		expect(t, ann, 1, 3, 4)
	})
}
