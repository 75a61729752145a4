package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/pondsocket/pond"
)

// A cost has the resources that the server uses after a garbage collection.
type cost struct {
	Clients     int64
	RSS         int
	Heap        uint64
	Goroutines  int
	Descriptors int
}

// serve is the process under test. It answers each line of its input with a cost, and
// exits at the end of its input.
func serve() error {
	var clients atomic.Int64
	p := pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)), pond.WithObserver(&pond.Observer{
		Connected:    func(*pond.Endpoint, string, pond.Transport) { clients.Add(1) },
		Disconnected: func(*pond.Endpoint, string, pond.Transport, error) { clients.Add(-1) },
	}))
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		if ctx.Query().Has("refuse") {
			return ctx.Decline(http.StatusForbidden, "no")
		}
		return ctx.Accept()
	}, pond.WithMaxMessageSize(64<<10))
	addRoom(e)

	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // for the lifetime of the process
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler: p, ReadHeaderTimeout: timeout,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	go func() { _ = srv.Serve(l) }() // ends with the process
	fmt.Println(l.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		c, err := measure()
		if err != nil {
			return err
		}
		c.Clients = max(clients.Load(), int64(e.Len()))
		if err := json.NewEncoder(os.Stdout).Encode(c); err != nil {
			return err
		}
	}
	return nil
}

func addRoom(e *pond.Endpoint) {
	l := e.Lobby("/room/:name", func(ctx *pond.JoinContext) error {
		if ctx.Channel().Param("name") == "forbidden" {
			return ctx.Decline(http.StatusForbidden, "no")
		}
		if err := ctx.Accept(); err != nil {
			return err
		}
		ctx.Assign("since", ctx.Payload())
		return ctx.Track(ctx.Payload())
	})
	l.OnMessage("say", func(ctx *pond.EventContext) error { return ctx.Broadcast("said", ctx.Payload()) })
	l.OnMessage("shout", func(ctx *pond.EventContext) error { return ctx.Broadcast("shouted", ctx.Payload()) })
	l.OnMessage("ask", func(ctx *pond.EventContext) error { return ctx.Reply("answer", ctx.Payload()) })
	l.OnMessage("update", func(ctx *pond.EventContext) error { return ctx.Update(ctx.Payload()) })
	l.OnMessage("fail", func(*pond.EventContext) error { return io.ErrUnexpectedEOF })
	l.OnMessage("panic", func(*pond.EventContext) error { panic("at the disco") })
	l.OnMessage("evict", func(ctx *pond.EventContext) error { return ctx.Channel().Evict(ctx.User().ID, "asked for it") })
	l.OnMessage("kick", func(ctx *pond.EventContext) error {
		return e.Disconnect(ctx.User().ID, http.StatusForbidden, "asked for it")
	})
	l.OnMessage("close", func(ctx *pond.EventContext) error { ctx.Channel().Close("asked for it"); return nil })
	l.OnOutgoing("said", func(ctx *pond.OutgoingContext) error {
		if strings.HasSuffix(ctx.User().ID, "0") { // one in sixteen
			ctx.Block()
		}
		return nil
	})
	l.OnLeave(func(ctx *pond.LeaveContext) error { return ctx.Broadcast("left", nil) })
}

func measure() (cost, error) {
	runtime.GC()
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return cost{}, err
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		return cost{}, err
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return cost{}, err
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return cost{
		RSS: pages * os.Getpagesize(), Heap: mem.HeapAlloc,
		Goroutines: runtime.NumGoroutine(), Descriptors: len(fds),
	}, nil
}
