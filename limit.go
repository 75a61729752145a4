package pond

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond/internal/descriptors"
	"github.com/pondsocket/pond/internal/transport"
)

// unknownMaxConns is the default of [WithMaxConns] if the maximum number of descriptors
// is unknown.
const unknownMaxConns = 100_000

// A connCount counts the connections of all endpoints of a Pond. An endpoint
// without [WithMaxConns] accepts connections while the sum is below the default
// limit.
type connCount struct {
	// Static after construction.
	limit       int64
	descriptors int // 0 if unknown

	n      atomic.Int64
	logged atomic.Bool
}

func newConnCount() *connCount {
	c := &connCount{limit: unknownMaxConns, descriptors: descriptors.Limit()}
	if c.descriptors > 0 {
		c.limit = max(1, int64(c.descriptors)*4/5)
	}
	return c
}

// reserve counts another connection, unless limited is set and the limit is reached.
func (c *connCount) reserve(limited bool) bool {
	for {
		n := c.n.Load()
		if limited && n >= c.limit {
			return false
		}
		if c.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (c *connCount) release() { c.n.Add(-1) }

// halfUsed reports whether half of the default limit is reached.
func (c *connCount) halfUsed() bool { return c.n.Load()*2 >= c.limit }

// log logs the default limit, once.
func (c *connCount) log(p *Pond) {
	if c.descriptors > 0 && !c.logged.Load() && c.logged.CompareAndSwap(false, true) {
		p.log(context.Background(), slog.LevelInfo, "pond: connections are limited to 80 % of the file descriptors", //nolint:forbidigo // it belongs to no request
			slog.Int64("connections", c.limit), slog.Int("descriptors", c.descriptors))
	}
}

// reserve takes a connection slot for a client at addr, which is the zero Addr
// unless [WithMaxConnsPerAddress] is set. It returns an error if there is none. The
// caller must return the slot with release.
func (e *Endpoint) reserve(addr netip.Addr) error {
	e.mu.Lock()
	met, err := e.reserveLocked(addr)
	e.mu.Unlock()
	if e.pond.conns.halfUsed() {
		e.announce()
	}
	if met != "" {
		e.limited(met)
	}
	return err
}

func (e *Endpoint) reserveLocked(addr netip.Addr) (met Limit, err error) {
	switch {
	case e.closing:
		return "", refuse(http.StatusServiceUnavailable, "the server is shutting down")
	case addr.IsValid() && e.perAddress[addr] >= e.cfg.maxPerAddress:
		return LimitAddress, refuse(http.StatusTooManyRequests, "too many connections from this address")
	case e.cfg.maxConns > 0 && e.slots >= e.cfg.maxConns, !e.pond.conns.reserve(e.cfg.maxConns == 0):
		return LimitConns, refuse(http.StatusServiceUnavailable, "too many connections")
	}
	e.slots++
	if addr.IsValid() {
		if e.perAddress == nil {
			e.perAddress = map[netip.Addr]int{}
		}
		e.perAddress[addr]++
	}
	e.tasks.Add()
	return "", nil
}

// maxConns returns how many clients the endpoint may have.
func (e *Endpoint) maxConns() int {
	if e.cfg.maxConns > 0 {
		return e.cfg.maxConns
	}
	return int(e.pond.conns.limit)
}

// announce logs the limit of connections if it is the default.
func (e *Endpoint) announce() {
	if e.cfg.maxConns == 0 {
		e.pond.conns.log(e.pond)
	}
}

// release returns the slot of a client.
func (e *Endpoint) release(c *conn) {
	e.mu.Lock()
	e.slots--
	if c.addr.IsValid() {
		if e.perAddress[c.addr]--; e.perAddress[c.addr] == 0 {
			delete(e.perAddress, c.addr)
		}
	}
	e.releaseIdentityLocked(c.identity)
	e.mu.Unlock()
	e.pond.conns.release()
	e.tasks.Done()
}

// clientAddress returns the address for which the request counts: the client's IPv4
// address, or its IPv6 network of 64 bits, because one subscriber usually has such a
// network. The result is not valid if the address is unknown, as over a Unix socket
// without a proxy.
func (c *endpointConfig) clientAddress(r *http.Request) netip.Addr {
	addr := parseAddress(r.RemoteAddr)
	if len(c.trustedProxies) > 0 && (!addr.IsValid() || c.trusts(addr)) {
		addr = c.forwardedFor(r.Header.Values("X-Forwarded-For"), addr)
	}
	if addr.Is6() {
		prefix, _ := addr.Prefix(64) // the only error is a length that is too large
		addr = prefix.Addr()
	}
	return addr
}

// forwardedFor returns the last address in the headers that is not that of a trusted
// proxy. The client can forge all values to the left of it. proxy is the address of the
// proxy that made the request.
func (c *endpointConfig) forwardedFor(headers []string, proxy netip.Addr) netip.Addr {
	for _, header := range slices.Backward(headers) {
		for rest, more := header, true; more; {
			var part string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, part = rest[:comma], rest[comma+1:]
			} else {
				part, more = rest, false
			}
			addr := parseAddress(strings.TrimSpace(part))
			switch {
			case !addr.IsValid():
				return proxy // which passed on a value that is not an address
			case !c.trusts(addr):
				return addr
			}
			proxy = addr
		}
	}
	return proxy
}

func (c *endpointConfig) trusts(addr netip.Addr) bool {
	for _, prefix := range c.trustedProxies {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// parseAddress parses an IP address with or without a port. The result has no zone, and
// an IPv4-mapped IPv6 address becomes an IPv4 address.
func parseAddress(text string) netip.Addr {
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		withPort, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}
		}
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone("")
}

// unmapPrefix returns an IPv4 prefix for an IPv4-mapped IPv6 prefix, because addresses
// are compared as IPv4 (RFC 4291 section 2.5.5.2).
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

// Released returns the connection's slot, unless handlers still run.
func (c *conn) Released(*transport.Conn) { c.releaseSlot() }

// releaseSlot is called twice: when the network connection is closed, and when the last
// handler returned. The second call returns the slot.
func (c *conn) releaseSlot() {
	if c.slotUsers.Add(-1) == 0 {
		c.endpoint.release(c)
	}
}

// A bucket is the rate limit of one connection: a token bucket, which holds up to burst
// tokens and gets perSecond new ones per second. A nil bucket has no limit.
type bucket struct {
	perSecond, burst float64

	mu      sync.Mutex
	tokens  float64
	last    time.Time
	refused float64 // rejected messages since the last allowed one
}

type rateVerdict uint8

const (
	rateOK rateVerdict = iota
	rateExceeded
	rateAbuse // the client exceeded the limit by a whole burst
)

func newBucket(perSecond float64, burst int) *bucket {
	if perSecond <= 0 {
		return nil
	}
	return &bucket{perSecond: perSecond, burst: float64(burst), tokens: float64(burst), last: time.Now()}
}

// take takes a token for one message.
func (b *bucket) take() rateVerdict {
	if b == nil {
		return rateOK
	}
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.burst, b.tokens+now.Sub(b.last).Seconds()*b.perSecond)
	b.last = now
	if b.tokens >= 1 {
		b.tokens--
		b.refused = 0
		return rateOK
	}
	b.refused++
	if b.refused > b.burst {
		return rateAbuse
	}
	return rateExceeded
}

