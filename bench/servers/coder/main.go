// Command coder implements rooms with coder/websocket, based on the chat in its examples.
// Each member has a buffered channel and a goroutine that writes. A member that does not
// keep up is closed.
package main

import (
	"context"
	"flag"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/pondsocket/pond/bench/internal/serve"
)

// The example uses 16, which a burst of the scenarios exceeds at once. 256 is the default
// of melody.
const buffered = 256

type member struct {
	messages chan []byte
	slow     func()
}

type room struct {
	mu      sync.Mutex
	members map[*member]struct{}
}

func (r *room) publish(message []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for m := range r.members {
		select {
		case m.messages <- message:
		default:
			go m.slow()
		}
	}
}

func (r *room) add(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members[m] = struct{}{}
}

func (r *room) remove(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, m)
}

type chat struct {
	mu    sync.Mutex
	rooms map[string]*room
}

// room returns the room with the given name. Rooms are never removed, because the scenarios
// use few.
func (c *chat) room(name string) *room {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.rooms[name]
	if !ok {
		r = &room{members: map[*member]struct{}{}}
		c.rooms[name] = r
	}
	return r
}

func (c *chat) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	conn, err := accept(w, req)
	if err != nil {
		return // Accept sent the response
	}
	defer func() { _ = conn.CloseNow() }()

	m := &member{
		messages: make(chan []byte, buffered),
		slow: func() {
			_ = conn.Close(websocket.StatusPolicyViolation, "connection too slow to keep up with messages")
		},
	}
	r := c.room(req.URL.Path)
	m.messages <- []byte(`{"joined":true}`)
	r.add(m)
	defer r.remove(m)

	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	go func() {
		defer cancel()
		write(ctx, conn, m.messages)
	}()
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			return
		}
		r.publish(message)
	}
}

func write(ctx context.Context, conn *websocket.Conn, messages <-chan []byte) {
	for {
		select {
		case message := <-messages:
			if writeOne(ctx, conn, message) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// writeOne writes with a timeout of five seconds, as the example does.
func writeOne(ctx context.Context, conn *websocket.Conn, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return conn.Write(ctx, websocket.MessageText, message)
}

func echo(w http.ResponseWriter, req *http.Request) {
	conn, err := accept(w, req)
	if err != nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	err = writeOne(req.Context(), conn, []byte(`{"joined":true}`))
	for err == nil {
		var message []byte
		if _, message, err = conn.Read(req.Context()); err == nil {
			err = writeOne(req.Context(), conn, message)
		}
	}
}

func accept(w http.ResponseWriter, req *http.Request) (*websocket.Conn, error) {
	options := &websocket.AcceptOptions{} // no compression, by default
	if *serve.Compress {
		options.CompressionMode = websocket.CompressionNoContextTakeover
	}
	conn, err := websocket.Accept(w, req, options)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func main() {
	flag.Parse()
	mux := http.NewServeMux()
	mux.Handle("/chat/", &chat{rooms: map[string]*room{}})
	mux.HandleFunc("/echo", echo)
	if err := serve.HTTP(mux); err != nil {
		log.Fatal(err)
	}
}
