package pondclient

import "time"

// WithWall replaces the clock that advances while a machine sleeps.
func WithWall(now func() time.Time) Option { return func(cfg *config) { cfg.wall = now } }

// Sizes returns the number of items that a client stores.
func (c *Client) Sizes() (channels, requests, queued, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.channels), len(c.requests), c.pending, c.bytes
}

// Delays returns the delays before attempts that fail.
func Delays(first, most time.Duration, attempts int) (delays []time.Duration) {
	cfg := defaults()
	WithBackoff(Backoff{First: first, Max: most, Healthy: most})(&cfg)
	_ = cfg.check()
	b := backoff{first: cfg.first, most: cfg.most}
	for range attempts {
		delays = append(delays, b.next(0))
	}
	return delays
}

// Config lets tests combine options.
type Config = config

// WithoutProxyOption undoes WithProxy.
func WithoutProxyOption() Option { return func(cfg *config) { cfg.proxy = nil } }
