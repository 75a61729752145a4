// Package pattern matches request paths, channel names and event names against
// patterns such as "/chat/:room", "/files/*" and "presence:update".
//
// A pattern is split at '/'. Each segment is one of
//
//	text         exactly this text, which may be empty: slashes are significant
//	:name        one or more characters, percent-decoded
//	text:name    text, then one or more characters, percent-decoded
//	text:*       text, then one or more characters, not decoded, under the name "*"
//	*            any characters except line feeds, including slashes, under the name "*";
//	             its value is not decoded, starts with exactly one slash, and has no
//	             double slashes
//
// Names are ASCII identifiers. No name, and no '*', may appear twice. A backslash
// escapes ':', '*', '{' and '\'; see [Escape]. All other characters are literal.
//
// Patterns and Params are safe for concurrent use. Matching takes time linear in the
// length of the path.
package pattern

import (
	"errors"
	"fmt"
	"strings"
)

// wildcard is the name of the value that a '*' matches.
const wildcard = "*"

// A Pattern is a compiled pattern. It is immutable.
type Pattern struct {
	source  string
	literal string    // the whole pattern, if there are no values
	head    []segment // the segments before a '*'
	wild    int       // index of the value of that '*', or -1
	tail    []segment // the segments after it
	values  int       // number of values
}

// A segment is the part of a pattern between two slashes: a text, followed by a value
// if name is not empty.
type segment struct {
	text  string
	name  string
	index int // of the value
}

// Compile parses a pattern. Its errors name the pattern, and are meant for the
// developer who registers it.
func Compile(s string) (*Pattern, error) {
	p := &Pattern{source: s, wild: -1}
	if err := p.parse(); err != nil {
		return nil, fmt.Errorf("invalid pattern %q: %w", s, err)
	}
	return p, nil
}

// String returns the text that was passed to [Compile].
func (p *Pattern) String() string { return p.source }

func (p *Pattern) parse() error {
	if strings.Contains(p.source, "?") {
		return errors.New("paths are matched without their query and contain no '?'")
	}
	var texts []string
	seen := make(map[string]bool)
	for part := range strings.SplitSeq(p.source, "/") {
		s, err := parseSegment(part)
		if err != nil {
			return err
		}
		texts = append(texts, s.text)
		if s.name != "" {
			if seen[s.name] {
				return fmt.Errorf("%q appears twice", s.name)
			}
			seen[s.name] = true
			s.index = p.values
			p.values++
		}
		switch {
		case part == wildcard:
			p.wild = s.index
		case p.wild >= 0:
			p.tail = append(p.tail, s)
		default:
			p.head = append(p.head, s)
		}
	}
	if p.values == 0 {
		p.literal = strings.Join(texts, "/")
	}
	return nil
}

func parseSegment(part string) (segment, error) {
	if part == wildcard {
		return segment{name: wildcard}, nil
	}
	var text strings.Builder
	for i := 0; i < len(part); i++ {
		rest := part[i+1:]
		switch c := part[i]; {
		case c == '\\':
			if rest == "" || !strings.Contains(special, rest[:1]) {
				return segment{}, fmt.Errorf(`a backslash must precede one of %s`, special)
			}
			text.WriteByte(rest[0])
			i++
		case c == ':':
			if !isIdentifier(rest) && (rest != wildcard || text.Len() == 0) {
				return segment{}, fmt.Errorf("%q is not a parameter name", rest)
			}
			return segment{text: text.String(), name: rest}, nil
		case c == '*':
			return segment{}, errors.New("a '*' must be a whole segment, or follow a ':' at its end")
		case c == '{' && rest != "" && isLetter(rest[0]):
			return segment{}, errors.New(`write :name instead of {name}, or \{ for a brace`)
		default:
			text.WriteByte(c)
		}
	}
	return segment{text: text.String()}, nil
}

// special are the characters that have a meaning in a pattern.
const special = `:*{\`

var escaper = strings.NewReplacer(`:`, `\:`, `*`, `\*`, `{`, `\{`, `\`, `\\`)

// Escape returns a pattern that matches exactly the string literal. A literal
// with a '?' has no such pattern: [Compile] rejects it.
func Escape(literal string) string { return escaper.Replace(literal) }

func isIdentifier(s string) bool {
	for i := range len(s) {
		if !isLetter(s[i]) && (i == 0 || !isDigit(s[i])) {
			return false
		}
	}
	return s != ""
}

func isLetter(c byte) bool { return c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
