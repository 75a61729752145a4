// Package doctor examines a PondSocket server as its clients meet it: through
// whatever proxies, balancers and firewalls stand in between.
//
// It knows only the protocol, so it works with any server of it. What it sends
// concerns no handler of an application: messages that make no sense, which a
// server answers with an error, and the join of a channel if it is told to.
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

// A Config says what is examined, and how.
type Config struct {
	// URL is that of an endpoint, with whatever query it needs.
	URL *url.URL

	// Header is sent with every request.
	Header http.Header

	// Channel is joined and left again, if it is not empty.
	Channel string

	// Join is the payload of that join, a JSON object. Empty is {}.
	Join json.RawMessage

	// Origin is that of pages that have to be let in, beside those of URL
	// itself. It may be empty.
	Origin string

	// Timeout is for one step: an answer, the next message.
	Timeout time.Duration

	// Idle is how long connections are left alone, to see whether something
	// cuts them. Zero leaves that out.
	Idle time.Duration

	// Waiting is told each second how long connections are still left alone, and
	// zero at the end. It may be nil.
	Waiting func(left time.Duration)

	// Insecure goes on although the server's certificate is not valid.
	Insecure bool

	// Dial connects; if nil, the network does.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// A Check is something that is looked at. All of them are explained in
// docs/doctor.md.
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

// A Verdict is what a finding means.
type Verdict string

// The verdicts. Who has a problem loses clients or messages.
const (
	OK      Verdict = "ok"
	Warning Verdict = "warning"
	Problem Verdict = "problem"
)

// A Finding is what one check has found.
type Finding struct {
	Check   Check   `json:"check"`
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"`
	Remedy  string  `json:"remedy,omitempty"` // unless all is well
}

// Examine runs all checks and reports each finding as it comes. It ends when
// there is nothing more to find, or soon after ctx is done: then it does not
// report what that broke.
func Examine(ctx context.Context, cfg Config, report func(Finding)) {
	x := newExam(cfg, func(f Finding) {
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
		if ctx.Err() != nil || x.hopeless {
			break
		}
		step(ctx)
	}
}

// An exam is one run of all checks.
type exam struct {
	Config
	report func(Finding)
	client *http.Client // speaks whatever is negotiated, as browsers do
	http1  *http.Client // for WebSockets

	hopeless  bool // there is no transport to examine
	webSocket bool // works
	stream    bool // works
}

func (x *exam) close() {
	x.client.CloseIdleConnections()
	x.http1.CloseIdleConnections()
}

// needTransport ends the exam if none works.
func (x *exam) needTransport(context.Context) { x.hopeless = !x.webSocket && !x.stream }

// limit returns a context for one step.
func (x *exam) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, x.Timeout)
}

func (x *exam) ok(check Check, format string, args ...any) {
	x.report(Finding{Check: check, Verdict: OK, Text: fmt.Sprintf(format, args...)})
}

func (x *exam) warn(check Check, text, remedy string) {
	x.report(Finding{Check: check, Verdict: Warning, Text: text, Remedy: remedy})
}

func (x *exam) problem(check Check, text, remedy string) {
	x.report(Finding{Check: check, Verdict: Problem, Text: text, Remedy: remedy})
}
