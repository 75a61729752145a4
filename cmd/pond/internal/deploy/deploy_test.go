package deploy_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/cmd/pond/internal/deploy"
	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/pondclient"
)

// A server is a Pond in memory.
type server struct {
	pond     *pond.Pond
	endpoint *pond.Endpoint
	http     *http.Server
	listener *pipenet.Listener
	stop     context.CancelFunc
	tasks    sync.WaitGroup
	once     sync.Once
}

const every = time.Second

// start starts a server that skips some ticks.
func start(skip int64) *server {
	p := pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)))
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() }, pond.WithHistory(pond.History{}))
	ctx, stop := context.WithCancel(context.Background())
	s := &server{pond: p, endpoint: e, listener: pipenet.Listen(0), stop: stop}
	s.http = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	s.tasks.Go(func() { _ = s.http.Serve(s.listener) })
	s.tasks.Go(func() {
		deploy.Tick(ctx, every, func(n int64) {
			for ch := range e.Channels() {
				if skip == 0 || n%skip != 0 {
					_ = ch.Broadcast("tick", map[string]int64{"n": n})
				}
			}
		})
	})
	return s
}

func (s *server) Dial(ctx context.Context) (net.Conn, error) {
	c, err := s.listener.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (s *server) Drain() error {
	var err error
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		s.listener.Close()
		err = s.pond.Shutdown(ctx)
		s.stop()
		_ = s.http.Close()
		s.tasks.Wait()
	})
	return err
}

func play(t *testing.T, clients int, ignore bool, over pondclient.Transport, skip int64) *deploy.Result {
	t.Helper()
	var result *deploy.Result
	synctest.Test(t, func(t *testing.T) {
		phases := map[string]int{}
		r, err := deploy.Run(t.Context(), deploy.Config{
			Clients: clients, Rooms: 10, Transport: over, Ignore: ignore, Every: every,
			Warmup: 5 * time.Second, Limit: time.Minute,
			Start:    func(context.Context) (deploy.Server, error) { return start(skip), nil },
			Progress: func(phase string, _ int) { phases[phase]++ },
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(phases) < 2 {
			t.Errorf("phases %v", phases)
		}
		result = r
	})
	return result
}

func TestObedienceFlattensThePeak(t *testing.T) {
	const clients = 1500
	obey, ignore := play(t, clients, false, pondclient.WebSocket, 0), play(t, clients, true, pondclient.WebSocket, 0)
	for _, r := range []*deploy.Result{obey, ignore} {
		if r.Back != clients || r.Err() != nil || r.Lost != 0 {
			t.Errorf("%+v, error %v", r, r.Err())
		}
	}
	if obey.PeakSecond > 700 || obey.AllBack < 2500*time.Millisecond || obey.AllBack > 5*time.Second {
		t.Errorf("clients that obey: %+v", obey)
	}
	if ignore.PeakSecond < 1200 || ignore.AllBack > 2*time.Second || !ignore.Ignored {
		t.Errorf("clients that do not: %+v", ignore)
	}
	if obey.Missed <= ignore.Missed {
		t.Errorf("clients that wait missed %d messages, clients that do not wait %d", obey.Missed, ignore.Missed)
	}
}

func TestEventStreams(t *testing.T) {
	r := play(t, 200, false, pondclient.SSE, 0)
	if r.Back != 200 || r.Err() != nil {
		t.Errorf("%+v, error %v", r, r.Err())
	}
}

func TestSilentLossesAreFound(t *testing.T) {
	r := play(t, 300, false, pondclient.WebSocket, 4)
	t.Logf("%d lost", r.Lost)
	if r.Lost < 10 || r.Err() == nil {
		t.Errorf("%+v, error %v", r, r.Err())
	}
}

func TestAServerThatCannotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		_, err := deploy.Run(t.Context(), deploy.Config{
			Clients: 5, Rooms: 1, Transport: pondclient.WebSocket, Every: every, Warmup: time.Second, Limit: time.Minute,
			Start: func(context.Context) (deploy.Server, error) {
				if n++; n > 1 {
					return nil, fmt.Errorf("no port")
				}
				return start(0), nil
			},
		})
		if err == nil || err.Error() != "no port" {
			t.Errorf("error %v", err)
		}
	})
}
