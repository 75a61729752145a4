package load

import "bytes"

// A body starts with a stamp of fixed width: a mark, the kind, the sender, the sequence
// number among the messages of that sender, the time at which it was scheduled, and the
// run, because a server with history may send messages of an earlier run.
// Numbers are in base 64, so that the stamp fits into a short message. Neither they nor
// the mark need escaping in JSON or in a URL.
const (
	stampMark    = "~~"
	senderDigits = 4
	seqDigits    = 5
	timeDigits   = 8
	runDigits    = 3
	stampSize    = len(stampMark) + 1 + senderDigits + seqDigits + timeDigits + runDigits

	presenceMark     = "~@"
	presenceMarkSize = len(presenceMark) + senderDigits
)

const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"

// values is the inverse of digits. Other bytes have a value of 64 or more.
var values = func() (v [256]uint8) {
	for i := range v {
		v[i] = 0xff
	}
	for i, d := range []byte(digits) {
		v[d] = uint8(i)
	}
	return v
}()

// The kinds of bodies.
const (
	published = 'p'
	echoed    = 'e'
)

// A stamp identifies a body.
type stamp struct {
	as     byte // published or echoed
	sender uint32
	seq    uint32
	time   int64 // nanoseconds since the start of the run
	run    uint32
}

// append appends the stampSize bytes of the stamp.
func (s stamp) append(dst []byte) []byte {
	dst = append(append(dst, stampMark...), s.as)
	dst = appendDigits(dst, uint64(s.sender), senderDigits)
	dst = appendDigits(dst, uint64(s.seq), seqDigits)
	dst = appendDigits(dst, uint64(s.time), timeDigits) //nolint:gosec // not negative
	return appendDigits(dst, uint64(s.run), runDigits)
}

func appendDigits(dst []byte, v uint64, n int) []byte {
	for i := n - 1; i >= 0; i-- {
		dst = append(dst, digits[v>>(6*i)&63])
	}
	return dst
}

// parseStamp parses the first stamp in text.
func parseStamp(text []byte) (s stamp, ok bool) {
	at := bytes.Index(text, []byte(stampMark))
	if at < 0 || len(text)-at < stampSize {
		return s, false
	}
	text = text[at+len(stampMark):][:stampSize-len(stampMark)]
	s.as = text[0]
	sender, ok1 := parseDigits(text[1:][:senderDigits])
	seq, ok2 := parseDigits(text[1+senderDigits:][:seqDigits])
	t, ok3 := parseDigits(text[1+senderDigits+seqDigits:][:timeDigits])
	run, ok4 := parseDigits(text[1+senderDigits+seqDigits+timeDigits:][:runDigits])
	s.sender, s.seq, s.time, s.run = uint32(sender), uint32(seq), int64(t), uint32(run) //nolint:gosec // 24, 30, 48 and 18 bits
	return s, ok1 && ok2 && ok3 && ok4
}

func parseDigits(text []byte) (v uint64, ok bool) {
	var bad uint8
	for _, b := range text {
		d := values[b]
		bad |= d
		v = v<<6 | uint64(d&63)
	}
	return v, bad < 64
}

// RequestStamp returns the part of a body that identifies its message, for a request ID
// that the server returns with a rejection; see [Rejected]. It is "0" for other texts.
func RequestStamp(body []byte) []byte {
	if len(body) < stampSize || !bytes.HasPrefix(body, []byte(stampMark)) {
		return []byte("0")
	}
	return body[len(stampMark)+1+senderDigits:][:seqDigits]
}

// parseRequestStamp parses what RequestStamp returned.
func parseRequestStamp(text []byte) (seq uint32, ok bool) {
	if len(text) != seqDigits {
		return 0, false
	}
	v, ok := parseDigits(text)
	return uint32(v), ok //nolint:gosec // 30 bits
}

// AppendDeliveries appends a Delivery for each body in message. Most dialects need
// nothing else to find deliveries.
func AppendDeliveries(events []Event, message []byte) []Event {
	for {
		at := bytes.Index(message, []byte(stampMark))
		if at < 0 || len(message)-at < stampSize {
			return events
		}
		events = append(events, Event{Kind: Delivery, Text: message[at:]})
		message = message[at+stampSize:]
	}
}

// PresenceMark returns the mark of a client in lists of members. It is plain ASCII and
// needs no escaping in JSON or in a URL.
func PresenceMark(number int) string {
	return string(appendDigits([]byte(presenceMark), uint64(number), senderDigits)) //nolint:gosec // not negative
}

// A census identifies the set of clients in a list of members, regardless of their
// order: their number, and the sum of their hashes.
type census struct {
	members int
	sum     uint64
}

func (a census) plus(b census) census { return census{a.members + b.members, a.sum + b.sum} }

func (a census) minus(b census) census { return census{a.members - b.members, a.sum - b.sum} }

// takeCensus finds the presence marks in text.
func takeCensus(text []byte) (c census) {
	for {
		at := bytes.Index(text, []byte(presenceMark))
		if at < 0 || len(text)-at < presenceMarkSize {
			return c
		}
		if number, ok := parseDigits(text[at+len(presenceMark):][:senderDigits]); ok {
			c = c.plus(one(number))
		}
		text = text[at+presenceMarkSize:]
	}
}

// one returns the census of a single client. The hash is the finalizer of splitmix64.
func one(number uint64) census {
	x := number + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return census{1, x ^ x>>31}
}

// AppendNumbered appends a body with a sequence number, for programs that use dialects
// without this package's engine. AppendDeliveries finds it.
func AppendNumbered(dst []byte, seq uint32) []byte {
	return stamp{as: published, seq: seq}.append(dst)
}

// Number returns the sequence number of the body at the start of a delivery.
func Number(delivery []byte) (seq uint32, ok bool) {
	s, ok := parseStamp(delivery)
	return s.seq, ok
}
