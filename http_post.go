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

// takeTurn returns the event stream of a request, and the position of the request among
// those of the stream. The stream is nil if there is none, and the turn is nil if the
// request has no position.
func (e *Endpoint) takeTurn(r *http.Request) (*conn, *turn) {
	if r.Method != http.MethodPost && r.Method != http.MethodDelete {
		return nil, nil
	}
	c := e.stream(r.Header.Get("X-Connection-ID"))
	if c == nil {
		return nil, nil
	}
	return c, c.posts.take(e.cfg.postRequests)
}

// serveStream serves a request for an event stream: POST sends messages, and DELETE
// ends the stream. The connection ID is a secret that was only sent on the stream
// itself. If the ID is unknown, the response is that there is no such stream.
func (e *Endpoint) serveStream(w http.ResponseWriter, r *http.Request, c *conn, t *turn) {
	var err error
	bodyRead := false
	switch {
	case r.Header.Get("X-Connection-ID") == "":
		err = refuse(http.StatusBadRequest, "X-Connection-ID is missing")
	case c == nil:
		err = refuse(http.StatusNotFound, "connection not found")
	case r.Method == http.MethodDelete:
		c.endStream(t)
	default:
		bodyRead, err = c.post(w, r, t)
	}
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

// endStream closes the stream, after the messages of earlier requests are in the
// inbox. A slow handler does not delay this for longer than the close timeout.
func (c *conn) endStream(t *turn) {
	if t != nil {
		timeout := time.NewTimer(c.endpoint.cfg.closeTimeout)
		defer timeout.Stop()
		t.wait(c, timeout.C)
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
	delete(c.endpoint.streams, c.secret)
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
	data, err := c.readBody(w, r, t)
	if err != nil {
		return false, err
	}
	if t.wait(c, nil); c.Err() != nil {
		return true, c.endpoint.streamGone()
	}
	first, err := c.decodeBody(data)
	switch {
	case err != nil:
		return true, err
	case first == nil: // all messages are answered, or need no answer
		return true, nil
	case c.inbox.wait(first):
		c.inbox.start()
		return true, nil
	}
	return true, c.endpoint.streamGone()
}

// streamGone returns the response to a message that arrived after the end of its
// stream.
func (e *Endpoint) streamGone() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return refuse(http.StatusServiceUnavailable, "the server is shutting down")
	}
	return refuse(http.StatusNotFound, "connection not found")
}

// readBody reads the body of a POST within the limits.
func (c *conn) readBody(w http.ResponseWriter, r *http.Request, t *turn) ([]byte, error) {
	cfg := &c.endpoint.cfg
	if r.ContentLength > int64(cfg.maxMessage) {
		return nil, c.tooLarge()
	}
	body := io.Reader(http.MaxBytesReader(w, r.Body, int64(cfg.maxMessage)))
	if r.ContentLength < 0 {
		body = &countingReader{body, t, cfg.postBytes}
	} else if !t.reserve(int(r.ContentLength), cfg.postBytes) {
		return nil, c.tooManyPosts()
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
		return nil, c.tooLarge()
	}
	if errors.Is(err, errTooManyPosts) {
		return nil, c.tooManyPosts()
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

var errTooManyPosts = errors.New("too many messages are waiting")

// tooManyPosts rejects a POST because its client sends faster than its messages are
// handled. It also sends an error on the stream, because the official client ignores
// the response.
func (c *conn) tooManyPosts() error {
	c.endpoint.limited(LimitPosts)
	const text = "too many messages are waiting"
	c.invalid("", "", text, http.StatusServiceUnavailable)
	return refuse(http.StatusServiceUnavailable, text)
}

func (c *conn) tooLarge() error {
	c.endpoint.limited(LimitMessage)
	const text = "the message is too large"
	c.invalid("", "", text, http.StatusRequestEntityTooLarge)
	return refuse(http.StatusRequestEntityTooLarge, text)
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

// wait waits until all earlier requests ended, the connection ended, or the timeout.
func (t *turn) wait(c *conn, timeout <-chan time.Time) {
	select {
	case <-t.ready:
		return // the usual case, in which c needs no channel
	default:
	}
	select {
	case <-t.ready:
	case <-timeout:
	case <-c.Done():
	}
}

// reserve counts n bytes of the request, unless all requests together would have more
// than the limit. A single request may have more: otherwise, a large message could
// never be sent.
func (t *turn) reserve(n, limit int) bool {
	q := t.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes > t.bytes && q.bytes+n > limit {
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
