// Package doctor checks a PondSocket server from the client's side, through all
// proxies, load balancers and firewalls in between.
//
// It uses only the protocol, so it works with any PondSocket server. It does not call
// message handlers of the application: it sends invalid messages, which a server answers
// with an error, and joins a channel only if [Config.Channel] is set.
package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// A Config configures [Examine].
type Config struct {
	// URL is the URL of an endpoint, with its query.
	URL *url.URL

	// Header is added to every request.
	Header http.Header

	// Channel is the name of a channel to join and leave, or empty.
	Channel string

	// Join is the payload of the join, a JSON object. Empty means {}.
	Join json.RawMessage

	// Origin is the origin of pages that the server must accept, in addition to the
	// origin of URL. It may be empty.
	Origin string

	// Timeout limits each step, such as waiting for the next message.
	Timeout time.Duration

	// Idle is the time for which connections stay idle, to check whether a proxy closes
	// them. Zero skips this check.
	Idle time.Duration

	// Waiting is called each second with the remaining idle time, and with zero at the
	// end. It may be nil.
	Waiting func(left time.Duration)

	// Insecure continues even if the server's certificate is invalid.
	Insecure bool

	// Dial opens connections. If nil, the network is used.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// A Check is the name of a check. All checks are explained in docs/doctor.md.
type Check string

const (
	address       Check = "address"
	encryption    Check = "tls"
	handshake     Check = "websocket"
	messages      Check = "websocket messages"
	compression   Check = "compression"
	closeCode     Check = "close code"
	eventStream   Check = "event stream"
	streamCoding  Check = "stream encoding"
	streamPost    Check = "stream POST"
	streamDelete  Check = "stream DELETE"
	sameOrigin    Check = "same origin"
	allowedOrigin Check = "allowed origin"
	preflight     Check = "preflight"
	foreignOrigin Check = "foreign origin"
	messageSize   Check = "message size"
	channel       Check = "channel"
	idleWebSocket Check = "idle websocket"
	idleStream    Check = "idle stream"
	machine       Check = "this machine"
)

// A Severity is the severity of a finding.
type Severity string

// The severities. A problem causes lost clients or messages.
const (
	OK      Severity = "ok"
	Warning Severity = "warning"
	Problem Severity = "problem"
)

// A Finding is a result of one check.
type Finding struct {
	Check    Check    `json:"check"`
	Severity Severity `json:"severity"`
	Text     string   `json:"text"`
	Fix      string   `json:"fix,omitempty"` // empty if Severity is OK
}

// Examine runs all checks and reports each finding immediately. It skips checks
// whose results would only repeat an earlier problem. If ctx is done, Examine
// returns soon, and does not report failures that this caused.
func Examine(ctx context.Context, cfg Config, report func(Finding)) {
	x := newChecker(cfg, func(f Finding) {
		if ctx.Err() == nil {
			report(f)
		}
	})
	defer x.close()
	for _, step := range []func(context.Context){
		x.checkAddress,
		x.checkWebSocket,
		x.checkStream,
		x.needTransport,
		x.checkOrigins,
		x.checkSizes,
		x.checkChannel,
		x.checkIdle,
		x.checkMachine,
	} {
		if ctx.Err() != nil || x.noTransport {
			break
		}
		step(ctx)
	}
}

// A checker is one run of all checks.
type checker struct {
	Config
	report func(Finding)
	client *http.Client // uses HTTP/1.1 or HTTP/2, as browsers do
	http1  *http.Client // for WebSockets

	noTransport bool // no transport works
	webSocket   bool // WebSockets work
	stream      bool // event streams work
	post        bool // POST requests reach the server of their stream
}

func (x *checker) close() {
	x.client.CloseIdleConnections()
	x.http1.CloseIdleConnections()
}

// needTransport ends the run if no transport works.
func (x *checker) needTransport(context.Context) { x.noTransport = !x.webSocket && !x.stream }

// limit returns a context with the timeout of one step.
func (x *checker) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, x.Timeout)
}

func (x *checker) ok(check Check, format string, args ...any) {
	x.report(Finding{Check: check, Severity: OK, Text: fmt.Sprintf(format, args...)})
}

func (x *checker) warn(check Check, text, fix string) {
	x.report(Finding{Check: check, Severity: Warning, Text: text, Fix: fix})
}

func (x *checker) problem(check Check, text, fix string) {
	x.report(Finding{Check: check, Severity: Problem, Text: text, Fix: fix})
}
