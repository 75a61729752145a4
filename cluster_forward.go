package pond

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
	"github.com/pondsocket/pond/internal/clusterwire"
	"github.com/pondsocket/pond/internal/transport"
)

// Times of a request for an event stream of another node.
const (
	forwardTimeout = 10 * time.Second // until the other node must have answered
	forwardWait    = 5 * time.Second  // for earlier requests here, and for the inbox there
	forwardRetry   = time.Second / 2  // until a request is sent again; doubles each time
)

// Events of messages between two nodes.
const (
	forwardEvent = "FORWARD"
	answerEvent  = "ANSWER"
	missedEvent  = "MISSED" // events of the node did not arrive; see cluster.MissedReport
)

// A forwarding is the part of a node that forwards requests for event streams to the
// nodes of these streams, and handles the requests that other nodes forward. A request
// has the same number each time that it is sent. The requests of one node for one stream
// are sent one after the other, so their numbers increase.
type forwarding struct {
	// Static after construction.
	node *node
	key  cluster.Key

	peers     cluster.Peers
	reachable atomic.Bool // the node receives messages of other nodes
	answering atomic.Bool // a heartbeat for nodes that asked follows
	number    atomic.Uint64
	handled   cluster.Answers[forwardAnswer]
	ended     cluster.Ended   // streams of other nodes
	calling   transport.Tasks // calls in progress

	mu     sync.Mutex // guards the following fields
	calls  map[string]chan<- forwardAnswer
	asked  time.Time // when a loss made the node ask for keys
	probed time.Time
}

// A forwardRequest is the payload of a message for the node of an event stream.
type forwardRequest struct {
	Endpoint string `json:"endpoint"`
	Stream   []byte `json:"stream"` // a streamKey
	Method   string `json:"method"`
	Body     []byte `json:"body,omitempty"`
	TooLarge bool   `json:"tooLarge,omitempty"` // the body is, so it was not read
}

// A forwardAnswer is the response of that node.
type forwardAnswer struct {
	Status  int    `json:"status"`
	Message string `json:"message,omitempty"`
}

func newForwarding(n *node) *forwarding {
	return &forwarding{node: n, key: cluster.NewKey(), calls: map[string]chan<- forwardAnswer{}}
}

// newStreamID returns the connection ID of an event stream. In a cluster it names this
// node, and other nodes can check that it did not come from a client.
func (e *Endpoint) newStreamID() string {
	n := e.pond.node
	if n == nil {
		return newSecret()
	}
	return n.forward.key.StreamID(clusterwire.EndpointName(e.Path()), newSecret(), n.boot())
}

// A remoteStream is an event stream of another node while there are requests for it.
type remoteStream struct {
	posts  postQueue
	budget *forwardBudget
	id     string
	met    Limit // why a request has no turn; owned by that request
	users  int   // guarded by budget.mu
}

// A forwardBudget counts the requests of an endpoint for streams of other nodes, and the
// bytes of their bodies.
type forwardBudget struct {
	maxBytes int // static

	mu       sync.Mutex // guards the following fields; the lock of a postQueue comes after it
	streams  map[string]*remoteStream
	requests int

	bytes atomic.Int64 // used with the lock of a postQueue held, so mu must not guard it
}

// takeRemoteTurn returns the stream of another node that has this connection ID, if there
// may be one. The turn is nil if there is no room for another request.
func (e *Endpoint) takeRemoteTurn(id string) (*remoteStream, *turn) {
	n := e.pond.node
	if n == nil || len(id) > maxStreamID {
		return nil, nil
	}
	if mark := cluster.StreamMark(id); mark == "" || mark == n.boot() {
		return nil, nil
	}
	b := &e.forwards
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.requests >= e.cfg.forwardRequests {
		return &remoteStream{met: LimitForward}, nil
	}
	s := b.streams[id]
	if s == nil {
		s = &remoteStream{budget: b, id: id}
		s.posts.budget = b
		if b.streams == nil {
			b.streams = map[string]*remoteStream{}
		}
		b.streams[id] = s
	}
	t := s.posts.take(e.cfg.postRequests)
	if t == nil {
		return &remoteStream{met: LimitPosts}, nil
	}
	s.users++
	b.requests++
	return s, t
}

