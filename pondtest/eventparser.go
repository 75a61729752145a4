package pondtest

import (
	"bytes"
	"strings"
)

// An eventParser parses an event stream as an EventSource does (HTML, section
// 9.2.6). Unlike an EventSource, it also returns comments.
type eventParser struct {
	line    []byte // the incomplete line
	afterCR bool   // a line feed would end the previous line
	begun   bool   // the first line is complete
	id      string // the last one
	name    string // name and data are the fields of the event so far
	data    strings.Builder
}

// next parses the next byte of the stream and returns the event or comment that it
// completes.
func (p *eventParser) next(b byte) (Event, bool) {
	second := b == '\n' && p.afterCR
	p.afterCR = b == '\r'
	switch {
	case second:
		return Event{}, false
	case b == '\n' || b == '\r':
		line := p.line
		if !p.begun {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		p.begun = true
		event, ok := p.complete(string(line))
		p.line = p.line[:0]
		return event, ok
	default:
		p.line = append(p.line, b)
		return Event{}, false
	}
}

// complete handles a complete line.
func (p *eventParser) complete(line string) (Event, bool) {
	switch {
	case line == "":
		event := Event{Name: p.name, ID: p.id, Data: strings.TrimSuffix(p.data.String(), "\n")}
		dispatch := p.data.Len() > 0
		p.name = ""
		p.data.Reset()
		return event, dispatch
	case line[0] == ':':
		return Event{Comment: line}, true
	}
	field, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch field {
	case "event":
		p.name = value
	case "id":
		if !strings.Contains(value, "\x00") {
			p.id = value
		}
	case "data":
		p.data.WriteString(value)
		p.data.WriteByte('\n')
	}
	return Event{}, false
}
