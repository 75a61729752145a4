// Package deflate is the load generator for compressed messages, which package load does
// not support. It uses goroutines and the client of coder/websocket, which inflates all
// messages. It needs much more CPU time than the servers, so only the CPU time of servers
// and the number of bytes can be compared with other scenarios.
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

// Config configures [Run].
type Config struct {
	Dialect  load.Dialect
	Addr     string
	Clients  int
	Size     int // of a published message, in bytes
	InFlight int
	Compress bool // offer permessage-deflate

	Warmup   time.Duration
	Duration time.Duration
	Messages int                           // if not 0, ends the run instead of Duration
	CPU      func() (time.Duration, error) // CPU time of the server so far
}

// Result holds the measurements, without warm-up.
type Result struct {
	Elapsed    time.Duration `json:"elapsed"`
	Deliveries int64         `json:"deliveries"`
	Bytes      int64         `json:"bytes"` // received, compressed
	CPU        time.Duration `json:"cpu"`   // of the server
}

// A run is the state that the clients share.
type run struct {
	Config

	ctx    context.Context
	cancel context.CancelCauseFunc
	http   *http.Client

	bytes      atomic.Int64
	deliveries atomic.Int64
	joined     sync.WaitGroup
	done       sync.WaitGroup // reading clients
	window     chan struct{}  // has an element per message in flight
	missing    []atomic.Int64 // by number of message, modulo the length: number of missing receivers
}

// Run connects clients to one room. The first client publishes. Run returns an error if a
// client is disconnected, or does not receive all messages in order before ctx is done.
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
