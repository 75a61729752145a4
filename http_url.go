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

// WithJoinByURL allows clients to join a channel with the URL that they connect to. It
// is for clients that can only open a URL, such as a browser's EventSource. Others must
// send the header Accept: text/event-stream:
//
//	curl -N -H 'Accept: text/event-stream' 'http://127.0.0.1:8000/socket?join=/run/7&last=10'
//
// The query parameter join is the name of a channel. This has the same effect as a
// request to join with an empty payload; the join handler decides. In a lobby with
// history, last asks for the last messages, and want=recover for positions. An event
// stream with such a URL receives one channel, and its id fields contain the positions
// of messages. An EventSource that reconnects sends the latest one as Last-Event-ID,
// and receives the messages that it missed. Clients that cannot set headers may use the
// query parameter lastEventId.
//
// If the join handler rejects the client of an event stream, the response has the
// status of the error. For temporary rejections, with status 429 or 503, the response
// is an empty event stream with a retry field, because an EventSource does not retry
// after other statuses. The default is off.
func WithJoinByURL() EndpointOption {
	return func(c *endpointConfig) { c.joinByURL = true }
}

// urlRequestID is the ID of a request to join by URL.
const urlRequestID = "url"

// urlJoin returns the request to join in the URL of a request, or nil if there is none.
func (e *Endpoint) urlJoin(r *http.Request) (*wire.Message, error) {
	if !e.cfg.joinByURL || !strings.Contains(r.URL.RawQuery, "join") {
		return nil, nil //nolint:nilnil // most URLs join no channel
	}
	invalid := func(text string) (*wire.Message, error) { return nil, refuse(http.StatusBadRequest, text) }
	query, err := url.ParseQuery(r.URL.RawQuery)
	switch {
	case err != nil: // the malformed parameter may be join
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
			msg.Join.Want(extension) // a newer client may want extensions that are not known here
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
			from.Epoch, from.Offset = invalidEpoch, 0 // a browser would repeat a failed request
		}
	}
	return msg, nil
}

// invalidEpoch is the epoch of a Last-Event-ID that is not a position. No log has this
// epoch.
const invalidEpoch = "?"

// lastEventID returns the position after which a client wants to continue. The header
// is newer than the URL.
func lastEventID(r *http.Request, query url.Values) string {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		return id
	}
	return query.Get("lastEventId")
}

// acceptURLStream opens an event stream that joins a channel. The join handler runs
// before the first byte is written; its messages are queued.
func (e *Endpoint) acceptURLStream(w http.ResponseWriter, r *http.Request, c *conn, ctx *ConnectionContext, join *wire.Message) {
	c.url = join.Channel
	c.greet(e.hub.NewStream(transport.StreamOptions{Named: e.cfg.wantsNamed(r), IDs: true}, c), ctx, c.secret)
	opened := false
	defer func() { // even if a wrapper of the ResponseWriter panics or ends the goroutine
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

// comeAgain is the rejection of a client that may be accepted when it retries. An event
// stream that joins by URL only receives the time.
var comeAgain = &Error{Code: http.StatusServiceUnavailable}

// interrupted reports whether a join was rejected because the connection or the channel
// ended in the meantime. The next attempt may succeed.
func (c *conn) interrupted(rejection *Error) bool {
	closed := public(ErrClosed)
	return rejection.Code == closed.Code && rejection.Message == closed.Message ||
		rejection.status() == http.StatusInternalServerError && c.Err() != nil
}

// rejectURL rejects an event stream that joins by URL.
func (e *Endpoint) rejectURL(w http.ResponseWriter, r *http.Request, err error) {
	status := public(err).status()
	if status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests {
		e.reject(w, r, err)
		return
	}
	e.refused(status)
	defer abandonBody(w, r)()
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

// reconnectsPerSecond is the rate at which a server asks its clients to reconnect.
const reconnectsPerSecond = 500

// comeBack returns a random delay before a reconnect, so that the clients of a server
// that restarts do not all reconnect at once.
func (e *Endpoint) comeBack() time.Duration {
	e.mu.Lock()
	clients := max(len(e.conns), e.leaving) // not only the clients that were not notified yet
	e.mu.Unlock()
	return random(max(time.Second, time.Duration(clients)*time.Second/reconnectsPerSecond))
}

// random returns a random time below d.
func random(d time.Duration) time.Duration { return rand.N(d) } //nolint:gosec // not a secret: it spreads clients

// retryAfter returns the value of a Retry-After header: whole seconds.
func (e *Endpoint) retryAfter() string {
	return strconv.Itoa(int((e.comeBack() + time.Second - 1) / time.Second))
}
