package load

import (
	"encoding/binary"
	"errors"

	"github.com/pondsocket/pond/internal/ws"
)

var (
	errFrame    = errors.New("the server sent a frame that RFC 6455 does not allow")
	errTooLarge = errors.New("the server sent a message of more than 64 MiB")
)

const maxMessage = 64 << 20

// A frame is one WebSocket frame from a server.
type frame struct {
	op      ws.Opcode
	fin     bool
	payload []byte
}

// nextFrame parses the frame at the start of b and returns its size n, or 0 if the
// frame is incomplete. Unlike internal/ws, it does not copy the payload.
func nextFrame(b []byte) (f frame, n int, err error) {
	if len(b) < 2 {
		return f, 0, nil
	}
	if b[0]&0x70 != 0 || b[1]&0x80 != 0 {
		return f, 0, errFrame
	}
	start, length := 2, uint64(b[1])
	switch length {
	case 126:
		if len(b) < 4 {
			return f, 0, nil
		}
		start, length = 4, uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if len(b) < 10 {
			return f, 0, nil
		}
		start, length = 10, binary.BigEndian.Uint64(b[2:])
	}
	if length > maxMessage {
		return f, 0, errTooLarge
	}
	n = start + int(length)
	if len(b) < n {
		return f, 0, nil
	}
	return frame{ws.Opcode(b[0] & 15), b[0]&0x80 != 0, b[start:n:n]}, n, nil
}

// An assembler assembles fragmented messages. Most messages have a single frame.
type assembler struct{ parts []byte }

// message returns the message that f completes, or nil if it is incomplete.
func (j *assembler) message(f frame) ([]byte, error) {
	switch {
	case (f.op == ws.Continuation) != (j.parts != nil):
		return nil, errFrame
	case f.fin && j.parts == nil:
		return f.payload, nil
	case len(j.parts)+len(f.payload) > maxMessage:
		return nil, errTooLarge
	}
	if j.parts == nil {
		j.parts = make([]byte, 0, 2*len(f.payload)+1)
	}
	j.parts = append(j.parts, f.payload...)
	if !f.fin {
		return nil, nil
	}
	message := j.parts
	j.parts = nil
	return message, nil
}
