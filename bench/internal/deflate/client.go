package deflate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/pondsocket/pond/internal/load"
)

// counted counts the received bytes.
type counted struct {
	net.Conn
	run *run
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.run.bytes.Add(int64(n))
	return n, err
}

func (r *run) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return counted{conn, r}, nil
}

// A client is one member.
type client struct {
	load.Client
	run  *run
	conn *websocket.Conn
	next int // number of the next expected message
}

func (r *run) connect(number int) (*client, error) {
	c := &client{Client: load.Client{Number: number, Transport: load.WebSocket}, run: r}
	request := r.Dialect.Open(&c.Client)
	options := &websocket.DialOptions{HTTPClient: r.http}
	if r.Compress {
		options.CompressionMode = websocket.CompressionNoContextTakeover
	}
	conn, response, err := websocket.Dial(r.ctx, "ws://"+r.Addr+request.Path, options)
	if err != nil {
		return nil, err
	}
	if r.Compress != strings.Contains(response.Header.Get("Sec-Websocket-Extensions"), "permessage-deflate") {
		_ = conn.CloseNow()
		return nil, fmt.Errorf("the server responded %q", response.Header["Sec-Websocket-Extensions"])
	}
	conn.SetReadLimit(1 << 20)
	c.conn = conn
	r.joined.Add(1)
	r.done.Go(c.read)
	var out load.Outgoing
	r.Dialect.Opened(&c.Client, &out)
	return c, c.send(&out)
}

func (c *client) send(out *load.Outgoing) error {
	for _, message := range out.Messages() {
		if err := c.conn.Write(c.run.ctx, websocket.MessageText, []byte(message)); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) read() {
	defer func() { _ = c.conn.CloseNow() }()
	var events []load.Event
	for {
		_, message, err := c.conn.Read(c.run.ctx)
		if err == nil {
			var out load.Outgoing
			events = c.run.Dialect.Receive(&c.Client, message, events[:0], &out)
			if err = c.handle(events); err == nil {
				err = c.send(&out)
			}
		}
		if err != nil { // keep the first error, and none after the end of the run
			c.run.cancel(fmt.Errorf("client %d: %w", c.Number, err))
			return
		}
	}
}

func (c *client) handle(events []load.Event) error {
	for _, e := range events {
		switch e.Kind {
		case load.Joined:
			c.run.joined.Done()
		case load.Delivery:
			number, ok := numberOf(e.Text)
			if !ok || number != c.next {
				return fmt.Errorf("got message %d, want %d", number, c.next)
			}
			c.next++
			c.run.received(number)
		case load.Rejected:
			return fmt.Errorf("rejected: %s", e.Text)
		}
	}
	return nil
}

// measure publishes, and returns the measurements between the warm-up and the end.
func (r *run) measure(publisher *client) (Result, error) {
	began := time.Now()
	start, err := r.look()
	for n := 0; err == nil && r.more(n, time.Since(began)); n++ {
		if start.Elapsed < r.Warmup && time.Since(began) >= r.Warmup {
			if start, err = r.look(); err != nil {
				break
			}
			start.Elapsed = time.Since(began)
		}
		err = r.publish(publisher, n)
	}
	if err != nil {
		return Result{}, err
	}
	end, err := r.look()
	end.Elapsed = time.Since(began)
	if err != nil {
		return Result{}, err
	}
	return Result{
		Elapsed:    end.Elapsed - start.Elapsed,
		Deliveries: end.Deliveries - start.Deliveries,
		Bytes:      end.Bytes - start.Bytes,
		CPU:        end.CPU - start.CPU,
	}, r.drain()
}

func (r *run) more(messages int, elapsed time.Duration) bool {
	if r.Messages > 0 {
		return messages < r.Messages
	}
	return elapsed < r.Warmup+r.Duration
}

// look returns all counters.
func (r *run) look() (Result, error) {
	cpu, err := r.CPU()
	return Result{Deliveries: r.deliveries.Load(), Bytes: r.bytes.Load(), CPU: cpu}, err
}

// publish waits for room in the window, and sends a message.
func (r *run) publish(publisher *client, number int) error {
	select {
	case r.window <- struct{}{}:
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
	r.missing[number%r.InFlight].Store(int64(r.Clients))
	envelope := len(r.Dialect.AppendPublish(nil, &publisher.Client, nil))
	message := r.Dialect.AppendPublish(nil, &publisher.Client, body(number, r.Size-envelope))
	return publisher.conn.Write(r.ctx, websocket.MessageText, message)
}

// received counts a delivery. A message is sent only after an earlier one was received by
// all clients, so the messages in flight have different elements of missing.
func (r *run) received(number int) {
	r.deliveries.Add(1)
	if r.missing[number%r.InFlight].Add(-1) == 0 {
		<-r.window
	}
}

// drain waits until all clients received all messages.
func (r *run) drain() error {
	for range r.InFlight {
		select {
		case r.window <- struct{}{}:
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
	}
	return nil
}

// The mark by which package load finds bodies, followed by a number.
const (
	mark   = "~~p"
	digits = 22
)

var words = strings.Fields("members of a channel see its events in one order and nobody waits for the slow client " +
	"whatever there is bounded by bytes what happens at this bound policy message delivered or receiver closed " +
	"with reason memory follows connected handlers harm only that event leave run exactly once membership")

// body returns a message with the given size, or the minimum size. It consists of words in a different order for each
// number, so that it compresses like text, and two messages compress hardly better than one.
func body(number, size int) []byte {
	b := fmt.Appendf(nil, "%s%0*d", mark, digits, number)
	order := rand.New(rand.NewPCG(1, uint64(number))) //nolint:gosec // not a secret, and the same in every run
	for len(b) < size {
		b = append(append(b, ' '), words[order.IntN(len(words))]...)
	}
	return b[:max(size, len(mark)+digits)]
}

func numberOf(text []byte) (number int, ok bool) {
	if len(text) < len(mark)+digits {
		return 0, false
	}
	number, err := strconv.Atoi(string(text[len(mark):][:digits]))
	return number, err == nil
}
