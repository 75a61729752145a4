package pond

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/pondsocket/pond/internal/wire"
)

// An Option configures a [Pond].
type Option func(*config)

// An EndpointOption configures an [Endpoint].
type EndpointOption func(*endpointConfig)

// A LobbyOption configures a [Lobby].
type LobbyOption func(*lobbyConfig)

type lobbyConfig struct {
	history *History // nil: no history
	diffs   bool     // clients can request presence as differences
	slow    SlowClientPolicy
	grace   time.Duration

	identities bool // differences have them
}

// WithPresenceIdentities publishes the identities of tracked members: each entry of
// presence differences has the identity as "user", so that clients can show a person with
// two tabs once. Lists for clients that did not ask for differences do not have it. See
// [ConnectionContext.Identify]. The default is that clients never see identities, because
// an identity can be private, such as an e-mail address. The lobby must have
// [WithPresenceDiffs].
func WithPresenceIdentities() LobbyOption { return func(c *lobbyConfig) { c.identities = true } }

// WithLeaveGrace sets how long an identity stays in a channel of the lobby after its last
// client disconnected. If a client with the identity joins the channel within this time,
// the person was not away: neither [Lobby.OnIdentityLeave] nor [Lobby.OnIdentityJoin]
// runs, and a person who reloads a page, or changes from one network to another, does not
// appear to leave and return. The default is 0, no grace.
//
// OnIdentityLeave is delayed, and OnLastLeave after it. With [WithPresenceIdentities],
// presence differences also show the last tracked client of the identity for that time, or
// until another one is tracked. Nothing else is delayed: leave handlers run at once, lists
// of presence change at once, and [Channel.Len], [Channel.Users] and [Channel.Presence] are
// about members. In a cluster, the person may return on any node, but only followers on the
// node of the last client see it during the grace.
//
// There is no grace if the client asks to leave, or if the server ends the membership: with
// [Channel.Evict], [Channel.Close], [Endpoint.Disconnect] or [Pond.Shutdown].
// EvictIdentity, DisconnectIdentity, Close and Shutdown end a grace at once.
//
// An identity can be in its grace in as many channels at a time as [WithMaxChannels]
// allows for one client, and an endpoint has no more graces than it may have clients.
// Beyond that, identities leave without a grace. WithLeaveGrace panics if d is negative.
func WithLeaveGrace(d time.Duration) LobbyOption {
	if d < 0 {
		panic(fmt.Sprintf("pond: WithLeaveGrace(%v): must not be negative", d)) //nolint:forbidigo // misuse at registration
	}
	return func(c *lobbyConfig) { c.grace = d }
}

type config struct {
	logger   *slog.Logger
	observer *Observer
	endpoint []EndpointOption

	broker      Broker // nil: none
	nodeTimeout time.Duration
}

// WithLogger sets the logger, for example for errors of handlers. The default is
// [slog.Default] at the time of logging.
func WithLogger(l *slog.Logger) Option { return func(c *config) { c.logger = l } }

// WithObserver adds an [Observer] that receives notifications, for metrics and traces.
// With several of them, each receives all notifications, in the order of the options.
// The default is none.
func WithObserver(o *Observer) Option {
	return func(c *config) { c.observer = c.observer.and(o) }
}

// WithEndpointDefaults sets options of all endpoints that are added later. The
// endpoint's own options are applied after them. The default is none.
func WithEndpointDefaults(opts ...EndpointOption) Option {
	return func(c *config) { c.endpoint = append(c.endpoint, opts...) }
}

// endpointConfig holds the limits of an endpoint.
type endpointConfig struct {
	origins      []origin
	hosts        []hostPattern // none: all
	anyOrigin    bool
	maxConns     int // 0: the default limit, which all endpoints of the Pond share
	maxMessage   int
	maxFragments int
	maxDepth     int
	maxEvent     int
	maxRequestID int
	maxChannels  int
	maxName      int
	maxPresence  int
	outbox       int
	historyBytes int64
	joinByURL    bool
	inbox        int
	postRequests int
	postBytes    int

	forwardRequests int
	forwardBytes    int
	writeTimeout    time.Duration
	closeTimeout    time.Duration
	ping            time.Duration
	compressFrom    int // 0: no compression
	framing         SSEFraming
	rate            float64 // 0: no limit
	controlRate     float64
	controlBurst    int
	burst           int

	maxPerAddress  int // 0: no limit
	maxPerIdentity int // 0: no limit
	trustedProxies []netip.Prefix
	allowedHeaders string // as in Access-Control-Allow-Headers
}

