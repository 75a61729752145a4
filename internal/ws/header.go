package ws

import (
	"encoding/binary"
	"math"
)

func (d *Decoder) frameOp() Opcode { return Opcode(d.header[0] & opcodeBits) }

// readHeader reads the rest of a frame's header from data, n bytes. If the header is
// still incomplete, it stores all of data.
func (d *Decoder) readHeader(data []byte) (n int, complete bool, err error) {
	had := int(d.have)
	have := had + copy(d.header[had:], data)
	if have < 2 {
		d.have = uint8(have)
		return 0, false, nil
	}
	if err := d.checkHeader(); err != nil {
		return 0, false, err
	}

	end := 2
	switch d.header[1] & lengthBits {
	case length16:
		end += 2
	case length64:
		end += 8
	}
	size := end
	if d.role == Server {
		size += 4
	}
	if have < size {
		d.have = uint8(have)
		return 0, false, nil
	}
	d.have = 0

	var length uint64
	switch end {
	case 2:
		length = uint64(d.header[1] & lengthBits)
	case 4:
		length = uint64(binary.BigEndian.Uint16(d.header[2:]))
	default:
		length = binary.BigEndian.Uint64(d.header[2:])
	}
	d.key = binary.LittleEndian.Uint32(d.header[end:])
	return size - had, true, d.begin(length)
}

// checkHeader checks the first two bytes of a frame.
func (d *Decoder) checkHeader() error {
	first, second := d.header[0], d.header[1]
	op := d.frameOp()
	begins := op == Text || op == Binary
	switch {
	case op.reserved():
		return violation(CloseProtocolError, "reserved opcode")
	case (second&maskBit != 0) != (d.role == Server):
		if d.role == Server {
			return violation(CloseProtocolError, "frame is not masked")
		}
		return violation(CloseProtocolError, "frame is masked")
	case first&rsv23Bits != 0, first&rsv1Bit != 0 && (!begins || !d.deflate):
		return violation(CloseProtocolError, "reserved bit is set")
	case op.control() && first&finBit == 0:
		return violation(CloseProtocolError, "control frame is fragmented")
	case op.control() && second&lengthBits > maxControl:
		return violation(CloseProtocolError, "control frame is too long")
	case op == Continuation && d.op == Continuation:
		return violation(CloseProtocolError, "continuation frame without a message")
	case begins && d.op != Continuation:
		return violation(CloseProtocolError, "new message inside a fragmented message")
	default:
		return nil
	}
}

// begin starts a frame with length bytes of payload. A frame that exceeds a limit is
// rejected before its payload is read.
func (d *Decoder) begin(length uint64) error {
	if length > math.MaxInt64 {
		return violation(CloseProtocolError, "frame length is negative")
	}
	d.left = int64(length)

	op := d.frameOp()
	if op.control() {
		return nil
	}
	if limit := d.config.MaxMessage; limit > 0 && d.left > int64(limit-len(d.buf)) {
		return tooBig()
	}
	if op != Continuation {
		d.op = op
		d.compressed = d.header[0]&rsv1Bit != 0
		d.frames = 0
	}
	d.frames++
	if limit := d.config.MaxFragments; limit > 0 && int64(d.frames) > int64(limit) {
		return violation(ClosePolicy, "message has too many fragments")
	}
	return nil
}
