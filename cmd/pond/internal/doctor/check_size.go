package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// The tested sizes of messages: the largest, half of it, and so on, until one is
// accepted.
const (
	largest  = 1 << 20 // the default limit of a Pond
	smallest = 4 << 10
)

// checkSizes checks how large messages can be. A server has one limit for both
// transports; most proxies limit only the bodies of requests.
func (x *checker) checkSizes(ctx context.Context) {
	var frames, bodies sizeResult
	if x.webSocket {
		frames = x.tryAll("WebSocket", func(size int) error { return x.sendFrame(ctx, size) })
	}
	if x.post {
		bodies = x.tryAll("POST", func(size int) error { return x.sendBody(ctx, size) })
	}
	switch {
	case !x.webSocket && !x.post:
	case !x.post:
		x.reportSize(frames)
	case !x.webSocket:
		x.reportSize(bodies)
	case bodies.size < frames.size:
		x.warn(messageSize, fmt.Sprintf("%v, but %v: %v", frames, bodies, bodies.rejection),
			"raise the limit of request bodies in the proxy (nginx: client_max_body_size)")
	case frames.size < bodies.size:
		x.warn(messageSize, fmt.Sprintf("%v, but %v: %v", bodies, frames, frames.rejection),
			"check whether a proxy limits WebSocket messages, or is too slow for them")
	default:
		frames.transport = "both transports"
		x.reportSize(frames)
	}
}

func (x *checker) reportSize(f sizeResult) {
	if f.size == 0 {
		x.problem(messageSize, fmt.Sprintf("%v: %v", f, f.rejection), "raise the limit in the server (WithMaxMessageSize) or in a proxy")
		return
	}
	x.ok(messageSize, "%v", f)
}

// A sizeResult is the largest accepted size, and the error of the next larger one.
type sizeResult struct {
	transport string
	size      int
	rejection error
}

func (f sizeResult) String() string {
	switch f.size {
	case 0:
		return fmt.Sprintf("%s: less than %d KiB", f.transport, smallest>>10)
	case largest:
		return f.transport + ": 1 MiB or more"
	default:
		return fmt.Sprintf("%s: %d KiB", f.transport, f.size>>10)
	}
}

func (x *checker) tryAll(transport string, try func(size int) error) sizeResult {
	f := sizeResult{transport: transport}
	for size := largest; size >= smallest; size /= 2 {
		err := try(size)
		if err == nil {
			f.size = size
			break
		}
		f.rejection = x.withoutURL(err)
	}
	return f
}

func (x *checker) sendFrame(ctx context.Context, size int) error {
	w, err := x.upgrade(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	limited, cancel := x.limit(ctx)
	defer cancel()
	if _, err := w.hello(limited); err != nil {
		return err
	}
	return tooLarge(w.probe(limited, size))
}

func (x *checker) sendBody(ctx context.Context, size int) error {
	s, err := x.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	limited, cancel := x.limit(ctx)
	defer cancel()
	if _, err := s.hello(limited); err != nil {
		return err
	}
	return tooLarge(s.probe(limited, size))
}

// tooLarge returns an error if the message was rejected for its size. Any other error in
// the answer shows that the server read it.
func tooLarge(m *message, err error) error {
	if err != nil {
		return err
	}
	var payload struct {
		Status int `json:"status"`
	}
	if m.decode(&payload) == nil && payload.Status == http.StatusRequestEntityTooLarge {
		return errors.New("the message is too large")
	}
	return nil
}
