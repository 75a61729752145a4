package redisbroker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/remotebroker"
	"github.com/redis/rueidis"
)

// subscribeBatch is the maximum number of names in one command.
const subscribeBatch = 512

var (
	errReconnected = errors.New("redisbroker: reconnected")
	errProbe       = errors.New("redisbroker: a probe did not arrive")
	errLinkClosed  = errors.New("redisbroker: the connection was closed")
)

// A link is one connection for subscriptions. Its reader calls the receivers. If a
// receiver is slow, the server queues messages up to its limit and then closes the
// connection. This causes a gap, but memory use stays limited.
type link struct {
	broker *Broker
	server *server
	client rueidis.Client
	conn   rueidis.DedicatedClient
	ctx    context.Context // ends with the link
	probes sync.WaitGroup

	active map[string]bool // topics with a subscription at the server; owned by serve
	probed chan struct{}   // has an element when a probe arrived
	heard  atomic.Int64    // when data last arrived, in nanoseconds since 1970
}

func newLink(s *server, client rueidis.Client) *link {
	return &link{broker: s.broker, server: s, client: client, active: map[string]bool{}, probed: make(chan struct{}, 1)}
}

// serve subscribes to all topics and keeps them up to date. It returns the reason when
// the connection cannot be used any more.
func (l *link) serve() error {
	b := l.broker
	ctx, cancel := context.WithCancel(l.server.ctx)
	l.ctx = ctx
	conn, release := l.client.Dedicate()
	l.conn = conn
	closed := conn.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: l.onMessage, OnSubscription: l.onSubscription})
	defer func() {
		cancel()
		conn.Close()
		release()
		for range closed { // wait until no receiver is called any more
		}
		l.probes.Wait()
	}()

	if err := l.subscribe(l.server.probe); err != nil {
		return err
	}
	b.mu.Lock()
	for _, sub := range b.core.Subscriptions() {
		if l.server.ownsLocked(sub.Topic) {
			l.server.changedLocked(sub.Topic)
		}
	}
	b.mu.Unlock()
	if err := l.sync(); err != nil {
		return err
	}
	l.server.work()
	return l.watch(closed)
}

// watch keeps the subscriptions up to date, and probes the connection when it is idle.
func (l *link) watch(closed <-chan error) error {
	interval := l.broker.cfg.probeInterval
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	probing := make(chan error, 1)
	waiting := false
	for {
		select {
		case err := <-closed:
			if err == nil {
				err = errLinkClosed
			}
			return err
		case <-l.ctx.Done():
			return l.ctx.Err()
		case <-l.server.wake:
			if err := l.sync(); err != nil {
				return err
			}
		case <-ticker.C:
			idle := time.Since(time.Unix(0, l.heard.Load())) >= interval
			if !waiting && (idle || l.server.trouble.Get() != nil) {
				waiting = true
				l.probes.Go(func() { probing <- l.probe() })
			}
		case err := <-probing:
			waiting = false
			if errors.Is(err, errProbe) {
				return err
			}
			l.server.trouble.Set(err)
		}
	}
}

// probe sends a message from the node to itself. If it cannot be sent, Health reports
// this; if it does not arrive, the subscriptions do not work.
func (l *link) probe() error {
	select {
	case <-l.probed: // of an earlier probe
	default:
	}
	b := l.broker
	ctx, cancel := context.WithTimeout(l.ctx, b.cfg.probeInterval)
	defer cancel()
	cmd := l.client.B().Publish().Channel(b.prefix + l.server.probe).Message("{}").Build()
	if err := l.client.Do(ctx, cmd).Error(); err != nil {
		return fmt.Errorf("redisbroker: probe: %w", err)
	}
	timer := time.NewTimer(b.cfg.probeInterval)
	defer timer.Stop()
	select {
	case <-l.probed:
		return nil
	case <-l.ctx.Done():
		return l.ctx.Err()
	case <-timer.C:
		return errProbe
	}
}

