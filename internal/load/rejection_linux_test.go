package load_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/load"
)

// serveRejections serves endpoints that reject clients in different ways.
func serveRejections(t *testing.T) string {
	t.Helper()
	p := pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)))
	accept := func(ctx *pond.ConnectionContext) error { return ctx.Accept() }
	p.Endpoint("/declines", func(ctx *pond.ConnectionContext) error {
		return ctx.Decline(http.StatusUnauthorized, "who are you?")
	})
	p.Endpoint("/rejects", accept).Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
		return ctx.Decline(http.StatusForbidden, "members only")
	})
	p.Endpoint("/forgets", accept).Lobby("/chat/:room", func(ctx *pond.JoinContext) error { // does not track one of the members
		var join struct {
			Track map[string]string `json:"track"`
		}
		if err := ctx.Bind(&join); err != nil {
			return err
		}
		if err := ctx.Accept(); err != nil || join.Track["name"] == load.PresenceMark(2) {
			return err
		}
		return ctx.Track(join.Track)
	})
	mux := http.NewServeMux()
	mux.Handle("/", p)
	mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<p>hello")) // the client may have closed the connection
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return strings.TrimPrefix(srv.URL, "http://")
}

// Clients that cannot join are counted, and the first reason is reported.
func TestRejectedClients(t *testing.T) {
	t.Parallel()
	addr := serveRejections(t)
	for name, tt := range map[string]struct {
		path     string
		scenario load.Scenario
		err      string      // of Run
		want     load.Faults // if err is empty
		broken   string      // of Result.Err
	}{
		"connection":          {"/declines", load.Fanout, "only 0 of 5 clients joined: client ", load.Faults{}, ""},
		"connection, churn":   {"/declines", load.Churn, "", load.Faults{Failed: 5, Reason: "401"}, "5 failed: client "},
		"join":                {"/rejects", load.Fanout, "only 0 of 5 clients joined: rejected: UNAUTHORIZED 403 on /chat/0: members only", load.Faults{}, ""},
		"join, churn":         {"/rejects", load.Churn, "", load.Faults{Rejected: 5, Reason: "members only"}, "5 rejected: rejected: "},
		"presence":            {"/forgets", load.Presence, "", load.Faults{}, "5 incomplete lists"},
		"no endpoint":         {"/nowhere", load.Idle, "404 Not Found", load.Faults{}, ""},
		"another kind of URL": {"/page", load.Idle, "the server responded ", load.Faults{}, ""},
	} {
		for _, tr := range transports {
			t.Run(name+"/"+string(tr), func(t *testing.T) {
				t.Parallel()
				res, err := load.Run(t.Context(), load.Config{
					Scenario: tt.scenario, Transport: tr, Clients: 5, Addr: addr, LostAfter: lostAfter, Messages: 20,
					Dialect: load.Pond{Path: tt.path, Channel: "/chat/%d"},
				})
				if err != nil || tt.err != "" {
					if err == nil || tt.err == "" || !strings.Contains(err.Error(), tt.err) {
						t.Errorf("error %v, want %q in it", err, tt.err)
					}
					return
				}
				if err := res.Err(); err == nil || !strings.HasPrefix(err.Error(), tt.broken) {
					t.Errorf("result %v, want %q", err, tt.broken)
				}
				if tt.scenario != load.Presence {
					checkFaults(t, res, tt.want)
				}
			})
		}
	}
}

func TestFindPIDs(t *testing.T) {
	addr := servePond(t)
	if pids, err := load.FindPIDs(addr); err != nil || !slices.Equal(pids, []int{os.Getpid()}) {
		t.Errorf("%v, %v, want %d", pids, err, os.Getpid())
	}
	if pids, err := load.FindPIDs("127.0.0.1:1"); err != nil || len(pids) > 0 {
		t.Errorf("for an unused port: %v, %v", pids, err)
	}
	if _, err := load.FindPIDs("localhost:x"); err == nil {
		t.Error("no error for an invalid address")
	}
}
