package pondclient

import (
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

// A Transport is how a client is connected.
type Transport string

// The transports.
const (
	// Auto uses a WebSocket. If none can be opened because of what lies between
	// client and server, it uses an event stream for ten minutes, and then tries
	// a WebSocket again when it reconnects.
	Auto Transport = "auto"

	WebSocket Transport = "websocket"

	// EventStream is Server-Sent Events, with a POST request for what the client
	// sends.
	EventStream Transport = "sse"
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
	observer  Observer
	policy    func(*ConnectionError) Action
	token     string
	source    TokenSource
	parameter string // of the query, for the token; none: a header

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

// check returns what is wrong with the options.
func (cfg *config) check() error {
	switch {
	case cfg.transport != Auto && cfg.transport != WebSocket && cfg.transport != EventStream:
		return errors.New("pondclient: unknown transport " + string(cfg.transport))
	case cfg.client != nil && (cfg.dial != nil || cfg.proxy != nil || cfg.tls != nil):
		return errors.New("pondclient: WithHTTPClient excludes WithDialContext, WithProxy and WithTLSConfig: set them in its Transport")
	case cfg.legacy && cfg.transport == EventStream:
		return errors.New("pondclient: WithLegacyServer excludes event streams")
	case cfg.token != "" && cfg.source != nil:
		return errors.New("pondclient: WithToken excludes WithTokenSource")
	case cfg.connectTimeout <= 0 || cfg.joinTimeout <= 0 || cfg.probeAfter <= 0 || cfg.probeTimeout <= 0:
		return errors.New("pondclient: timeouts must be positive")
	case cfg.first <= 0 || cfg.most < cfg.first || cfg.healthy < 0:
		return errors.New("pondclient: the delays of WithBackoff must be positive, the first one not above the longest")
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

// WithHTTPClient sets the client for all requests, and with it the dialer, the
// proxy, TLS, cookies and redirects. Its Timeout applies to connecting only. The
// default is a client of its own, which uses the proxy of the environment as
// [http.DefaultTransport] does.
func WithHTTPClient(c *http.Client) Option { return func(cfg *config) { cfg.client = c } }

// WithDialContext sets the function that makes network connections.
func WithDialContext(dial func(ctx context.Context, network, addr string) (net.Conn, error)) Option {
	return func(cfg *config) { cfg.dial = dial }
}

// WithProxy sets the function that chooses the proxy of a request, such as
// [http.ProxyURL]. Nil means that there is none. The default is
// [http.ProxyFromEnvironment].
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

// WithoutCompression does not offer the server to compress messages.
func WithoutCompression() Option { return func(cfg *config) { cfg.deflate = false } }

// WithLegacyServer is for servers that send neither a first message nor request IDs,
// such as the official one on npm up to version 0.1.70. The client is connected as
// soon as the WebSocket is open, and it takes what a server says about a channel as the
// answer to its join. [Channel.Request] fails with [errors.ErrUnsupported].
func WithLegacyServer() Option {
	return func(cfg *config) {
		cfg.legacy = true
		if cfg.transport == Auto {
			cfg.transport = WebSocket
		}
	}
}

// WithContext sets the root context: when it is done, the client closes at once,
// without sending what waits, and everything fails. The default is never done.
func WithContext(ctx context.Context) Option { return func(cfg *config) { cfg.root = ctx } }

// WithLogger sets the logger. The default is [slog.Default]. The client logs
// little: lost connections at level Info, what should not happen at level Warn.
func WithLogger(l *slog.Logger) Option { return func(cfg *config) { cfg.logger = l } }

// WithObserver sets functions that are notified of connections and losses.
func WithObserver(o Observer) Option { return func(cfg *config) { cfg.observer = o } }

// WithPolicy sets what the client does when a connection cannot be made or ends,
// or when the server refuses to let it join a channel again. The default is
// [DefaultAction], to which policy can leave what it does not decide itself.
func WithPolicy(policy func(*ConnectionError) Action) Option {
	return func(cfg *config) { cfg.policy = policy }
}

// WithToken sets a token that never changes, until [Client.SetToken]. The client
// stops if the server refuses it.
func WithToken(token string) Option { return func(cfg *config) { cfg.token = token } }

// WithTokenSource sets where tokens come from.
func WithTokenSource(source TokenSource) Option { return func(cfg *config) { cfg.source = source } }

// WithTokenParameter sends the token as this parameter of the query. By default it
// is sent in the header "Authorization: Bearer". URLs appear in the logs of
// proxies; headers do not.
func WithTokenParameter(name string) Option { return func(cfg *config) { cfg.parameter = name } }

// WithConnectTimeout limits the time of one attempt to connect, from getting a
// token to the first message of the server. The default is 20 seconds.
func WithConnectTimeout(d time.Duration) Option { return func(cfg *config) { cfg.connectTimeout = d } }

// WithJoinTimeout sets the time after which the client sends a join again that
// the server has not answered. The default is 10 seconds. To limit how long
// [Client.Join] waits, use its context.
func WithJoinTimeout(d time.Duration) Option { return func(cfg *config) { cfg.joinTimeout = d } }

// WithHeartbeat sets how the client detects a dead connection. If nothing arrived
// for the time after, it asks the server for a sign of life; if nothing arrives
// within timeout, it abandons the connection. The default is 25 and 10 seconds.
//
// An event stream cannot be asked. If the server sends heartbeats, the client
// abandons a stream that misses two of them. Otherwise it asks with a POST.
func WithHeartbeat(after, timeout time.Duration) Option {
	return func(cfg *config) { cfg.probeAfter, cfg.probeTimeout = after, timeout }
}

// WithBackoff sets the delays before the client connects again. The first is
// random up to first; the range doubles with each failure up to most. It begins
// anew after a connection that lasted for healthy. The default is 1, 30 and 30
// seconds.
func WithBackoff(first, most, healthy time.Duration) Option {
	return func(cfg *config) { cfg.first, cfg.most, cfg.healthy = first, most, healthy }
}

// A Queue limits what waits to be sent.
type Queue struct {
	// Messages is the largest number of messages that wait for a connection or
	// for a join. The default is 1000.
	Messages int

	// Bytes is the largest number of bytes of all messages that are not sent
	// yet, also while the client is connected. The default is 4 MiB.
	Bytes int

	// Age is how long a message may wait. The default is one minute.
	Age time.Duration
}

// WithQueue limits the messages that wait to be sent, over all channels. At a
// limit, [Channel.Send] and [Channel.Request] fail with [ErrQueueFull] or
// [ErrExpired]. Fields that are zero keep their default, but no Messages at all
// is allowed: it is set with a negative number.
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

// WithMaxMessageSize limits the size of a message from the server in bytes. The
// client leaves a server that sends a larger one. The default is 16 MiB.
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

// WithParams sets the payload of the join: what encodes to a JSON object. It is
// encoded once and sent with every join of the channel, also after a reconnect.
func WithParams(params any) JoinOption { return func(cfg *joinConfig) { cfg.params = params } }

// WithParamsFunc calls f for the payload of each join, such as one with a fresh
// token. Its context is done when the connection ends. If it fails at the first
// join, so does [Client.Join]; later the client tries again after a delay.
func WithParamsFunc(f func(ctx context.Context) (any, error)) JoinOption {
	return func(cfg *joinConfig) { cfg.paramsFunc = f }
}

// WithLast asks for the last n messages in the history of the channel. The server
// decides how many there are. They arrive before new ones, and a [*Recovered]
// ends them.
func WithLast(n int) JoinOption { return func(cfg *joinConfig) { cfg.last = n } }

// WithPosition asks for all messages after p: one that a program stored from
// [Message.Position] before it ended. A [*Recovered] or [*Gap] reports the result.
func WithPosition(p pond.Position) JoinOption { return func(cfg *joinConfig) { cfg.from = p } }

// WithoutRecovery does not ask the server for messages that this client missed.
// Every reconnect is a [*Gap].
func WithoutRecovery() JoinOption { return func(cfg *joinConfig) { cfg.noRecovery = true } }

// WithPresence reports who is in the channel: see [Presence] and [Channel.Members].
// The server tells only members that it tracks, unless it offers differences.
func WithPresence() JoinOption { return func(cfg *joinConfig) { cfg.presence = true } }

// WithBuffer limits the events that wait for the program, in number and bytes. A
// program that does not keep up gets a [*Gap]. The default is 1024 events and 4 MiB.
func WithBuffer(events, bytes int) JoinOption {
	return func(cfg *joinConfig) { cfg.maxEvents, cfg.maxBytes = events, bytes }
}

// A SendOption configures how a message is sent.
type SendOption func(*sendConfig)

type sendConfig struct {
	idempotent bool
	reply      string
}

// Idempotent says that the server may handle the message twice without harm. The
// client sends it again if a connection is lost and nobody knows whether it
// arrived. By default it does not.
func Idempotent() SendOption { return func(cfg *sendConfig) { cfg.idempotent = true } }

// ReplyNamed makes [Channel.Request] wait for a reply with this event name, or
// for an error. By default the first message that answers the request is taken,
// a broadcast included. It has no effect on [Channel.Send].
func ReplyNamed(event string) SendOption { return func(cfg *sendConfig) { cfg.reply = event } }
