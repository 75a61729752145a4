package pond

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
)

// WithJoinByURL lets clients join a channel with the URL that they connect to, for
// clients that can do no more than open a URL, such as a browser's EventSource, curl
// or htmx:
//
//	GET /socket?join=/run/7&last=10
//
// The query parameter join is the name of a channel. The client joins it as if it had
// sent a request to join with an empty payload; the join handler decides. In a lobby
// with history, last asks for the last messages, and want=recover for positions. An
// event stream that is opened by such a URL receives one channel, and has the
// positions of messages in its id fields: an EventSource that reconnects sends the
// latest one as Last-Event-ID, and receives what it missed. Clients that cannot set
// headers may use the query parameter lastEventId.
//
// If the join handler rejects the client of an event stream, the request is answered
// with the status. Temporary rejections, with status 429 or 503, are an empty event
// stream with a retry field, because an EventSource gives up after any other answer.
// The default is off.
func WithJoinByURL() EndpointOption {
	return func(c *endpointConfig) { c.joinByURL = true }
}

// urlRequestID is the ID of the request to join that a URL stands for.
const urlRequestID = "url"

// urlJoin returns the request to join that the URL of a request stands for, or nil.
func (e *Endpoint) urlJoin(r *http.Request) (*wire.Message, error) {
	if !e.cfg.joinByURL || !strings.Contains(r.URL.RawQuery, "join") {
		return nil, nil //nolint:nilnil // most URLs join no channel
	}
	invalid := func(text string) (*wire.Message, error) { return nil, refuse(http.StatusBadRequest, text) }
	query, err := url.ParseQuery(r.URL.RawQuery)
	switch {
	case err != nil: // the parameter that is malformed may be join
		return invalid("the query is malformed")
	case !query.Has("join"):
		return nil, nil //nolint:nilnil // the same
	}
	if len(query["join"]) > 1 || query.Get("join") == "" {
		return invalid("the parameter join must be one channel name")
	}
	msg := &wire.Message{
		Action: wire.JoinChannel, Event: string(wire.JoinChannel), Channel: query.Get("join"),
		RequestID: urlRequestID, Payload: emptyObject, Join: new(wire.Join),
	}
	for _, want := range query["want"] {
		for extension := range strings.SplitSeq(want, ",") {
			msg.Join.Want(extension) // a newer client may want more than we know
		}
	}
	from := &wire.From{}
	if text := query.Get("last"); text != "" {
		n, err := strconv.ParseUint(text, 10, 53)
		if err != nil {
			return invalid("the parameter last must be a number of messages")
		}
		from.Last = int(min(n, 1<<30))
		msg.Join.From = from
	}
	if id := lastEventID(r, query); id != "" {
		msg.Join.From = from
		var ok bool
		if from.Epoch, from.Offset, ok = wire.ParsePosition(id); !ok {
			from.Epoch, from.Offset = invalidEpoch, 0 // a browser would repeat a request that fails
		}
	}
	return msg, nil
}

// invalidEpoch stands for a Last-Event-ID that is not a position. No epoch has this
// name.
const invalidEpoch = "?"

// lastEventID returns where a client wants to go on. The header is newer than the URL.
func lastEventID(r *http.Request, query url.Values) string {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		return id
	}
	return query.Get("lastEventId")
}

// acceptURLStream opens an event stream that joins a channel. The join handler runs
// before the first byte is written; what it sends is queued.
func (e *Endpoint) acceptURLStream(w http.ResponseWriter, r *http.Request, c *conn, ctx *ConnectionContext, join *wire.Message) {
	c.url = join.Channel
	c.greet(e.hub.NewStream(transport.StreamOptions{Named: e.cfg.wantsNamed(r), IDs: true}, c), ctx, c.secret)
	opened := false
	defer func() { // also if a wrapper of the ResponseWriter panics or ends the goroutine
		if !opened {
			c.tr.Discard(ErrClosed)
		}
	}()
	decided := make(chan *Error, 1)
	c.inbox.push(&task{kind: taskJoin, msg: *join, decided: decided})
	var refusal *Error
	select {
	case refusal = <-decided:
	case <-r.Context().Done():
		c.tr.Discard(r.Context().Err()) // which cancels the context of the handler
		<-decided                       //nolint:errcheck // the client is gone
		return
	}
	if refusal != nil {
		if c.interrupted(refusal) {
			refusal = comeAgain
		}
		c.tr.Discard(ErrClosed)
		w.Header().Del("X-Connection-ID")
		e.rejectURL(w, r, refusal)
		return
	}
	taken, err := c.tr.Open(w, r, retryField(time.Second+random(4*time.Second)))
	switch {
	case err == nil:
		opened = true
		c.serveStream(r, taken)
	case !errors.Is(err, transport.ErrClosed):
		e.hijackFailed(w, r, err)
	case !taken: // the stream was aborted after the decision
		w.Header().Del("X-Connection-ID")
		e.rejectURL(w, r, comeAgain)
	}
}

// comeAgain is the rejection of a client that may be accepted when it comes again. An
// event stream that joins by URL is told when, and nothing else.
var comeAgain = &Error{Code: http.StatusServiceUnavailable}

// interrupted reports whether a join was rejected because the connection or the channel
// ended meanwhile. That says nothing about the next attempt.
func (c *conn) interrupted(rejection *Error) bool {
	closed := public(ErrClosed)
	return rejection.Code == closed.Code && rejection.Message == closed.Message ||
		rejection.status() == http.StatusInternalServerError && c.Err() != nil
}

// rejectURL rejects an event stream that would join a channel.
func (e *Endpoint) rejectURL(w http.ResponseWriter, r *http.Request, err error) {
	status := public(err).status()
	if status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests {
		e.reject(w, r, err)
		return
	}
	e.refused(status)
	abandonBody(w, r)
	h := w.Header()
	h.Del("Retry-After")
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store, no-transform")
	_, _ = w.Write(retryField(max(time.Second+random(4*time.Second), e.comeBack())))
}

// retryField tells an EventSource when to reconnect (HTML, section 9.2.6).
func retryField(d time.Duration) []byte {
	return append(strconv.AppendInt([]byte("retry: "), d.Milliseconds(), 10), "\n\n"...)
}

// reconnectsPerSecond is how many clients a server asks to reconnect in a second.
const reconnectsPerSecond = 500

// comeBack returns when a client that has to reconnect should do so: a random time,
// so that the clients of a server that restarts do not all come at once.
func (e *Endpoint) comeBack() time.Duration {
	e.mu.Lock()
	clients := max(len(e.conns), e.leaving) // not only those that are still to be told
	e.mu.Unlock()
	return random(max(time.Second, time.Duration(clients)*time.Second/reconnectsPerSecond))
}

// random returns a random time below d.
func random(d time.Duration) time.Duration { return rand.N(d) } //nolint:gosec // not a secret: it spreads clients

// retryAfter returns the value of a Retry-After header: whole seconds.
func (e *Endpoint) retryAfter() string {
	return strconv.Itoa(int((e.comeBack() + time.Second - 1) / time.Second))
}
