package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// The sizes of messages that are tried: the largest, half of it, and so on, until
// one gets through.
const (
	largest  = 1 << 20 // what a Pond takes by default
	smallest = 4 << 10
)

// checkSizes checks how large messages may be. A server has one limit for both
// transports; proxies know that of bodies only.
func (x *exam) checkSizes(ctx context.Context) {
	var frames, bodies fit
	if x.webSocket {
		frames = x.fitting("WebSocket", func(size int) error { return x.sendFrame(ctx, size) })
	}
	if x.stream {
		bodies = x.fitting("POST", func(size int) error { return x.sendBody(ctx, size) })
	}
	switch {
	case !x.stream:
		x.reportSize(frames)
	case !x.webSocket:
		x.reportSize(bodies)
	case bodies.size < frames.size:
		x.warn(messageSize, fmt.Sprintf("%v, but %v: %v", frames, bodies, bodies.refusal),
			"raise the limit for bodies in the proxy to that of messages (nginx: client_max_body_size)")
	case frames.size < bodies.size:
		x.warn(messageSize, fmt.Sprintf("%v, but %v: %v", bodies, frames, frames.refusal),
			"look for a proxy that limits WebSocket messages, or is too slow for them")
	default:
		frames.transport = "both transports"
		x.reportSize(frames)
	}
}

func (x *exam) reportSize(f fit) {
	if f.size == 0 {
		x.problem(messageSize, fmt.Sprintf("%v: %v", f, f.refusal), "raise the limit of the server (WithMaxMessageSize) or of a proxy")
		return
	}
	x.ok(messageSize, "%v", f)
}

// A fit is the largest size that gets through, and what the next larger one has
// met.
type fit struct {
	transport string
	size      int
	refusal   error
}

func (f fit) String() string {
	switch f.size {
	case 0:
		return fmt.Sprintf("%s: less than %d KiB", f.transport, smallest>>10)
	case largest:
		return f.transport + ": 1 MiB or more"
	default:
		return fmt.Sprintf("%s: %d KiB", f.transport, f.size>>10)
	}
}

func (x *exam) fitting(transport string, try func(size int) error) fit {
	f := fit{transport: transport}
	for size := largest; size >= smallest; size /= 2 {
		err := try(size)
		if err == nil {
			f.size = size
			break
		}
		f.refusal = x.plain(err)
	}
	return f
}

func (x *exam) sendFrame(ctx context.Context, size int) error {
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

func (x *exam) sendBody(ctx context.Context, size int) error {
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

// tooLarge returns why a message was not taken for its size. Any other error in
// the answer shows that it was read.
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
