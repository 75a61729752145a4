package cluster_test

import (
	"context"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
)

// An interval is a time during which something was wrong. It has not ended if its end is zero.
type interval struct {
	node     *node // nil: all nodes
	from, to time.Time
}

func (i interval) overlaps(from, to time.Time) bool {
	return !i.from.After(to) && (i.to.IsZero() || !i.to.Before(from))
}

// A fault is what is wrong with the bus at present, and what was.
type fault struct {
	paused, parted, dropping bool

	losses []*interval // in which subscribers may miss messages
	pauses []*interval // in which messages do not move

	log struct {
		epochs map[string]map[uint64]int // numbers of messages by offset, of all logs; guarded by player.mu during the history
		last   string                    // the epoch in the end
		lost   bool                      // a log was lost, or ended with its channel
	}
}

// fault does what a step says, if it is a fault or the end of one.
func (p *player) fault(s step, i int) bool {
	n, l := p.nodes[i], &p.lines
	switch s.what {
	case "crash":
		if p.alive() > 1 && !n.dead {
			p.crash(n)
		}
	case "cut":
		if !n.dead && !n.cut {
			n.cut = true
			l.losses = append(l.losses, &interval{node: n, from: time.Now()})
			n.disconnected()
			n.broker.Disconnect()
		}
	case "connect":
		if n.cut && !n.dead {
			p.connect(n)
		}
	case "partition":
		p.heal()
		l.parted = true
		l.losses = append(l.losses, &interval{from: time.Now()})
		var groups [2][]string
		for j, n := range p.nodes {
			group := &groups[s.n>>j&1]
			*group = append(*group, n.name)
		}
		p.bus.Partition(groups[:]...)
	case "heal":
		p.heal()
	case "pause":
		if p.bus.Pause() {
			l.pauses = append(l.pauses, &interval{from: time.Now()})
			l.paused = true
			for _, n := range p.nodes {
				n.disconnected()
			}
		}
	case "resume":
		p.resume()
	case "faults":
		p.repair()
		f := faultsOf(s)
		if f.Drop > 0 {
			l.dropping = true
			l.losses = append(l.losses, &interval{from: time.Now()})
		}
		p.bus.SetFaults(f)
	case "silence": // which a broker must not do
		p.repair()
		l.dropping, p.silence = true, true
		l.losses = append(l.losses, &interval{from: time.Now()})
		p.bus.SetFaults(memorybroker.Faults{Drop: float64(1+s.n%7) / 10, Silent: true})
	case "unconfirmed":
		n.unconfirmed.Store(int32(1 + s.n%3))
	case "repair":
		p.repair()
	case "lose":
		l.log.lost = true
		p.bus.LoseLogs(topic)
	default:
		return false
	}
	p.faulty = true
	return true
}

// faultsOf returns some of the faults of the bus.
func faultsOf(s step) (f memorybroker.Faults) {
	chance := float64(1+s.n%7) / 10
	for _, i := range append(s.others, s.client) {
		switch i {
		case 0:
			f.Drop = chance
		case 1:
			f.Fail = chance
		case 2:
			f.TimeOut = chance
		case 3:
			f.Duplicate = chance
		default:
			f.MaxDelay = maxDelay * time.Duration(s.n+1) / 100
		}
	}
	return f
}

// crash ends a node as the end of its process does: nothing of it reaches the others any
// more, and its clients lose their connections.
func (p *player) crash(n *node) {
	n.dead = true
	n.broker.Disconnect()
	for _, c := range p.clients {
		if c.node == n && c.session != nil {
			c.session.Reset()
			p.gone(c)
		}
	}
	p.shutdown(n)
}

func (p *player) connect(n *node) {
	p.checkKept(n)
	n.cut = false
	n.broker.Connect()
	p.over(func(i *interval) bool { return i.node == n })
}

func (p *player) heal() {
	if p.lines.parted {
		p.lines.parted = false
		p.bus.Heal()
		p.over(func(i *interval) bool { return i.node == nil })
		if p.lines.dropping {
			p.lines.losses = append(p.lines.losses, &interval{from: time.Now()})
		}
	}
}

func (p *player) repair() {
	p.bus.SetFaults(memorybroker.Faults{})
	if p.lines.dropping {
		p.lines.dropping = false
		p.over(func(i *interval) bool { return i.node == nil })
		if p.lines.parted {
			p.lines.losses = append(p.lines.losses, &interval{from: time.Now()})
		}
	}
}

func (p *player) resume() {
	if p.lines.paused {
		for _, n := range p.nodes {
			p.checkKept(n)
		}
	}
	p.bus.Resume()
	p.lines.paused = false
	for _, i := range p.lines.pauses {
		if i.to.IsZero() {
			i.to = time.Now()
		}
	}
}

// over ends losses.
func (p *player) over(which func(*interval) bool) {
	for _, i := range p.lines.losses {
		if i.to.IsZero() && which(i) {
			i.to = time.Now()
		}
	}
}

func (p *player) endFaults() {
	p.resume()
	p.heal()
	p.repair()
	for _, n := range p.nodes {
		n.unconfirmed.Store(0)
		if n.cut && !n.dead {
			p.connect(n)
		}
	}
}

// snapshot reads the log in the end.
func (p *player) snapshot() {
	if !p.history.logged {
		return
	}
	auditor := p.bus.Broker("auditor")
	defer func() { _ = auditor.Close(context.Background()) }()
	page, err := auditor.Since(context.Background(), topic, pond.Position{}, all)
	if err != nil {
		p.fail("reading the log: %w", err)
		return
	}
	p.record(page.Top, page.Entries...)
	p.lines.log.last = page.Top.Epoch
	p.checkHistories(page.Entries)
}
