// Package hosttest runs the servers of the examples on real sockets and tests them with
// clients of both transports. It is for hosts and middlewares; handlers are easier to test
// with pondtest.
package hosttest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// A T is a test.
type T interface {
	Helper()
	Context() context.Context
	Cleanup(f func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// patience is the timeout of all steps.
const patience = time.Minute

// A Transport is the way in which a client talks to the server.
type Transport string

// The transports.
const (
	WebSocket Transport = "WebSocket"
	SSE       Transport = "SSE"
)

// Transports lists all transports.
var Transports = []Transport{WebSocket, SSE}

// A Target is an endpoint and how to reach it.
type Target struct {
	URL    string
	HTTP   *http.Client // nil means [http.DefaultClient]
	Header http.Header  // added to every request
}

func (to Target) client() *http.Client {
	if to.HTTP == nil {
		return http.DefaultClient
	}
	return to.HTTP
}

func (to Target) do(ctx context.Context, method, body string, headers ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, to.URL, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, to.Header)
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		req.Header.Set(name, value)
	}
	return to.client().Do(req)
}

// A Message is a message in either direction.
type Message struct {
	Action    string          `json:"action"`
	Event     string          `json:"event"`
	Channel   string          `json:"channelName"`
	RequestID string          `json:"requestId"`
	Payload   json.RawMessage `json:"payload"`
}

// A Session is a connected client. Use it only in the goroutine of its test.
type Session struct {
	// Response is the response to the handshake.
	Response *http.Response
	// ID is the user ID.
	ID string

	t    T
	send func(text string) error
	next func() (text []byte, err error)
	end  func() error
}

// Dial connects a client. An SSE client requests and supports compression, as browsers do.
func Dial(t T, tr Transport, to Target) *Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s := &Session{t: t}
	dial := s.dialWebSocket
	if tr == SSE {
		dial = s.dialStream
	}
	if err := dial(ctx, to); err != nil {
		t.Fatalf("%s at %s: %v", tr, to.URL, err)
	}
	var payload struct{ ID string }
	if err := json.Unmarshal([]byte(s.Hear("CONNECTION")), &payload); err != nil {
		t.Fatalf("%s at %s: %v", tr, to.URL, err)
	}
	s.ID = payload.ID
	return s
}

func (s *Session) dialWebSocket(ctx context.Context, to Target) error {
	conn, resp, err := websocket.Dial(ctx, to.URL, &websocket.DialOptions{HTTPClient: to.client(), HTTPHeader: to.Header})
	if err != nil {
		return err
	}
	s.Response = resp
	s.t.Cleanup(func() { _ = conn.CloseNow() })
	s.send = func(text string) error { return conn.Write(ctx, websocket.MessageText, []byte(text)) }
	s.next = func() ([]byte, error) {
		_, text, err := conn.Read(ctx)
		return text, err
	}
	s.end = func() error { return conn.Close(websocket.StatusNormalClosure, "") }
	return nil
}

func (s *Session) dialStream(ctx context.Context, to Target) error {
	resp, err := to.do(ctx, http.MethodGet, "", "Accept: text/event-stream")
	if err != nil {
		return err
	}
	s.Response = resp
	s.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	ask := func(method, body string) error {
		answer, err := to.do(ctx, method, body, "X-Connection-ID: "+resp.Header.Get("X-Connection-ID"))
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusNoContent {
			return fmt.Errorf("response to %s: %s", method, answer.Status)
		}
		return nil
	}
	s.send = func(text string) error { return ask(http.MethodPost, text) }
	lines := bufio.NewReader(resp.Body)
	s.next = func() ([]byte, error) {
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return nil, err
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				return []byte(data), nil
			}
		}
	}
	s.end = func() error {
		if err := ask(http.MethodDelete, ""); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, lines); err != nil {
			return fmt.Errorf("after DELETE: %w", err)
		}
		return nil
	}
	return nil
}

// Join joins a channel.
func (s *Session) Join(channel string) {
	s.t.Helper()
	s.Write(Message{"JOIN_CHANNEL", "JOIN_CHANNEL", channel, "1", json.RawMessage("{}")})
	s.Hear("ACKNOWLEDGE")
}

// Say sends an event with a text.
func (s *Session) Say(channel, event, text string) {
	s.t.Helper()
	payload, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	s.Write(Message{"BROADCAST", event, channel, "2", payload})
}

// Write sends a message.
func (s *Session) Write(m Message) {
	s.t.Helper()
	text, err := json.Marshal(m)
	if err == nil {
		err = s.send(string(text))
	}
	if err != nil {
		s.t.Fatalf("%s: %v", m.Action, err)
	}
}

// Hear waits for the next message, which must have the given event, and returns its payload.
func (s *Session) Hear(event string) string {
	s.t.Helper()
	m, err := s.Next()
	if err != nil {
		s.t.Fatalf("no %s: %v", event, err)
	}
	if m.Event != event {
		s.t.Fatalf("got %s, want %s: %s", m.Event, event, m.Payload)
	}
	return string(m.Payload)
}

// Next waits for the next message. It returns an error if the connection ended.
func (s *Session) Next() (Message, error) {
	var m Message
	text, err := s.next()
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	return m, err
}

// End closes the connection gracefully: with the close handshake, or with DELETE.
func (s *Session) End() {
	s.t.Helper()
	if err := s.end(); err != nil {
		s.t.Errorf("close: %v", err)
	}
}

// Told waits until the server closes the connection. It fails the test unless the server does
// so gracefully: with close code 1001, or with a regular end of the stream.
func (s *Session) Told() {
	s.t.Helper()
	for {
		_, err := s.next()
		switch {
		case err == nil:
			continue
		case err != io.EOF && websocket.CloseStatus(err) != websocket.StatusGoingAway: //nolint:errorlint // only io.EOF itself is a regular end
			s.t.Errorf("the connection was interrupted: %v", err)
		}
		return
	}
}

// Refused connects a client that the server must reject, and returns the status and body of
// the response.
func Refused(t T, tr Transport, to Target) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	headers := []string{"Accept: text/event-stream"}
	if tr == WebSocket {
		headers = []string{
			"Connection: Upgrade", "Upgrade: websocket",
			"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
		}
	}
	resp, err := to.do(ctx, http.MethodGet, "", headers...)
	if err != nil {
		t.Fatalf("%s at %s: %v", tr, to.URL, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < http.StatusBadRequest {
		t.Fatalf("%s at %s was accepted: %s", tr, to.URL, resp.Status)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s at %s: %v", tr, to.URL, err)
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}
