package model_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pondsocket/pond/pondtest"
)

// A seen has the observations of a history.
type seen struct {
	clients []witness
	states  []string      // of the server after each round
	results map[int][]int // statuses of the effects of outsiders, by action; empty if the channel did not exist
	faults  []string      // errors in any history
}

// A witness has the observations of one client.
type witness struct {
	frames  [queues][]frame
	arrived [][queues]int // number of frames at the end of each round
	left    []departure   // the departures that its leave handlers observed
	ran     []int         // number of these at the end of each round
	code    int           // close code of its connection
}

// There is one queue of frames per channel. Between channels, only frames of the same
// cause have an order that clients can rely on.
const (
	endpoint = nowhere + 1
	queues   = endpoint + 1
)

// A frame has the parts of a message that the model can compute.
type frame struct {
	what    string // action and event
	request string
	body    string // payload, or code and status of an error, or the changed presence
	list    string // list of presence
	round   int    // round in which it arrived
}

func (f frame) String() string {
	text := fmt.Sprintf("%s %.200s", f.what, f.body)
	if f.list != "" {
		text += " list " + f.list
	}
	return text + " " + f.request
}

// forMembers reports whether only members can receive f.
func (f frame) forMembers() bool {
	switch f.what {
	case "BROADCAST said", "BROADCAST masked", "BROADCAST left", "BROADCAST flood",
		"PRESENCE JOIN", "PRESENCE UPDATE", "PRESENCE LEAVE",
		"SYSTEM answer", "SYSTEM masked", "SYSTEM read", "SYSTEM kicked", "ERROR destroyed":
		return true
	default:
		return false
	}
}

// id identifies a frame that several clients receive, if possible: by its unique value,
// or else by its request.
func (f frame) id(q int) string {
	if i := strings.LastIndex(f.body, `{"v":`); i >= 0 {
		body, _, _ := strings.Cut(f.body[i:], "}")
		return channelNames[q] + f.what + body
	}
	return channelNames[q] + f.what + f.request
}

// got returns the clients that received each frame, as bit sets.
func (s *seen) got() map[string]uint {
	got := map[string]uint{}
	for c, w := range s.clients {
		for q, frames := range w.frames {
			for i := range frames {
				got[frames[i].id(q)] |= 1 << c
			}
		}
	}
	return got
}

// author returns the action that caused f, if f identifies it.
func (f frame) author() (n int, ok bool) {
	if text, found := strings.CutPrefix(f.request, "r"); found {
		n, err := strconv.Atoi(text)
		return n, err == nil
	}
	switch f.what {
	case "BROADCAST said", "BROADCAST masked", "PRESENCE JOIN", "PRESENCE UPDATE":
		_, text, _ := strings.Cut(f.body, `"v":`)
		v, err := strconv.Atoi(strings.TrimRight(text, "}"))
		return value(v).author(), err == nil
	default:
		return 0, false
	}
}

// overtaken returns a frame that arrived after a frame that the same client or outsider
// caused later, in any channel.
func overtaken(messages []pondtest.Message, by func(n int) int) (late frame, found bool) {
	latest := map[int]int{}
	for _, m := range messages {
		f := newFrame(m, nil)
		n, ok := f.author()
		if !ok {
			continue
		}
		if n < latest[by(n)] {
			return f, true
		}
		latest[by(n)] = n
	}
	return frame{}, false
}

func newFrame(m pondtest.Message, ids []string) frame {
	f := frame{what: m.Action + " " + m.Event, request: m.RequestID, body: string(m.Payload)}
	var payload struct {
		Code     json.RawMessage
		Status   int
		Changed  json.RawMessage
		Presence json.RawMessage
	}
	if json.Unmarshal(m.Payload, &payload) != nil {
		return f
	}
	switch {
	case m.Action == "PRESENCE":
		f.body, f.list = string(payload.Changed), string(payload.Presence)
	case payload.Status != 0:
		f.body = strings.Trim(string(payload.Code), `"`) + " " + strconv.Itoa(payload.Status)
	case m.Event == "kicked":
		for c, id := range ids {
			f.body = strings.Replace(f.body, `"userId":"`+id+`"`, `"userId":"c`+strconv.Itoa(c)+`"`, 1)
		}
	}
	return f
}

var channelNames = append(slices.Clip(roomNames), "ENDPOINT")

func queueOf(channel string) int { return slices.Index(channelNames, channel) }

// arrive records the messages that a session received until the end of a round.
func (w *witness) arrive(messages []pondtest.Message, ids []string) {
	round := len(w.arrived)
	var counts [queues]int
	known := 0
	for q := range w.frames {
		counts[q] = len(w.frames[q])
		known += counts[q]
	}
	for _, m := range messages[known:] {
		q, f := queueOf(m.Channel), newFrame(m, ids)
		f.round = round
		w.frames[q] = append(w.frames[q], f)
		counts[q]++
	}
	w.arrived = append(w.arrived, counts)
}

func (s *seen) String() string {
	var b strings.Builder
	for c, w := range s.clients {
		fmt.Fprintf(&b, "c%d, closed with %d:\n", c, w.code)
		for q, frames := range w.frames {
			for _, f := range frames {
				fmt.Fprintf(&b, "%5d. %s %v\n", f.round, channelNames[q], f)
			}
		}
		for i, d := range w.left {
			fmt.Fprintf(&b, "     left %s: %s %s v=%d (%d)\n", roomNames[d.room], d.reason, d.detail, d.value, i)
		}
	}
	return b.String()
}
