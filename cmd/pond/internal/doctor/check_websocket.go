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
	authenticate = "authenticate with -header or with the query of the URL"
	passUpgrade  = "make the proxy use HTTP/1.1 to the server and pass Upgrade and Connection " +
		"(nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\")"
)

// checkWebSocket checks the handshake, messages in both directions, and the close code.
func (x *checker) checkWebSocket(ctx context.Context) {
	start := time.Now()
	w, err := x.upgrade(ctx)
	if err != nil {
		x.upgradeRejected(err)
		return
	}
	defer w.close()
	took := since(start)
	limited, cancel := x.limit(ctx)
	defer cancel()
	if _, err := w.hello(limited); err != nil {
		x.problem(handshake, "upgraded, but no first message: "+x.withoutURL(err).Error(),
			"check whether a proxy passes no data after the upgrade, and whether this is a PondSocket endpoint")
		return
	}
	x.ok(handshake, "101 after %v, then CONNECTION", took)
	x.webSocket = true
	if !x.checkAnswers(ctx, messages, w.conn) {
		return
	}
	x.checkCompression(w)
	x.checkCloseCode(ctx, w)
}

// upgradeRejected reports why the WebSocket was not opened.
func (x *checker) upgradeRejected(err error) {
	if flaw, ok := errors.AsType[*handshakeFlaw](err); ok {
		x.problem(handshake, flaw.text, "make the proxy pass the response header "+flaw.header)
		return
	}
	a, ok := errors.AsType[answer](err)
	switch {
	case !ok:
		x.problem(handshake, x.withoutURL(err).Error(), passUpgrade)
	case strings.Contains(a.text, "connect with a WebSocket"), a.status == http.StatusUpgradeRequired:
		x.problem(handshake, "a proxy drops the header Upgrade, Connection or both: "+a.String(), passUpgrade)
	case strings.Contains(a.text, "needs HTTP/1.1"):
		x.problem(handshake, "a proxy uses HTTP/1.0 to the server: "+a.String(), passUpgrade)
	case strings.Contains(a.text, "Sec-WebSocket-"):
		x.problem(handshake, "a proxy changes the handshake: "+a.String(), "make it pass all headers that start with Sec-WebSocket-")
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		x.problem(handshake, "rejected: "+a.String(), authenticate)
	case a.status == http.StatusServiceUnavailable:
		x.problem(handshake, a.String(), "the server has reached a limit or is shutting down; try again")
	default:
		x.problem(handshake, "no upgrade: "+a.String(), "check the path, and that proxies pass it unchanged; if it is correct, "+passUpgrade)
	}
}

// checkAnswers checks that each message is answered immediately: it sends the next message
// only after the answer to the previous one.
func (x *checker) checkAnswers(ctx context.Context, check Check, c *conn) bool {
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

func (x *checker) answerMissing(check Check, before int, err error) {
	text := fmt.Sprintf("message %d: %v", before+1, x.withoutURL(err))
	if errors.Is(err, errSilence) {
		text = fmt.Sprintf("message %d got no answer within %v", before+1, x.Timeout)
	}
	x.problem(check, text, "check whether a proxy buffers messages, and the server's log")
}

func (x *checker) checkCompression(w *webSocket) {
	if w.compressed() {
		x.ok(compression, "on (permessage-deflate)")
		return
	}
	x.ok(compression, "off: the server does not use it (WithCompression), or a proxy drops Sec-WebSocket-Extensions")
}

// checkCloseCode checks that close codes arrive unchanged.
func (x *checker) checkCloseCode(ctx context.Context, w *webSocket) {
	const code = 4001
	ctx, cancel := x.limit(ctx)
	defer cancel()
	err := w.closeWith(ctx, code)
	closed, ok := errors.AsType[*ws.CloseError](err)
	switch {
	case ok && closed.Code == code:
		x.ok(closeCode, "%d is answered with %d", code, code)
	case ok:
		x.warn(closeCode, fmt.Sprintf("%d is answered with %d %s", code, closed.Code, closed.Reason),
			"clients that use the code to decide whether to reconnect may decide wrongly")
	default:
		x.warn(closeCode, fmt.Sprintf("%d is not answered: %v", code, x.withoutURL(err)),
			"the connection is closed first, so clients see 1006 instead of the reason")
	}
}
