package pondclient

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/wire"
)

const (
	// maxBody and maxBatch limit the messages in one POST.
	maxBody  = 64 << 10
	maxBatch = 32

	// postTimeout limits the time for one POST.
	postTimeout = 30 * time.Second

	connectionID = "X-Connection-ID"
)

var (
	errNotStream  = errors.New("the response is not an event stream")
	errStreamEnd  = errors.New("the server ended the event stream")
	errStreamGone = errors.New("the server does not know the event stream")
	errTooLong    = errors.New("the message is larger than WithMaxMessageSize allows")
)

// An eventStream is a link over Server-Sent Events, with POST requests for the
// other direction.
type eventStream struct {
	conn   *connection
	body   io.ReadCloser
	cancel context.CancelFunc // cancels the request that opened the stream
	header string             // the connection ID in the response
	token  string             // owned by the writer

	beats interval
}

// dialStream opens an event stream.
func (n *connection) dialStream(ctx context.Context, token string) (*eventStream, error) {
	c := n.client
	s := &eventStream{conn: n, token: token}
	// The stream outlives ctx, which is only for connecting.
	lasting, cancel := context.WithCancel(n.ctx)
	s.cancel = cancel
	stop := context.AfterFunc(ctx, cancel)
	var reached bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { reached = true }}
	req := c.request(httptrace.WithClientTrace(lasting, trace), http.MethodGet, token, nil)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Accept-Encoding", "identity") // compression can delay events
	req.Header.Set("Cache-Control", "no-cache")
	resp, err := c.http.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		defer cancel()
		defer stop()
		return nil, refusal(SSE, resp)
	}
	if err == nil && !stop() {
		resp.Body.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel()
		return nil, &ConnectionError{Transport: SSE, Err: withoutURL(err), reached: reached}
	}
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media != "text/event-stream" {
		cancel()
		resp.Body.Close()
		return nil, &ConnectionError{Transport: SSE, Err: errNotStream, reached: true}
	}
	s.body, s.header = resp.Body, resp.Header.Get(connectionID)
	return s, nil
}

func (s *eventStream) read() error {
	defer s.body.Close()
	source := &heartReader{Reader: s.body, conn: s.conn}
	lines := bufio.NewReaderSize(source, 8<<10)
	var data []byte
	some := false // a data field was received
	for {
		line, err := s.line(lines, len(data))
		if err != nil {
			return &ConnectionError{Transport: SSE, Err: err}
		}
		switch name, value := field(line); {
		case len(line) == 0:
			if some {
				s.conn.message(data)
			}
			data, some = data[:0], false
			if cap(data) > 64<<10 {
				data = nil
			}
		case len(name) == 0: // a comment
			s.beats.raise(source.gap)
		case string(name) == "data":
			if some {
				data = append(data, '\n')
			}
			data, some = append(data, value...), true
		}
	}
}

// line reads one line, without its end. The result is valid until the next call.
func (s *eventStream) line(r *bufio.Reader, had int) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			if had+len(long) > s.conn.client.cfg.maxMessage {
				return nil, errTooLong
			}
			line, err = r.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil, errStreamEnd
	case err != nil:
		return nil, err
	case had+len(line) > s.conn.client.cfg.maxMessage:
		return nil, errTooLong
	}
	line = line[:len(line)-1]
	return bytes.TrimSuffix(line, []byte{'\r'}), nil
}

// field splits a line of an event stream. A comment has an empty name.
func field(line []byte) (name, value []byte) {
	name, value, _ = bytes.Cut(line, []byte{':'})
	return name, bytes.TrimPrefix(value, []byte{' '})
}

// A heartReader records when data arrives.
type heartReader struct {
	io.Reader
	conn *connection
	gap  time.Duration // time without data before the last bytes
}

func (r *heartReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.gap = r.conn.idle()
		r.conn.alive()
	}
	return n, err
}

// write sends messages one after the other, in as few requests as the server allows.
func (s *eventStream) write(batch []*outgoing) ([]verdict, error) {
	verdicts := make([]verdict, len(batch))
	for done := 0; done < len(batch); {
		count := 1
		if s.conn.arrays() {
			count = fitting(batch[done:])
		}
		err := s.send(batch[done:done+count], verdicts[done:done+count])
		if err != nil {
			return verdicts, err
		}
		done += count
	}
	return verdicts, nil
}

// fitting returns the number of messages that fit into one body.
func fitting(batch []*outgoing) int {
	size := 0
	for i, o := range batch {
		size += len(o.data) + 1
		if i == maxBatch || i > 0 && size > maxBody {
			return i
		}
	}
	return len(batch)
}

