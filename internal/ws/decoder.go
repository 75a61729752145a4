package ws

// Sink receives what a [Decoder] finds. The slices are valid only during the
// call. The first error ends the decoding; [Decoder.Feed] returns it.
type Sink interface {
	// Message receives one complete message, Text or Binary, inflated if it
	// was compressed. Text is valid UTF-8.
	Message(op Opcode, data []byte) error

	// Control receives a Ping or a Pong.
	Control(op Opcode, data []byte) error

	// PeerClosed receives the peer's Close frame. The code is CloseNoStatus
	// when the frame has none. It is the last call: whatever the peer sends
	// afterwards is ignored.
	PeerClosed(code int, reason string) error
}

// Config is what all decoders of an endpoint have in common. It must not change
// while one of them is in use. The zero Config has no limits.
type Config struct {
	// MaxMessage is the largest acceptable message in bytes, both as sent and
	// inflated. Zero or less is no limit.
	MaxMessage int

	// MaxFragments is the largest acceptable number of frames in a message.
	// Zero or less is no limit.
	MaxFragments int
}

// Decoder is the inbound direction of one connection. It holds memory only while
// a frame or a message has arrived in part, and as much as has arrived, whatever
// length was declared. Call Init before use.
type Decoder struct {
	config *Config
	err    error

	buf  []byte // the message under way, unmasked; behind it a control frame in pieces
	left int64  // payload bytes of the current frame that are still to come
	key  uint32 // masking key of the current frame, rotated to its next byte

	frames     uint32 // of the message under way
	op         Opcode // of the message under way; Continuation if there is none
	compressed bool   // the message under way
	incomplete uint8  // bytes of a rune to be continued at the end of the message

	role    Role
	deflate bool
	closed  bool
	discard bool // messages are not kept

	have   uint8           // bytes of a header that has arrived in part
	header [maxHeader]byte // of the current frame
}

// Init prepares d for a new connection. The config is required; deflate says
// that permessage-deflate was negotiated.
func (d *Decoder) Init(config *Config, role Role, deflate bool) {
	*d = Decoder{config: config, role: role, deflate: deflate}
}

// Discard makes d ignore the content of messages from now on. It still finds the
// peer's Close frame, and breaches of the framing.
func (d *Decoder) Discard() { d.discard = true }

// MidMessage reports whether a frame or a fragmented message has begun and is
// not complete. A control frame between two messages counts as well.
func (d *Decoder) MidMessage() bool {
	return d.have > 0 || d.left > 0 || d.op != Continuation
}

// Feed decodes the bytes that arrived next, cut anywhere, and calls sink for
// each message and control frame that they complete. Data is unmasked in place
// and not kept.
//
// A peer that breaks the protocol or exceeds a limit gives a *[CloseError] with
// the code to send. After an error Feed does nothing but return it again.
func (d *Decoder) Feed(data []byte, sink Sink) error {
	if d.closed || d.err != nil {
		return d.err
	}
	d.err = d.feed(data, sink)
	if d.closed || d.err != nil {
		d.buf, d.left, d.have, d.op = nil, 0, 0, Continuation
	}
	return d.err
}

func (d *Decoder) feed(data []byte, sink Sink) error {
	for len(data) > 0 && !d.closed {
		if d.left == 0 {
			n, complete, err := d.readHeader(data)
			if err != nil || !complete {
				return err
			}
			data = data[n:]
		}
		n := int(min(d.left, int64(len(data))))
		payload := data[:n:n]
		data = data[n:]
		d.left -= int64(n)
		if d.role == Server {
			d.key = mask(payload, d.key)
		}
		var err error
		if d.frameOp().control() {
			err = d.controlPayload(payload, sink)
		} else {
			err = d.dataPayload(payload, sink)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// controlPayload takes the next bytes of a control frame. It may stand between
// the frames of a message; one that arrives in pieces waits behind them in buf.
func (d *Decoder) controlPayload(payload []byte, sink Sink) error {
	if size := int(d.header[1] & lengthBits); len(payload) < size {
		d.buf = append(d.buf, payload...)
		if d.left > 0 {
			return nil
		}
		start := len(d.buf) - size
		payload = d.buf[start:]
		if d.buf = d.buf[:start]; d.op == Continuation {
			d.buf = nil
		}
	}
	op := d.frameOp()
	if op != Close {
		return sink.Control(op, payload)
	}
	code, reason, err := parseClose(payload)
	if err != nil {
		return err
	}
	d.closed = true
	return sink.PeerClosed(code, reason)
}

// dataPayload takes the next bytes of a message. One that is complete is never
// copied.
func (d *Decoder) dataPayload(payload []byte, sink Sink) error {
	final := d.left == 0 && d.header[0]&finBit != 0
	if d.discard {
		if d.buf = nil; final {
			d.op = Continuation
		}
		return nil
	}
	message, checked := payload, 0
	if !final || len(d.buf) > 0 {
		checked = len(d.buf) - int(d.incomplete)
		d.buf = append(d.buf, payload...)
		message = d.buf
	}

	op, compressed := d.op, d.compressed
	if op == Text && !compressed {
		incomplete, ok := utf8Prefix(message[checked:])
		if !ok || final && incomplete > 0 {
			return notText()
		}
		d.incomplete = uint8(incomplete)
	}
	if !final {
		return nil
	}
	d.buf, d.op = nil, Continuation
	if compressed {
		return d.inflate(op, message, sink)
	}
	return sink.Message(op, message)
}

func tooBig() error { return violation(CloseTooBig, "message is too big") }

func notText() error { return violation(CloseInvalidPayload, "text is not UTF-8") }
