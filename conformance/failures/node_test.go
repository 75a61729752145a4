package failures_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/natsbroker"
	"github.com/pondsocket/pond/redisbroker"
)

// A nodeConfig configures the process of a node.
type nodeConfig struct {
	Addr    string // where it listens
	Broker  string // a URL: redis://... or nats://...
	Timeout time.Duration
}

// A record is what a node reports about itself, as a line of JSON on its standard output.
type record struct {
	What    string // "joined", "left", "leave handler", "sent", "lost", "missed", "degraded"
	Channel string `json:",omitempty"`
	User    string `json:",omitempty"`
	N       int    `json:",omitempty"` // of a message, or how many messages
	Err     string `json:",omitempty"`
}

// A said is a message of a client.
type said struct {
	N int `json:"n"` // unique
}

// A profile is the payload of a join, and, with the ID of the user, the presence of the
// member.
type profile struct {
	Client int    `json:"client"`
	ID     string `json:"id,omitempty"`
}

// A knownUser is what a node knows of a member.
type knownUser struct{ Presence, Client string }

// runNode runs a node until it receives a signal.
func runNode(text string, output io.Writer) error {
	var cfg nodeConfig
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	var mu sync.Mutex // guards output
	report := func(r record) {
		line, _ := json.Marshal(r)
		mu.Lock()
		defer mu.Unlock()
		_, _ = output.Write(append(line, '\n')) // the test may have ended
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	broker, err := connect(cfg.Broker, logger)
	if err != nil {
		return err
	}
	p := pond.New(pond.WithBroker(broker), pond.WithNodeTimeout(cfg.Timeout), pond.WithLogger(logger), pond.WithObserver(observer(report)))
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	handle(e.Lobby("/plain/:room", enter), report)
	handle(e.Lobby("/log/:room", enter, pond.WithHistory(pond.History{Messages: kept, Age: time.Hour, Bytes: 64 << 20}), pond.WithPresenceDiffs()), report)

	mux := http.NewServeMux()
	mux.Handle("/socket", p)
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		if err := p.Degraded(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/known", func(w http.ResponseWriter, r *http.Request) {
		all := map[string]knownUser{}
		if ch, ok := e.Channel(r.FormValue("channel")); ok {
			for u := range ch.Users() {
				all[u.ID] = knownUser{string(u.Presence()), fmt.Sprint(u.Get("client"))}
			}
		}
		_ = json.NewEncoder(w).Encode(all)
	})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return p.ListenAndServe(ctx, &http.Server{Addr: cfg.Addr, Handler: mux})
}

func connect(url string, logger *slog.Logger) (pond.Broker, error) {
	if strings.HasPrefix(url, "nats:") {
		return natsbroker.New(url, natsbroker.WithLogger(logger))
	}
	return redisbroker.New(url, redisbroker.WithLogger(logger))
}

func observer(report func(record)) *pond.Observer {
	return &pond.Observer{
		Joined: func(ch *pond.Channel, u pond.User) { report(record{What: "joined", Channel: ch.Name(), User: u.ID}) },
		Left: func(ch *pond.Channel, u pond.User, _ pond.LeaveReason) {
			report(record{What: "left", Channel: ch.Name(), User: u.ID})
		},
		Degraded: func(_ *pond.Pond, reason error) {
			r := record{What: "degraded"}
			if reason != nil {
				r.Err = reason.Error()
			}
			report(r)
		},
		Missed: func(_ *pond.Pond, n int) { report(record{What: "missed", N: n}) },
		Lost:   func(_ *pond.Pond, n int, reason error) { report(record{What: "lost", N: n, Err: reason.Error()}) },
	}
}

func enter(ctx *pond.JoinContext) error {
	var p profile
	if err := ctx.Bind(&p); err != nil {
		return err
	}
	ctx.Assign("client", p.Client)
	if err := ctx.Accept(); err != nil {
		return err
	}
	p.ID = ctx.User().ID
	return ctx.Track(p)
}

func handle(l *pond.Lobby, report func(record)) {
	l.OnLeave(func(ctx *pond.LeaveContext) error {
		report(record{What: "leave handler", Channel: ctx.Channel().Name(), User: ctx.User().ID})
		return nil
	})
	l.OnMessage("say", func(ctx *pond.EventContext) error {
		var m said
		if err := ctx.Bind(&m); err != nil {
			return err
		}
		err := ctx.Broadcast("said", m)
		r := record{What: "sent", Channel: ctx.Channel().Name(), User: ctx.User().ID, N: m.N}
		if err != nil {
			r.Err = err.Error()
		}
		report(r)
		return err
	})
}
