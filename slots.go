package pond

import (
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"sync/atomic"
)

// unknownMaxConns is the default of [WithMaxConns] where the system does not say
// how many descriptors a process may have.
const unknownMaxConns = 100_000

// A connCount counts the connections of all endpoints of a Pond. An endpoint
// without [WithMaxConns] accepts connections while the sum is below the default
// limit.
type connCount struct {
	// Static after construction.
	limit       int64
	descriptors uint64 // 0 if unknown

	n      atomic.Int64
	logged atomic.Bool
}

func newConnCount() *connCount {
	c := &connCount{limit: unknownMaxConns, descriptors: maxDescriptors()}
	if c.descriptors > 0 {
		c.limit = max(1, int64(c.descriptors/5*4)) //nolint:gosec // maxDescriptors returns far less
	}
	return c
}

// reserve counts one connection more, unless limited is set and the limit is reached.
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

// log logs the default limit, the first time that an endpoint uses it.
func (c *connCount) log(l *slog.Logger) {
	if c.descriptors > 0 && !c.logged.Load() && c.logged.CompareAndSwap(false, true) {
		l.Info("pond: connections are limited to 80 % of the file descriptors",
			slog.Int64("connections", c.limit), slog.Uint64("descriptors", c.descriptors))
	}
}

// reserve takes a connection slot for a client at addr, which is the zero Addr
// unless [WithMaxConnsPerAddress] is set. The error says why there is none. The
// caller must give the slot back with release.
func (e *Endpoint) reserve(addr netip.Addr) error {
	e.announce()
	e.mu.Lock()
	met, err := e.reserveLocked(addr)
	e.mu.Unlock()
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

// announce logs the limit of connections if nobody has chosen it.
func (e *Endpoint) announce() {
	if e.cfg.maxConns == 0 {
		e.pond.conns.log(e.pond.logger())
	}
}

// release gives back the slot of a client at addr.
func (e *Endpoint) release(addr netip.Addr) {
	e.mu.Lock()
	e.slots--
	if addr.IsValid() {
		if e.perAddress[addr]--; e.perAddress[addr] == 0 {
			delete(e.perAddress, addr)
		}
	}
	e.mu.Unlock()
	e.pond.conns.release()
	e.tasks.Done()
}

// maxKnownDescriptors is the largest limit that is taken as one. Systems without
// a limit report a larger number.
const maxKnownDescriptors = math.MaxInt32
