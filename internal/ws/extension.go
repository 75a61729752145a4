package ws

import (
	"errors"
	"strings"
)

// Our answers to an acceptable offer. Without context takeover every message
// stands alone: one compressed frame serves all connections, and an idle one
// keeps no window. The second answer confirms a window size that the offer asked
// for, RFC 7692 section 7.1.2.1.
const (
	deflateAnswer       = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	deflateAnswerWindow = deflateAnswer + "; server_max_window_bits=15"
)

var errExtensions = errors.New("malformed Sec-WebSocket-Extensions")

// extension is one element of a Sec-WebSocket-Extensions header.
type extension struct {
	name   string
	params []param
}

type param struct {
	name, value string
	hasValue    bool
}

// negotiateDeflate returns our answer to the first acceptable offer of
// permessage-deflate in the header's lines, and "" if there is none.
func negotiateDeflate(lines []string) (string, error) {
	extensions, err := parseExtensions(lines)
	if err != nil {
		return "", err
	}
	for _, ext := range extensions {
		if ext.name != "permessage-deflate" {
			continue
		}
		if answer := answerDeflate(ext.params); answer != "" {
			return answer, nil
		}
	}
	return "", nil
}

// answerDeflate returns our answer to one offer, and "" to decline it: for
// parameters that RFC 7692 section 7.1 does not allow, and for a smaller window
// than compress/flate can promise.
func answerDeflate(params []param) string {
	answer := deflateAnswer
	for i, p := range params {
		for _, earlier := range params[:i] {
			if earlier.name == p.name {
				return ""
			}
		}
		switch p.name {
		case "server_no_context_takeover", "client_no_context_takeover":
			if p.hasValue {
				return ""
			}
		case "client_max_window_bits":
			// A permission, which we do not use.
			if p.hasValue && !windowBits(p.value) {
				return ""
			}
		case "server_max_window_bits":
			if p.value != "15" {
				return ""
			}
			answer = deflateAnswerWindow
		default:
			return ""
		}
	}
	return answer
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

// parseExtensions parses the lines of a Sec-WebSocket-Extensions header, RFC
// 6455 section 9.1. Section 9.1 also demands that a malformed one is refused.
func parseExtensions(lines []string) ([]extension, error) {
	var extensions []extension
	for _, line := range lines {
		for s := skipSpace(line); s != ""; s = skipSpace(s) {
			if s[0] == ',' { // lists may have empty elements
				s = s[1:]
				continue
			}
			var ext extension
			var err error
			if ext, s, err = parseExtension(s); err != nil {
				return nil, err
			}
			extensions = append(extensions, ext)
		}
	}
	return extensions, nil
}

// parseExtension parses one element up to the comma that follows it.
func parseExtension(s string) (ext extension, rest string, err error) {
	if ext.name, s = cutToken(s); ext.name == "" {
		return ext, s, errExtensions
	}
	for {
		s = skipSpace(s)
		if s == "" || s[0] == ',' {
			return ext, s, nil
		}
		if s[0] != ';' {
			return ext, s, errExtensions
		}
		var p param
		if p, s, err = parseParam(skipSpace(s[1:])); err != nil {
			return ext, s, err
		}
		ext.params = append(ext.params, p)
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

// cutQuoted returns the content of the quoted string that s begins with, and ""
// unless it is a token.
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

// cutToken returns the token that s begins with, which may be empty.
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
