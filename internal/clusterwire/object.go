package clusterwire

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// check returns "" if data is one JSON object in valid UTF-8 whose containers nest at
// most maxDepth levels, and the fault otherwise.
func check(data []byte, maxDepth int) Reason {
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString:
			if c == '\\' {
				i++
			}
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{', c == '[':
			if depth++; depth > maxDepth {
				return TooDeep
			}
		case c == '}', c == ']':
			depth--
		}
	}
	if !isObject(bytes.TrimLeft(data, " \t\r\n")) || !utf8.Valid(data) || !json.Valid(data) {
		return Malformed
	}
	return ""
}

// eachMember calls f with the members of a valid JSON object, in their order, until
// f returns false.
func eachMember(object []byte, f func(name, value []byte) bool) {
	rest := skipSpace(skipSpace(object)[1:])
	for rest[0] != '}' {
		n := valueLen(rest)
		name := unquote(rest[:n])
		rest = skipSpace(rest[n:])
		rest = skipSpace(rest[1:]) // the colon
		n = valueLen(rest)
		if !f(name, rest[:n:n]) {
			return
		}
		if rest = skipSpace(rest[n:]); rest[0] == ',' {
			rest = skipSpace(rest[1:])
		}
	}
}

// eachElement calls f with the elements of a valid JSON array, in their order, until
// f returns false.
func eachElement(array []byte, f func(value []byte) bool) {
	rest := skipSpace(array[1:])
	for rest[0] != ']' {
		n := valueLen(rest)
		if !f(rest[:n:n]) {
			return
		}
		if rest = skipSpace(rest[n:]); rest[0] == ',' {
			rest = skipSpace(rest[1:])
		}
	}
}

// valueLen returns the length of the value at the start of valid JSON.
func valueLen(data []byte) int {
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString:
			if c == '\\' {
				i++
			}
			inString = c != '"'
			if !inString && depth == 0 {
				return i + 1
			}
		case c == '"':
			inString = true
		case c == '{', c == '[':
			depth++
		case c == '}', c == ']':
			if depth == 0 {
				return i // end of the container around a number or a literal
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case depth == 0 && (c == ',' || c == ':' || isSpace(c)):
			return i
		}
	}
	return len(data)
}

func skipSpace(data []byte) []byte {
	for len(data) > 0 && isSpace(data[0]) {
		data = data[1:]
	}
	return data
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func isString(raw []byte) bool { return len(raw) > 0 && raw[0] == '"' }

func isObject(raw []byte) bool { return len(raw) > 0 && raw[0] == '{' }

func isArray(raw []byte) bool { return len(raw) > 0 && raw[0] == '[' }

func isNull(raw []byte) bool { return len(raw) > 0 && raw[0] == 'n' }

func isNumber(raw []byte) bool {
	return len(raw) > 0 && (raw[0] == '-' || '0' <= raw[0] && raw[0] <= '9')
}

// text returns the string that a JSON string encodes, and "" for all other values.
func text(raw []byte) string {
	if !isString(raw) {
		return ""
	}
	return string(unquote(raw))
}

// unquote returns the string that a valid JSON string encodes. Lone surrogates become
// U+FFFD.
func unquote(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return nil // impossible: the string is valid
	}
	return []byte(s)
}

// compact returns a valid value without white space outside its strings. If there is
// none, the result is the value itself.
func compact(raw []byte) []byte {
	inString := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString:
			if c == '\\' {
				i++
			}
			inString = c != '"'
		case c == '"':
			inString = true
		case isSpace(c):
			var buf bytes.Buffer
			buf.Grow(len(raw))
			if json.Compact(&buf, raw) != nil {
				return emptyObject // impossible: the value is valid
			}
			return buf.Bytes()
		}
	}
	return raw
}
