package pond

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/pondsocket/pond/internal/wire"
)

// bodyTimeout limits the time to send the body of a POST.
const bodyTimeout = 30 * time.Second

// A streamRequest is a request for an event stream.
type streamRequest struct {
	conn *conn         // nil if the stream is not on this node
	far  *remoteStream // of another node; nil if there is none
	turn *turn         // the position among the requests of the stream; nil if there is no room
}

// takeTurn returns the event stream of a request, and the position of the request among
// those of the stream. The caller must call end.
func (e *Endpoint) takeTurn(r *http.Request) (s streamRequest) {
	if r.Method != http.MethodPost && r.Method != http.MethodDelete {
		return s
	}
	id := r.Header.Get("X-Connection-ID")
	if s.conn = e.stream(id); s.conn != nil {
		s.turn = s.conn.posts.take(e.cfg.postRequests)
		return s
	}
	s.far, s.turn = e.takeRemoteTurn(id)
	return s
}

// end ends the request for the stream. It may be called several times.
func (s *streamRequest) end() {
	s.turn.end()
	s.far.release()
	*s = streamRequest{}
}

// serveStream serves a request for an event stream: POST sends messages, and DELETE
// ends the stream. The connection ID is a secret that was only sent on the stream
// itself. If the ID is unknown, the response is that there is no such stream.
func (e *Endpoint) serveStream(w http.ResponseWriter, r *http.Request, s *streamRequest) {
	var err error
	bodyRead := false
	switch {
	case r.Header.Get("X-Connection-ID") == "":
		err = refuse(http.StatusBadRequest, "X-Connection-ID is missing")
	case s.far != nil:
		bodyRead, err = e.forward(w, r, s)
	case s.conn == nil:
		err = errNoStream
	case r.Method == http.MethodDelete:
		s.conn.endStream(s.turn, e.cfg.closeTimeout)
	default:
		bodyRead, err = s.conn.post(w, r, s.turn)
	}
	s.end() // before the rest of the body is discarded
	if !bodyRead {
		defer abandonBody(w, r)()
	}
	if err == nil {
		respond(w, http.StatusNoContent, "")
		return
	}
	refusal := public(err)
	if refusal.Code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	respond(w, refusal.status(), refusal.Message)
}

var errNoStream = known(http.StatusNotFound, "connection not found")

// endStream closes the stream, after the messages of earlier requests are in the
// inbox. A slow handler does not delay this for longer than the timeout.
func (c *conn) endStream(t *turn, timeout time.Duration) {
	if t != nil {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		t.wait(c, timer.C)
	}
	c.mu.Lock()
	c.deleted = true
	c.mu.Unlock()
	c.tr.Close(0, "", ErrClosed)
	c.forget()
}

// forget ensures that the stream is not found again.
func (c *conn) forget() {
	c.endpoint.mu.Lock()
	defer c.endpoint.mu.Unlock()
	delete(c.endpoint.streams, keyOf(c.secret))
}

// post receives the messages in the body of a request. Messages of one stream are
// handled in the order in which their requests arrived, even if their bodies arrive in
// another order. While the inbox is full, the request waits, as a WebSocket is not
// read. It continues to wait if its client closes the request, because the client
// already sent the message.
func (c *conn) post(w http.ResponseWriter, r *http.Request, t *turn) (bodyRead bool, err error) {
	if t == nil {
		return false, c.tooManyPosts()
	}
	data, err := c.endpoint.readBody(w, r, t)
	switch {
	case errors.Is(err, errBodyTooLarge):
		return false, c.tooLarge()
	case errors.Is(err, errTooManyPosts):
		return false, c.tooManyPosts()
	case err != nil:
		return false, err
	}
	return true, c.acceptBody(data, t, nil)
}

// acceptBody puts the messages in a body into the inbox. After the timeout, it accepts
// none of them.
func (c *conn) acceptBody(data []byte, t *turn, timeout <-chan time.Time) error {
	ready := t.wait(c, timeout)
	if c.Err() != nil {
		return c.endpoint.streamGone()
	}
	if !ready {
		return c.tooManyPosts()
	}
	first, err := c.decodeBody(data)
	if err != nil || first == nil { // all messages are answered, or need no answer
		return err
	}
	ok, closed := c.inbox.wait(first, timeout)
	switch {
	case ok:
		c.inbox.start()
		return nil
	case closed:
		return c.endpoint.streamGone()
	}
	return c.tooManyPosts()
}

// streamGone returns the response to a message that arrived after the end of its
// stream.
func (e *Endpoint) streamGone() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return refuse(http.StatusServiceUnavailable, "the server is shutting down")
	}
	return errNoStream
}

// readBody reads the body of a POST within the limits. It returns errBodyTooLarge or
// errTooManyPosts if the body exceeds one of them.
func (e *Endpoint) readBody(w http.ResponseWriter, r *http.Request, t *turn) ([]byte, error) {
	cfg := &e.cfg
	if r.ContentLength > int64(cfg.maxMessage) {
		return nil, errBodyTooLarge
	}
	body := io.Reader(http.MaxBytesReader(w, r.Body, int64(cfg.maxMessage)))
	if r.ContentLength < 0 {
		body = &countingReader{body, t, cfg.postBytes}
	} else if !t.reserve(int(r.ContentLength), cfg.postBytes) {
		return nil, errTooManyPosts
	}
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(bodyTimeout))
	var data bytes.Buffer
	data.Grow(int(min(max(r.ContentLength, 0), 16<<10)) + bytes.MinRead) // grows when more data arrives
	_, err := data.ReadFrom(body)
	if err == nil {
		_ = deadline.SetReadDeadline(time.Time{}) // the request may wait longer
		return data.Bytes(), nil
	}
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return nil, errBodyTooLarge
	}
	if errors.Is(err, errTooManyPosts) {
		return nil, errTooManyPosts
	}
	return nil, &Error{Code: http.StatusBadRequest, Message: "the message could not be read", Err: err}
}

