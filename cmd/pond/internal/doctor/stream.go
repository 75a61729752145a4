package doctor

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// A stream is the client's side of an event stream.
type stream struct {
	*conn
	answer answer // to the GET
	secret string // the connection ID
}

// open opens an event stream, as a browser does, and returns when the headers arrived.
func (x *checker) open(ctx context.Context, pairs ...string) (*stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(x.Timeout, cancel)
	req, err := x.request(ctx, http.MethodGet, "", append([]string{
		"Accept", "text/event-stream",
		"Accept-Encoding", "gzip",
		"Cache-Control", "no-cache",
	}, pairs...)...)
	if err != nil {
		cancel()
		return nil, err
	}
	req.Body = http.NoBody
	resp, err := x.client.Do(req)
	if !late.Stop() && err != nil && ctx.Err() != nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		return nil, x.withoutURL(err)
	}
	a := answer{resp.StatusCode, resp.Header, "", resp.Proto}
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		late := time.AfterFunc(x.Timeout, cancel)
		a = newAnswer(resp)
		late.Stop()
		cancel()
		resp.Body.Close()
		return nil, a
	}
	return x.newStream(resp, a, cancel), nil
}

func (x *checker) newStream(resp *http.Response, a answer, cancel context.CancelFunc) *stream {
	s := &stream{answer: a, secret: a.header.Get("X-Connection-ID")}
	s.conn = newConn(cancelled{resp.Body, cancel}, func(emit func(event) bool) error {
		body := io.Reader(resp.Body)
		if a.header.Get("Content-Encoding") == "gzip" {
			var err error
			if body, err = gzip.NewReader(body); err != nil {
				return err
			}
		}
		return readEvents(body, emit)
	})
	s.send = func(ctx context.Context, text string) error {
		a, err := x.ask(ctx, http.MethodPost, text, "X-Connection-ID", s.secret, "Content-Type", "application/json")
		if err == nil && !a.accepted() {
			err = a
		}
		return err
	}
	return s
}

// hello waits for the first message, which has the connection ID.
func (s *stream) hello(ctx context.Context) (*message, error) {
	m, err := s.conn.hello(ctx)
	if err != nil {
		return nil, err
	}
	if secret := m.payloadString("connectionId"); secret != "" {
		s.secret = secret
	}
	return m, nil
}

// cancelled is a body that cancels its request when it is closed.
type cancelled struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (c cancelled) Close() error {
	c.cancel()
	return c.ReadCloser.Close()
}

// readEvents reads a stream as an EventSource does, without the features that
// servers of this protocol do not use: CR as line end, IDs, and retry times.
func readEvents(body io.Reader, emit func(event) bool) error {
	lines := bufio.NewReader(body)
	var data strings.Builder
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		e := event{heartbeat: strings.HasPrefix(line, ":")}
		if text, ok := strings.CutPrefix(line, "data:"); ok {
			data.WriteString(text)
		}
		if line == "" && data.Len() > 0 {
			e.message = &message{}
			if err := json.Unmarshal([]byte(data.String()), e.message); err != nil {
				return fmt.Errorf("invalid message %.60q", data.String())
			}
			data.Reset()
		}
		if (e.heartbeat || e.message != nil) && !emit(e) {
			return io.ErrClosedPipe
		}
	}
}
