package vectors_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// seen is the part of a message that a handler gets.
type seen struct {
	Event       string          `json:"event"`
	ChannelName string          `json:"channelName"`
	RequestID   string          `json:"requestId"`
	Payload     json.RawMessage `json:"payload"`
}

// newEcho returns a server whose handlers reply with the message that they got. Its
// channels are the channels of the vectors.
func newEcho() *kit.TappedPond {
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", kit.Accept)
	for _, channels := range []string{":name", "/chat/:room"} {
		l := e.Lobby(channels, func(ctx *pond.JoinContext) error {
			if err := ctx.Accept(); err != nil {
				return err
			}
			return ctx.Reply("joined", seen{ChannelName: ctx.Channel().Name(), Payload: ctx.Payload()})
		})
		l.OnMessage(":event", func(ctx *pond.EventContext) error {
			return ctx.Reply("echo", seen{ctx.Event(), ctx.Channel().Name(), ctx.RequestID(), ctx.Payload()})
		})
	}
	return &kit.TappedPond{Pond: p}
}

// exchange sends the text of a vector and returns the answers. The client is a
// member of all channels, except that the channel in a request to join is a new one.
// Afterwards exchange checks that the client still works.
func exchange(t *testing.T, d *pondtest.Driver, mode string, v vector) (text string, answers []pondtest.Message) {
	t.Helper()
	text = kit.Decode[struct{ Text string }](t, v.Input).Text
	s := d.Connect(kit.TransportOf(mode), "/socket")
	for _, channel := range []string{"c", "lobby", "/chat/1"} {
		if !strings.Contains(text, `"JOIN_CHANNEL"`) || channel == "c" {
			s.Join(channel, nil)
			s.Expect("joined")
		}
	}
	kit.SendAs(t, d, mode, s, text)
	answers = s.Drain()
	if m := s.Request("c", "well", nil); m.Event != "echo" {
		t.Errorf("%s: afterwards, the answer is %v", v.Name, m)
	}
	s.Close()
	return text, answers
}

func runInbound(t *testing.T, mode string, each eachVector) {
	newEcho().Run(t, func(t *testing.T, d *pondtest.Driver) {
		each(func(v vector) {
			want := kit.Decode[struct {
				JS struct {
					Message json.RawMessage
					Error   string
				}
				Recommended string
			}](t, v.Expected)
			text, answers := exchange(t, d, mode, v)
			if strings.HasPrefix(want.Recommended, "accept") {
				message := want.JS.Message
				if message == nil { // JavaScript is stricter
					message = json.RawMessage(text)
				}
				checkAccepted(t, v, message, answers)
				return
			}
			checkRefused(t, v, text, want.JS.Error, answers)
		})
	})
}

// Rule S-11 accepts these messages, although the JavaScript server rejects them.
var lenient = []string{"inbound-error/ping", "inbound-error/no-payload", "inbound-error/payload-null"}

func runInboundErrors(t *testing.T, mode string, each eachVector) {
	newEcho().Run(t, func(t *testing.T, d *pondtest.Driver) {
		each(func(v vector) {
			want := kit.Decode[struct {
				JS struct {
					Payload struct{ Message string }
				}
			}](t, v.Expected)
			text, answers := exchange(t, d, mode, v)
			if slices.Contains(lenient, v.Name) {
				checkAccepted(t, v, json.RawMessage(text), answers)
				return
			}
			checkRefused(t, v, text, want.JS.Payload.Message, answers)
		})
	})
}

// checkAccepted checks that answers are the answers to message.
func checkAccepted(t *testing.T, v vector, message json.RawMessage, answers []pondtest.Message) {
	t.Helper()
	var m struct {
		Action string
		seen
	}
	m.Payload = json.RawMessage("{}")
	if err := json.Unmarshal(message, &m); err != nil {
		t.Fatal(err)
	}
	if string(m.Payload) == "null" {
		m.Payload = json.RawMessage("{}")
	}
	var want []string
	switch {
	case m.Action == "ping":
	case m.Action == "LEAVE_CHANNEL":
		want = []string{"EXIT_ACKNOWLEDGE"}
	case m.Action == "JOIN_CHANNEL":
		want = []string{"ACKNOWLEDGE", "joined"}
	case m.ChannelName == "":
		want = []string{"CHANNEL_NOT_FOUND"}
	case m.Event == "":
		want = []string{"HANDLER_NOT_FOUND"}
	default:
		want = []string{"echo"}
	}
	if len(answers) != len(want) {
		t.Errorf("%s: answers %v, want %v", v.Name, answers, want)
		return
	}
	for i, answer := range answers {
		if answer.Event != want[i] || answer.RequestID != m.RequestID || answer.Channel != m.ChannelName {
			t.Errorf("%s: answer %v, want %s", v.Name, answer, want[i])
		}
		if answer.Event != "echo" && answer.Event != "joined" {
			continue
		}
		given := m.seen
		if answer.Event == "joined" { // join handlers do not get these
			given.Event, given.RequestID = "", ""
		}
		if got, given := kit.JSON(t, kit.Decode[any](t, answer.Payload)), kit.JSON(t, kit.Decode[any](t, []byte(kit.JSON(t, given)))); got != given {
			t.Errorf("%s: the handler saw %s, want %s", v.Name, got, given)
		}
	}
}

// checkRefused checks that the only answer is the error of the JavaScript server,
// with the status of rule S-17 and the names that could be decoded.
func checkRefused(t *testing.T, v vector, text, js string, answers []pondtest.Message) {
	t.Helper()
	if len(answers) != 1 {
		t.Errorf("%s: answers %v, want an error", v.Name, answers)
		return
	}
	for _, kind := range []string{"array", "null"} { // JavaScript says that it expected an object and got one
		if strings.HasSuffix(v.Name, "/"+kind) {
			js = strings.Replace(js, "got object", "got "+kind, 1)
		}
	}
	message := "<any-string>" // the text of a parser
	for _, field := range []string{"clientMessage", "event", "requestId", "channelName", "payload", "action"} {
		if strings.HasPrefix(js, field+": ") {
			message = js
		}
	}
	channel, requestID := readable(text)
	if channel == "" {
		channel = "ENDPOINT"
	}
	if requestID == "" {
		requestID = "<uuid>"
	}
	err := matchFrame(answers[0].Raw, map[string]any{
		"action": "ERROR", "event": "INVALID_MESSAGE", "channelName": channel, "requestId": requestID,
		"payload": map[string]any{
			"code": "INVALID_MESSAGE", "message": message, "status": 400.0, "statusCode": 400.0,
			"error": map[string]any{"message": message, "status": 400.0},
		},
	}, nil)
	if err != nil {
		t.Errorf("%s: %v", v.Name, err)
	}
}

// readable returns the names in text that a decoder reads before the error.
func readable(text string) (channel, requestID string) {
	d := json.NewDecoder(strings.NewReader(text))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return "", ""
	}
	for d.More() {
		var value any
		name, err := d.Token()
		if err != nil || d.Decode(&value) != nil {
			break
		}
		s, _ := value.(string)
		switch name {
		case "channelName":
			channel = s
		case "requestId":
			requestID = s
		}
	}
	return channel, requestID
}