// sync updates the subscriptions at the server to the topics that have a receiver.
func (l *link) sync() error {
	b := l.broker
	for {
		var add, remove []string
		var known []*remotebroker.Subscription // added after an earlier receiver was confirmed
		var moved []*remotebroker.Subscription // to another server of a cluster
		b.mu.Lock()
		for topic := range l.server.dirty {
			s := b.core.Find(topic)
			wanted := s != nil && l.server.ownsLocked(topic)
			switch {
			case !wanted && l.active[topic]:
				remove = append(remove, topic)
				if s != nil {
					moved = append(moved, s)
				}
			case wanted && !l.active[topic]:
				add = append(add, topic)
			case wanted:
				known = append(known, s)
			}
			delete(l.server.dirty, topic)
			if len(add) == subscribeBatch || len(remove) == subscribeBatch {
				break
			}
		}
		b.mu.Unlock()
		for _, s := range known {
			l.confirm(s)
		}
		for _, s := range moved {
			s.Lose(l)
		}
		if len(add) == 0 && len(remove) == 0 {
			return nil
		}
		if err := l.unsubscribe(remove...); err != nil {
			return err
		}
		if err := l.subscribe(add...); err != nil {
			return err
		}
	}
}

// subscribe adds topics. If the server rejects one of them, it tries them one by one.
func (l *link) subscribe(topics ...string) error {
	if len(topics) == 0 {
		return nil
	}
	err := l.command(l.conn.B().Subscribe().Channel(l.channels(topics)...).Build())
	if _, refused := rueidis.IsRedisErr(err); !refused {
		if err == nil {
			l.setActive(topics, true)
		}
		return err
	}
	if len(topics) > 1 {
		for _, topic := range topics {
			if err := l.subscribe(topic); err != nil {
				return err
			}
		}
		return nil
	}
	switch s := l.broker.core.Find(topics[0]); {
	case topics[0] == l.server.probe || s != nil && s.Known():
		return err
	case s != nil:
		s.Refuse(err)
	}
	return nil
}

func (l *link) unsubscribe(topics ...string) error {
	if len(topics) == 0 {
		return nil
	}
	err := l.command(l.conn.B().Unsubscribe().Channel(l.channels(topics)...).Build())
	if err == nil {
		l.setActive(topics, false)
	}
	return err
}

func (l *link) setActive(topics []string, active bool) {
	for _, topic := range topics {
		if active {
			l.active[topic] = true
		} else {
			delete(l.active, topic)
		}
	}
}

func (l *link) channels(topics []string) []string {
	channels := make([]string, len(topics))
	for i, topic := range topics {
		channels[i] = l.broker.prefix + topic
	}
	return channels
}

// command runs a command that a working server answers immediately.
func (l *link) command(cmd rueidis.Completed) error {
	ctx, cancel := context.WithTimeout(l.ctx, remotebroker.DialTimeout)
	defer cancel()
	return l.conn.Do(ctx, cmd).Error()
}

// confirm records that the link receives a topic from now on, unless its slot moved to
// another server.
func (l *link) confirm(s *remotebroker.Subscription) {
	s.Confirm(l, errReconnected, func() bool { return l.server.owns(s.Topic) })
}

// onSubscription is called by the reader of the connection.
func (l *link) onSubscription(s rueidis.PubSubSubscription) {
	l.heard.Store(time.Now().UnixNano())
	topic, ok := l.broker.topicOf(s.Channel)
	if !ok || s.Kind != "subscribe" {
		return
	}
	if s := l.broker.core.Find(topic); s != nil {
		l.confirm(s)
	}
}

// onMessage is called by the reader of the connection.
func (l *link) onMessage(m rueidis.PubSubMessage) {
	l.heard.Store(time.Now().UnixNano())
	topic, ok := l.broker.topicOf(m.Channel)
	if !ok {
		return
	}
	if topic == l.server.probe {
		select {
		case l.probed <- struct{}{}:
		default:
		}
		return
	}
	if s := l.broker.core.Find(topic); s != nil {
		var e pond.Entry
		e.Data, e.Pos, e.Prev = unescape([]byte(m.Message))
		s.Receive(l, e)
	}
}

// randomText returns 26 letters and digits.
func randomText() string { return rand.Text() }
