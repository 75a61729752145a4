package load

import "bytes"

// A body begins with a stamp of fixed width: a mark, what it is, who sent it, its
// number among the messages of that sender, and when it was meant to be sent.
// The digits have base 64, so that the stamp fits into a short message; they and
// the mark need no escaping in JSON or in a URL.
const (
	mark         = "~~"
	senderDigits = 4
	seqDigits    = 5
	timeDigits   = 8
	stampSize    = len(mark) + 1 + senderDigits + seqDigits + timeDigits

	presenceMark     = "~@"
	presenceMarkSize = len(presenceMark) + senderDigits
)

const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"

// values is the inverse of digits. What is no digit has a high bit.
var values = func() (v [256]uint8) {
	for i := range v {
		v[i] = 0xff
	}
	for i, d := range []byte(digits) {
		v[d] = uint8(i)
	}
	return v
}()

// What a body was sent as.
const (
	published = 'p'
	echoed    = 'e'
)

// A stamp is what a body says about itself.
type stamp struct {
	as     byte
	sender uint32
	seq    uint32
	time   int64 // nanoseconds since the run began
}

// append appends the stamp, which makes a body of stampSize bytes.
func (s stamp) append(dst []byte) []byte {
	dst = append(append(dst, mark...), s.as)
	dst = appendDigits(dst, uint64(s.sender), senderDigits)
	dst = appendDigits(dst, uint64(s.seq), seqDigits)
	return appendDigits(dst, uint64(s.time), timeDigits) //nolint:gosec // not negative
}

func appendDigits(dst []byte, v uint64, n int) []byte {
	for i := n - 1; i >= 0; i-- {
		dst = append(dst, digits[v>>(6*i)&63])
	}
	return dst
}

// parseStamp reads the first stamp in text.
func parseStamp(text []byte) (s stamp, ok bool) {
	at := bytes.Index(text, []byte(mark))
	if at < 0 || len(text)-at < stampSize {
		return s, false
	}
	text = text[at+len(mark):][:stampSize-len(mark)]
	s.as = text[0]
	sender, ok1 := parseDigits(text[1:][:senderDigits])
	seq, ok2 := parseDigits(text[1+senderDigits:][:seqDigits])
	t, ok3 := parseDigits(text[1+senderDigits+seqDigits:][:timeDigits])
	s.sender, s.seq, s.time = uint32(sender), uint32(seq), int64(t) //nolint:gosec // 24, 30 and 48 bits
	return s, ok1 && ok2 && ok3
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

// AppendDeliveries appends a Delivery for each body of ours in message, however
// many there are. It is all that most dialects need for them.
func AppendDeliveries(events []Event, message []byte) []Event {
	for {
		at := bytes.Index(message, []byte(mark))
		if at < 0 || len(message)-at < stampSize {
			return events
		}
		events = append(events, Event{Kind: Delivery, Text: message[at:]})
		message = message[at+stampSize:]
	}
}

// PresenceMark is how a client appears in lists of members. It is plain ASCII that
// needs no escaping in JSON or in a URL.
func PresenceMark(number int) string {
	return string(appendDigits([]byte(presenceMark), uint64(number), senderDigits)) //nolint:gosec // not negative
}

// A census is which clients a list of members has, whatever their order: how many,
// and the sum of their hashes. Equal lists have equal ones.
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

// one is the census of a single client. The hash is the finalizer of splitmix64.
func one(number uint64) census {
	x := number + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return census{1, x ^ x>>31}
}
