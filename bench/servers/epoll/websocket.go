//go:build linux

package main

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // required by RFC 6455
	"encoding/base64"
	"encoding/binary"
)

// feed handles data from c and returns the incomplete rest. If not ok, c must be closed.
func (s *server) feed(c *conn, data []byte) (rest []byte, ok bool) {
	if !c.open {
		end := bytes.Index(data, []byte("\r\n\r\n"))
		if end < 0 {
			return data, len(data) < 8<<10
		}
		if !s.upgrade(c, data[:end]) {
			return nil, false
		}
		data = data[end+4:]
	}
	for {
		f, n := parse(data)
		switch {
		case n == 0:
			return data, len(data) < pending
		case f.opcode == opClose:
			return nil, false
		case f.opcode == opPing:
			s.write(c, appendFrame(nil, opPong, f.payload))
		case f.opcode == opText && c.room == nil:
			s.write(c, appendFrame(nil, opText, f.payload))
		case f.opcode == opText:
			s.publish(c.room, f.payload)
		}
		data = data[n:]
		if s.conns[c.fd] != c {
			return nil, true // closed by a write
		}
	}
}

// upgrade responds to the handshake. The path is the room, except /echo.
func (s *server) upgrade(c *conn, head []byte) bool {
	path, _, _ := bytes.Cut(bytes.TrimPrefix(head, []byte("GET ")), []byte(" "))
	const name = "\r\nsec-websocket-key: "
	at := bytes.Index(bytes.ToLower(head), []byte(name))
	if at < 0 {
		return false
	}
	key, _, _ := bytes.Cut(head[at+len(name):], []byte("\r\n"))
	sum := sha1.Sum(append(bytes.TrimSpace(key), "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...)) //nolint:gosec // see above
	answer := []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
	answer = base64.StdEncoding.AppendEncode(answer, sum[:])
	answer = append(answer, "\r\n\r\n"...)
	c.open = true
	if string(path) != "/echo" {
		s.enter(c, string(path))
	}
	s.write(c, appendFrame(answer, opText, []byte(`{"joined":true}`)))
	return true
}

func (s *server) enter(c *conn, name string) {
	r, ok := s.rooms[name]
	if !ok {
		r = &room{members: map[*conn]struct{}{}}
		s.rooms[name] = r
	}
	r.members[c] = struct{}{}
	c.room = r
}

func (s *server) publish(r *room, message []byte) {
	if len(r.frames) == 0 {
		s.dirty = append(s.dirty, r)
	}
	r.frames = appendFrame(r.frames, opText, message)
	if !*join {
		s.flush()
	}
}

// flush writes the frames of all rooms.
func (s *server) flush() {
	for _, r := range s.dirty {
		for c := range r.members {
			s.write(c, r.frames)
		}
		r.frames = r.frames[:0]
	}
	s.dirty = s.dirty[:0]
}

const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

type frame struct {
	opcode  byte
	payload []byte
}

// parse parses one masked frame and returns its length, or 0 if it is incomplete. It
// unmasks in place.
func parse(data []byte) (f frame, length int) {
	if len(data) < 6 {
		return f, 0
	}
	size, head := int(data[1]&0x7f), 2
	switch {
	case size == 126:
		size, head = int(binary.BigEndian.Uint16(data[2:])), 4
	case size == 127 && len(data) < 10:
		return f, 0
	case size == 127:
		size, head = int(binary.BigEndian.Uint32(data[6:])), 10 // 4 GiB is enough
	}
	if len(data) < head+4+size {
		return f, 0
	}
	key := data[head : head+4]
	f = frame{data[0] & 0xf, data[head+4 : head+4+size]}
	for i := range f.payload {
		f.payload[i] ^= key[i&3]
	}
	return f, head + 4 + size
}

func appendFrame(b []byte, opcode byte, payload []byte) []byte {
	b = append(b, 0x80|opcode)
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}
