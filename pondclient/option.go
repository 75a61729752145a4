package pondclient

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/pondsocket/pond"
)

// A Transport is a way to connect to a server.
type Transport string

// The transports.
const (
	// Auto uses a WebSocket. If a proxy or firewall seems to block WebSockets, it uses an
	// event stream. When it reconnects after ten minutes, it tries a WebSocket again.
	Auto Transport = "auto"

	WebSocket Transport = "websocket"

	// SSE uses Server-Sent Events, and sends messages with POST requests.
	SSE Transport = "sse"
)

// An Option configures a [Client].
type Option func(*config)

type config struct {
	transport Transport
	header    http.Header
	client    *http.Client
	dial      func(ctx context.Context, network, addr string) (net.Conn, error)
	proxy     func(*http.Request) (*url.URL, error)
	tls       *tls.Config
	deflate   bool
	legacy    bool

	root      context.Context
	logger    *slog.Logger
	observer  *Observer
	policy    func(*ConnectionError) Action
	token     string
	source    TokenSource
	parameter string // query parameter for the token; if empty, the token is in a header

	connectTimeout time.Duration
	joinTimeout    time.Duration
	probeAfter     time.Duration
	probeTimeout   time.Duration
	first, most    time.Duration
	healthy        time.Duration

	queue      Queue
	maxMessage int
	wall       func() time.Time
}

func defaults() config {
	return config{
		transport: Auto,
		deflate:   true,
		root:      context.Background(), //nolint:forbidigo // a client outlives the call that made it: see WithContext
		logger:    slog.Default(),
		observer:  &Observer{},
		policy:    DefaultAction,

		connectTimeout: 20 * time.Second,
		joinTimeout:    10 * time.Second,
		probeAfter:     25 * time.Second,
		probeTimeout:   10 * time.Second,
		first:          time.Second,
		most:           30 * time.Second,
		healthy:        30 * time.Second,

		queue:      Queue{Messages: 1000, Bytes: 4 << 20, Age: time.Minute},
		maxMessage: 16 << 20,
		wall:       time.Now,
	}
}

// maxTime replaces longer times, which mean "never" and would overflow.
const maxTime = 5 * 365 * 24 * time.Hour

// check returns an error if the options are invalid.
func (cfg *config) check() error {
	for _, d := range []*time.Duration{
		&cfg.connectTimeout, &cfg.joinTimeout, &cfg.probeAfter, &cfg.probeTimeout, &cfg.first, &cfg.most, &cfg.healthy,
	} {
		*d = min(*d, maxTime)
	}
	switch {
	case cfg.transport != Auto && cfg.transport != WebSocket && cfg.transport != SSE:
		return errors.New("pondclient: unknown transport " + string(cfg.transport))
	case cfg.client != nil && (cfg.dial != nil || cfg.proxy != nil || cfg.tls != nil):
		return errors.New("pondclient: WithHTTPClient excludes WithDialContext, WithProxy and WithTLSConfig: set them in its Transport")
	case cfg.legacy && cfg.transport == SSE:
		return errors.New("pondclient: WithLegacyServer excludes event streams")
	case cfg.token != "" && cfg.source != nil:
		return errors.New("pondclient: WithToken excludes WithTokenSource")
	case cfg.connectTimeout <= 0 || cfg.joinTimeout <= 0 || cfg.probeAfter <= 0 || cfg.probeTimeout <= 0:
		return errors.New("pondclient: timeouts must be positive")
	case cfg.first <= 0 || cfg.most < cfg.first || cfg.healthy < 0:
		return errors.New("pondclient: the delays of WithBackoff must be positive, and First must not exceed Max")
	case cfg.queue.Messages < 0 || cfg.queue.Bytes <= 0 || cfg.queue.Age <= 0:
		return errors.New("pondclient: the limits of WithQueue must be positive")
	case cfg.maxMessage <= 0:
		return errors.New("pondclient: the limit of WithMaxMessageSize must be positive")
	}
	return nil
}

// WithTransport sets how the client connects. The default is [Auto].
func WithTransport(t Transport) Option { return func(cfg *config) { cfg.transport = t } }

// WithHeader adds headers to all requests, such as cookies.
func WithHeader(h http.Header) Option {
	return func(cfg *config) { cfg.header = h.Clone() }
}

// WithHTTPClient sets the HTTP client for all requests, and with it the dialer, the
// proxy, TLS, cookies and redirects. Its Timeout applies only to connecting. By
// default, each Client has its own HTTP client, which uses the proxy of the environment
// as [http.DefaultTransport] does. A client that uses event streams over HTTP/2 needs
// [http.HTTP2Config.SendPingTimeout] in its Transport: otherwise a dead connection is
// used again.
func WithHTTPClient(c *http.Client) Option { return func(cfg *config) { cfg.client = c } }

// WithDialContext sets the function that opens network connections.
func WithDialContext(dial func(ctx context.Context, network, addr string) (net.Conn, error)) Option {
	return func(cfg *config) { cfg.dial = dial }
}

