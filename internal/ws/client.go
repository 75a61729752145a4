package ws

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
)

// clientOffer is the offer of clients. A [Decoder] can inflate only messages without
// context takeover, which do not depend on earlier messages.
const clientOffer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// NewKey returns a Sec-WebSocket-Key for one handshake.
func NewKey() string {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	return base64.StdEncoding.EncodeToString(nonce[:])
}

// NewMask returns the masking key of one frame. It is unpredictable, as RFC 6455
// section 10.3 requires.
func NewMask() (key [4]byte) {
	_, _ = rand.Read(key[:]) // never fails
	return key
}

// SetHandshake sets the headers of a client's handshake request. With deflate, it
// offers compression. It replaces existing headers of the same names.
func SetHandshake(h http.Header, key string, deflate bool) {
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	h.Set("Sec-WebSocket-Version", "13")
	h.Set("Sec-WebSocket-Key", key)
	h.Del("Sec-WebSocket-Extensions")
	if deflate {
		h.Set("Sec-WebSocket-Extensions", clientOffer)
	}
}

// CheckHandshake checks the response to a client's handshake as RFC 6455 section 4.1
// requires. It reports whether messages may be compressed, in both directions; offered
// means that the request offered this. The caller must check that the status is 101.
func CheckHandshake(resp *http.Response, key string, offered bool) (deflate bool, err error) {
	h := resp.Header
	switch {
	case !hasToken(h["Upgrade"], "websocket") || !hasToken(h["Connection"], "upgrade"):
		return false, errors.New("the server switched to a protocol other than WebSocket")
	case h.Get("Sec-WebSocket-Accept") != AcceptKey(key):
		return false, errors.New("the Sec-WebSocket-Accept of the response does not match the request")
	case h.Get("Sec-WebSocket-Protocol") != "":
		return false, errors.New("the server chose a WebSocket subprotocol that was not offered")
	}
	switch answers := h["Sec-Websocket-Extensions"]; {
	case len(answers) == 0 || len(answers) == 1 && answers[0] == "":
		return false, nil
	case !offered || len(answers) > 1 || !answersOffer(answers[0]):
		return false, errors.New("the server chose WebSocket extensions that were not offered")
	}
	return true, nil
}

// answersOffer reports whether a server's answer is valid for [clientOffer], RFC 7692
// section 7.1. The server must confirm that it uses no context takeover.
func answersOffer(s string) bool {
	name, s := cutToken(skipSpace(s))
	if name != "permessage-deflate" {
		return false
	}
	var seen uint8
	for s = skipSpace(s); s != ""; s = skipSpace(s) {
		if s[0] != ';' { // followed by another extension, or invalid
			return false
		}
		p, rest, err := parseParam(skipSpace(s[1:]))
		if err != nil {
			return false
		}
		var bit uint8
		acceptable := false
		switch p.name { // client_max_window_bits would answer another offer
		case "server_no_context_takeover":
			bit, acceptable = serverTakeover, !p.hasValue
		case "client_no_context_takeover":
			bit, acceptable = clientTakeover, !p.hasValue
		case "server_max_window_bits":
			bit, acceptable = serverWindow, windowBits(p.value)
		}
		if !acceptable || seen&bit != 0 {
			return false
		}
		seen |= bit
		s = rest
	}
	return seen&serverTakeover != 0
}
