package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

const (
	noBuffer = "disable buffering and compression of text/event-stream in the proxy " +
		"(nginx: proxy_buffering off; gzip off; others: flush immediately)"
	passID = "make the proxy pass the header X-Connection-ID on POST and DELETE"
	sticky = "use sticky sessions if there are several servers, or connect them with a broker: POST and DELETE must reach the server of the stream"
)

// checkStream checks that an event stream opens, that no proxy buffers it, and that the
// requests that belong to it arrive.
func (x *checker) checkStream(ctx context.Context) {
	start := time.Now()
	s, err := x.open(ctx)
	if err != nil {
		x.streamRejected(err)
		return
	}
	defer s.close()
	x.checkEncoding(s)
	limited, cancel := x.limit(ctx)
	defer cancel()
	if _, err := s.hello(limited); err != nil {
		x.streamBuffered(ctx, s, err)
		return
	}
	x.ok(eventStream, "%s, first message after %v while the stream stays open", s.answer.proto, since(start))
	x.stream = true
	if s.answer.header.Get("X-Connection-ID") == "" {
		x.warn(eventStream, "the response has no X-Connection-ID, so clients need the first message", "make the proxy pass this header of responses")
	}
	if x.checkPost(ctx, s) {
		x.checkDelete(ctx, s)
	}
}

func (x *checker) streamRejected(err error) {
	a, ok := errors.AsType[answer](err)
	switch {
	case errors.Is(err, errSilence):
		x.problem(eventStream, fmt.Sprintf("no headers within %v: a proxy buffers the stream until it ends", x.Timeout), noBuffer)
	case !ok:
		x.problem(eventStream, x.withoutURL(err).Error(), noBuffer)
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		x.problem(eventStream, "rejected: "+a.String(), authenticate)
	case a.status == http.StatusOK:
		x.problem(eventStream, "the response is not an event stream but "+a.header.Get("Content-Type"), "check the path: another handler responds")
	default:
		x.warn(eventStream, "not available: "+a.String(), "if the server supports event streams, make the proxy pass GET with the header Accept")
	}
}

// streamBuffered finds out whether a proxy buffers messages or the server sends none, by
// ending the stream: then a proxy sends the buffered messages.
func (x *checker) streamBuffered(ctx context.Context, s *stream, cause error) {
	if !errors.Is(cause, errSilence) {
		x.problem(eventStream, "it opened and ended without a message: "+x.withoutURL(cause).Error(), noBuffer)
		return
	}
	text := fmt.Sprintf("headers, but no message within %v", x.Timeout)
	if s.secret != "" {
		_, _ = x.ask(ctx, http.MethodDelete, "", "X-Connection-ID", s.secret) // only the effect matters
		limited, cancel := x.limit(ctx)
		defer cancel()
		if _, err := s.hello(limited); err == nil {
			x.problem(eventStream, text+"; all messages arrived when the stream ended: a proxy buffers the stream", noBuffer)
			return
		}
	}
	x.problem(eventStream, text+": probably a proxy buffers the stream", noBuffer)
}

func (x *checker) checkEncoding(s *stream) {
	if coding := s.answer.header.Get("Content-Encoding"); coding != "" {
		x.problem(streamCoding, "a proxy compresses the stream ("+coding+"), although the server forbids this with no-transform", noBuffer)
	}
}

// repeated is how often a request is repeated after a response of a proxy that has none of
// the server. A proxy that sends the body of a request after the header can fail if the
// server rejects the request in between: it responds with 502, although the server works.
const repeated = 2

