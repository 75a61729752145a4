package cluster_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/clusterwire"
	"github.com/pondsocket/pond/pondtest"
)

// Assigns of a member can be set on any node. All nodes then have the value, decoded from
// its JSON, and also the node of the member.
func TestAssignOnAnotherNode(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann := c.join(s[0])
		for _, node := range s[1:] {
			c.join(node)
		}
		c.rest()
		if err := c.channel(s[0]).Assign(ann.ID(), "kept", 1); err != nil {
			t.Fatal(err)
		}
		for key, v := range map[string]struct{ set, want any }{
			"role": {"<admin>", "<admin>"}, "level": {7, 7.0}, "none": {nil, nil}, "": {true, true},
		} {
			if err := c.channel(s[len(s)-1]).Assign(ann.ID(), key, v.set); err != nil {
				t.Fatal(err)
			}
			c.settle()
			for _, node := range s {
				u, _ := c.channel(node).User(ann.ID())
				if got := u.Get(key); got != v.want {
					t.Errorf("%q is %v on node %s, want %v", key, got, node.name, v.want)
				}
			}
		}
		if u, _ := c.channel(s[0]).User(ann.ID()); u.Get("kept") != 1 {
			t.Errorf("an assign that was not set is %#v", u.Get("kept"))
		}
		ch := c.channel(s[1])
		if err := ch.Assign(ann.ID(), "role", func() {}); err == nil || errors.Is(err, pond.ErrNotMember) {
			t.Errorf("Assign of a function returned %v", err)
		}
		if err := ch.Assign("nobody", "role", 1); !errors.Is(err, pond.ErrNotMember) {
			t.Errorf("Assign for nobody returned %v", err)
		}
		ann.Leave(room)
		c.settle()
		if err := ch.Assign(ann.ID(), "role", 1); !errors.Is(err, pond.ErrNotMember) {
			t.Errorf("Assign for a member that left returned %v", err)
		}
	})
}

// The presence of a member can be changed on any node.
func TestPresenceOnAnotherNode(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.join(s[0]), c.join(s[len(s)-1])
		c.join(s[1])
		c.rest()
		bob.Send(room, "track", json.RawMessage(`{"u":"bob"}`))
		expectChanges(t, bob, `JOIN {"u":"bob"} of {"u":"bob"}`)
		ch, id := c.channel(s[1]), ann.ID()
		do := func(want error, err error, changes string) {
			t.Helper()
			if !errors.Is(err, want) {
				t.Fatalf("got the error %v, want %v", err, want)
			}
			c.settle()
			if changes == "" {
				bob.Quiet()
			} else {
				expectChanges(t, bob, changes)
			}
		}
		do(pond.ErrNotTracked, ch.Update(id, json.RawMessage(`{"u":"a0"}`)), "")
		do(pond.ErrNotTracked, ch.Untrack(id), "")
		do(nil, ch.Track(id, json.RawMessage(`{"u":"a1"}`)), `JOIN {"u":"a1"} of {"u":"a1"} {"u":"bob"}`)
		do(pond.ErrTracked, ch.Track(id, json.RawMessage(`{"u":"a2"}`)), "")
		do(nil, ch.Update(id, json.RawMessage(`{"u":"a3"}`)), `UPDATE {"u":"a3"} of {"u":"a3"} {"u":"bob"}`)
		do(nil, ch.Upsert(id, json.RawMessage(`{"u":"a4"}`)), `UPDATE {"u":"a4"} of {"u":"a4"} {"u":"bob"}`)
		do(nil, ch.Untrack(id), `LEAVE {"u":"a4"} of {"u":"bob"}`)
		do(nil, ch.Upsert(id, map[string]string{"u": "a5"}), `JOIN {"u":"a5"} of {"u":"a5"} {"u":"bob"}`)
		do(pond.ErrNotMember, ch.Upsert("nobody", json.RawMessage(`{}`)), "")
		var refused *pond.Error
		if err := ch.Upsert(id, map[string]string{"u": strings.Repeat("x", 1<<20)}); !errors.As(err, &refused) || refused.Code != 413 {
			t.Errorf("a large presence: %v", err)
		}
		if err := ch.Upsert(id, 5); err == nil {
			t.Error("a presence that is no object was accepted")
		}
		bob.Quiet()
		for _, node := range s {
			if u, _ := c.channel(node).User(id); string(u.Presence()) != `{"u":"a5"}` {
				t.Errorf("the presence on node %s is %s", node.name, u.Presence())
			}
		}
	})
}

// The node of a member decides: what is not possible any more does not happen.
func TestChangeThatCameTooLate(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.join(s[0]), c.join(s[1])
		c.rest()
		ann.Send(room, "track", json.RawMessage(`{"u":"ann"}`))
		bob.Send(room, "track", json.RawMessage(`{"u":"bob"}`))
		c.settle()
		c.lag()
		ann.Send(room, "untrack", nil)
		if err := c.channel(s[1]).Update(ann.ID(), json.RawMessage(`{"u":"late"}`)); err != nil {
			t.Fatal(err)
		}
		c.rest()
		if u, _ := c.channel(s[0]).User(ann.ID()); u.Presence() != nil {
			t.Errorf("the presence is %s", u.Presence())
		}
		ann.Leave(room)
		if err := c.channel(s[1]).Assign(ann.ID(), "role", "user"); err != nil {
			t.Fatal(err)
		}
		c.rest()
		c.agree(s, bob)
	})
}

// Servers of other families do not accept such requests, and do not deliver them.
func TestChangeAndForeignServers(t *testing.T) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			runOne(t, 2, tr, func(t *testing.T, c *cluster, s []*server) {
				p := c.peer(javascript)
				ann := c.join(s[0])
				c.join(s[1])
				c.rest()
				p.send(clusterwire.Message{Type: clusterwire.UserJoined, User: "theirs"})
				p.take()
				ch := c.channel(s[1])
				for _, err := range []error{ch.Assign("theirs", "role", 1), ch.Track("theirs", nil), ch.Untrack("theirs")} {
					if err == nil || !strings.Contains(err.Error(), "another implementation") {
						t.Errorf("got the error %v", err)
					}
				}
				if got := p.take(); len(got) > 0 {
					t.Errorf("the other server received %q", got)
				}
				if err := ch.Assign(ann.ID(), "role", 1); err != nil {
					t.Fatal(err)
				}
				c.settle()
				p.mu.Lock()
				request := p.got[0]
				p.mu.Unlock()
				if to := request.Recipients; to.To != clusterwire.Listed || len(to.IDs) != 1 || to.IDs[0] != clusterwire.Nobody {
					t.Errorf("the request is for %v", to)
				}
			})
		})
	}
}
