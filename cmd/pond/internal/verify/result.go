package verify

import (
	"errors"
	"fmt"
	"time"

	"github.com/pondsocket/pond/internal/load"
	"github.com/pondsocket/pond/pondclient"
)

// A Count counts deliveries, of one message to one client each, by their outcome.
type Count struct {
	Delivered  int64 `json:"delivered"`  // live, without a reconnect
	Recovered  int64 `json:"recovered"`  // after a reconnect
	Announced  int64 `json:"announced"`  // lost, and the client got a gap
	Lost       int64 `json:"lost"`       // lost silently
	Duplicated int64 `json:"duplicated"` // delivered more than once
	Disordered int64 `json:"disordered"` // delivered after a later one
}

func (c *Count) add(o Count) {
	c.Delivered += o.Delivered
	c.Recovered += o.Recovered
	c.Announced += o.Announced
	c.Lost += o.Lost
	c.Duplicated += o.Duplicated
	c.Disordered += o.Disordered
}

// A Path is one address of the server with one transport.
type Path struct {
	URL        string               `json:"url"` // without its query
	Transport  pondclient.Transport `json:"transport"`
	Clients    int                  `json:"clients"`
	Reconnects int64                `json:"reconnects"`
	Count
}

// A Result is the result of a run. In JSON, durations are in nanoseconds.
type Result struct {
	Channel    string        `json:"channel"`
	Clients    int           `json:"clients"`
	Publishers int           `json:"publishers"`
	Elapsed    time.Duration `json:"elapsed"`
	Rate       float64       `json:"rate"`

	Published   int64 `json:"published"`   // messages
	Confirmed   int64 `json:"confirmed"`   // by an answer, or because a client got them
	Rejected    int64 `json:"rejected"`    // by the server, or not sent
	Unknown     int64 `json:"unknown"`     // the connection was lost before the answer
	Unconfirmed int64 `json:"unconfirmed"` // received by no client, and the publisher does not know
	Count

	Paths      []Path           `json:"paths"`
	Cuts       int64            `json:"cuts"`
	Reconnects int64            `json:"reconnects"`
	Gaps       map[string]int64 `json:"gaps,omitempty"` // by reason
	Removed    int64            `json:"removed"`        // clients that the server removed
	Absent     int64            `json:"absent"`         // clients that did not recover by the end
	History    bool             `json:"history"`        // whether the channel has a history

	// Contradictions counts messages that the server sent twice or out of order, as
	// clients detected by the positions, and positions that contradict each other. Invalid
	// counts messages that the clients could not decode.
	Contradictions int64 `json:"contradictions"`
	Invalid        int64 `json:"invalid"`

	Latency  *load.Latency `json:"latency,omitempty"`  // from sending to each delivery
	Recovery *load.Latency `json:"recovery,omitempty"` // from a lost connection to the missed messages or a gap

	// Examples describe some of the messages that were lost silently.
	Examples []string `json:"examples,omitempty"`

	// Rejection is one of the errors of rejected messages.
	Rejection string `json:"rejection,omitempty"`

	Interrupted bool `json:"interrupted"`
}

// maxExamples limits [Result.Examples].
const maxExamples = 5

// Err returns an error if the server lost messages silently, duplicated them, sent them
// out of order, or sent messages that clients cannot accept, or if clients did not
// reconnect.
func (r *Result) Err() error {
	switch {
	case r.Lost > 0:
		return fmt.Errorf("%d messages were lost silently", r.Lost)
	case r.Duplicated > 0 || r.Disordered > 0:
		return fmt.Errorf("%d messages were duplicated, and %d were out of order", r.Duplicated, r.Disordered)
	case r.Contradictions > 0:
		return fmt.Errorf("%d times, the server sent a message more than once or out of order, or positions that contradict each other", r.Contradictions)
	case r.Invalid > 0:
		return fmt.Errorf("%d messages of the server were invalid", r.Invalid)
	case r.Interrupted:
		return errors.New("interrupted")
	case r.Absent > 0:
		return fmt.Errorf("%d clients had not recovered at the end", r.Absent)
	default:
		return nil
	}
}

// result returns the result. Without tail, messages that were published at the end do
// not count as lost.
func (r *runner) result(tail bool) *Result {
	res := &Result{
		Channel: r.Channel, Clients: r.Clients, Publishers: r.Publishers, Rate: r.Rate,
		Cuts: r.cuts, Latency: r.latency.Latency(), Recovery: r.recovery.Latency(),
	}
	r.judgePublishers(res)
	for _, c := range r.clients {
		r.judge(res, c, tail)
	}
	res.Contradictions, res.Invalid = res.Gaps[string(pondclient.GapDisorder)], res.Gaps[string(pondclient.GapInvalid)]
	select {
	case err := <-r.rejections:
		res.Rejection = err.Error()
	default:
	}
	return res
}

// judgePublishers counts the messages by what their publishers know about them.
func (r *runner) judgePublishers(res *Result) {
	for i, c := range r.clients[:r.Publishers] {
		r.ledger.decide(i, c.lostAfter)
	}
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	for _, p := range r.ledger.publishers {
		res.Published += int64(p.last)
		for n := range p.last {
			switch {
			case p.seen[n] || p.fate[n] == confirmed:
				res.Confirmed++
			case p.fate[n] == rejected:
				res.Rejected++
			case p.fate[n] == unknown:
				res.Unknown++
			default:
				res.Unconfirmed++
			}
		}
	}
}

// decide settles messages without an answer: if their publisher lost its connection
// afterwards, it knows that they may not have arrived.
func (l *ledger) decide(publisher int, lostAfter func(time.Time) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &l.publishers[publisher]
	for n := range p.last {
		if p.fate[n] == open && !p.seen[n] && lostAfter(p.sent[n]) {
			p.fate[n] = unknown
		}
	}
}

// last returns the number of the last message of a publisher.
func (l *ledger) last(publisher int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.publishers[publisher].sent)
}

// judge adds what one client got.
func (r *runner) judge(res *Result, c *client, tail bool) {
	if c.isAbsent() {
		c.account.gap() // it knows that it misses messages
		res.Absent++
	}
	announced, silent := c.account.lost(r.ledger, tail)
	c.account.mu.Lock()
	count := Count{
		Delivered: c.account.delivered, Recovered: c.account.recovered,
		Announced: announced, Lost: int64(len(silent)),
		Duplicated: c.account.duplicated, Disordered: c.account.disordered,
	}
	c.account.mu.Unlock()
	res.add(count)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range silent[:min(len(silent), maxExamples-len(res.Examples))] {
		res.Examples = append(res.Examples, fmt.Sprintf("client %d at %s over %s did not get message %d of publisher %d",
			c.number, address(c.url), c.transport, m.number, m.publisher))
	}
	path := res.path(address(c.url), c.transport)
	path.Clients++
	path.Reconnects += c.reconnects
	path.add(count)
	res.Reconnects += c.reconnects
	res.History = res.History || c.history
	if c.failed != nil {
		res.Removed++
	}
	for reason, n := range c.gaps {
		if res.Gaps == nil {
			res.Gaps = map[string]int64{}
		}
		res.Gaps[string(reason)] += n
	}
}

// path returns the entry of a path. If there is none, it creates it.
func (r *Result) path(url string, transport pondclient.Transport) *Path {
	for i := range r.Paths {
		if p := &r.Paths[i]; p.URL == url && p.Transport == transport {
			return p
		}
	}
	r.Paths = append(r.Paths, Path{URL: url, Transport: transport})
	return &r.Paths[len(r.Paths)-1]
}