func defaultEndpointConfig() endpointConfig {
	return endpointConfig{
		maxMessage:   1 << 20,
		maxFragments: 1024,
		maxDepth:     64,
		maxEvent:     256,
		maxRequestID: 256,
		maxChannels:  128,
		maxName:      256,
		maxPresence:  16 << 10,
		outbox:       1 << 20,
		controlRate:  100,
		controlBurst: 1000,
		historyBytes: 256 << 20,
		inbox:        64,
		postRequests: 1000,
		postBytes:    4 << 20,

		forwardRequests: 10_000,
		forwardBytes:    64 << 20,
		writeTimeout:    30 * time.Second,
		closeTimeout:    5 * time.Second,
		ping:            30 * time.Second,

		allowedHeaders: "Content-Type, X-Connection-ID, Authorization, Last-Event-ID, Cache-Control",
	}
}

// WithOrigins allows pages on other origins to connect from a browser, such as
// "https://example.com" or, for all of its subdomains, "https://*.example.com". The
// default is the origin of the endpoint itself. Clients that are not browsers send no
// origin and are not affected.
//
// Case, default ports and the spelling of IPv6 addresses do not matter. WithOrigins
// panics if an origin is malformed or could never match, such as one with a path
// or with a host that is not ASCII: browsers send "https://xn--mnchen-3ya.example"
// for "https://münchen.example".
func WithOrigins(origins ...string) EndpointOption {
	parsed := make([]origin, 0, len(origins))
	for _, text := range origins {
		o, err := parseOrigin(text)
		if err != nil {
			panic("pond: " + err.Error()) //nolint:forbidigo // misuse at registration
		}
		parsed = append(parsed, o)
	}
	return func(c *endpointConfig) { c.origins = append(c.origins, parsed...) }
}

// WithInsecureAnyOrigin allows pages of every origin to connect with the cookies of
// their visitors. Use it only if connecting requires a secret that such pages cannot
// know. The default is off.
func WithInsecureAnyOrigin() EndpointOption {
	return func(c *endpointConfig) { c.anyOrigin = true }
}

// WithAllowedHeaders allows pages of allowed origins to send more request headers,
// such as "X-CSRF-Token". It matters only with [WithOrigins] or
// [WithInsecureAnyOrigin]. Content-Type, X-Connection-ID, Authorization,
// Last-Event-ID and Cache-Control are always allowed. The default is no other
// header. WithAllowedHeaders panics if a name is malformed.
func WithAllowedHeaders(names ...string) EndpointOption {
	for _, name := range names {
		if name == "*" || !isToken(name) {
			panic(fmt.Sprintf("pond: WithAllowedHeaders: invalid header name %q", name)) //nolint:forbidigo // misuse at registration
		}
	}
	return func(c *endpointConfig) {
		c.allowedHeaders = strings.Join(append([]string{c.allowedHeaders}, names...), ", ")
	}
}

// WithHosts serves only requests to these hosts, as the Host header names them, such
// as "example.com", "*.example.com" for all of its subdomains, "localhost:8080" or
// "[::1]". Without a port, all ports are served. Requests to other hosts are rejected
// with [http.StatusMisdirectedRequest]. The default is all hosts. WithHosts panics if
// a host is malformed.
//
// Set it if the endpoint accepts clients without a password, token or cookie because
// only some machines can reach it, such as on localhost or in a private network. The
// owner of a domain can make its name resolve to such an address (DNS rebinding). For
// the browser, the pages of that domain then have the origin of the endpoint.
func WithHosts(hosts ...string) EndpointOption {
	parsed := make([]hostPattern, 0, len(hosts))
	for _, text := range hosts {
		h, err := parseHostPattern(text)
		if err != nil {
			panic("pond: " + err.Error()) //nolint:forbidigo // misuse at registration
		}
		parsed = append(parsed, h)
	}
	return func(c *endpointConfig) { c.hosts = append(c.hosts, parsed...) }
}

