// Package deflate is the load for compressed messages, which package load does
// not read: goroutines and coder/websocket's client, which inflates everything.
// It takes much more time than the servers do, so only what it says about their
// CPU and about bytes can be compared with other scenarios.
package deflate

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond/internal/load"
)

// Config says what [Run] does.
type Config struct {
	Dialect  load.Dialect
	Addr     string
	Clients  int
	Size     int // of a published message, in bytes of text
	InFlight int
	Compress bool // offer permessage-deflate

	Warmup   time.Duration
	Duration time.Duration
	Messages int                           // ends the run instead of Duration, if it is not 0
	CPU      func() (time.Duration, error) // of the server, so far
}

// Result is what was measured, without warm-up.
type Result struct {
	Elapsed    time.Duration `json:"elapsed"`
	Deliveries int64         `json:"deliveries"`
	Bytes      int64         `json:"bytes"` // that came over the wire
	CPU        time.Duration `json:"cpu"`   // of the server
}

// A run is what its clients share.
type run struct {
	Config

	ctx    context.Context
	cancel context.CancelCauseFunc
	http   *http.Client

	bytes      atomic.Int64
	deliveries atomic.Int64
	joined     sync.WaitGroup
	done       sync.WaitGroup // clients that read
	window     chan struct{}  // has one for each message in flight
	missing    []atomic.Int64 // by number of message, modulo its length: how many wait for it
}

// Run connects clients to one room, of which the first publishes. It returns an
// error if a client is disconnected, or does not get everything in order before
// ctx is done.
func Run(ctx context.Context, config Config) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	r := &run{
		Config: config, ctx: ctx, cancel: cancel,
		window:  make(chan struct{}, config.InFlight),
		missing: make([]atomic.Int64, config.InFlight),
	}
	transport := &http.Transport{DialContext: r.dial}
	r.http = &http.Client{Transport: transport}
	defer r.done.Wait()
	defer cancel(nil)

	var publisher *client
	for i := range r.Clients {
		c, err := r.connect(i)
		if err != nil {
			return Result{}, fmt.Errorf("client %d: %w", i, err)
		}
		if i == 0 {
			publisher = c
		}
	}
	if err := r.await(&r.joined); err != nil {
		return Result{}, err
	}
	return r.measure(publisher)
}

// await waits for wg, or for the first failure.
func (r *run) await(wg *sync.WaitGroup) error {
	all := make(chan struct{})
	go func() {
		wg.Wait()
		close(all)
	}()
	select {
	case <-all:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}
