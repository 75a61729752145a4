package ws

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455 prescribes it, for no secret
	"encoding/base64"
	"net/http"
	"strings"
)

// Handshake is a valid request for a WebSocket.
type Handshake struct {
	Key        string // the client's Sec-WebSocket-Key
	Deflate    bool   // messages may be compressed, in both directions
	Extensions string // our Sec-WebSocket-Extensions, empty for none
}

// HandshakeError is the HTTP response to an invalid handshake. A response with status
// 426 also needs the headers "Upgrade: websocket" and "Sec-WebSocket-Version: 13". The
// message may be shown to the client.
type HandshakeError struct {
	Status  int
	Message string
}

// Error returns the message.
func (e *HandshakeError) Error() string { return e.Message }

// IsUpgrade reports whether r requests a WebSocket, even if it is invalid.
func IsUpgrade(r *http.Request) bool {
	return hasToken(r.Header["Connection"], "upgrade") && hasToken(r.Header["Upgrade"], "websocket")
}

// ParseHandshake checks r as RFC 6455 section 4.2.1 requires. With deflate, a supported
// offer of compression is accepted; without, all offers are declined. The caller must
// check the origin.
func ParseHandshake(r *http.Request, deflate bool) (Handshake, *HandshakeError) {
	refuse := func(status int, message string) (Handshake, *HandshakeError) {
		return Handshake{}, &HandshakeError{Status: status, Message: message}
	}
	switch {
	case r.Method != http.MethodGet:
		return refuse(http.StatusMethodNotAllowed, "a WebSocket handshake must be a GET request")
	case !r.ProtoAtLeast(1, 1):
		return refuse(http.StatusBadRequest, "a WebSocket handshake needs HTTP/1.1")
	case !IsUpgrade(r):
		return refuse(http.StatusUpgradeRequired, "upgrade required: Upgrade: websocket and Connection: Upgrade did not both arrive")
	case r.ContentLength != 0: // a proxy would treat the data as a body, and the server as frames
		return refuse(http.StatusBadRequest, "a WebSocket handshake has no body")
	}
	if version := r.Header["Sec-Websocket-Version"]; len(version) != 1 || version[0] != "13" {
		return refuse(http.StatusUpgradeRequired, "Sec-WebSocket-Version must be 13")
	}
	key := r.Header["Sec-Websocket-Key"]
	if len(key) != 1 || !validKey(key[0]) {
		return refuse(http.StatusBadRequest, "Sec-WebSocket-Key must be 16 bytes in base64")
	}
	answer, err := negotiateDeflate(r.Header["Sec-Websocket-Extensions"])
	if err != nil {
		return refuse(http.StatusBadRequest, err.Error())
	}
	if !deflate {
		answer = ""
	}
	return Handshake{Key: key[0], Deflate: answer != "", Extensions: answer}, nil
}

// AcceptKey returns the Sec-WebSocket-Accept for a Sec-WebSocket-Key, which
// proves that the server understood the request.
func AcceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}

// AppendSwitchingProtocols appends the response that accepts h. Extra headers,
// which may be nil, cannot replace those of the handshake.
func AppendSwitchingProtocols(dst []byte, h Handshake, extra http.Header) []byte {
	b := bytes.NewBuffer(dst)
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
	b.WriteString(AcceptKey(h.Key))
	b.WriteString("\r\n")
	if h.Extensions != "" {
		b.WriteString("Sec-WebSocket-Extensions: ")
		b.WriteString(h.Extensions)
		b.WriteString("\r\n")
	}
	// Write of a Buffer returns no error.
	_ = extra.WriteSubset(b, reservedHeaders)
	b.WriteString("\r\n")
	return b.Bytes()
}

// reservedHeaders are those of the handshake, and those of a body, which a 101
// does not have.
var reservedHeaders = map[string]bool{
	"Upgrade":                  true,
	"Connection":               true,
	"Sec-Websocket-Accept":     true,
	"Sec-Websocket-Extensions": true,
	"Content-Length":           true,
	"Transfer-Encoding":        true,
}

// validKey reports whether key is 16 bytes in base64.
func validKey(key string) bool {
	var nonce [18]byte
	if len(key) != base64.StdEncoding.EncodedLen(16) {
		return false
	}
	n, err := base64.StdEncoding.Decode(nonce[:], []byte(key))
	return err == nil && n == 16
}

// hasToken reports whether the comma-separated lists in lines contain token, ignoring
// case.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for element := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(element, " \t"), token) {
				return true
			}
		}
	}
	return false
}
