package ws

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Close codes of RFC 6455 section 7.4.1 and of its IANA registry. CloseNoStatus and
// CloseAbnormal only describe the end of a connection and are never sent.
const (
	CloseNormal         = 1000
	CloseGoingAway      = 1001
	CloseProtocolError  = 1002
	CloseNoStatus       = 1005
	CloseAbnormal       = 1006
	CloseInvalidPayload = 1007
	ClosePolicy         = 1008
	CloseTooBig         = 1009
	CloseTryAgainLater  = 1013
)

// maxReason is the size of a control frame's payload without the close code.
const maxReason = maxControl - 2

// CloseError is the reason why a connection ends, from the peer's Close frame, or for
// our own.
type CloseError struct {
	Code   int
	Reason string
}

// Error returns the code and the reason.
func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("websocket closed with code %d", e.Code)
	}
	return fmt.Sprintf("websocket closed with code %d: %s", e.Code, e.Reason)
}

// CloseCode returns the close code for a status that rejects or ends a connection: a
// close code that may be sent stays the same, an HTTP status becomes 4000 + status, and
// everything else becomes [ClosePolicy].
func CloseCode(status int) int {
	switch {
	case sendable(status):
		return status
	case status >= 100 && status <= 999:
		return 4000 + status
	default:
		return ClosePolicy
	}
}

// sendable reports whether code may be in a Close frame, RFC 6455 section 7.4.
func sendable(code int) bool {
	switch {
	case code >= 3000 && code <= 4999: // registered or private codes of applications
		return true
	case code >= CloseNormal && code <= 1003:
		return true
	case code >= CloseInvalidPayload && code <= 1014:
		return true
	default:
		return false
	}
}

// AppendClose appends an unmasked Close frame of a server, with the payload of
// [AppendCloseBody].
func AppendClose(dst []byte, code int, reason string) []byte {
	var body [maxControl]byte
	return AppendFrame(dst, Close, false, AppendCloseBody(body[:0], code, reason))
}

// AppendCloseBody appends the payload of a Close frame. The reason is truncated to at
// most 123 bytes between two runes, and invalid UTF-8 in it is replaced. For a code
// that must not be sent, such as [CloseNoStatus] and [CloseAbnormal], the payload is
// empty.
func AppendCloseBody(dst []byte, code int, reason string) []byte {
	if !sendable(code) {
		return dst
	}
	reason = strings.ToValidUTF8(reason, string(utf8.RuneError))
	if len(reason) > maxReason {
		end := maxReason
		for !utf8.RuneStart(reason[end]) {
			end--
		}
		reason = reason[:end]
	}
	return append(binary.BigEndian.AppendUint16(dst, uint16(code)), reason...)
}

// parseClose is the inverse of [AppendCloseBody].
func parseClose(body []byte) (code int, reason string, err error) {
	switch len(body) {
	case 0:
		return CloseNoStatus, "", nil
	case 1:
		return 0, "", violation(CloseProtocolError, "close frame with a 1-byte payload")
	}
	code = int(binary.BigEndian.Uint16(body))
	if !sendable(code) {
		return 0, "", violation(CloseProtocolError, "close frame with an invalid code")
	}
	if !utf8.Valid(body[2:]) {
		return 0, "", violation(CloseInvalidPayload, "close reason is not UTF-8")
	}
	return code, string(body[2:]), nil
}

func violation(code int, reason string) error {
	return &CloseError{Code: code, Reason: reason}
}
