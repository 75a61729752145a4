package ws

// Sink receives the messages and control frames that a [Decoder] decodes. The slices
// are valid only during the call. The first error ends the decoding; [Decoder.Feed]
// returns it.
type Sink interface {
	// Message receives one complete message, Text or Binary, inflated if it
	// was compressed. Text is valid UTF-8.
	Message(op Opcode, data []byte) error

	// Control receives a Ping or a Pong.
	Control(op Opcode, data []byte) error

	// PeerClosed receives the peer's Close frame. The code is CloseNoStatus if the frame
	// has none. This is the last call: further data of the peer is ignored.
	PeerClosed(code int, reason string) error
}

// Config is the configuration of all decoders of an endpoint. It must not change while
// one of them is in use. The zero Config has no limits.
type Config struct {
	// MaxMessage is the maximum size of a message in bytes, both as sent and inflated.
	// Zero or less means no limit.
	MaxMessage int

	// MaxFragments is the maximum number of frames in a message. Zero or less means no
	// limit.
	MaxFragments int
}

// Decoder decodes the data from the peer of one connection. It keeps memory only while
// a frame or a message is incomplete, and only for the data that arrived, even if the
// declared length is larger. Call Init before use.
type Decoder struct {
	config *Config
	err    error

	buf  []byte // the incomplete message, unmasked, and then an incomplete control frame
	left int64  // payload bytes of the current frame that did not arrive yet
	key  uint32 // masking key of the current frame, rotated to its next byte

	frames     uint32 // of the incomplete message
	op         Opcode // of the incomplete message; Continuation if there is none
	compressed bool   // the incomplete message
	incomplete uint8  // bytes of an incomplete rune at the end of the message

	role    Role
	deflate bool
	closed  bool
	discard bool // messages are not kept

	have   uint8           // bytes of an incomplete header
	header [maxHeader]byte // of the current frame
}

// Init prepares d for a new connection. The config is required; deflate means that
// permessage-deflate was negotiated.
func (d *Decoder) Init(config *Config, role Role, deflate bool) {
	*d = Decoder{config: config, role: role, deflate: deflate}
}

// Discard makes d ignore the content of messages from now on. It still detects the
// peer's Close frame and invalid frames.
func (d *Decoder) Discard() { d.discard = true }

// MidMessage reports whether a frame or a fragmented message is incomplete. A control
// frame between two messages counts as well.
func (d *Decoder) MidMessage() bool {
	return d.have > 0 || d.left > 0 || d.op != Continuation
}

// Feed decodes the bytes that arrived next, which may start and end anywhere, and calls
// sink for each message and control frame that they complete. It unmasks data in place
// and does not keep it.
//
// If the peer breaks the protocol or exceeds a limit, Feed returns a *[CloseError] with
// the code to send. After an error, Feed only returns the same error.
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

// controlPayload handles the next bytes of a control frame. A control frame may be
// between the frames of a message; an incomplete one is stored after them in buf.
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

// dataPayload handles the next bytes of a message. A message that is complete in data
// is not copied.
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