// A countingReader reserves room for the data that it reads.
type countingReader struct {
	io.Reader
	turn  *turn
	limit int
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if !r.turn.reserve(n, r.limit) {
		return n, errTooManyPosts
	}
	return n, err
}

var (
	errTooManyPosts = known(http.StatusServiceUnavailable, "too many messages are waiting")
	errBodyTooLarge = known(http.StatusRequestEntityTooLarge, "the message is too large")
)

// tooManyPosts rejects a POST because its client sends faster than its messages are
// handled. It also sends an error on the stream, because the official client ignores
// the response.
func (c *conn) tooManyPosts() error {
	c.endpoint.limited(LimitPosts)
	return c.refusePost(errTooManyPosts)
}

func (c *conn) tooLarge() error {
	c.endpoint.limited(LimitMessage)
	return c.refusePost(errBodyTooLarge)
}

// refusePost sends the reason to reject a POST on the stream, and returns it.
func (c *conn) refusePost(err error) error {
	refusal := public(err)
	c.invalid("", "", refusal.Message, refusal.Code)
	return err
}

// decodeBody returns the tasks for the body of a POST, which is one message or a JSON
// array of messages. An array with an invalid message is rejected as a whole.
func (c *conn) decodeBody(data []byte) (first *task, err error) {
	if !wire.IsArray(data) {
		return c.decode(data), nil
	}
	messages, err := wire.DecodeArray(data, c.endpoint.cfg.messageLimits())
	if bad, ok := errors.AsType[*wire.DecodeError](err); ok {
		if allowed := c.bucket.take(); allowed != rateOK { // so that invalid messages also count
			c.refuseRate(new(wire.Message), allowed)
			return nil, refuse(http.StatusTooManyRequests, "too many messages")
		}
		c.reportLimit(bad.Limit)
		c.invalid("", "", bad.Message, http.StatusBadRequest)
		return nil, refuse(http.StatusBadRequest, bad.Message)
	}
	last := &first
	for i := range messages {
		if t := c.taskFor(&messages[i]); t != nil {
			*last, last = t, &t.next
		}
	}
	return first, nil
}

// A postQueue keeps the requests of one event stream in the order in which they
// arrived, and counts them and their bytes.
type postQueue struct {
	budget *forwardBudget // for all streams of other nodes; nil for a stream of this node; static

	mu       sync.Mutex // guards the following fields, and those of its turns
	first    *turn
	last     *turn
	requests int
	bytes    int
}

// A turn is the position of a request in its queue.
type turn struct {
	queue *postQueue
	ready chan struct{} // closed when all earlier requests ended
	next  *turn
	bytes int
	met   Limit // why reserve returned false
	ended bool
}

// take returns the next position, or nil if as many requests as allowed are in the
// queue. The caller must end the turn.
func (q *postQueue) take(limit int) *turn {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.requests >= limit {
		return nil
	}
	q.requests++
	t := &turn{queue: q, ready: make(chan struct{})}
	if q.first == nil {
		q.first = t
		close(t.ready)
	} else {
		q.last.next = t
	}
	q.last = t
	return t
}

// wait waits until all earlier requests ended, the connection ended, or the timeout. ready
// reports whether they ended. c is nil for a stream of another node.
func (t *turn) wait(c *conn, timeout <-chan time.Time) (ready bool) {
	select {
	case <-t.ready:
		return true // the usual case, in which c needs no channel
	default:
	}
	var done <-chan struct{}
	if c != nil {
		done = c.Done()
	}
	select {
	case <-t.ready:
		return true
	case <-timeout:
	case <-done:
	}
	return false
}

// reserve counts n bytes of the request, unless all requests together would have more
// than the limit. A single request may have more: otherwise, a large message could
// never be sent.
func (t *turn) reserve(n, limit int) bool {
	q := t.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes > t.bytes && q.bytes+n > limit {
		t.met = LimitPosts
		return false
	}
	if !q.budget.reserveBytes(n, t.bytes) {
		t.met = LimitForward
		return false
	}
	q.bytes += n
	t.bytes += n
	return true
}

// end removes the request from the queue. Later requests still wait for earlier ones.
// For a nil turn, end does nothing.
func (t *turn) end() {
	if t == nil {
		return
	}
	q := t.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	t.ended = true
	q.requests--
	q.bytes -= t.bytes
	q.budget.releaseBytes(t.bytes)
	if q.first != t {
		return
	}
	for q.first = t.next; q.first != nil; q.first = q.first.next {
		if !q.first.ended {
			close(q.first.ready)
			return
		}
	}
	q.last = nil
}

// preflight responds with the requests that a page of an allowed origin may make (Fetch
// standard, section 3.3.7).
func (e *Endpoint) preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
	h.Set("Access-Control-Allow-Headers", e.cfg.allowedHeaders)
	h.Set("Access-Control-Max-Age", "600")
	defer abandonBody(w, r)()
	respond(w, http.StatusNoContent, "")
}