// WithMaxConns limits the clients of the endpoint that are connected at the same
// time. More clients are rejected with [http.StatusServiceUnavailable] before the
// upgrade. The default is 80 % of the file descriptors of the process
// (RLIMIT_NOFILE, when [New] is called) for all endpoints of the Pond together, so
// that clients are rejected before the server runs out of descriptors. It is logged
// once, by [Pond.Serve] or when half of it is reached. If the number is unknown or
// unlimited, the default is 100,000.
//
// The shared limit does not apply to an endpoint with its own limit, but its clients
// count for it.
func WithMaxConns(n int) EndpointOption {
	positive("WithMaxConns", n)
	return func(c *endpointConfig) { c.maxConns = n }
}

// WithMaxConnsPerAddress limits the clients of the endpoint that are connected at
// the same time from one IPv4 address, or from one IPv6 network of 64 bits. More
// clients are rejected with [http.StatusTooManyRequests] before the upgrade. The
// default is no limit: many people can share one address, so only you know how many
// connections are normal.
//
// The address is that of the TCP connection. Behind a proxy all clients have the
// proxy's, so set [WithTrustedProxies] as well. A client whose address is unknown,
// as over a Unix socket, is not limited.
func WithMaxConnsPerAddress(n int) EndpointOption {
	positive("WithMaxConnsPerAddress", n)
	return func(c *endpointConfig) { c.maxPerAddress = n }
}

// WithMaxConnsPerIdentity limits the clients of the endpoint that are connected at the
// same time and have the same identity; see [ConnectionContext.Identify]. For more
// clients, Identify returns an error, and they are rejected with
// [http.StatusTooManyRequests]. A client counts from Identify until its network
// connection is closed and its handlers returned. Clients without an identity are not
// limited. In a cluster, each node counts its own clients. The default is no limit: a
// person can have many tabs and devices.
func WithMaxConnsPerIdentity(n int) EndpointOption {
	positive("WithMaxConnsPerIdentity", n)
	return func(c *endpointConfig) { c.maxPerIdentity = n }
}

// WithTrustedProxies sets the addresses of your proxies, for
// [WithMaxConnsPerAddress]. If a connection comes from one of them, or over a Unix
// socket, the client's address is the last one in the X-Forwarded-For header that
// is not a proxy's. The proxies must add to this header, as nginx, HAProxy and Caddy
// do, or replace it. The default is none: the header is ignored, because any client
// can send one. Other headers, such as Forwarded, are never used. WithTrustedProxies
// panics if a prefix is not valid.
func WithTrustedProxies(prefixes ...netip.Prefix) EndpointOption {
	trusted := make([]netip.Prefix, 0, len(prefixes))
	for _, prefix := range prefixes {
		if !prefix.IsValid() {
			panic("pond: WithTrustedProxies: invalid prefix") //nolint:forbidigo // misuse at registration
		}
		trusted = append(trusted, unmapPrefix(prefix))
	}
	return func(c *endpointConfig) { c.trustedProxies = append(c.trustedProxies, trusted...) }
}

// WithMaxMessageSize limits the size of a client's message in bytes, both as sent and
// after decompression. For a larger message, the client receives an error with
// [http.StatusRequestEntityTooLarge], and a WebSocket is closed with 1009. The default
// is 1 MiB.
func WithMaxMessageSize(bytes int) EndpointOption {
	positive("WithMaxMessageSize", bytes)
	return func(c *endpointConfig) { c.maxMessage = bytes }
}

// WithMaxFragments limits the number of WebSocket frames in one message of a client. If
// a message has more, the connection is closed with 1008. The default is 1024.
func WithMaxFragments(n int) EndpointOption {
	positive("WithMaxFragments", n)
	return func(c *endpointConfig) { c.maxFragments = n }
}

// WithMaxDepth limits the nesting of arrays and objects in a client's message. For a
// deeper message, the client receives an error with [http.StatusBadRequest]. The
// default is 64.
func WithMaxDepth(n int) EndpointOption {
	positive("WithMaxDepth", n)
	return func(c *endpointConfig) { c.maxDepth = n }
}

// WithMaxEventName limits the name of an event that a client sends, including its
// query, in bytes. For a longer name, the client receives an error with
// [http.StatusBadRequest]. The default is 256. Members receive the name if a handler
// sends it on.
func WithMaxEventName(bytes int) EndpointOption {
	positive("WithMaxEventName", bytes)
	return func(c *endpointConfig) { c.maxEvent = bytes }
}

