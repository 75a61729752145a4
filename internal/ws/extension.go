package ws

import (
	"errors"
	"strings"
)

// Our answers to an acceptable offer. Without context takeover, messages do not depend
// on each other: all connections can receive the same compressed frame, and an idle
// connection needs no window. The second answer confirms the window size of the offer,
// RFC 7692 section 7.1.2.1.
const (
	deflateAnswer       = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	deflateAnswerWindow = deflateAnswer + "; server_max_window_bits=15"
)

// Limits of a Sec-WebSocket-Extensions header, which are checked before it is parsed.
// Browsers send one element of 50 bytes.
const (
	maxExtensions     = 16
	maxExtensionBytes = 4 << 10
)

var (
	errExtensions       = errors.New("malformed Sec-WebSocket-Extensions")
	errExtensionsLength = errors.New("Sec-WebSocket-Extensions exceeds 16 elements or 4 KiB")
)

// A param is a parameter of an extension.
type param struct {
	name, value string
	hasValue    bool
}

// negotiateDeflate returns our answer to the first acceptable offer of
// permessage-deflate in the header's lines, and "" if there is none. It checks all
// lines, because RFC 6455 section 9.1 requires that a malformed header is rejected, and
// stores none of them.
func negotiateDeflate(lines []string) (answer string, err error) {
	size := 0
	for _, line := range lines {
		if size += len(line); size > maxExtensionBytes {
			return "", errExtensionsLength
		}
	}
	n := 0
	for _, line := range lines {
		for s := skipSpace(line); s != ""; s = skipSpace(s) {
			if s[0] == ',' { // lists may have empty elements
				s = s[1:]
				continue
			}
			if n++; n > maxExtensions {
				return "", errExtensionsLength
			}
			var reply string
			if reply, s, err = parseExtension(s); err != nil {
				return "", err
			}
			if answer == "" {
				answer = reply
			}
		}
	}
	return answer, nil
}

// parseExtension parses one element up to the comma after it. It returns our answer,
// which is empty unless the element is an acceptable offer.
func parseExtension(s string) (answer, rest string, err error) {
	name, s := cutToken(s)
	if name == "" {
		return "", s, errExtensions
	}
	offer := deflateOffer{declined: name != "permessage-deflate"}
	for {
		s = skipSpace(s)
		if s == "" || s[0] == ',' {
			return offer.answer(), s, nil
		}
		if s[0] != ';' {
			return "", s, errExtensions
		}
		var p param
		if p, s, err = parseParam(skipSpace(s[1:])); err != nil {
			return "", s, err
		}
		offer.add(p)
	}
}

// A deflateOffer is one offer of permessage-deflate.
type deflateOffer struct {
	seen     uint8 // the parameters so far, one bit per parameter
	declined bool
}

// The parameters of RFC 7692 section 7.1.
const (
	serverTakeover uint8 = 1 << iota
	clientTakeover
	serverWindow
	clientWindow
)

// add declines the offer for parameters that RFC 7692 section 7.1 does not allow,
// and for a smaller window than compress/flate supports.
func (o *deflateOffer) add(p param) {
	var bit uint8
	acceptable := false
	switch p.name {
	case "server_no_context_takeover":
		bit, acceptable = serverTakeover, !p.hasValue
	case "client_no_context_takeover":
		bit, acceptable = clientTakeover, !p.hasValue
	case "client_max_window_bits": // an option, which we do not use
		bit, acceptable = clientWindow, !p.hasValue || windowBits(p.value)
	case "server_max_window_bits":
		bit, acceptable = serverWindow, p.value == "15"
	}
	if !acceptable || o.seen&bit != 0 {
		o.declined = true
	}
	o.seen |= bit
}

// answer returns our answer to the offer, or "" to decline it.
func (o *deflateOffer) answer() string {
	switch {
	case o.declined:
		return ""
	case o.seen&serverWindow != 0:
		return deflateAnswerWindow
	default:
		return deflateAnswer
	}
}

// windowBits reports whether s is a number from 8 to 15.
func windowBits(s string) bool {
	switch s {
	case "8", "9", "10", "11", "12", "13", "14", "15":
		return true
	default:
		return false
	}
}

func parseParam(s string) (p param, rest string, err error) {
	if p.name, s = cutToken(s); p.name == "" {
		return p, s, errExtensions
	}
	s = skipSpace(s)
	if s == "" || s[0] != '=' {
		return p, s, nil
	}
	p.hasValue = true
	if s = skipSpace(s[1:]); s != "" && s[0] == '"' {
		p.value, s = cutQuoted(s)
	} else {
		p.value, s = cutToken(s)
	}
	if p.value == "" {
		return p, s, errExtensions
	}
	return p, s, nil
}

// cutQuoted returns the content of the quoted string at the start of s, or "" if it is
// not a token.
func cutQuoted(s string) (value, rest string) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:]
		case c == '\\' && i+1 < len(s):
			i++
		}
		if !tokenByte(s[i]) {
			break
		}
		b.WriteByte(s[i])
	}
	return "", s
}

// cutToken returns the token at the start of s, which may be empty.
func cutToken(s string) (token, rest string) {
	n := 0
	for n < len(s) && tokenByte(s[n]) {
		n++
	}
	return s[:n], s[n:]
}

// tokenByte reports whether c may be in a token, RFC 9110 section 5.6.2.
func tokenByte(c byte) bool {
	switch {
	case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		return true
	default:
		return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
	}
}

func skipSpace(s string) string { return strings.TrimLeft(s, " \t") }
