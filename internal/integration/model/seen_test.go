package model_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pondsocket/pond/pondtest"
)

// A seen is what could be observed of a history.
type seen struct {
	clients []witness
	states  []string      // of the server, after each round
	results map[int][]int // statuses of what outsiders did, by action; none if there was no channel
	faults  []string      // what is wrong in any history
}

// A witness is what could be observed of one client.
type witness struct {
	frames  [queues][]frame
	arrived [][queues]int // of frames, until the end of each round
	left    []departure   // of its leave handlers
	ran     []int         // of left, until the end of each round
	code    int           // with which its connection ended
}

// Frames are queued by the channel that they belong to: between channels, the
// order that clients see is that of a common cause, and nothing else.
const (
	endpoint = nowhere + 1
	queues   = endpoint + 1
)

// A frame is what a model can know of a message.
type frame struct {
	what    string // action and event
	request string
	body    string // payload, or the code and the status of errors, or what changed of presence
	list    string // of presence
	round   int    // in which it arrived
}

func (f frame) String() string {
	text := fmt.Sprintf("%s %.200s", f.what, f.body)
	if f.list != "" {
		text += " list " + f.list
	}
	return text + " " + f.request
}

// forMembers reports whether nobody but a member can get f.
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

// id identifies a frame that several clients get, as far as possible: by the value
// that only it has, or else by its request.
func (f frame) id(q int) string {
	if i := strings.LastIndex(f.body, `{"v":`); i >= 0 {
		body, _, _ := strings.Cut(f.body[i:], "}")
		return channelNames[q] + f.what + body
	}
	return channelNames[q] + f.what + f.request
}

// got returns who has got which frame: a set of clients.
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

// author returns the action that f comes from, if that can be told.
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

// overtaken returns a frame that comes behind one that the same client or outsider
// has caused later, in whatever channel.
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

// arrive takes down what a session has received until the end of a round.
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
		fmt.Fprintf(&b, "c%d, which ended with %d:\n", c, w.code)
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
