package wire

// A member is a member of a message, or unknown.
type member int

const (
	unknown member = iota
	event
	requestID
	channel
	payload
	action
	want // of a join: requested extensions of the official protocol
	from // of a join: the start of the requested messages
)

// The last required member, and the last known member.
const (
	lastRequired = action
	lastMember   = from
)

// memberNames are in the order in which the JavaScript server checks them.
var memberNames = [...]string{
	event:     "event",
	requestID: "requestId",
	channel:   "channelName",
	payload:   "payload",
	action:    "action",
	want:      "want",
	from:      "from",
}

// members contains the positions of the members of a message, as indices, which need
// less of the small stack of a read loop than slices.
type members struct {
	values [len(memberNames)]struct{ start, end int } // all zero if missing
	spaces int                                        // in the payload, outside of strings

	current member // the member at the position of the scanner
	start   int    // of the current value
	before  int    // white space before it
}

// begin is called at the start of each value, with its raw name.
func (m *members) begin(name []byte, pos, spaces int) {
	m.start, m.before = pos, spaces
	name = unquote(name)
	for m.current = lastMember; m.current > unknown; m.current-- {
		if string(name) == memberNames[m.current] {
			return
		}
	}
}

// end is called at the end of each value, and inside of an empty container.
func (m *members) end(pos, spaces int) {
	m.values[m.current].start, m.values[m.current].end = m.start, pos
	if m.current == payload {
		m.spaces = spaces - m.before
	}
}