// release ends the use of a stream by a request.
func (s *remoteStream) release() {
	if s == nil || s.budget == nil {
		return
	}
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests--
	if s.users--; s.users == 0 {
		delete(b.streams, s.id)
	}
}

// reserveBytes counts bytes of a body, unless all bodies together would have more than
// the limit. For a nil budget it does nothing.
func (b *forwardBudget) reserveBytes(n, own int) bool {
	if b == nil {
		return true
	}
	for {
		used := b.bytes.Load()
		if used > int64(own) && used+int64(n) > int64(b.maxBytes) {
			return false
		}
		if b.bytes.CompareAndSwap(used, used+int64(n)) {
			return true
		}
	}
}

func (b *forwardBudget) releaseBytes(n int) {
	if b == nil {
		return
	}
	b.bytes.Add(-int64(n))
}

// Errors of requests for event streams of other nodes. After those with status 503, the
// request was not handled; after 504, this is not known.
var (
	errNoCluster     = known(http.StatusServiceUnavailable, "the server has no connection to the cluster")
	errNoAnswer      = known(http.StatusGatewayTimeout, "the server of this connection did not answer: the request may or may not have been handled")
	errPeerSilent    = known(http.StatusServiceUnavailable, "the server of this connection does not answer")
	errShuttingDown  = known(http.StatusServiceUnavailable, "the server is shutting down")
	errInvalidAnswer = known(http.StatusBadGateway, "the server of this connection sent an invalid answer")
)

// forward serves a request for an event stream of another node.
func (e *Endpoint) forward(w http.ResponseWriter, r *http.Request, s *streamRequest) (bodyRead bool, err error) {
	if s.turn == nil {
		e.limited(s.far.met)
		return false, errTooManyPosts
	}
	f := e.pond.node.forward
	name := clusterwire.EndpointName(e.Path())
	key := keyOf(s.far.id)
	if f.ended.Has(key, time.Now()) {
		return false, errNoStream
	}
	peer, err := f.owner(e, name, s.far.id)
	if err != nil {
		return false, err
	}
	q := forwardRequest{Endpoint: name, Stream: key[:], Method: r.Method}
	if r.Method == http.MethodPost {
		q.Body, err = e.readBody(w, r, s.turn)
		switch {
		case errors.Is(err, errBodyTooLarge):
			q.TooLarge = true // the other node also reports it on the stream
		case errors.Is(err, errTooManyPosts):
			e.limited(s.turn.met)
			return false, err
		case err != nil:
			return false, err
		}
		bodyRead = !q.TooLarge
	}
	timeout := time.NewTimer(forwardWait)
	defer timeout.Stop()
	if !s.turn.wait(nil, timeout.C) {
		e.limited(LimitPosts)
		return bodyRead, errTooManyPosts
	}
	began := time.Now()
	if f.ended.Has(key, began) { // an earlier request was answered
		return bodyRead, errNoStream
	}
	sent, err := f.call(peer, cluster.StreamMark(s.far.id), &q)
	if err == nil && r.Method == http.MethodDelete || sent && err != nil && public(err).status() == http.StatusNotFound {
		f.ended.Add(key, time.Now()) // its former client must not cause further messages
	}
	if observe := e.pond.cfg.observer.Forwarded; observe != nil && sent {
		status := http.StatusNoContent
		if err != nil {
			status = public(err).status()
		}
		e.pond.observe("Forwarded", func() { observe(e, status, time.Since(began)) })
	}
	return bodyRead, err
}

