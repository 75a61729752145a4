package pondtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing/synctest"
	"time"
)

// A server is a minimal implementation of the protocol. It declines clients with
// ?uid=nobody. Every channel exists, and handles these events:
//
//	say     is broadcast to all members
//	echo    is answered to the sender, behind a broadcast of "noise"
//	flood   sends the sender {"n": 0}, {"n": 1}, ... up to n messages
//	text    sends the sender a message that consists of {"text": ...}
//	bye     ends the sender's connection with 1001 "bye"
//	vanish  ends it without a close frame
//	nap     blocks the server's reading for two minutes
type server struct {
	mu       sync.Mutex // guards the following fields
	requests []*http.Request
	peers    map[string]*peer // by secret
	left     []string         // users whose connection ended, and how

	serving sync.WaitGroup
}

// A peer is one connection.
type peer struct {
	user, secret string
	out          chan func(carrier) error // never closed; an error ends the connection
	channels     map[string]bool          // guarded by server.mu
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.serving.Add(1)
	defer s.serving.Done()
	s.mu.Lock()
	s.requests = append(s.requests, r.Clone(context.WithoutCancel(r.Context())))
	known := s.peers[r.Header.Get("X-Connection-ID")]
	s.mu.Unlock()
	switch {
	case r.Method == http.MethodGet && r.URL.Query().Get("uid") == "nobody":
		http.Error(w, "who are you?", http.StatusForbidden)
	case r.Method == http.MethodGet && r.Header.Get("Upgrade") != "":
		s.serveWebSocket(w, r)
	case r.Method == http.MethodGet:
		s.serveStream(w, r)
	case known == nil:
		http.Error(w, "no such connection", http.StatusNotFound)
	case r.Method == http.MethodPost:
		data, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusNoContent)
		s.handle(known, data)
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
		known.end(errClose{})
	}
}

// add adds a peer and queues its first message.
func (s *server) add(r *http.Request) *peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &peer{
		user:     r.URL.Query().Get("uid"),
		secret:   "secret-" + strconv.Itoa(len(s.peers)+1),
		out:      make(chan func(carrier) error, 10_000),
		channels: map[string]bool{},
	}
	if s.peers == nil {
		s.peers = map[string]*peer{}
	}
	s.peers[p.secret] = p
	p.send("CONNECT", "CONNECTION", "ENDPOINT", "0", map[string]string{"id": p.user, "connectionId": p.secret})
	return p
}

// run writes to the connection until it ends.
func (s *server) run(p *peer, c carrier, gone <-chan struct{}) error {
	defer func() {
		s.mu.Lock()
		delete(s.peers, p.secret)
		s.mu.Unlock()
	}()
	heartbeat := time.NewTicker(30 * time.Second)
	defer heartbeat.Stop()
	for {
		var err error
		select {
		case write := <-p.out:
			err = write(c)
		case <-heartbeat.C:
			err = c.heartbeat()
		case <-gone:
			err = io.EOF
		}
		if closing, ok := errors.AsType[errClose](err); ok {
			c.close(closing.code, closing.reason)
		}
		if err != nil {
			return err
		}
	}
}

// leave records how the connection of p ended.
func (s *server) leave(p *peer, how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = append(s.left, p.user+" "+how)
}

// lost waits until the bubble is idle, and returns how connections ended.
func (s *server) lost() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.left)
}

// Shutdown ends all connections and waits for them.
func (s *server) Shutdown(context.Context) error {
	s.mu.Lock()
	for p := range maps.Values(s.peers) {
		p.end(errClose{1001, "shutdown"})
	}
	s.mu.Unlock()
	s.serving.Wait()
	return nil
}

func (s *server) handle(p *peer, data []byte) {
	var m struct {
		Action, Event, ChannelName, RequestID string
		Payload                               json.RawMessage
	}
	var args struct {
		N    int
		Text string
	}
	if json.Unmarshal(data, &m) != nil || json.Unmarshal(m.Payload, &args) != nil {
		p.send("ERROR", "INVALID_MESSAGE", "ENDPOINT", "0", map[string]string{"message": string(data)})
		return
	}
	if m.Event == "nap" {
		<-time.After(2 * time.Minute)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	system := func(event string, v any) { p.send("SYSTEM", event, m.ChannelName, m.RequestID, v) }
	broadcast := func(event string) {
		for _, member := range slices.SortedFunc(maps.Values(s.peers), func(a, b *peer) int {
			return strings.Compare(a.secret, b.secret)
		}) {
			if member.channels[m.ChannelName] {
				member.send("BROADCAST", event, m.ChannelName, m.RequestID, m.Payload)
			}
		}
	}
	switch event := m.Action + " " + m.Event; event {
	case "JOIN_CHANNEL JOIN_CHANNEL":
		p.channels[m.ChannelName] = true
		p.send("PRESENCE", "JOIN", m.ChannelName, m.RequestID, json.RawMessage(`{"changed":{},"presence":[{}]}`))
		system("ACKNOWLEDGE", struct{}{})
	case "LEAVE_CHANNEL LEAVE_CHANNEL":
		delete(p.channels, m.ChannelName)
		system("EXIT_ACKNOWLEDGE", struct{}{})
	case "BROADCAST say":
		broadcast("said")
	case "BROADCAST echo":
		p.send("BROADCAST", "noise", m.ChannelName, "0", struct{}{})
		system("echoed", m.Payload)
	case "BROADCAST flood":
		for i := range args.N {
			p.send("BROADCAST", "drop", m.ChannelName, "0", map[string]any{"n": i, "text": strings.Repeat("x", 1000)})
		}
	case "BROADCAST text":
		p.out <- func(c carrier) error { return c.message([]byte(args.Text)) }
	case "BROADCAST bye":
		p.end(errClose{1001, "bye"})
	case "BROADCAST vanish":
		p.end(errVanish)
	}
}

// send queues a message.
func (p *peer) send(action, event, channel, requestID string, payload any) {
	data, err := json.Marshal(map[string]any{
		"action": action, "event": event, "channelName": channel, "requestId": requestID, "payload": payload,
	})
	p.out <- func(c carrier) error { return errors.Join(err, c.message(data)) }
}

func (p *peer) end(cause error) { p.out <- func(carrier) error { return cause } }
