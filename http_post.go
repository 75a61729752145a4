package pond

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// serveStream serves what the client of an event stream asks for: to send a
// message, or to end the stream. The connection ID is a secret that only the
// stream itself has told; whose it is not, learns nothing.
func (e *Endpoint) serveStream(w http.ResponseWriter, r *http.Request) {
	secret := r.Header.Get("X-Connection-ID")
	if secret == "" {
		e.answer(w, refuse(http.StatusBadRequest, "X-Connection-ID is missing"))
		return
	}
	c := e.stream(secret)
	switch {
	case c == nil:
		e.answer(w, refuse(http.StatusNotFound, "connection not found"))
	case r.Method == http.MethodDelete:
		c.tr.Close(0, "", ErrClosed)
		c.forget()
		w.WriteHeader(http.StatusNoContent)
	default:
		if err := c.post(w, r); err != nil {
			e.answer(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// answer answers a request about an event stream that failed.
func (e *Endpoint) answer(w http.ResponseWriter, err error) {
	refusal := public(err)
	if refusal.Code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	http.Error(w, refusal.Message, refusal.status())
}

// forget makes sure that the stream is not found again.
func (c *conn) forget() {
	c.endpoint.mu.Lock()
	defer c.endpoint.mu.Unlock()
	delete(c.endpoint.streams, c.secret)
}

// bodyTimeout is how long a client may take to send the body of a POST.
const bodyTimeout = 30 * time.Second

// post takes one message. Messages of one stream are handled in the order in
// which their requests arrived, however long their bodies take (rule S-22). Like
// a WebSocket that is not read, a request waits while the inbox is full.
func (c *conn) post(w http.ResponseWriter, r *http.Request) error {
	turn, ok := c.posts.begin(c.endpoint.cfg.inbox)
	if !ok {
		c.endpoint.limited(LimitInbox)
		return refuse(http.StatusServiceUnavailable, "too many messages are waiting")
	}
	defer c.posts.end(turn)
	if r.ContentLength > int64(c.endpoint.cfg.maxMessage) {
		return c.tooLarge()
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(c.endpoint.cfg.maxMessage)))
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return c.tooLarge()
	}
	if err != nil {
		return &Error{Code: http.StatusBadRequest, Message: "the message could not be read", Err: err}
	}
	gone := refuse(http.StatusServiceUnavailable, "the message was not handled in time")
	if !turn.wait(r.Context().Done()) {
		return gone
	}
	if c.Err() != nil {
		return refuse(http.StatusNotFound, "connection not found")
	}
	if t := c.decode(data); t != nil && !c.inbox.wait(t, r.Context().Done()) {
		return gone
	}
	c.inbox.start()
	return nil
}

func (c *conn) tooLarge() error {
	c.endpoint.limited(LimitMessage)
	const text = "the message is too large"
	c.invalid("", "", text, http.StatusRequestEntityTooLarge)
	return refuse(http.StatusRequestEntityTooLarge, text)
}

// postOrder keeps requests in the order of their arrival.
type postOrder struct {
	mu    sync.Mutex
	count int           // requests under way
	last  chan struct{} // closed when the latest request is through; nil if none is under way
}

// A turn is a request's place in the order.
type turn struct {
	before chan struct{} // closed when it is our turn
	done   chan struct{}
}

// begin takes the next place, unless as many as allowed are taken.
func (o *postOrder) begin(limit int) (*turn, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.count >= limit {
		return nil, false
	}
	o.count++
	t := &turn{before: o.last, done: make(chan struct{})}
	o.last = t.done
	return t, true
}

// wait waits until all earlier requests are through, unless gone is closed before.
func (t *turn) wait(gone <-chan struct{}) bool {
	if t.before == nil {
		return true
	}
	select {
	case <-t.before:
		return true
	case <-gone:
		return false
	}
}

// end lets the next request go. It does not overtake those before.
func (o *postOrder) end(t *turn) {
	t.wait(nil)
	close(t.done)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count--
	if o.count == 0 {
		o.last = nil
	}
}

// preflight answers whether a page on another origin may ask for what the
// official client for browsers does (Fetch standard, section 3.3.7).
func (e *Endpoint) preflight(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
	h.Set("Access-Control-Allow-Headers", "Content-Type, X-Connection-ID")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}
