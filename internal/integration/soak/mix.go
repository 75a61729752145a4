package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/pondsocket/pond/internal/ws"
)

// residents is the number of clients that stay for the whole test, half of them over
// each transport.
const residents = 100

// neverSends is the visit that waits for a time limit of the server. It runs in one round
// of ten, because the others are fast.
const neverSends = "never sends a body"

// A visit is the behavior of a client that connects in each round. After it, the server
// must keep nothing of the client.
type visit func(c *client, room string) error

// visits has all kinds of visits, by name.
var visits = map[string]visit{
	"leaves and disconnects": func(c *client, room string) error {
		return steps(
			func() error { return c.join(room) },
			func() error { return c.send("BROADCAST", room, "ask", `{"text":"hello?"}`) },
			func() error { _, err := c.await("answer"); return err },
			func() error { return c.send("LEAVE_CHANNEL", room, "LEAVE_CHANNEL", "{}") },
			func() error { return c.disconnect() },
		)
	},
	"resets": func(c *client, room string) error { return steps(func() error { return c.join(room) }, c.reset) },
	"resets while joining": func(c *client, room string) error {
		return errors.Join(c.send("JOIN_CHANNEL", room, "JOIN_CHANNEL", "{}"), c.reset())
	},
	"never joins": func(c *client, _ string) error { return c.reset() },
	"stops sending": func(c *client, room string) error {
		return steps(func() error { return c.join(room) }, c.conn.CloseWrite, c.drain)
	},
	"is declined": func(c *client, _ string) error {
		return steps(
			func() error { return c.send("JOIN_CHANNEL", "/room/forbidden", "JOIN_CHANNEL", "{}") },
			func() error { _, err := c.await("UNAUTHORIZED"); return err },
			c.reset,
		)
	},
	"makes handlers fail": func(c *client, room string) error {
		return steps(
			func() error { return c.join(room) },
			func() error { return c.send("BROADCAST", room, "fail", "{}") },
			func() error { return c.send("BROADCAST", room, "panic", "{}") },
			func() error { return c.send("BROADCAST", room, "ask", "{}") },
			func() error { _, err := c.await("answer"); return err },
			c.reset,
		)
	},
	"is evicted": func(c *client, room string) error { return c.ends(room, "evict") },
	"is kicked": func(c *client, room string) error {
		return steps(func() error { return c.join(room) }, func() error { return c.send("BROADCAST", room, "kick", "{}") }, c.drain)
	},
	"closes a room":  func(c *client, room string) error { return c.ends(room, "close") },
	"breaks a rule":  (*client).breakRule,
	"sends too much": (*client).sendTooMuch,
	"floods": func(c *client, room string) error {
		if err := c.join(room); err != nil {
			return err
		}
		n := 300
		if c.stream != "" {
			n = 10 // each message needs a connection
		}
		for range n {
			if err := c.send("BROADCAST", room, "say", `{"text":"spam"}`); err != nil {
				return err
			}
		}
		return c.reset()
	},
	"does not read":               (*client).doNotRead,
	"resets behind the handshake": (*client).resetBehindHandshake,
	neverSends:                    (*client).neverSendBody,
	"pings without pause":         (*client).ping,
}

