package natsbroker

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/remotebroker"
)

var (
	errReconnected = errors.New("natsbroker: reconnected")
	errOverflow    = errors.New("natsbroker: too many messages were queued")
	errLinkClosed  = errors.New("natsbroker: the connection was closed")
)

// A link is one connection. It does not reconnect: the next one is another link, so
// that messages from before and after a loss cannot be mixed up.
type link struct {
	broker   *Broker
	conn     *nats.Conn
	messages chan *nats.Msg // messages of all subscriptions
	closed   chan struct{}  // closed when the connection is closed

	mu   sync.Mutex                    // guards the following fields
	subs map[string]*nats.Subscription // by subject
	err  error                         // why the connection must be closed
}

// connect connects to a server. When the connection ends, it returns the reason.
func (b *Broker) connect() error {
	l := &link{
		broker:   b,
		messages: make(chan *nats.Msg, b.cfg.queue),
		closed:   make(chan struct{}),
		subs:     map[string]*nats.Subscription{},
	}
	opts := append(slices.Clip(b.cfg.client),
		nats.NoReconnect(),
		nats.Timeout(remotebroker.DialTimeout),
		nats.PingInterval(b.cfg.probeInterval),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(remotebroker.DialTimeout),
		nats.ClosedHandler(func(*nats.Conn) { close(l.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			b.cfg.logger.Warn("natsbroker: error of the server", "error", err)
		}),
	)
	conn, err := nats.Connect(strings.Join(b.servers(), ","), opts...)
	if err != nil {
		return fmt.Errorf("natsbroker: %w", err)
	}
	l.conn = conn
	b.maxBytes.Store(conn.MaxPayload())
	return l.serve()
}

// servers returns the URLs of all servers: those passed to New, and those that the last
// server reported, with the same user.
func (b *Broker) servers() []string {
	b.mu.Lock()
	named := b.named
	b.mu.Unlock()
	urls := []string{b.url}
	first, _, _ := strings.Cut(b.url, ",")
	known, err := url.Parse(strings.TrimSpace(first))
	if err != nil || known.Host == "" {
		return urls
	}
	for _, text := range named {
		if u, err := url.Parse(text); err == nil {
			u.User = known.User
			urls = append(urls, u.String())
		}
	}
	return urls
}

// hosts returns the hosts in the URL passed to New.
func (b *Broker) hosts() string {
	var hosts []string
	for text := range strings.SplitSeq(b.url, ",") {
		if u, err := url.Parse(strings.TrimSpace(text)); err == nil {
			hosts = append(hosts, u.Host)
		}
	}
	return strings.Join(hosts, ",")
}

// serve subscribes to all topics and passes messages on until the connection is closed.
func (l *link) serve() error {
	b := l.broker
	var dispatcher sync.WaitGroup
	dispatcher.Go(l.dispatch)
	defer func() {
		b.mu.Lock()
		b.link = nil
		b.named = l.conn.DiscoveredServers()
		b.mu.Unlock()
		l.conn.Close()
		<-l.closed
		dispatcher.Wait()
	}()

	b.mu.Lock()
	b.link = l // from now on, new subscriptions use it as well
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(b.core.Context(), remotebroker.DialTimeout)
	defer cancel()
	if err := l.add(ctx, b.core.Subscriptions()...); err != nil {
		return err
	}
	b.core.SetTrouble(nil)
	b.lost = false
	select {
	case <-l.closed:
		return l.reason()
	case <-b.core.Context().Done():
		return b.core.Context().Err()
	}
}

// reason returns why the connection was closed.
func (l *link) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch err := l.conn.LastError(); {
	case l.err != nil:
		return l.err
	case err != nil:
		return fmt.Errorf("natsbroker: %w", err)
	}
	return errLinkClosed
}

// add subscribes to topics, and confirms the subscriptions when the server confirms
// them.
func (l *link) add(ctx context.Context, subs ...*remotebroker.Subscription) error {
	l.mu.Lock()
	for _, s := range subs {
		if l.subs[s.Key] != nil || l.broker.core.Find(s.Key) != s { // it was closed in the meantime
			continue
		}
		sub, err := l.conn.ChanSubscribe(s.Key, l.messages)
		if err != nil {
			l.mu.Unlock()
			return err
		}
		l.subs[s.Key] = sub
	}
	l.mu.Unlock()
	if err := l.conn.FlushWithContext(ctx); err != nil {
		return err
	}
	for _, s := range subs {
		if err := l.violation(s.Key); err != nil && !s.Known() {
			s.Refuse(err)
			continue
		}
		s.Confirm(l, errReconnected, nil)
	}
	return nil
}

// violation returns an error if the server just rejected a subject.
func (l *link) violation(subject string) error {
	err := l.conn.LastError()
	if errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `"`+subject+`"`) {
		return err
	}
	return nil
}

// remove ends the subscription of a subject, unless it already has another receiver.
func (l *link) remove(subject string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broker.core.Find(subject) != nil {
		return
	}
	if sub := l.subs[subject]; sub != nil {
		delete(l.subs, subject)
		_ = sub.Unsubscribe() // if this fails, the connection is closed, which has the same effect
	}
}

// publish sends messages, and waits until the server received them.
func (l *link) publish(ctx context.Context, subject string, batch [][]byte) error {
	for _, data := range batch {
		if err := l.conn.Publish(subject, data); err != nil {
			return err
		}
	}
	if err := l.conn.FlushWithContext(ctx); err != nil {
		return err
	}
	return l.violation(subject)
}

// dispatch passes messages to their receivers until the connection is closed and the
// queue is empty.
func (l *link) dispatch() {
	for {
		select {
		case m := <-l.messages:
			l.deliver(m)
			continue
		default:
		}
		select {
		case m := <-l.messages:
			l.deliver(m)
		case <-l.closed:
			for len(l.messages) > 0 {
				l.deliver(<-l.messages)
			}
			return
		}
	}
}

// deliver passes a message to its receiver. After a message was dropped, it drops all
// others: the next connection reports a gap.
func (l *link) deliver(m *nats.Msg) {
	if dropped, err := m.Sub.Dropped(); err == nil && dropped > 0 {
		l.fail(errOverflow)
	}
	l.mu.Lock()
	failed := l.err != nil
	l.mu.Unlock()
	if failed {
		return
	}
	if s := l.broker.core.Find(m.Subject); s != nil {
		s.Receive(l, pond.Entry{Data: m.Data})
	}
}

// fail closes the connection.
func (l *link) fail(err error) {
	l.mu.Lock()
	first := l.err == nil
	if first {
		l.err = err
	}
	l.mu.Unlock()
	if first {
		go l.conn.Close()
	}
}
