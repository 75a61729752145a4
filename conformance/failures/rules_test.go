package failures_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/logcheck"
	"github.com/pondsocket/pond/pondclient"
)

// check compares the recordings with the rules. All clients and nodes ended.
func (w *world) check(rosters time.Duration, began, healed time.Time) {
	accepted := w.accepted()
	missing := w.checkPlain(accepted)
	for _, channel := range w.logs() {
		w.checkLog(channel, accepted)
	}
	w.checkDegraded()
	w.checkLeft()
	lost, missed := 0, 0
	for _, n := range w.nodes {
		lost += n.sum("lost")
		missed += n.sum("missed")
	}
	positions, gap := w.times(busy, began, healed), w.times(silent, began, healed)
	if *strict && (rosters > rosterLimit || positions > gapLimit || gap > gapLimit) {
		w.t.Errorf("lists of members were right after %v, positions after %v, and in a silent channel after %v", rosters, positions, gap)
	}
	broker := "Redis"
	if w.failure.nats {
		broker = "NATS"
	}
	results.Lock()
	defer results.Unlock()
	results.lines = append(results.lines, fmt.Sprintf("%-42s %8s %10s %8s %8d %6d %5d",
		broker+": "+w.failure.name, seconds(rosters), seconds(positions), seconds(gap), missing, missed, lost))
}

// Limits after a failure, for nodes with the timeout of this test.
const (
	rosterLimit = 5 * time.Second
	gapLimit    = 5 * time.Second
)

// never is the time of something that did not happen.
const never = -1 << 63

func seconds(d time.Duration) string {
	if d == never {
		return "-"
	}
	return fmt.Sprintf("%.2f", max(0, d).Seconds())
}

