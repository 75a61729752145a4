package cluster_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

// When a node crashes, one of the others with members in the channel notes that the people
// go who were only there, members or in their grace.
func TestPeopleOfCrashedNode(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		others := s[1:]
		c.join(s[0], ann)
		c.join(s[0], pondtest.Query("who", "bob"))
		c.join(s[0], pondtest.Query("who", "tom")).Close()
		for _, node := range others {
			c.join(node)
		}
		bob := c.join(s[1], pondtest.Query("who", "bob"))
		c.diary.wrote(t, "ann comes to a", "bob comes to a", "tom comes to a")
		s[0].broker.Disconnect()
		c.pass(nodeTimeout / 2)
		c.diary.wrote(t)
		c.pass(deathTime)
		var got []string
		for _, line := range c.diary.take() {
			who, from, _ := strings.Cut(line, " goes from ")
			if from == "a" {
				t.Errorf("%s on the crashed node", line)
			}
			got = append(got, who)
		}
		slices.Sort(got)
		if !slices.Equal(got, []string{"ann", "tom"}) {
			t.Fatalf("went: %q", got)
		}
		bob.Leave(room)
		c.settle()
		c.diary.wrote(t, "bob goes from b")
		c.pass(time.Minute)
		got = c.diary.take() // the crashed node itself ended the grace
		if !slices.Equal(got, []string{"tom goes from a"}) {
			t.Fatalf("later: %q", got)
		}
	}, func(c *cluster) {
		withPeople(c)
		c.opts = append(c.opts, pond.WithLeaveGrace(time.Minute))
	})
}

// The context of the handler has what was known about the member of the crashed node.
func TestContextOfPersonOfCrashedNode(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		tab := c.join(s[0], ann)
		bob := c.join(s[1])
		c.rest()
		s[0].broker.Disconnect()
		c.pass(deathTime)
		c.diary.wrote(t, fmt.Sprintf("%s Ann /chat/1 1 connection_closed", tab.ID()))
		bob.ReceiveEvent("goes")
	}, func(c *cluster) {
		c.admit = func(ctx *pond.JoinContext) error {
			ctx.Assign("name", "Ann")
			return ctx.Accept()
		}
		c.setup = func(l *pond.Lobby) {
			l.OnIdentityLeave(func(ctx *pond.LeaveContext) error {
				c.diary.note("%s %s %s %s %s", ctx.User().ID, ctx.Get("name"), ctx.Channel().Name(), ctx.Param("room"), ctx.Reason())
				return ctx.Broadcast("goes", nil)
			})
		}
	})
}

// If no other node has members of the channel, nobody notes that a person of a crashed
// node goes. If the node that should crashes, too, another one does.
func TestHeirs(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		c.join(s[0], ann)
		c.join(s[1]).Leave(room)
		c.diary.wrote(t, "ann comes to a")
		s[0].broker.Disconnect()
		c.pass(time.Minute)
		c.diary.wrote(t)

		for _, name := range []string{"d", "e", "f"} {
			c.pass(time.Millisecond) // the IDs are in the order of the starts
			c.join(c.start(name))
		}
		c.join(s[1], pondtest.Query("who", "eve"))
		c.rest()
		c.diary.wrote(t, "eve comes to b")
		s[1].broker.Disconnect()
		c.pass(1300 * time.Millisecond) // the last message of d is later than that of b
		c.nodes["d"].broker.Disconnect()
		c.pass(deathTime - time.Second)
		c.diary.wrote(t) // d should
		c.pass(deathTime)
		c.diary.wrote(t, "eve goes from e")
	}, withPeople)
}

// A person with tabs on a node that shuts down remains on the others.
func TestPersonAndShutdown(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		c.lag()
		c.join(s[0], ann)
		c.pass(time.Second)
		two := c.join(s[1], ann)
		c.pass(time.Second)
		c.diary.wrote(t, "ann comes to a")
		c.stop(s[0])
		c.pass(time.Second)
		c.diary.wrote(t)
		two.Leave(room)
		c.settle()
		c.went(s[1])
		c.join(s[1], ann)
		c.diary.wrote(t, "ann comes to b")
		c.stop(s[1])
		c.went(s[1])
	}, withPeople)
}

// After a partition, a person that was on both sides is there as before.
func TestPersonAndPartition(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		one, two := c.join(s[0], ann), c.join(s[1], ann)
		c.rest()
		c.diary.wrote(t, "ann comes to a")
		c.bus.Partition([]string{"a"}, []string{"b", "c"})
		c.pass(time.Minute)
		c.diary.wrote(t)
		c.bus.Heal()
		c.pass(repairTime)
		one.Leave(room)
		c.settle()
		c.diary.wrote(t)
		two.Leave(room)
		c.settle()
		c.went(s[1])
	}, withPeople)
}

// During a partition, each part takes the people of the other one for gone. They go again
// when they leave.
func TestPeopleBehindPartition(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		tab := c.join(s[0], ann)
		c.join(s[1])
		c.diary.wrote(t, "ann comes to a")
		c.bus.Partition([]string{"a"}, []string{"b", "c"})
		c.pass(time.Minute)
		c.diary.wrote(t, "ann goes from b")
		c.bus.Heal()
		c.pass(repairTime)
		c.join(s[len(s)-1], ann).Leave(room)
		c.settle()
		c.diary.wrote(t)
		tab.Leave(room)
		c.settle()
		c.went(s[0])
	}, withPeople)
}