// A SlowClientPolicy decides what happens to members that read more slowly than
// messages are sent to them. The zero value disconnects them: see [WithOutboxSize] and
// [WithWriteTimeout]. See [KeepLatest] for the alternative.
type SlowClientPolicy struct {
	keepLatest bool
	key        func(event string, payload json.RawMessage) string // nil: the event
	timeout    time.Duration                                      // 0: the default
}

// WithSlowClients sets the policy for members of a lobby's channels that read too
// slowly. The default is to disconnect them. [Endpoint.Lobby] panics if [KeepLatest] is
// combined with [WithHistory], whose clients rely on receiving every message.
func WithSlowClients(p SlowClientPolicy) LobbyOption { return func(c *lobbyConfig) { c.slow = p } }

// KeepLatest drops outdated messages instead of disconnecting a member that lags. Use it
// for messages that make earlier ones obsolete, such as values on a dashboard, prices or
// positions. A member lags if its connection accepts no data for a second, or if more
// than 64 KiB (or [WithOutboxSize], if it is smaller) are queued for it while its
// connection accepts no more. Of the messages that are queued for it in the channel, it
// receives only the newest of each key, in the order in which they were sent.
//
// The key of a message is its event. A function key, if it is not nil, returns another
// one, such as the symbol in the payload of a price; messages with the same key replace
// each other even if their events differ. A message with an empty key is never dropped.
// key is called once per message, on each node that the message reaches, and may be called
// concurrently. It must not change the payload, and must not block. If it panics, the
// panic is logged and the message is not dropped.
//
// Only broadcasts are dropped, including those to named members. Replies, presence,
// acknowledgements and all other messages of the server are not. A handler for outgoing
// events sees only the messages that are sent. If it blocks the newest message of a key,
// the member receives no earlier one instead, so the key must name everything that the
// handler decides by. [Observer.Dropped] reports what was dropped.
//
// Everything that cannot be dropped, the newest message of each key included, must fit
// into [WithOutboxSize]. If it does not, the limits described there apply: the member is
// disconnected. So the number of keys is limited too.
//
// A member may read nothing for five minutes, even if [WithWriteTimeout] is shorter. In
// that time it need not answer heartbeats; see [WithPingInterval]. Set another time with
// [SlowClientPolicy.WithTimeout].
func KeepLatest(key func(event string, payload json.RawMessage) string) SlowClientPolicy {
	return SlowClientPolicy{keepLatest: true, key: key}
}

