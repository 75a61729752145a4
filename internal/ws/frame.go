package ws

import (
	"encoding/binary"
	"math"
)

// Opcode is the type of a frame, RFC 6455 section 5.2.
type Opcode byte

// The opcodes of RFC 6455. All others are reserved and rejected.
const (
	Continuation Opcode = 0
	Text         Opcode = 1
	Binary       Opcode = 2
	Close        Opcode = 8
	Ping         Opcode = 9
	Pong         Opcode = 10
)

func (op Opcode) control() bool { return op >= Close }

func (op Opcode) reserved() bool { return op > Pong || op > Binary && op < Close }

// Role is the side of a connection for which a [Decoder] decodes. It determines the
// masking: clients mask all frames, servers none.
type Role byte

// A Server expects masked frames, a Client unmasked ones.
const (
	Server Role = iota
	Client
)

// The bits of a frame's first two bytes, and the lengths that mean that the real length
// follows in 2 or 8 bytes.
const (
	finBit     = 0x80
	rsv1Bit    = 0x40 // the message is compressed, RFC 7692 section 6
	rsv23Bits  = 0x30
	opcodeBits = 0x0f

	maskBit    = 0x80
	lengthBits = 0x7f
	length16   = 126
	length64   = 127

	maxControl = 125
	maxHeader  = 14
)

// HeaderSize returns the number of bytes that [AppendHeader] appends for a payload of n
// bytes: 2, 4 or 10.
func HeaderSize(n int) int {
	switch {
	case n < length16:
		return 2
	case n <= math.MaxUint16:
		return 4
	default:
		return 10
	}
}

// AppendHeader appends the header of a frame that is a whole, unmasked message with n
// bytes of payload. Compressed payloads are those of [AppendDeflate].
func AppendHeader(dst []byte, op Opcode, compressed bool, n int) []byte {
	return appendHeader(dst, firstByte(op, true, compressed), 0, n)
}

// AppendFrame appends a whole message as one unmasked frame of a server. Compressed
// payloads are those of [AppendDeflate].
func AppendFrame(dst []byte, op Opcode, compressed bool, payload []byte) []byte {
	return append(AppendHeader(dst, op, compressed, len(payload)), payload...)
}

// AppendMasked appends one masked frame of a client. It does not modify payload. If a
// message has several frames, the first has its opcode and compressed, all others have
// [Continuation], and the last has fin.
func AppendMasked(dst []byte, op Opcode, fin, compressed bool, key [4]byte, payload []byte) []byte {
	dst = appendHeader(dst, firstByte(op, fin, compressed), maskBit, len(payload))
	dst = append(dst, key[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	mask(dst[start:], binary.LittleEndian.Uint32(key[:]))
	return dst
}

func firstByte(op Opcode, fin, compressed bool) byte {
	b := byte(op)
	if fin {
		b |= finBit
	}
	if compressed {
		b |= rsv1Bit
	}
	return b
}

func appendHeader(dst []byte, first, masked byte, n int) []byte {
	switch HeaderSize(n) {
	case 2:
		return append(dst, first, masked|byte(n))
	case 4:
		return binary.BigEndian.AppendUint16(append(dst, first, masked|length16), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, first, masked|length64), uint64(n))
	}
}