// times returns how long after the failure the last member received a message that was
// sent before, or was told of a gap.
func (w *world) times(channel string, began, healed time.Time) time.Duration {
	var last time.Time
	for _, c := range w.clients {
		m := c.in[channel]
		if m == nil || c.moved {
			continue
		}
		for _, e := range m.events {
			switch ev := e.Event.(type) {
			case *pondclient.Gap:
				last = later(last, e.at)
			case *pondclient.Message:
				var s said
				if ev.Event == "said" && ev.Bind(&s) == nil && w.messages[s.N].at.Before(healed) && w.messages[s.N].at.After(began) {
					last = later(last, e.at)
				}
			}
		}
	}
	if last.IsZero() {
		return never
	}
	return last.Sub(healed)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// mayFail reports whether an error is one of a message that was sent when the client was
// disconnected on purpose.
func (c *client) mayFail(err error) bool {
	return c.moved && errors.Is(err, pondclient.ErrUnknownOutcome)
}

// accepted returns which node accepted a message, by number. No node rejects a message, and
// each message of a client that stayed connected reaches its node.
func (w *world) accepted() map[int]*node {
	accepted := map[int]*node{}
	for _, n := range w.nodes {
		for _, r := range n.all("sent") {
			if r.Err != "" {
				w.t.Errorf("node %d did not accept message %d: %s", n.number, r.N, r.Err)
			}
			if accepted[r.N] != nil {
				w.t.Errorf("node %d handled message %d, which node %d accepted", n.number, r.N, accepted[r.N].number)
			}
			accepted[r.N] = n
		}
	}
	for _, m := range w.messages {
		if accepted[m.n] == nil && !w.clients[m.client].moved {
			w.t.Errorf("no node handled message %d of client %d", m.n, m.client)
		}
	}
	return accepted
}

// checkPlain checks the channel without a log: the order of each sender, and that no
// message arrives twice or is lost uncounted. It returns how many messages members on
// other nodes miss that stayed connected.
func (w *world) checkPlain(accepted map[int]*node) (missing int) {
	lost := map[*node]map[int]bool{} // what others miss, by the node that accepted it
	for _, n := range w.nodes {
		here := map[int]bool{} // missed by a member on this node
		for _, c := range w.clients {
			if c.node != n {
				continue
			}
			list, err := w.checkOrder(c.in[plain])
			if err != nil {
				w.t.Errorf("client %d in %s: %v", c.number, plain, err)
			}
			if c.moved {
				w.checkGaps(c)
				continue
			}
			got := map[int]bool{}
			for _, number := range list {
				got[number] = true
			}
			for number, from := range accepted {
				switch {
				case w.messages[number].channel != plain || got[number] || from.killed:
				case from == n:
					w.t.Errorf("client %d did not receive message %d of its own node", c.number, number)
				default:
					here[number] = true
				}
			}
		}
		if counted := n.sum("missed"); len(here) != counted && !n.killed {
			w.t.Errorf("members on node %d miss %d messages, and it counted %d", n.number, len(here), counted)
		}
		missing += len(here)
		for number := range here {
			if lost[accepted[number]] == nil {
				lost[accepted[number]] = map[int]bool{}
			}
			lost[accepted[number]][number] = true
		}
	}
	for _, n := range w.nodes {
		if counted := n.sum("lost"); !n.killed && (counted < len(lost[n]) || counted > len(lost[n]) && !w.failure.loses) {
			w.t.Errorf("others miss %d messages that node %d accepted, and it counted %d", len(lost[n]), n.number, counted)
		}
	}
	return missing
}

// checkOrder checks that a member received the messages of each sender in order, once,
// except that it may receive some again after it was disconnected. It returns them.
func (w *world) checkOrder(m *member) (list []int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := map[int]int{}
	for _, e := range m.events {
		switch ev := e.Event.(type) {
		case *pondclient.Gap:
			if ev.Reason != pondclient.GapFresh || !m.client.moved {
				return nil, fmt.Errorf("was told of a gap, %s", ev.Reason)
			}
			last = map[int]int{}
		case *pondclient.Failure:
			if !m.client.mayFail(ev.Err) {
				return nil, ev.Err
			}
		case *pondclient.Message:
			var s said
			if err := ev.Bind(&s); err != nil {
				return nil, err
			}
			sent := w.messages[s.N]
			if sent == nil || sent.channel != m.Name() {
				return nil, fmt.Errorf("received %d, which was not sent", s.N)
			}
			if s.N <= last[sent.client] {
				return nil, fmt.Errorf("received message %d of client %d after %d", s.N, sent.client, last[sent.client])
			}
			last[sent.client] = s.N
			list = append(list, s.N)
		}
	}
	return list, nil
}

// checkGaps checks that a client that was disconnected knows that it may miss messages.
func (w *world) checkGaps(c *client) {
	if len(c.in[plain].gaps()) == 0 {
		w.t.Errorf("client %d was disconnected, and was told of no gap in %s", c.number, plain)
	}
}

// checkLog checks a channel with a log: each accepted message is stored once, or its loss
// is known. Members receive the log, in its order and without a hole, except for gaps that
// they are told of.
func (w *world) checkLog(channel string, accepted map[int]*node) {
	log := &logcheck.Log{}
	if err := w.readLog(channel, log); err != nil {
		w.t.Error(err)
	}
	for _, c := range w.clients { // which also received what the server lost later
		if err := c.in[channel].entries(func(p pond.Position, n int) error { return log.Add(logcheck.Position(p), n) }, nil); err != nil {
			w.t.Errorf("client %d in %s: %v", c.number, channel, err)
		}
	}
	for _, c := range w.clients {
		if err := w.checkMember(c.in[channel], log); err != nil {
			w.t.Errorf("client %d in %s: %v", c.number, channel, err)
		}
	}
	lost := map[*node]int{}
	for number, n := range accepted {
		if w.messages[number].channel == channel && !log.Has(number) {
			lost[n]++
		}
	}
	for n, count := range lost {
		if !w.failure.loses && count > n.sum("lost") && !n.killed {
			w.t.Errorf("node %d accepted %d messages in %s that are not in the log, and counted %d", n.number, count, channel, n.sum("lost"))
		}
	}
}

// readLog adds the log at the server.
func (w *world) readLog(channel string, log *logcheck.Log) error {
	ctx, cancel := context.WithTimeout(w.t.Context(), timeout)
	defer cancel()
	var from pond.Position
	for {
		page, err := w.auditor.Since(ctx, topicOf(channel), from, 1000)
		if err != nil || len(page.Entries) == 0 {
			return err
		}
		if !page.Complete {
			return errors.New("the log is not complete")
		}
		for _, e := range page.Entries {
			if err := log.Add(logcheck.Position(e.Pos), numberOf(e.Data)); err != nil {
				return err
			}
			from = e.Pos
		}
	}
}

// entries calls a function for each message of the log that the member received, and one
// for each other event about positions.
func (m *member) entries(entry func(p pond.Position, n int) error, other func(pondclient.Event) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		var err error
		switch ev := e.Event.(type) {
		case *pondclient.Message:
			var s said
			if err = ev.Bind(&s); err == nil {
				err = entry(ev.Position, s.N)
			}
		case *pondclient.Failure:
			if !strings.Contains(ev.Err.Error(), "the message could not be stored") && !m.client.mayFail(ev.Err) {
				err = fmt.Errorf("received the failure of a message: %w", ev.Err)
			}
		case *pondclient.Gap, *pondclient.Recovered:
			if other != nil {
				err = other(ev)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkMember checks what a member received.
func (w *world) checkMember(m *member, log *logcheck.Log) error {
	r := &logcheck.Reader{Log: log}
	started := false
	return m.entries(func(p pond.Position, n int) error {
		if !started {
			started = true
			r.At = logcheck.Position{Epoch: p.Epoch, Offset: p.Offset - 1}
		}
		return r.Message(logcheck.Position(p), n)
	}, func(ev pondclient.Event) error {
		switch ev := ev.(type) {
		case *pondclient.Recovered:
			return r.Reach(logcheck.Position(ev.Position))
		case *pondclient.Gap:
			allowed := []pondclient.GapReason{}
			if w.failure.loses {
				allowed = append(allowed, pondclient.GapEpoch, pondclient.GapExpired)
			}
			if m.client == w.moved {
				allowed = append(allowed, pondclient.GapUnavailable) // it joined while the log could not be read
			}
			if !slices.Contains(allowed, ev.Reason) {
				return fmt.Errorf("at %v: was told of a gap, %s, to %v", r.At, ev.Reason, ev.Position)
			}
			r.Gap(logcheck.Position(ev.Position))
		}
		return nil
	})
}

// checkDegraded checks that the nodes that had no connection for a while reported this.
func (w *world) checkDegraded() {
	for _, n := range w.nodes {
		list := n.all("degraded")
		was := slices.ContainsFunc(list, func(r record) bool { return r.Err != "" })
		if !was && w.failure.degrades > n.number {
			w.t.Errorf("node %d did not report that it had no connection", n.number)
		}
	}
}

// checkLeft checks that leave handlers ran once for each membership.
func (w *world) checkLeft() {
	for _, n := range w.nodes {
		count := map[[2]string][3]int{}
		for i, what := range []string{"joined", "left", "leave handler"} {
			for _, r := range n.all(what) {
				v := count[[2]string{r.User, r.Channel}]
				v[i]++
				count[[2]string{r.User, r.Channel}] = v
			}
		}
		for key, v := range count {
			if v != [3]int{1, 1, 1} && !(n.killed && v[0] == 1 && v[1] <= 1 && v[2] <= 1) {
				w.t.Errorf("node %d: user %s joined %s %d times, left %d times, and the leave handler ran %d times",
					n.number, key[0], key[1], v[0], v[1], v[2])
			}
		}
	}
}

// numberOf returns the number of a message in the log.
func numberOf(data []byte) int {
	var m struct{ Payload said }
	_ = json.Unmarshal(data, &m) // 0 is no number
	return m.Payload.N
}