// keepLatestTimeout is the default time for which a member may read nothing.
const keepLatestTimeout = 5 * time.Minute

// WithTimeout returns the policy with another limit of the time for which a member may
// read nothing. After it, the connection ends as with [WithWriteTimeout]. It has an effect
// with [KeepLatest], and if it is longer than [WithWriteTimeout]. If a client is a member of
// several such lobbies, the longest time counts. WithTimeout panics unless d is positive.
func (p SlowClientPolicy) WithTimeout(d time.Duration) SlowClientPolicy {
	positive("WithTimeout", d)
	p.timeout = d
	return p
}

// init fills in the defaults, and panics if options exclude each other.
func (c *lobbyConfig) init(l *Lobby) {
	setDefault(&c.slow.timeout, keepLatestTimeout)
	if c.slow.keepLatest && c.history != nil {
		panic("pond: lobby " + l.Pattern() + " has WithHistory and KeepLatest: clients of a history rely on every message") //nolint:forbidigo // misuse at registration
	}
}

// newKeySpace returns the scope of the keys of a new channel, or nil if no messages are
// dropped in it.
func (ch *Channel) newKeySpace() *transport.KeySpace {
	if !ch.lobby.cfg.slow.keepLatest {
		return nil
	}
	space := new(transport.KeySpace)
	if f := ch.lobby.endpoint.pond.cfg.observer.Dropped; f != nil {
		space.Dropped = func(r transport.Receiver, n int) {
			c := r.(*conn)
			u := User{ID: c.id, conn: c}
			if m := c.member(ch.name); m != nil && m.channel == ch { // or it has left in the meantime
				u.member = m
			}
			ch.lobby.endpoint.pond.observe("Dropped", func() { f(ch, u, n) })
		}
	}
	return space
}

// key returns the key of a broadcast, or "" if it is never dropped.
func (ch *Channel) key(event string, payload []byte) (key string) {
	f := ch.lobby.cfg.slow.key
	if f == nil {
		return event
	}
	err := isolate(func() { key = f(event, payload) })
	if err == nil {
		return key
	}
	if suppressed, ok := ch.lobby.keyPanics.allow(); ok {
		ch.lobby.endpoint.pond.log(context.Background(), slog.LevelError, "pond: key function failed", //nolint:forbidigo // it belongs to no request
			slog.String("channel", ch.name), slog.String("event", event), slog.Any("error", err), slog.Int("suppressed", suppressed))
	}
	return ""
}