// owner returns the node of an event stream. A connection ID that no node signed is
// rejected without a message to another node. While this node does not know all others,
// owner waits until it does.
func (f *forwarding) owner(e *Endpoint, endpoint, id string) (cluster.Peer, error) {
	n := f.node
	n.start()
	limit := time.NewTimer(forwardWait)
	defer limit.Stop()
	for {
		if e.isClosing() {
			return cluster.Peer{}, errShuttingDown
		}
		peer, ok, complete, changed := f.peers.Find(cluster.StreamMark(id))
		n.mu.Lock()
		degraded := n.degraded
		n.mu.Unlock()
		now := time.Now()
		switch {
		case ok && !peer.Key.Signed(endpoint, id):
			return peer, errNoStream
		case n.broker.Health() != nil:
			f.peers.Complete(time.Time{}) // even if the loss is not reported yet
			return peer, errNoCluster
		case errors.Is(degraded, errDeaf): // other reasons may be outdated
			return peer, errNoCluster
		case ok && !peer.Failed.IsZero() && !n.nodes.SeenSince(peer.Node, peer.Failed):
			f.probe()
			return peer, errPeerSilent
		case ok:
			return peer, nil
		case degraded == nil && !complete.IsZero() && !now.Before(complete):
			return peer, errNoStream
		}
		var known <-chan time.Time
		if now.Before(complete) {
			known = time.After(complete.Sub(now))
		}
		select {
		case <-changed:
		case <-known:
		case <-limit.C:
			return peer, errNoCluster
		case <-n.run.Done():
			return peer, errShuttingDown
		}
	}
}

// call sends a request to another node, and sends it again while there is no answer. sent
// is false if the request certainly did not reach the broker.
func (f *forwarding) call(p cluster.Peer, mark string, q *forwardRequest) (sent bool, err error) {
	n := f.node
	f.calling.Add()
	defer f.calling.Done()
	number := strconv.FormatUint(f.number.Add(1), 10)
	data, err := f.encode(p.Node, forwardEvent, number, q)
	if err != nil {
		return false, err
	}
	answered := make(chan forwardAnswer, 1)
	f.mu.Lock()
	f.calls[number] = answered
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.calls, number)
	}()
	ctx, cancel := context.WithTimeout(n.run, forwardTimeout)
	defer cancel()
	if n.broker.Health() != nil || ctx.Err() != nil {
		return false, errNoCluster
	}
	began := time.Now()
	published := make(chan error, 1)
	publish := func() { // not on this goroutine: the answer may arrive before the broker's confirmation
		defer n.tasks.Done()
		published <- n.broker.Publish(ctx, clusterwire.NodeTopic(p.Node), [][]byte{data})
	}
	n.tasks.Add()
	go publish()
	pause := forwardRetry
	var again <-chan time.Time // nil while the message is being published
	for {
		select {
		case a := <-answered:
			return true, a.err()
		case err := <-published:
			switch {
			case errors.Is(err, ErrTooLarge):
				return sent, ErrTooLarge
			case !sent && errors.Is(err, ErrClosed):
				return false, errShuttingDown
			}
			sent = true
			again = time.After(pause)
			pause *= 2
			continue
		case <-again:
			if _, ok, _, _ := f.peers.Find(mark); ok {
				again = nil
				n.tasks.Add()
				go publish()
				continue
			} // else it stopped
		case <-ctx.Done():
		}
		select {
		case a := <-answered:
			return true, a.err()
		default:
		}
		if n.run.Err() == nil && !n.nodes.SeenSince(p.Node, began) {
			f.peers.Fail(mark, time.Now())
			f.probe()
		}
		return true, errNoAnswer
	}
}

func (a *forwardAnswer) err() error {
	switch {
	case a.Status == http.StatusNoContent:
		return nil
	case a.Status >= 400 && a.Status <= 599:
		return &Error{Code: a.Status, Message: a.Message}
	}
	return errInvalidAnswer
}

// encode encodes a message for another node.
func (f *forwarding) encode(to, event, number string, payload any) ([]byte, error) {
	body, err := json.Marshal(payload)
	if err != nil {
		return nil, err
	}
	n := f.node
	m := n.message(clusterwire.UserMessage, clusterwire.Private, to)
	m.From, m.Event, m.Payload, m.RequestID = clusterwire.FromChannel, event, body, number
	m.Recipients = clusterwire.Recipients{To: clusterwire.Listed, IDs: []string{clusterwire.Nobody}}
	data, err := clusterwire.Append(nil, &m)
	if err == nil && len(data) > min(n.broker.MaxBytes(), clusterwire.DefaultLimits.Bytes)-maxNumber {
		err = ErrTooLarge
	}
	return data, err
}

