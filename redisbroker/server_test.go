package redisbroker_test

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/testserver"
	"github.com/redis/rueidis"
)

// A server is a redis-server of a test, on its own loopback port.
type server struct {
	*testserver.Server
	t    testing.TB
	args []string
}

// startServer starts a server, which ends with the test.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	s := newServer(t, args...)
	s.Start()
	return s
}

// newServer returns a server that is not started yet.
func newServer(t testing.TB, args ...string) *server {
	t.Helper()
	return prepare(t, append([]string{"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"}, args...))
}

// prepare returns a server with only these arguments, besides those for its port.
func prepare(t testing.TB, args []string) *server {
	t.Helper()
	return &server{Server: testserver.NewRedis(t, args...), t: t, args: args}
}

// command runs a command with redis-cli's protocol, and fails the test on an error.
func (s *server) command(args ...string) rueidis.RedisMessage {
	s.t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m, err := client.Do(ctx, client.B().Arbitrary(args...).Build()).ToMessage()
	if err != nil {
		s.t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return m
}

// killClients closes the connections with this name, as CLIENT KILL does. kind is
// "pubsub", "normal" or "".
func (s *server) killClients(name, kind string) {
	s.t.Helper()
	eventually(s.t, "a connection of "+name, func() bool { return s.killSome(name, kind) > 0 })
}

func (s *server) killSome(name, kind string) (killed int) {
	s.t.Helper()
	m := s.command("CLIENT", "LIST")
	list, _ := m.ToString()
	for line := range strings.Lines(strings.TrimPrefix(list, "txt:")) { // the format of a verbatim string
		id, subscriptions, named := "", false, false
		for field := range strings.FieldsSeq(line) {
			key, value, _ := strings.Cut(field, "=")
			switch key {
			case "id":
				id = value
			case "name":
				named = value == name
			case "sub":
				subscriptions = value != "0"
			}
		}
		if named && (kind == "" || subscriptions == (kind == "pubsub")) {
			s.command("CLIENT", "KILL", "ID", id)
			killed++
		}
	}
	return killed
}

// port returns the port of an address.
func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	if _, err := strconv.Atoi(p); err != nil {
		panic(err)
	}
	return p
}