// WithMaxRequestID limits the ID that a client gives to a message, in bytes. For a
// longer ID, the client receives an error with [http.StatusBadRequest]. The default is
// 256. All members receive the ID if the handler of the message broadcasts.
func WithMaxRequestID(bytes int) EndpointOption {
	positive("WithMaxRequestID", bytes)
	return func(c *endpointConfig) { c.maxRequestID = bytes }
}

// WithMaxChannels limits the number of channels that one client may be a member of.
// Further joins are rejected with [http.StatusTooManyRequests]. The default is 128.
func WithMaxChannels(n int) EndpointOption {
	positive("WithMaxChannels", n)
	return func(c *endpointConfig) { c.maxChannels = n }
}

// WithMaxChannelName limits the name of a channel in bytes. Joins with a longer name,
// or with control characters in the name, are rejected with [http.StatusBadRequest].
// The default is 256. In a cluster, the name and the pattern of the endpoint may have 1,023
// bytes together, and a channel cannot have the name "__control__", which nodes use.
func WithMaxChannelName(bytes int) EndpointOption {
	positive("WithMaxChannelName", bytes)
	return func(c *endpointConfig) { c.maxName = bytes }
}

// WithMaxPresence limits the presence of one user in bytes of JSON. For a larger
// presence, Track and Update return an [*Error] with
// [http.StatusRequestEntityTooLarge]. The default is 16 KiB.
func WithMaxPresence(bytes int) EndpointOption {
	positive("WithMaxPresence", bytes)
	return func(c *endpointConfig) { c.maxPresence = bytes }
}

// WithHistoryLimit limits the memory for the histories of all channels in bytes.
// When it is reached, channels without members are removed, starting with those that
// expire first. If this is not enough, channels drop their oldest messages when they
// get new ones. The default is 256 MiB.
func WithHistoryLimit(bytes int) EndpointOption {
	positive("WithHistoryLimit", bytes)
	return func(c *endpointConfig) { c.historyBytes = int64(bytes) }
}

// WithOutboxSize limits the bytes that are queued for a client that does not read. If
// more bytes are queued and the connection accepts no data for a second, the client is
// disconnected with close code 1013, and leaves its channels with [LeaveSlow]. For a
// client that reads, the limit is four times as high; above it, a reply returns
// [ErrOverloaded], and a broadcast disconnects the client. A single larger message is
// sent if the queue is empty. The default is 1 MiB. See [WithSlowClients] for lobbies
// whose members need only the latest messages.
func WithOutboxSize(bytes int) EndpointOption {
	positive("WithOutboxSize", bytes)
	return func(c *endpointConfig) { c.outbox = bytes }
}

// WithInboxSize limits the number of messages of one client that wait for its handlers.
// Their total size is limited to that of one message: see [WithMaxMessageSize]. When
// the inbox is full, a WebSocket is not read, and POST requests for an event stream
// wait: see [WithPostQueue]. The messages of one request may exceed the number, but not
// the size. The default is 64.
func WithInboxSize(messages int) EndpointOption {
	positive("WithInboxSize", messages)
	return func(c *endpointConfig) { c.inbox = messages }
}

// WithPostQueue limits the number of POST requests of one event stream that wait for
// its inbox, and the bytes of their bodies, which are in memory. Further requests are
// rejected with [http.StatusServiceUnavailable], and the stream receives an error
// message with that status. One request may have more bytes if no other request waits.
// The default is 1000 requests and 4 MiB.
func WithPostQueue(requests, bytes int) EndpointOption {
	positive("WithPostQueue", requests)
	positive("WithPostQueue", bytes)
	return func(c *endpointConfig) { c.postRequests, c.postBytes = requests, bytes }
}

// WithForwardQueue limits the POST and DELETE requests for event streams of other nodes
// that are in progress on this node of a cluster (see [WithBroker]), and the bytes of their
// bodies, which are in memory. Further requests are rejected with
// [http.StatusServiceUnavailable]. [WithPostQueue] limits the requests for each of these
// streams as well. One request may have more bytes if there is no other. The default is
// 10,000 requests and 64 MiB.
func WithForwardQueue(requests, bytes int) EndpointOption {
	positive("WithForwardQueue", requests)
	positive("WithForwardQueue", bytes)
	return func(c *endpointConfig) { c.forwardRequests, c.forwardBytes = requests, bytes }
}

