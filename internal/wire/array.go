package wire

import (
	"errors"
	"strconv"
)

// IsArray reports whether data starts like a JSON array that is not empty. An empty
// array contains no message, so [Decode] rejects it like any other value.
func IsArray(data []byte) bool {
	s := scanner{data: data}
	s.space()
	if !s.take('[') {
		return false
	}
	s.space()
	return s.peek() != ']'
}

// DecodeArray parses a JSON array of messages, each of which [Decode] accepts. The
// nesting limit applies to each message; the array does not count. If the array or a
// message is invalid, no messages are returned, and the error is a [*DecodeError] with
// the index of the first invalid message.
func DecodeArray(data []byte, limits Limits) ([]Message, error) {
	s := scanner{data: data, maxDepth: limits.Depth}
	s.space()
	if !s.take('[') {
		return nil, &DecodeError{Message: s.problem()}
	}
	var messages []Message
	s.space()
	for !s.take(']') {
		if len(messages) > 0 && !s.take(',') {
			return nil, s.badElement(len(messages))
		}
		s.space()
		start := s.pos
		if !s.value(nil) {
			return nil, s.badElement(len(messages))
		}
		msg, err := Decode(data[start:s.pos], limits)
		if bad, ok := errors.AsType[*DecodeError](err); ok {
			bad.Message = elementName(len(messages)) + bad.Message
			return nil, bad
		}
		messages = append(messages, msg)
		s.space()
	}
	if !s.done() {
		return nil, &DecodeError{Message: s.problem()}
	}
	return messages, nil
}

// badElement returns the error for the element at s.pos.
func (s *scanner) badElement(index int) error {
	bad := &DecodeError{Message: elementName(index) + s.problem()}
	if s.fault == depthFault {
		bad.Limit = DepthLimit
	}
	return bad
}

func elementName(index int) string { return "messages[" + strconv.Itoa(index) + "]: " }