// send sends messages in one request, or in separate requests if the server rejects the
// batch. An error means that the connection must end.
func (s *eventStream) send(batch []*outgoing, verdicts []verdict) error {
	body := batch[0].data
	if len(batch) > 1 {
		body = []byte{'['}
		for i, o := range batch {
			if i > 0 {
				body = append(body, ',')
			}
			body = append(body, o.data...)
		}
		body = append(body, ']')
	}
	failed := s.deliver(body)
	switch {
	case failed == nil:
		setAll(verdicts, verdict{result: sent})
		return nil
	case failed.refused && len(batch) > 1 && !failed.busy: // the server accepted none of them
		for i := range batch {
			if err := s.send(batch[i:i+1], verdicts[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	case failed.refused:
		setAll(verdicts, verdict{result: refused, err: failed.serverError()})
		return nil
	case failed.unknown:
		setAll(verdicts, verdict{result: unknown})
	}
	return &failed.ConnectionError
}

func setAll(verdicts []verdict, v verdict) {
	for i := range verdicts {
		verdicts[i] = v
	}
}

// A postError is the error of a POST.
type postError struct {
	ConnectionError
	refused bool // the server rejected the messages, and accepted none of them
	unknown bool // the server may have accepted them
	busy    bool // for longer than messages may be queued
}

// serverError returns the error of a rejected message.
func (e *postError) serverError() *pond.Error {
	if e.Status < 400 { // not a status of an error
		return &pond.Error{Code: http.StatusBadGateway, Message: e.Reason}
	}
	return &pond.Error{Code: e.Status, Message: e.Reason}
}

// busyTries is the number of attempts to send a message to a busy server.
const busyTries = 10

// deliver posts a body until the server accepts or rejects it.
func (s *eventStream) deliver(body []byte) *postError {
	renewed := false
	var waited time.Duration
	for busy := 0; ; {
		failed := s.post(body, postTimeout)
		if failed == nil {
			return nil
		}
		switch failed.Status {
		case 0:
			return failed
		case http.StatusNotFound, http.StatusGone:
			failed.Status, failed.Err = 0, errStreamGone
			return failed
		case http.StatusUnauthorized, http.StatusForbidden:
			if renewed || !s.renew() {
				return failed
			}
			renewed = true
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			if busy++; busy == busyTries {
				return failed
			}
			delay := max(failed.RetryAfter, time.Second)
			if waited += delay; waited > s.conn.client.cfg.queue.Age {
				failed.refused, failed.busy = true, true
				return failed
			}
			if sleep(s.conn.ctx, delay+random(delay/2)) != nil {
				return failed
			}
		default:
			failed.refused = failed.Status < 500
			failed.unknown = !failed.refused
			return failed
		}
	}
}

// renew gets another token, because the current one was rejected.
func (s *eventStream) renew() bool {
	t := &s.conn.client.tokens
	if !t.refused(s.token) {
		return false
	}
	token, err := t.get(s.conn.ctx)
	if err != nil || token == s.token {
		return false
	}
	s.token = token
	return true
}

// post sends one request.
func (s *eventStream) post(body []byte, timeout time.Duration) *postError {
	ctx, cancel := context.WithTimeout(s.conn.ctx, timeout)
	defer cancel()
	var begun atomic.Bool // net/http may call the hook after Do
	trace := &httptrace.ClientTrace{WroteHeaders: func() { begun.Store(true) }}
	req := s.conn.client.request(httptrace.WithClientTrace(ctx, trace), http.MethodPost, s.token, bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(connectionID, s.conn.connectionSecret(s.header))
	resp, err := s.conn.client.http.Do(req)
	if err != nil {
		return &postError{ConnectionError: ConnectionError{Transport: SSE, Err: withoutURL(err)}, unknown: begun.Load()}
	}
	if resp.Request.Method != http.MethodPost { // as after 301, 302 and 303
		resp.Body.Close()
		status := resp.Request.Response.StatusCode
		reason := fmt.Sprintf("the POST was redirected with status %d", status)
		return &postError{ConnectionError: ConnectionError{Transport: SSE, Status: status, Reason: reason}}
	}
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10)) // so that net/http can use the connection again
		resp.Body.Close()
		return nil
	}
	return &postError{ConnectionError: *refusal(SSE, resp)}
}

// ping makes a Pond send something on the stream: it leaves a channel that does not
// exist, which a Pond confirms. That the POST succeeds says nothing about the stream,
// because it uses another network connection. Other servers do not answer that; they
// ignore a ping, or answer it with an error on the stream.
func (s *eventStream) ping() {
	c := s.conn.client
	confirms := s.conn.isPond()
	body := []byte(`{"action":"` + string(wire.Ping) + `"}`)
	if confirms {
		body = wireMessage(wire.LeaveChannel, string(wire.LeaveChannel), probeChannel, c.prefix+"probe", nil)
	}
	failed := s.post(body, c.cfg.probeTimeout)
	switch {
	case failed == nil && !confirms:
		s.conn.alive() // as far as the client knows
	case failed != nil && failed.Status == http.StatusNotFound:
		s.conn.abort(&ConnectionError{Transport: SSE, Err: errStreamGone})
	}
}

// probeChannel is the name of a channel that does not exist.
const probeChannel = "/pondclient/probe"

func (s *eventStream) heartbeat() (time.Duration, bool) { return s.beats.load(), false }

func (s *eventStream) finish() { s.abort() }

// shutdown ends the stream, which the server detects. A DELETE would be faster behind
// some proxies, but others block it.
func (s *eventStream) shutdown() { s.abort() }

// abort ends the stream. It does not close the body, because that would wait for the
// network. A goroutine of net/http does it when it detects the cancellation.
func (s *eventStream) abort() { s.cancel() }