// WithProxy sets the function that chooses the proxy of a request, such as
// [http.ProxyURL]. Nil means no proxy. The default is [http.ProxyFromEnvironment].
func WithProxy(proxy func(*http.Request) (*url.URL, error)) Option {
	return func(cfg *config) {
		cfg.proxy = proxy
		if proxy == nil {
			cfg.proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
		}
	}
}

// WithTLSConfig sets the configuration of TLS for wss and https.
func WithTLSConfig(c *tls.Config) Option { return func(cfg *config) { cfg.tls = c } }

// WithoutCompression disables compression of messages.
func WithoutCompression() Option { return func(cfg *config) { cfg.deflate = false } }

// WithLegacyServer is for servers that send neither a first message nor request IDs,
// such as the official one on npm up to version 0.1.70. The client is connected as soon
// as the WebSocket is open, and treats a message about a channel as the answer to its
// join. [Channel.Request] fails with [errors.ErrUnsupported].
func WithLegacyServer() Option {
	return func(cfg *config) {
		cfg.legacy = true
		if cfg.transport == Auto {
			cfg.transport = WebSocket
		}
	}
}

// WithContext sets the root context. When it is done, the client closes immediately
// without sending queued messages, and all operations fail. The default is never done.
func WithContext(ctx context.Context) Option { return func(cfg *config) { cfg.root = ctx } }

// WithLogger sets the logger. The default is [slog.Default]. The client logs lost
// connections at level Info, and unexpected events at level Warn.
func WithLogger(l *slog.Logger) Option { return func(cfg *config) { cfg.logger = l } }

// WithObserver sets functions that receive notifications about connections and lost
// events.
func WithObserver(o *Observer) Option {
	return func(cfg *config) { cfg.observer = cmp.Or(o, &Observer{}) }
}

// WithPolicy sets the function that decides what the client does when an attempt to
// connect fails, when a connection ends, or when the server rejects the rejoin of a
// channel. The default is [DefaultAction]; policy can call it for the cases that it
// does not decide. It may call methods of the client that do not wait.
func WithPolicy(policy func(*ConnectionError) Action) Option {
	return func(cfg *config) { cfg.policy = policy }
}

// WithToken sets a fixed token, which only [Client.SetToken] changes. The client stops
// if the server rejects it.
func WithToken(token string) Option { return func(cfg *config) { cfg.token = token } }

// WithTokenSource sets the function that returns tokens.
func WithTokenSource(source TokenSource) Option { return func(cfg *config) { cfg.source = source } }

// WithTokenParameter sends the token as this parameter of the query. By default it
// is sent in the header "Authorization: Bearer". URLs appear in the logs of
// proxies; headers do not.
func WithTokenParameter(name string) Option { return func(cfg *config) { cfg.parameter = name } }

// WithConnectTimeout limits the time of one attempt to connect, from getting a
// token to the first message of the server. The default is 20 seconds.
func WithConnectTimeout(d time.Duration) Option { return func(cfg *config) { cfg.connectTimeout = d } }

// WithJoinTimeout sets how long the client waits for the answer to a join before it
// sends the join again. The default is 10 seconds. To limit how long [Client.Join]
// waits, use its context.
func WithJoinTimeout(d time.Duration) Option { return func(cfg *config) { cfg.joinTimeout = d } }

// WithHeartbeat sets the times for detecting dead connections. If no data arrives for
// the duration after, the client sends a ping. If no data arrives for another timeout,
// it drops the connection. The defaults are 25 and 10 seconds.
//
// On an event stream, the client cannot send a ping. If the server sends heartbeats,
// the client drops a stream when two heartbeats are missing. Otherwise it sends a POST
// request that a Pond answers on the stream.
func WithHeartbeat(after, timeout time.Duration) Option {
	return func(cfg *config) { cfg.probeAfter, cfg.probeTimeout = after, timeout }
}

// A Backoff sets the delays before a client reconnects. Each delay is random.
type Backoff struct {
	// First is the maximum of the first delay. The maximum doubles with each failure. The
	// default is one second.
	First time.Duration

	// Max limits all delays. The default is 30 seconds.
	Max time.Duration

	// Healthy is how long a connection must last so that the maximum starts again at First.
	// The default is 30 seconds.
	Healthy time.Duration
}

// WithBackoff sets the delays before reconnects. Fields that are zero keep their default.
func WithBackoff(b Backoff) Option {
	return func(cfg *config) {
		cfg.first = cmp.Or(b.First, cfg.first)
		cfg.most = cmp.Or(b.Max, cfg.most)
		cfg.healthy = cmp.Or(b.Healthy, cfg.healthy)
	}
}

// A Queue limits the messages that are not sent yet.
type Queue struct {
	// Messages is the maximum number of messages that wait for a connection or a join. The
	// default is 1000.
	Messages int

	// Bytes is the maximum size of all messages that are not sent yet, including those of
	// a connected client. The default is 4 MiB.
	Bytes int

	// Age is the maximum time that a message waits. The default is one minute.
	Age time.Duration
}