// WithWriteTimeout limits the time that one write may wait for a client. After it, the
// connection ends without a close frame, because a message may be written in part, and
// the client leaves its channels with [LeaveSlow]. Large messages are split into several
// writes, so a client that keeps reading has more time for them. The default is 30 s.
// Members of a lobby with [KeepLatest] have more time: see [SlowClientPolicy.WithTimeout].
func WithWriteTimeout(d time.Duration) EndpointOption {
	positive("WithWriteTimeout", d)
	return func(c *endpointConfig) { c.writeTimeout = d }
}

// WithCloseTimeout limits the time that a client may take to receive and answer a close
// frame. The default is 5 s.
func WithCloseTimeout(d time.Duration) EndpointOption {
	positive("WithCloseTimeout", d)
	return func(c *endpointConfig) { c.closeTimeout = d }
}

// WithPingInterval sets the interval between heartbeats: pings on a WebSocket, comments
// on an event stream. The server closes a WebSocket that sent nothing since the last
// ping, or that takes three intervals to send one message. On Linux, it closes an event
// stream over HTTP/1.1 if the client's host has not acknowledged any data for this
// interval and for [WithWriteTimeout]; a client that only stops reading stays. On other
// systems, and over HTTP/2, the operating system detects a client that vanished without
// closing its connection, usually after 15 minutes. The default is 30 s.
func WithPingInterval(d time.Duration) EndpointOption {
	positive("WithPingInterval", d)
	return func(c *endpointConfig) { c.ping = d }
}

// WithCompression compresses messages of at least fromBytes bytes for WebSocket clients
// that offer permessage-deflate (RFC 7692), without context takeover: a broadcast is
// compressed once for all of them. The default is no compression.
func WithCompression(fromBytes int) EndpointOption {
	positive("WithCompression", fromBytes)
	return func(c *endpointConfig) { c.compressFrom = fromBytes }
}

// SSEFraming is the use of the event field in event streams.
type SSEFraming string

// The framings. The query parameter sse=named or sse=unnamed of a request
// overrides the endpoint's.
const (
	// SSEAuto is SSEUnnamed for requests that look like those of a browser's EventSource,
	// because the official JavaScript client only receives unnamed events, and SSENamed
	// for all others.
	SSEAuto SSEFraming = ""
	// SSENamed sets the event field to the name of the message's event.
	SSENamed SSEFraming = "named"
	// SSEUnnamed omits the event field.
	SSEUnnamed SSEFraming = "unnamed"
)

// WithSSEFraming sets the framing of event streams. The default is [SSEAuto].
func WithSSEFraming(f SSEFraming) EndpointOption {
	return func(c *endpointConfig) { c.framing = f }
}

// WithRateLimit limits the messages of one client: perSecond on average, and burst at
// once. For each message above the limit, the client receives an error with
// [http.StatusTooManyRequests]. If it continues until burst such messages are rejected,
// it is disconnected with close code 1008. The default is no limit.
func WithRateLimit(perSecond float64, burst int) EndpointOption {
	positive("WithRateLimit", perSecond)
	positive("WithRateLimit", burst)
	return func(c *endpointConfig) { c.rate, c.burst = perSecond, burst }
}

// WithControlRateLimit limits the control frames (pings, pongs) of one WebSocket
// client: perSecond on average, and burst at once. A client that exceeds the limit is
// disconnected with close code 1008. The default is 100 per second and 1,000 at once;
// ordinary clients send fewer than one per second. [WithRateLimit] is for messages.
func WithControlRateLimit(perSecond float64, burst int) EndpointOption {
	positive("WithControlRateLimit", perSecond)
	positive("WithControlRateLimit", burst)
	return func(c *endpointConfig) { c.controlRate, c.controlBurst = perSecond, burst }
}

// messageLimits returns the limits of one message, other than its size.
func (c *endpointConfig) messageLimits() wire.Limits {
	return wire.Limits{Depth: c.maxDepth, Event: c.maxEvent, RequestID: c.maxRequestID}
}

// positive panics if a limit is not positive.
func positive[N int | float64 | time.Duration](option string, n N) {
	if n <= 0 {
		panic(fmt.Sprintf("pond: %s(%v): must be positive", option, n)) //nolint:forbidigo // misuse at registration
	}
}
