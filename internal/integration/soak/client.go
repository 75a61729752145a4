package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/pondsocket/pond/internal/ws"
)

// timeout limits the time that a client waits for an answer.
const timeout = 30 * time.Second

// A client is a raw connection, so that it can misbehave.
type client struct {
	addr   string
	conn   *net.TCPConn
	in     *bufio.Reader
	stream string // the connection ID; empty for a WebSocket
}

func dial(addr string) (*client, error) {
	conn, err := (&net.Dialer{Timeout: timeout}).Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	return &client{addr: addr, conn: tcp, in: bufio.NewReader(tcp)}, tcp.SetReadDeadline(time.Now().Add(timeout))
}

// connect opens a WebSocket or an event stream.
func connect(addr string, sse bool) (*client, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c.conn, handshake(sse)); err != nil {
		return nil, errors.Join(err, c.conn.Close())
	}
	hello, err := c.await(`"}}`)
	if err != nil {
		return nil, errors.Join(err, c.conn.Close())
	}
	if sse {
		_, id, _ := strings.Cut(hello, `"connectionId":"`)
		c.stream, _, _ = strings.Cut(id, `"`)
	}
	return c, nil
}

// await reads until the input contains what, and returns everything that it read.
func (c *client) await(what string) (string, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	var seen strings.Builder
	for !strings.HasSuffix(seen.String(), what) {
		b, err := c.in.ReadByte()
		if err != nil {
			return "", fmt.Errorf("waiting for %s: %w", what, err)
		}
		seen.WriteByte(b)
	}
	return seen.String(), nil
}

// drain reads until the server closes the connection.
func (c *client) drain() error {
	_, err := io.Copy(io.Discard, c.in)
	return err
}

// send sends an event to a channel.
func (c *client) send(action, channel, event, payload string) error {
	return c.sendText(fmt.Sprintf(`{"action":%q,"event":%q,"channelName":%q,"requestId":"1","payload":%s}`,
		action, event, channel, payload))
}

func (c *client) sendText(text string) error {
	if c.stream == "" {
		return c.sendFrame(ws.AppendMasked(nil, ws.Text, true, false, [4]byte{1, 2, 3, 4}, []byte(text)))
	}
	_, err := c.request(http.MethodPost, c.stream, text)
	return err
}

func (c *client) sendFrame(frame []byte) error {
	_, err := c.conn.Write(frame)
	return err
}

// request sends a request of an event stream on a separate connection.
func (c *client) request(method, id, body string) (status int, err error) {
	req, err := http.NewRequest(method, "http://"+c.addr+"/socket", strings.NewReader(body)) //nolint:noctx // has a timeout
	if err != nil {
		return 0, err
	}
	req.Close = true
	req.Header.Set("X-Connection-ID", id)
	resp, err := (&http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func (c *client) join(channel string) error {
	if err := c.send("JOIN_CHANNEL", channel, "JOIN_CHANNEL", `{"name":"Ann"}`); err != nil {
		return err
	}
	_, err := c.await("ACKNOWLEDGE")
	return err
}

// reset ends the connection with a TCP reset.
func (c *client) reset() error { return errors.Join(c.conn.SetLinger(0), c.conn.Close()) }

// close releases the socket in any state of the connection.
func (c *client) close() error {
	if err := c.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

var (
	noDeadline time.Time
	errTimeout = os.ErrDeadlineExceeded
)
