// Cluster is one node of a cluster: a chat server that shares its channels with the other
// nodes at the same Redis or NATS server.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/testchat"
	"github.com/pondsocket/pond/natsbroker"
	"github.com/pondsocket/pond/redisbroker"

	"github.com/pondsocket/pond/examples/internal/page"
)

//go:embed page
var files embed.FS

// connect returns the broker of a node. It does not wait for the connection.
func connect(redis, nats string) (pond.Broker, error) {
	switch {
	case redis != "" && nats == "":
		return redisbroker.New(redis)
	case nats != "" && redis == "":
		return natsbroker.New(nats)
	}
	return nil, errors.New("want the URL of one broker: -redis redis://HOST:PORT or $REDIS_URL, or -nats nats://HOST:PORT or $NATS_URL")
}

// newNode returns a node. Its Shutdown closes the broker.
func newNode(broker pond.Broker, timeout time.Duration) *pond.Pond {
	p := pond.New(pond.WithBroker(broker), pond.WithNodeTimeout(timeout), pond.WithObserver(&pond.Observer{
		Connected: func(_ *pond.Endpoint, user string, t pond.Transport) {
			log.Printf("%s connected over %s", user, t)
		},
		Disconnected: func(_ *pond.Endpoint, user string, _ pond.Transport, cause error) {
			log.Printf("%s disconnected: %v", user, cause)
		},
		Lost: func(_ *pond.Pond, messages int, reason error) {
			log.Printf("%d messages did not reach the other nodes: %v", messages, reason)
		},
		Missed: func(_ *pond.Pond, messages int) {
			log.Printf("%d messages of other nodes did not arrive", messages)
		},
	}))
	testchat.Add(p) // the lobbies /chat/:room, and /log/:room with a history
	return p
}

// handler serves a page, and a check of readiness for the load balancer.
func handler(p *pond.Pond) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/socket", p)
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if p.Degraded() != nil { // the log has the reason
			http.Error(w, "not connected to the cluster", http.StatusServiceUnavailable)
		}
	})
	mux.Handle("/", page.Handler(files))
	return mux
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8000", "listen at `HOST:PORT`")
	redis := flag.String("redis", "", "`URL` of a Redis server, such as redis://127.0.0.1:6379; without -redis and -nats, it is $REDIS_URL")
	nats := flag.String("nats", "", "`URL` of a NATS server, such as nats://127.0.0.1:4222; without -redis and -nats, it is $NATS_URL")
	timeout := flag.Duration("node-timeout", 90*time.Second, "`time` after which a silent node is dead; the same on all nodes")
	flag.Parse()
	if *redis == "" && *nats == "" { // not defaults of the flags: -help would show the password
		*redis, *nats = os.Getenv("REDIS_URL"), os.Getenv("NATS_URL")
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	broker, err := connect(*redis, *nats)
	if err != nil {
		log.Fatal(err)
	}
	p := newNode(broker, *timeout)
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("process %d is listening on http://%v", os.Getpid(), l.Addr())
	if err := p.Serve(ctx, &http.Server{Handler: handler(p), ReadHeaderTimeout: 10 * time.Second}, l); err != nil {
		log.Fatal(err)
	}
}
