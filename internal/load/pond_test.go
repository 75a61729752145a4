package load_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/load"
)

func TestPondSpeaksTheProtocol(t *testing.T) {
	type frame struct {
		Action, Event, ChannelName, RequestID string
		Payload                               map[string]any
	}
	parse := func(text string) (f frame) {
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		return f
	}
	c := &load.Client{Number: 7, Room: 3, Track: true}
	plain := load.Pond{Path: "/socket", Channel: "/chat/%d"}
	named := load.Pond{Path: "/socket", Channel: "/lobby", Message: "say", Echo: "ask", Header: "X-A: b\r\n"}

	for payload, key := range map[string]string{"": "", " { } ": "", "{\"token\": 1}": "token"} {
		var out load.Outgoing
		d := plain
		d.Join = payload
		events := d.Receive(c, []byte(`{"action":"CONNECT","event":"CONNECTION","payload":{"connectionId":"secret"}}`), nil, &out)
		if len(events) > 0 || c.ID != "secret" || len(out.Messages()) != 1 {
			t.Fatalf("connected as %q, %d events, sends %q", c.ID, len(events), out.Messages())
		}
		join := parse(out.Messages()[0])
		track, _ := join.Payload["track"].(map[string]any)
		if join.Action != "JOIN_CHANNEL" || join.ChannelName != "/chat/3" || track["name"] != load.PresenceMark(7) ||
			key != "" && join.Payload[key] == nil {
			t.Errorf("joins with %+v, want %q in it", join, key)
		}
	}

	for _, tt := range []struct {
		text                   []byte
		event, channel, action string
	}{
		{plain.AppendPublish(nil, c, []byte("body")), "message", "/chat/3", "BROADCAST"},
		{plain.AppendEcho(nil, c, []byte("body")), "echo", "/chat/3", "BROADCAST"},
		{named.AppendPublish(nil, c, []byte("body")), "say", "/lobby", "BROADCAST"},
		{named.AppendEcho(nil, c, []byte("body")), "ask", "/lobby", "BROADCAST"},
	} {
		f := parse(string(tt.text))
		if f.RequestID != "0" {
			t.Errorf("request ID %q for a body without a stamp", f.RequestID)
		}
		if f.Action != tt.action || f.Event != tt.event || f.ChannelName != tt.channel || f.Payload["b"] != "body" {
			t.Errorf("sends %+v, want %s %s to %s", f, tt.action, tt.event, tt.channel)
		}
	}
	if got := named.Open(c); got.Path != "/socket" || got.Header != "X-A: b\r\n" {
		t.Errorf("opens with %+v", got)
	}
	if got := named.Post(c).Header; !strings.Contains(got, "X-Connection-ID: secret\r\n") || !strings.HasSuffix(got, "X-A: b\r\n") {
		t.Errorf("posts with %q", got)
	}
}

// A client that recovers remembers its position, and joins again from it.
func TestPondRecovers(t *testing.T) {
	c := &load.Client{Recover: true}
	d := load.Pond{Channel: "/log/%d"}
	stamp := "~~p0000000050000000aab1"
	for _, step := range []struct {
		message string
		kinds   []load.Kind
		want    string // in the message that the client sends
		epoch   string
		offset  uint64
	}{
		{`{"action":"CONNECT","payload":{"connectionId":"1"}}`, nil, `"payload":{},"want":["recover"]}`, "", 0},
		{`{"action":"SYSTEM","event":"ACKNOWLEDGE","payload":{}}`, []load.Kind{load.Rejected}, "", "", 0},
		{`{"action":"SYSTEM","event":"ACKNOWLEDGE","payload":{"recover":{"epoch":"k","offset":3}}}`, []load.Kind{load.Joined}, "", "k", 3},
		{`{"action":"BROADCAST","payload":{"b":"` + stamp + `"},"offset":5}`, []load.Kind{load.Delivery}, "", "k", 5},
		{`{"action":"BROADCAST","payload":{"b":"` + stamp + `","offset":9}}`, []load.Kind{load.Delivery}, "", "k", 5},
		{`{"action":"SYSTEM","event":"POSITION","payload":{"epoch":"k","offset":7}}`, nil, "", "k", 7},
		{`{"action":"CONNECT","payload":{"connectionId":"1"}}`, nil, `"want":["recover"],"from":{"epoch":"k","offset":7}}`, "k", 7},
		{`{"action":"SYSTEM","event":"ACKNOWLEDGE","payload":{"recover":{"epoch":"k","offset":7,"to":9,"recovered":true}}}`, []load.Kind{load.Joined}, "", "k", 7},
		{`{"action":"SYSTEM","event":"RECOVERED","payload":{"epoch":"k","offset":9}}`, []load.Kind{load.Recovered}, "", "k", 9},
		{`{"action":"SYSTEM","event":"GAP","payload":{"epoch":"m","offset":2,"reason":"expired"}}`, []load.Kind{load.Unrecovered}, "", "m", 2},
		{`{"action":"SYSTEM","event":"ACKNOWLEDGE","payload":{"recover":{"epoch":"n","offset":1,"recovered":false,"reason":"epoch"}}}`, []load.Kind{load.Joined, load.Unrecovered}, "", "n", 1},
	} {
		var out load.Outgoing
		var kinds []load.Kind
		for _, ev := range d.Receive(c, []byte(step.message), nil, &out) {
			kinds = append(kinds, ev.Kind)
		}
		sent := strings.Join(out.Messages(), "")
		if !slices.Equal(kinds, step.kinds) || !strings.HasSuffix(sent, step.want) || c.Epoch != step.epoch || c.Offset != step.offset {
			t.Errorf("%s: events %v, sends %q, position %s.%d", step.message, kinds, sent, c.Epoch, c.Offset)
		}
	}
}