func steps(all ...func() error) error {
	for _, step := range all {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// ends joins a room, makes the server end the membership, and sends a request afterwards.
func (c *client) ends(room, event string) error {
	return steps(
		func() error { return c.join(room) },
		func() error { return c.send("BROADCAST", room, event, "{}") },
		func() error { return c.send("BROADCAST", room, "ask", "{}") },
		func() error { _, err := c.await("CHANNEL_NOT_FOUND"); return err },
		c.reset,
	)
}

func (c *client) disconnect() error {
	if c.stream == "" {
		if err := c.sendFrame(ws.AppendMasked(nil, ws.Close, true, false, [4]byte{}, []byte{0x03, 0xe8})); err != nil {
			return err
		}
	} else if status, err := c.request(http.MethodDelete, c.stream, ""); err != nil || status != http.StatusNoContent {
		return errors.Join(fmt.Errorf("DELETE: status %d", status), err)
	}
	return errors.Join(c.drain(), c.conn.Close())
}

func (c *client) breakRule(string) error {
	if c.stream == "" {
		return errors.Join(c.sendFrame([]byte{0xff, 0xff, 0, 0}), c.drain())
	}
	if status, err := c.request(http.MethodPost, "unknown", "{}"); err != nil || status != http.StatusNotFound {
		return errors.Join(fmt.Errorf("POST with an unknown connection ID: status %d", status), err)
	}
	if err := c.sendText("invalid JSON"); err != nil {
		return err
	}
	_, err := c.await("INVALID_MESSAGE")
	return errors.Join(err, c.reset())
}

func (c *client) sendTooMuch(room string) error {
	long := `{"action":"BROADCAST","channelName":"` + room + `","text":"` + strings.Repeat("x", 100<<10) + `"}`
	if c.stream == "" {
		_ = c.sendText(long) // the server may close the connection before it has read everything
		_ = c.drain()        // and may reset the connection for the same reason
		return nil
	}
	status, err := c.request(http.MethodPost, c.stream, long)
	if err == nil && status != http.StatusRequestEntityTooLarge { // the connection can end before the response is read
		return fmt.Errorf("a long POST: status %d", status)
	}
	return c.reset()
}

// doNotRead lets another member send more than the server queues for this one.
func (c *client) doNotRead(room string) error {
	if err := errors.Join(c.conn.SetReadBuffer(64<<10), c.join(room)); err != nil {
		return err
	}
	other, err := connect(c.addr, false)
	if err != nil {
		return err
	}
	if err := other.join(room); err != nil {
		return errors.Join(err, other.reset())
	}
	text := `{"text":"` + strings.Repeat("x", 60<<10) + `"}`
	for range 150 {
		if err = other.send("BROADCAST", room, "shout", text); err != nil {
			break
		}
		if _, err = other.await(`x"}`); err != nil { // the broadcast arrived
			break
		}
	}
	return errors.Join(err, c.drainSlowly(), other.reset())
}

// drainSlowly succeeds if the server ended the connection.
func (c *client) drainSlowly() error {
	err := c.drain()
	if err != nil && !errors.Is(err, errTimeout) {
		return nil // the server closed the connection
	}
	return err
}

// A house has the residents and lets visitors connect.
type house struct {
	addr      string
	residents []*client
	readers   sync.WaitGroup
	visits    int
	rounds    int
}

func open(addr string) (*house, error) {
	h := &house{addr: addr}
	for i := range residents {
		c, err := connect(addr, i%2 == 1)
		if err != nil {
			return nil, err
		}
		if err := c.join(roomOf(i)); err != nil {
			return nil, err
		}
		h.residents = append(h.residents, c)
		if err := c.conn.SetReadDeadline(noDeadline); err != nil {
			return nil, err
		}
		h.readers.Go(func() { _ = c.drain() }) // until the connection is closed
	}
	return h, nil
}

func roomOf(i int) string { return fmt.Sprintf("/room/%d", i/10) }

// round lets every resident send, and runs every kind of visit, over both transports
// concurrently.
func (h *house) round() error {
	var all sync.WaitGroup
	var mu sync.Mutex
	var failures []error
	try := func(name string, do func() error) {
		all.Go(func() {
			if err := do(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, fmt.Errorf("a client that %s: %w", name, err))
			}
		})
	}
	for i, c := range h.residents {
		try("stays", func() error {
			return errors.Join(c.send("BROADCAST", roomOf(i), "say", `{"text":"good morning"}`),
				c.send("BROADCAST", roomOf(i), "update", fmt.Sprintf(`{"visits":%d}`, h.visits)))
		})
	}
	h.rounds++
	for name, visit := range visits {
		if name == neverSends && h.rounds%10 != 1 {
			continue
		}
		for _, sse := range []bool{false, true} {
			h.visits++
			room := fmt.Sprintf("/room/visit-%d", h.visits)
			try(name, func() error {
				c, err := connect(h.addr, sse)
				if err != nil {
					return err
				}
				return errors.Join(visit(c, room), c.close())
			})
		}
	}
	all.Wait()
	return errors.Join(failures...)
}

func (h *house) close() {
	for _, c := range h.residents {
		_ = c.close()
	}
	h.readers.Wait()
}
