package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pondsocket/pond/internal/ws"
)

const (
	sayWho      = "say who you are, with -header or in the query of the URL"
	passUpgrade = "let the proxy speak HTTP/1.1 to the server and pass Upgrade and Connection " +
		"(nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\")"
)

// checkWebSocket checks the handshake, that messages come and go, and the end.
func (x *exam) checkWebSocket(ctx context.Context) {
	start := time.Now()
	w, err := x.upgrade(ctx)
	if err != nil {
		x.upgradeRefused(err)
		return
	}
	defer w.close()
	took := since(start)
	limited, cancel := x.limit(ctx)
	defer cancel()
	if _, err := w.hello(limited); err != nil {
		x.problem(handshake, "upgraded, but no first message: "+x.plain(err).Error(),
			"look for a proxy that upgrades and then passes nothing on; or this is no PondSocket endpoint")
		return
	}
	x.ok(handshake, "101 after %v, then CONNECTION", took)
	x.webSocket = true
	if !x.checkAnswers(ctx, messages, w.conn) {
		return
	}
	x.checkCompression(w)
	x.checkGoodbye(ctx, w)
}

// upgradeRefused says why there is no WebSocket.
func (x *exam) upgradeRefused(err error) {
	if flaw, ok := errors.AsType[*handshakeFlaw](err); ok {
		x.problem(handshake, flaw.text, "let the proxy pass the answer's header "+flaw.header)
		return
	}
	a, ok := errors.AsType[answer](err)
	switch {
	case !ok:
		x.problem(handshake, x.plain(err).Error(), passUpgrade)
	case strings.Contains(a.text, "connect with a WebSocket"), a.status == http.StatusUpgradeRequired:
		x.problem(handshake, "a proxy drops the header Upgrade, Connection or both: "+a.String(), passUpgrade)
	case strings.Contains(a.text, "needs HTTP/1.1"):
		x.problem(handshake, "a proxy speaks HTTP/1.0 to the server: "+a.String(), passUpgrade)
	case strings.Contains(a.text, "Sec-WebSocket-"):
		x.problem(handshake, "a proxy changes the handshake: "+a.String(), "let it pass all headers that begin with Sec-WebSocket-")
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		x.problem(handshake, "refused: "+a.String(), sayWho)
	case a.status == http.StatusServiceUnavailable:
		x.problem(handshake, a.String(), "the server is full or ends; try again")
	default:
		x.problem(handshake, "no upgrade: "+a.String(), "check the path, and that a proxy passes it on unchanged; if it is right, "+passUpgrade)
	}
}

// checkAnswers checks that answers come one by one and at once: the next message
// is sent only after the answer to the one before.
func (x *exam) checkAnswers(ctx context.Context, check Check, c *conn) bool {
	const rounds = 5
	var slowest time.Duration
	for i := range rounds {
		start := time.Now()
		limited, cancel := x.limit(ctx)
		_, err := c.probe(limited, 0)
		cancel()
		if err != nil {
			x.answerMissing(check, i, err)
			return false
		}
		slowest = max(slowest, since(start))
	}
	x.ok(check, "%d answered one by one, each within %v", rounds, slowest)
	return true
}

func (x *exam) answerMissing(check Check, before int, err error) {
	text := fmt.Sprintf("message %d: %v", before+1, x.plain(err))
	if errors.Is(err, errSilence) {
		text = fmt.Sprintf("message %d got no answer within %v", before+1, x.Timeout)
	}
	x.problem(check, text, "look for a proxy that holds messages back, and into the server's log")
}

func (x *exam) checkCompression(w *webSocket) {
	if w.compressed() {
		x.ok(compression, "on (permessage-deflate)")
		return
	}
	x.ok(compression, "off: the server does not want it (WithCompression), or a proxy drops Sec-WebSocket-Extensions")
}

// checkGoodbye checks whether the end is told with its reason.
func (x *exam) checkGoodbye(ctx context.Context, w *webSocket) {
	const code = 4001
	ctx, cancel := x.limit(ctx)
	defer cancel()
	err := w.goodbye(ctx, code)
	closed, ok := errors.AsType[*ws.CloseError](err)
	switch {
	case ok && closed.Code == code:
		x.ok(closeCode, "%d is answered with %d", code, code)
	case ok:
		x.warn(closeCode, fmt.Sprintf("%d is answered with %d %s", code, closed.Code, closed.Reason),
			"clients that decide by the code whether to come back may decide wrongly")
	default:
		x.warn(closeCode, fmt.Sprintf("%d is not answered: %v", code, x.plain(err)),
			"something cuts the connection first: clients see 1006 and not why they were closed")
	}
}
