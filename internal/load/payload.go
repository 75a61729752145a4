package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Payload is a template of the payload of messages: a JSON object with placeholders.
// The zero value is {"b":"{{.Text}}"}.
type Payload struct{ pieces []string } // texts and placeholders, alternating

// The placeholders of a [Payload].
const (
	payloadText   = "{{.Text}}"   // the text of the message; must occur once, in a string
	payloadClient = "{{.Client}}" // the number of the client, from 0
	payloadRoom   = "{{.Room}}"   // the number of its room, from 0
)

var defaultPayload = Payload{[]string{`{"b":"`, payloadText, `"}`}}

// ParsePayload parses a template. It may contain {{.Text}}, which is required and must be
// inside a JSON string, and {{.Client}} and {{.Room}}, which are numbers.
func ParsePayload(template string) (Payload, error) {
	p := Payload{}
	for rest := template; ; {
		start := strings.Index(rest, "{{")
		if start < 0 {
			p.pieces = append(p.pieces, rest)
			break
		}
		end := strings.Index(rest[start:], "}}")
		if end < 0 {
			return Payload{}, errors.New("a placeholder has no }}")
		}
		end += start + len("}}")
		name := strings.ReplaceAll(rest[start:end], " ", "")
		if !slices.Contains([]string{payloadText, payloadClient, payloadRoom}, name) {
			return Payload{}, fmt.Errorf("unknown placeholder %s: want {{.Text}}, {{.Client}} or {{.Room}}", rest[start:end])
		}
		p.pieces = append(p.pieces, rest[:start], name)
		rest = rest[end:]
	}
	const text = "~text~"
	example := p.append(nil, &Client{}, []byte(text))
	var object map[string]any
	if err := json.Unmarshal(example, &object); err != nil || object == nil {
		return Payload{}, fmt.Errorf("not a JSON object: with values, it is %s", example)
	}
	if n := strings.Count(string(example), text); n != 1 {
		return Payload{}, fmt.Errorf("{{.Text}} occurs %d times: want it once, inside a string", n)
	}
	if !hasString(object, text) {
		return Payload{}, errors.New("{{.Text}} must be inside a string, and not in the name of a field")
	}
	return p, nil
}

// hasString reports whether a string in v contains text.
func hasString(v any, text string) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(v, text)
	case []any:
		return slices.ContainsFunc(v, func(v any) bool { return hasString(v, text) })
	case map[string]any:
		for _, member := range v {
			if hasString(member, text) {
				return true
			}
		}
	}
	return false
}

// append appends the payload of a message of c with the given text.
func (p Payload) append(dst []byte, c *Client, text []byte) []byte {
	if p.pieces == nil {
		p = defaultPayload
	}
	for i, piece := range p.pieces {
		switch {
		case i%2 == 0:
			dst = append(dst, piece...)
		case piece == payloadText:
			dst = append(dst, text...)
		case piece == payloadClient:
			dst = strconv.AppendInt(dst, int64(c.Number), 10)
		default:
			dst = strconv.AppendInt(dst, int64(c.Room), 10)
		}
	}
	return dst
}