// maxNumber is more than the bytes that a lane adds to a message.
const maxNumber = 32

// receive handles a message of another node for this one.
func (f *forwarding) receive(_ *topic, e Entry) {
	n := f.node
	m, err := clusterwire.Decode(e.Data, clusterwire.Private, n.id, clusterwire.DefaultLimits)
	if err != nil || m.Type != clusterwire.UserMessage || m.Source == n.id || !n.saw(&m) || n.run.Err() != nil {
		return
	}
	switch m.Event {
	case forwardEvent:
		f.serve(&m)
	case missedEvent:
		n.wereMissed(m.Payload)
	case answerEvent:
		var a forwardAnswer
		if json.Unmarshal(m.Payload, &a) != nil {
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if answered := f.calls[m.RequestID]; answered != nil {
			answered <- a
			delete(f.calls, m.RequestID) // the answer may arrive twice
		}
	}
}

// gap does nothing, because requests without an answer are sent again.
func (f *forwarding) gap(error) {}

// serve handles a request that another node forwarded. It does nothing if the request
// arrived before and is being handled, or if a later request for the stream arrived
// before, because the other node gave this one up then.
func (f *forwarding) serve(m *clusterwire.Message) {
	var q forwardRequest
	number, err := strconv.ParseUint(m.RequestID, 10, 64)
	if err != nil || json.Unmarshal(m.Payload, &q) != nil || len(q.Stream) != len(streamKey{}) {
		return
	}
	source := cluster.Requester{Node: m.Source, Stream: streamKey(q.Stream)}
	if seen, answer := f.handled.Seen(source, number); seen {
		if answer != nil {
			f.answer(m, *answer)
		}
		return
	}
	e := f.endpoint(q.Endpoint)
	if e == nil {
		f.answer(m, answerTo(errNoStream))
		return
	}
	c := e.streamOf(source.Stream)
	if c == nil {
		f.answer(m, answerTo(e.streamGone()))
		return
	}
	f.handled.Begin(source, number, time.Now())
	t := c.posts.take(e.cfg.postRequests)
	f.node.background(func() {
		defer t.end()
		a := answerTo(c.serveForwarded(&q, t))
		f.handled.Finish(source, number, &a)
		f.answer(m, a)
	})
}

// serveForwarded serves a request that another node forwarded. Unlike a request of a
// client, it does not wait for a slow handler without a limit.
func (c *conn) serveForwarded(q *forwardRequest, t *turn) error {
	cfg := &c.endpoint.cfg
	switch {
	case q.Method == http.MethodDelete:
		c.endStream(t, min(cfg.closeTimeout, forwardWait))
		return nil
	case t == nil:
		return c.tooManyPosts()
	case q.TooLarge, len(q.Body) > cfg.maxMessage:
		return c.tooLarge()
	case !t.reserve(len(q.Body), cfg.postBytes):
		return c.tooManyPosts()
	}
	timeout := time.NewTimer(forwardWait)
	defer timeout.Stop()
	return c.acceptBody(q.Body, t, timeout.C)
}

func answerTo(err error) forwardAnswer {
	if err == nil {
		return forwardAnswer{Status: http.StatusNoContent}
	}
	refusal := public(err)
	return forwardAnswer{refusal.status(), refusal.Message}
}

// endpoint returns the endpoint with a name, or nil.
func (f *forwarding) endpoint(name string) *Endpoint {
	for e := range f.node.pond.Endpoints() {
		if clusterwire.EndpointName(e.Path()) == name {
			return e
		}
	}
	return nil
}

// answer sends the answer to a forwarded request.
func (f *forwarding) answer(m *clusterwire.Message, a forwardAnswer) {
	data, err := f.encode(m.Source, answerEvent, m.RequestID, a)
	if err == nil {
		_ = f.node.push(clusterwire.NodeTopic(m.Source), cluster.Item{Data: data}) // or the request arrives again
	}
}