// checkPost checks that POST requests arrive with their header at the server of the
// stream, and that they are answered immediately. It returns false if a check of DELETE
// would find the same problem again.
func (x *checker) checkPost(ctx context.Context, s *stream) bool {
	const enough = 5  // accepted requests
	const retries = 8 // a load balancer may choose the same wrong server several times
	var rejected []answer
	var failed int // responses of a proxy that could not reach the server, or lost its answer
	var slowest time.Duration
	for accepted := 0; accepted < enough; {
		start := time.Now()
		limited, cancel := x.limit(ctx)
		_, err := s.probe(limited, 0)
		cancel()
		a, isAnswer := errors.AsType[answer](err)
		switch {
		case err == nil:
			accepted++
			slowest = max(slowest, since(start))
		case isAnswer && a.unknownStream():
			rejected = append(rejected, a)
		case isAnswer && a.ofProxy() && failed < repeated:
			failed++
		case isAnswer:
			x.explain(ctx, streamPost, http.MethodPost, a)
			return true
		case errors.Is(err, errSilence) && accepted == 0:
			x.problem(streamPost, fmt.Sprintf("accepted, but no answer arrived on the stream within %v: a proxy buffers the stream", x.Timeout), noBuffer)
			return true
		case accepted > 0:
			x.answerMissing(streamPost, accepted, err)
			return true
		default:
			x.problem(streamPost, x.withoutURL(err).Error(), passID)
			return true
		}
		switch {
		case accepted > 0 && len(rejected) > 0:
			x.problem(streamPost, "some requests reach another server, which does not know the stream: "+rejected[0].String(), sticky)
			return false
		case len(rejected) == retries:
			x.explain(ctx, streamPost, http.MethodPost, rejected[0])
			return false
		}
	}
	x.post = true
	x.ok(streamPost, "%d answered one by one, each within %v", enough, slowest)
	return true
}

// ofProxy reports whether a is the response of a proxy that has none of the server.
func (a answer) ofProxy() bool {
	return a.status >= http.StatusBadGateway && a.status <= http.StatusGatewayTimeout
}

// unknownStream reports whether a may be the response of a server that does not know the
// stream, and not of a proxy that rejects the request.
func (a answer) unknownStream() bool {
	return a.status/100 == 4 && a.status != http.StatusMethodNotAllowed && a.status != http.StatusForbidden &&
		a.status != http.StatusRequestEntityTooLarge
}

// checkDelete checks that a DELETE request arrives with its header, and ends the stream.
func (x *checker) checkDelete(ctx context.Context, s *stream) {
	a, err := x.ask(ctx, http.MethodDelete, "", "X-Connection-ID", s.secret)
	if err != nil {
		x.problem(streamDelete, x.withoutURL(err).Error(), "make the proxy pass DELETE")
		return
	}
	limited, cancel := x.limit(ctx)
	defer cancel()
	_, end := s.receive(limited, func(*message) bool { return false })
	switch {
	case !errors.Is(end, errSilence) && a.status < http.StatusInternalServerError:
		x.ok(streamDelete, "%d, and the stream ends", a.status)
	case a.accepted():
		x.problem(streamDelete, fmt.Sprintf("%d, but the stream does not end: a proxy keeps it open, or the proxy itself responds", a.status), "make the proxy pass DELETE")
	default:
		x.explain(ctx, streamDelete, http.MethodDelete, a)
	}
}

// explain reports why a POST or DELETE was rejected. It sends the same request without
// the header, to find out whether the header makes a difference.
func (x *checker) explain(ctx context.Context, check Check, method string, a answer) {
	without, err := x.ask(ctx, method, "{}")
	for range repeated {
		if err != nil || !without.ofProxy() {
			break
		}
		without, err = x.ask(ctx, method, "{}")
	}
	switch {
	case a.status == http.StatusMethodNotAllowed || a.status == http.StatusNotImplemented || a.status == http.StatusForbidden:
		x.problem(check, fmt.Sprintf("a proxy rejects the method: %v", a), "make the proxy pass "+method)
	case a.status == http.StatusRequestEntityTooLarge:
		x.problem(check, a.String(), "raise the limit of request bodies in the proxy")
	case err == nil && without.status == a.status && without.text == a.text:
		x.problem(check, fmt.Sprintf("X-Connection-ID does not arrive at the server of the stream: %v", a), passID+"; "+sticky)
	case a.status == http.StatusNotFound:
		x.problem(check, fmt.Sprintf("the server does not know the stream: %v", a), sticky)
	default:
		x.problem(check, a.String(), passID)
	}
}