func TestPondUnderstandsAnswers(t *testing.T) {
	list := load.PresenceMark(1)
	for message, want := range map[string]load.Event{
		`{"action":"SYSTEM","event":"ACKNOWLEDGE","payload":{}}`: {Kind: load.Joined},
		`{"action":"SYSTEM","event":"UNAUTHORIZED","payload":{"code":401}}`: {
			Kind: load.Rejected, Text: []byte(`{"action":"SYSTEM","event":"UNAUTHORIZED","payload":{"code":401}}`),
		},
		`{"action":"ERROR","event":"HANDLER_NOT_FOUND","channelName":"/a","requestId":"00001","payload":{"code":409,"message":"sold out","status":409,"details":{"left":0}}}`: {
			Kind: load.Rejected, Text: []byte(`HANDLER_NOT_FOUND 409 on /a: sold out {"left":0}`), Stamp: []byte("00001"),
		},
		`{"action":"ERROR","event":"INVALID_MESSAGE","channelName":"ENDPOINT","requestId":"0","payload":{"code":"INVALID_MESSAGE","message":"no"}}`: {
			Kind: load.Rejected, Text: []byte("INVALID_MESSAGE INVALID_MESSAGE on ENDPOINT: no"), Stamp: []byte("0"),
		},
		`{"action":"PRESENCE","payload":{"presence":[{"n":"` + list + `"}],"changed":{"n":2}}}`: {Kind: load.PresenceList, Text: []byte(`{"n":"` + list + `"}`)},
		`{"action":"SYSTEM","event":"PRESENCE_STATE","payload":{"users":[{"id":"1","presence":{"n":"` + list + `"}}],"total":1,"more":false}}`: {
			Kind: load.PresenceJoin, Text: []byte(`{"id":"1","presence":{"n":"` + list + `"}}`),
		},
		`{"action":"SYSTEM","event":"PRESENCE_DIFF","payload":{"joins":[{"id":"1","presence":{"n":"` + list + `"}}],"leaves":[{"id":"2"}],"total":1}}`: {
			Kind: load.PresenceJoin, Text: []byte(`{"id":"1","presence":{"n":"` + list + `"}}`),
		},
		`{"action":"SYSTEM","event":"PRESENCE_DIFF","payload":{"updates":[{"id":"1","presence":{"n":"` + list + `"}}],"total":1}}`: {},
		`{"action":"BROADCAST","event":"other","payload":{}}`:                                                                      {},
	} {
		var out load.Outgoing
		events := load.Pond{}.Receive(&load.Client{}, []byte(message), nil, &out)
		var got load.Event
		if len(events) > 0 {
			got = events[0]
		}
		if len(events) > 1 || got.Kind != want.Kind || want.Text != nil && string(got.Text) != string(want.Text) || string(got.Stamp) != string(want.Stamp) || len(out.Messages()) > 0 {
			t.Errorf("%s: %d events, %d with %q, want %d with %q", message, len(events), got.Kind, got.Text, want.Kind, want.Text)
		}
	}
}