// WithQueue limits the queued messages of all channels together. When a limit is
// reached, [Channel.Send] and [Channel.Request] fail with [ErrQueueFull] or
// [ErrExpired]. Fields that are zero keep their default. A negative number of Messages
// means that no message may wait.
func WithQueue(q Queue) Option {
	return func(cfg *config) {
		if q.Messages != 0 {
			cfg.queue.Messages = max(q.Messages, 0)
		}
		if q.Bytes != 0 {
			cfg.queue.Bytes = q.Bytes
		}
		if q.Age != 0 {
			cfg.queue.Age = q.Age
		}
	}
}

// WithMaxMessageSize limits the size of a message from the server in bytes. If the
// server sends a larger one, the client disconnects. The default is 16 MiB.
func WithMaxMessageSize(bytes int) Option { return func(cfg *config) { cfg.maxMessage = bytes } }

// A JoinOption configures how a channel is joined.
type JoinOption func(*joinConfig)

type joinConfig struct {
	params     any
	paramsFunc func(ctx context.Context) (any, error)
	noRecovery bool
	presence   bool
	last       int
	from       pond.Position
	maxEvents  int
	maxBytes   int
}

func joinDefaults() joinConfig {
	return joinConfig{maxEvents: 1024, maxBytes: 4 << 20}
}

func (cfg *joinConfig) check() error {
	switch {
	case cfg.params != nil && cfg.paramsFunc != nil:
		return errors.New("pondclient: WithParams excludes WithParamsFunc")
	case cfg.last < 0 || cfg.last > 0 && cfg.from != (pond.Position{}):
		return errors.New("pondclient: WithLast needs a positive number, and excludes WithPosition")
	case cfg.noRecovery && (cfg.last > 0 || cfg.from != (pond.Position{})):
		return errors.New("pondclient: WithoutRecovery excludes WithLast and WithPosition")
	case cfg.maxEvents <= 0 || cfg.maxBytes <= 0:
		return errors.New("pondclient: the limits of WithBuffer must be positive")
	}
	return nil
}

// WithParams sets the payload of the join, a value that encodes to a JSON object. It is
// encoded once, and sent with every join of the channel, including those after a
// reconnect.
func WithParams(params any) JoinOption { return func(cfg *joinConfig) { cfg.params = params } }

// WithParamsFunc sets a function that returns the payload of each join, for example
// with a fresh token. Its context is done when the connection ends. If f returns an
// error at the first join, [Client.Join] returns it; at later joins, the client calls f
// again after a delay.
func WithParamsFunc(f func(ctx context.Context) (any, error)) JoinOption {
	return func(cfg *joinConfig) { cfg.paramsFunc = f }
}

// WithLast asks for the last n messages in the history of the channel. The server may
// send fewer. They arrive before new messages, followed by a [*Recovered] event.
func WithLast(n int) JoinOption { return func(cfg *joinConfig) { cfg.last = n } }

// WithPosition asks for all messages after p, which is the [Message.Position] that a
// program stored before it ended. A [*Recovered] or [*Gap] event reports the result. The
// zero Position has no effect: use [WithLast] when the program has not stored one.
func WithPosition(p pond.Position) JoinOption { return func(cfg *joinConfig) { cfg.from = p } }

// WithoutRecovery does not ask the server for messages that this client missed.
// Every reconnect is a [*Gap].
func WithoutRecovery() JoinOption { return func(cfg *joinConfig) { cfg.noRecovery = true } }

// WithPresence requests the members of the channel: see [Presence] and
// [Channel.Members]. Unless the server offers presence differences, it sends them only
// to members that it tracks.
func WithPresence() JoinOption { return func(cfg *joinConfig) { cfg.presence = true } }

// WithBuffer sets the maximum number of events in the buffer, and their maximum size in
// bytes. A program that does not keep up gets a [*Gap]. The defaults are 1024 events
// and 4 MiB.
func WithBuffer(events, bytes int) JoinOption {
	return func(cfg *joinConfig) { cfg.maxEvents, cfg.maxBytes = events, bytes }
}

// A SendOption configures how a message is sent.
type SendOption func(*sendConfig)

type sendConfig struct {
	idempotent bool
	reply      string
}

// Idempotent marks a message that the server may handle twice. The client sends it
// again if a connection is lost and it is unknown whether the message arrived. By
// default, messages are not sent again.
func Idempotent() SendOption { return func(cfg *sendConfig) { cfg.idempotent = true } }

// ReplyNamed makes [Channel.Request] wait for a reply with this event name, or
// for an error. By default, the first message with the ID of the request is the answer,
// even if it is a broadcast. It has no effect on [Channel.Send].
func ReplyNamed(event string) SendOption { return func(cfg *sendConfig) { cfg.reply = event } }
