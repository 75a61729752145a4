package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

const (
	noBuffer = "turn buffering and compression of text/event-stream off in the proxy " +
		"(nginx: proxy_buffering off; gzip off; others: flush at once)"
	passID = "let the proxy pass the header X-Connection-ID on POST and DELETE"
	sticky = "several servers need sticky sessions: POST and DELETE have to reach the server that holds the stream"
)

// checkStream checks that an event stream opens, is not held back, and that the
// requests that belong to it arrive.
func (x *exam) checkStream(ctx context.Context) {
	start := time.Now()
	s, err := x.open(ctx)
	if err != nil {
		x.streamRefused(err)
		return
	}
	defer s.close()
	x.checkEncoding(s)
	limited, cancel := x.limit(ctx)
	defer cancel()
	if _, err := s.hello(limited); err != nil {
		x.streamHeld(ctx, s, err)
		return
	}
	x.ok(eventStream, "%s, first message after %v while the stream stays open", s.answer.proto, since(start))
	x.stream = true
	if s.answer.header.Get("X-Connection-ID") == "" {
		x.warn(eventStream, "the answer has no X-Connection-ID; only the first message tells it", "let the proxy pass that header of answers")
	}
	x.checkPost(ctx, s)
	x.checkDelete(ctx, s)
}

func (x *exam) streamRefused(err error) {
	a, ok := errors.AsType[answer](err)
	switch {
	case errors.Is(err, errSilence):
		x.problem(eventStream, fmt.Sprintf("not even a header within %v: a proxy buffers the stream until it ends", x.Timeout), noBuffer)
	case !ok:
		x.problem(eventStream, x.plain(err).Error(), noBuffer)
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		x.problem(eventStream, "refused: "+a.String(), sayWho)
	case a.status == http.StatusOK:
		x.problem(eventStream, "the answer is no event stream but "+a.header.Get("Content-Type"), "check the path: something else answers")
	default:
		x.warn(eventStream, "none: "+a.String(), "if the server has event streams, let the proxy pass GET with the header Accept")
	}
}

// streamHeld tells a proxy that holds messages back from a server that sends
// none: the end of the stream lets them out.
func (x *exam) streamHeld(ctx context.Context, s *stream, cause error) {
	if !errors.Is(cause, errSilence) {
		x.problem(eventStream, "it opens and ends without a message: "+x.plain(cause).Error(), noBuffer)
		return
	}
	text := fmt.Sprintf("headers, but no message within %v", x.Timeout)
	if s.secret != "" {
		_, _ = x.ask(ctx, http.MethodDelete, "", "X-Connection-ID", s.secret) // what comes of it is all that counts
		limited, cancel := x.limit(ctx)
		defer cancel()
		if _, err := s.hello(limited); err == nil {
			x.problem(eventStream, text+", and all at once when it ended: a proxy buffers the stream", noBuffer)
			return
		}
	}
	x.problem(eventStream, text+": most likely a proxy buffers the stream", noBuffer)
}

func (x *exam) checkEncoding(s *stream) {
	if coding := s.answer.header.Get("Content-Encoding"); coding != "" {
		x.problem(streamCoding, "a proxy compresses the stream ("+coding+"), although the server forbids it with no-transform", noBuffer)
	}
}

// checkPost checks that POST arrives with its header, and its effect at once.
func (x *exam) checkPost(ctx context.Context, s *stream) {
	limited, cancel := x.limit(ctx)
	_, err := s.probe(limited, 0)
	cancel()
	a, refused := errors.AsType[answer](err)
	switch {
	case err == nil:
		x.checkAnswers(ctx, streamPost, s.conn)
	case refused:
		x.explain(ctx, streamPost, http.MethodPost, a)
	case errors.Is(err, errSilence):
		x.problem(streamPost, fmt.Sprintf("taken, but what it leads to does not come over the stream within %v: a proxy buffers it", x.Timeout), noBuffer)
	default:
		x.problem(streamPost, x.plain(err).Error(), passID)
	}
}

// checkDelete checks that DELETE arrives with its header, and ends the stream.
func (x *exam) checkDelete(ctx context.Context, s *stream) {
	a, err := x.ask(ctx, http.MethodDelete, "", "X-Connection-ID", s.secret)
	if err != nil {
		x.problem(streamDelete, x.plain(err).Error(), "let the proxy pass DELETE")
		return
	}
	limited, cancel := x.limit(ctx)
	defer cancel()
	_, end := s.receive(limited, func(*message) bool { return false })
	switch {
	case !errors.Is(end, errSilence) && a.status < http.StatusInternalServerError:
		x.ok(streamDelete, "%d, and the stream ends", a.status)
	case a.taken():
		x.problem(streamDelete, fmt.Sprintf("%d, but the stream does not end: a proxy keeps it open or answers itself", a.status), "let the proxy pass DELETE")
	default:
		x.explain(ctx, streamDelete, http.MethodDelete, a)
	}
}

// explain says why a POST or DELETE was refused. The same request without the
// header shows whether it makes a difference.
func (x *exam) explain(ctx context.Context, check Check, method string, a answer) {
	without, err := x.ask(ctx, method, "{}")
	switch {
	case a.status == http.StatusMethodNotAllowed || a.status == http.StatusNotImplemented || a.status == http.StatusForbidden:
		x.problem(check, fmt.Sprintf("a proxy refuses the method: %v", a), "let the proxy pass "+method)
	case a.status == http.StatusRequestEntityTooLarge:
		x.problem(check, a.String(), "raise the limit for bodies in the proxy")
	case err == nil && without.status == a.status && without.text == a.text:
		x.problem(check, fmt.Sprintf("X-Connection-ID does not arrive at the server of the stream: %v", a), passID+"; "+sticky)
	case a.status == http.StatusNotFound:
		x.problem(check, fmt.Sprintf("the server does not know the stream: %v", a), sticky)
	default:
		x.problem(check, a.String(), passID)
	}
}
