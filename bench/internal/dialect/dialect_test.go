package dialect

import (
	"slices"
	"testing"

	"github.com/pondsocket/pond/internal/load"
)

// body looks like a body that a client published.
const body = "~~p00000000000000000 and so on"

func receive(d load.Dialect, c *load.Client, message string) (kinds []load.Kind, sent []string) {
	var out load.Outgoing
	for _, e := range d.Receive(c, []byte(message), nil, &out) {
		kinds = append(kinds, e.Kind)
	}
	return kinds, out.Messages()
}

// A step is a message of a server with the expected events and answers.
type step struct {
	message string
	kinds   []load.Kind
	sent    []string
}

func play(t *testing.T, d load.Dialect, c *load.Client, steps []step) {
	t.Helper()
	for _, s := range steps {
		kinds, sent := receive(d, c, s.message)
		if !slices.Equal(kinds, s.kinds) || !slices.Equal(sent, s.sent) {
			t.Errorf("%s:\n got %v, answers %q\nwant %v, answers %q", s.message, kinds, sent, s.kinds, s.sent)
		}
	}
}

func TestPlain(t *testing.T) {
	play(t, Plain{}, &load.Client{}, []step{
		{`{"joined":true}`, []load.Kind{load.Joined}, nil},
		{`{"text":"` + body + `"}`, []load.Kind{load.Delivery}, nil},
	})
}

func TestSocketIO(t *testing.T) {
	play(t, SocketIO{}, &load.Client{Room: 7}, []step{
		{`0{"sid":"a","upgrades":[],"pingInterval":25000}`, nil, []string{"40"}},
		{`40{"sid":"b"}`, nil, []string{`420["join","/chat/7"]`}},
		{`430[]`, []load.Kind{load.Joined}, nil},
		{`2`, nil, []string{"3"}},
		{`42["message",{"text":"` + body + `"}]`, []load.Kind{load.Delivery}, nil},
		{`431[{"text":"` + body + `"}]`, []load.Kind{load.Delivery}, nil},
		{`44{"message":"no"}`, []load.Kind{load.Rejected}, nil},
	})
}

func TestSocketIORecovers(t *testing.T) {
	const opened = `0{"sid":"a","upgrades":[],"pingInterval":25000}`
	event := func(offset string) string { return `42["message",{"text":"` + body + `"},"` + offset + `"]` }
	c := &load.Client{Room: 7, Recover: true}
	play(t, SocketIO{}, c, []step{
		{opened, nil, []string{"40"}},
		{`40{"sid":"b","pid":"p"}`, nil, []string{`420["join","/log/7"]`}},
		{`430[]`, []load.Kind{load.Joined}, nil},
		{event("o1"), []load.Kind{load.Delivery}, nil},
		{event("o2"), []load.Kind{load.Delivery}, nil},
		{opened, nil, []string{`40{"pid":"p","offset":"o2"}`}},
		{event("o3"), []load.Kind{load.Delivery}, nil},
		{`40{"sid":"b","pid":"p"}`, []load.Kind{load.Joined, load.Recovered}, nil},
		{event("o4"), []load.Kind{load.Delivery}, nil},
		{opened, nil, []string{`40{"pid":"p","offset":"o4"}`}},
		{`40{"sid":"c","pid":"q"}`, []load.Kind{load.Unrecovered}, []string{`420["join","/log/7"]`}},
		{`430[]`, []load.Kind{load.Joined}, nil},
	})
	if c.Epoch != "q" {
		t.Errorf("session %q", c.Epoch)
	}
	play(t, SocketIO{}, &load.Client{Recover: true}, []step{{`40{"sid":"b"}`, []load.Kind{load.Rejected}, nil}})
}

func TestCentrifuge(t *testing.T) {
	push := `{"push":{"channel":"/chat/7","pub":{"data":{"text":"` + body + `"}}}}`
	play(t, NewCentrifuge(), &load.Client{Room: 7, Transport: load.WebSocket}, []step{
		{
			`{"id":1,"connect":{"client":"a","ping":25,"pong":true}}`, nil,
			[]string{`{"id":2,"subscribe":{"channel":"/chat/7"}}`},
		},
		{`{"id":2,"subscribe":{}}` + "\n" + push, []load.Kind{load.Joined, load.Delivery}, nil},
		{push + "\n{}\n" + push + "\n" + push, []load.Kind{load.Delivery, load.Delivery, load.Delivery}, []string{"{}"}},
		{`{"id":4,"publish":{}}`, nil, nil},
		{`{"id":5,"rpc":{"data":{"text":"` + body + `"}}}`, []load.Kind{load.Delivery}, nil},
		{`{"id":4,"error":{"code":103,"message":"permission denied"}}`, []load.Kind{load.Rejected}, nil},
	})
}

func TestCentrifugeRecovers(t *testing.T) {
	c := &load.Client{Room: 7, Recover: true, Transport: load.WebSocket}
	connected := `{"id":1,"connect":{"client":"a"}}`
	pub := func(offset string) string { return `{"data":{"text":"` + body + `"},"offset":` + offset + `}` }
	play(t, NewCentrifuge(), c, []step{
		{connected, nil, []string{`{"id":2,"subscribe":{"channel":"/log/7","recoverable":true}}`}},
		{`{"id":2,"subscribe":{}}`, []load.Kind{load.Rejected}, nil},
		{`{"id":2,"subscribe":{"recoverable":true,"epoch":"k","positioned":true}}`, []load.Kind{load.Joined}, nil},
		{`{"push":{"channel":"/log/7","pub":` + pub(`1,"epoch":"k"`) + `}}`, []load.Kind{load.Delivery}, nil},
		{connected, nil, []string{`{"id":2,"subscribe":{"channel":"/log/7","recoverable":true,"recover":true,"epoch":"k","offset":1}}`}},
		{`{"push":{"channel":"/log/7","pub":` + pub("4") + `}}`, []load.Kind{load.Delivery}, nil},
		{connected, nil, []string{`{"id":2,"subscribe":{"channel":"/log/7","recoverable":true,"recover":true,"epoch":"k","offset":4}}`}},
		{
			`{"id":2,"subscribe":{"recoverable":true,"epoch":"k","publications":[` + pub("5") + `,` + pub("6") + `],` +
				`"recovered":true,"offset":4,"was_recovering":true}}`,
			[]load.Kind{load.Joined, load.Delivery, load.Delivery, load.Recovered},
			nil,
		},
		{connected, nil, []string{`{"id":2,"subscribe":{"channel":"/log/7","recoverable":true,"recover":true,"epoch":"k","offset":6}}`}},
		{
			`{"id":2,"subscribe":{"recoverable":true,"epoch":"m","offset":9,"was_recovering":true}}`,
			[]load.Kind{load.Joined, load.Unrecovered},
			nil,
		},
	})
	if c.Epoch != "m" || c.Offset != 9 {
		t.Errorf("position %s.%d", c.Epoch, c.Offset)
	}
}

func TestCentrifugePresence(t *testing.T) {
	c := &load.Client{Room: 7, Number: 3, Track: true, Transport: load.WebSocket}
	info := func(number int) string { return `{"info":{"client":"a","chan_info":` + card(number) + `}}` }
	join := func(number int) string { return `{"push":{"channel":"/chat/7","join":` + info(number) + `}}` }
	play(t, NewCentrifuge(), c, []step{
		{
			`{"id":1,"connect":{"client":"a"}}`, nil,
			[]string{`{"id":2,"subscribe":{"channel":"/chat/7","data":` + card(3) + `}}`},
		},
		{`{"id":2,"subscribe":{}}`, []load.Kind{load.Joined}, []string{`{"id":3,"presence":{"channel":"/chat/7"}}`}},
		{join(4), []load.Kind{load.PresenceJoin}, nil},
		{join(5), []load.Kind{load.PresenceJoin}, nil},
		{ // without member 4
			`{"id":3,"presence":{"presence":{"a":` + info(3) + `,"b":` + info(5) + `}}}`,
			[]load.Kind{load.PresenceList, load.PresenceJoin},
			nil,
		},
		{join(3), nil, nil},
		{join(6), []load.Kind{load.PresenceJoin}, nil},
		{`{"push":{"channel":"/chat/7","leave":` + info(6) + `}}`, []load.Kind{load.PresenceLeave}, nil},
		{`{"push":{"channel":"/chat/7","leave":` + info(6) + `}}`, nil, nil},
	})
}

func TestCentrifugeOverSSE(t *testing.T) {
	c := &load.Client{Transport: load.SSE}
	var out load.Outgoing
	if NewCentrifuge().Opened(c, &out); out.Messages() != nil {
		t.Errorf("sent %q", out.Messages())
	}
	play(t, NewCentrifuge(), c, []step{
		{
			`{"id":1,"connect":{"client":"a","session":"s","node":"n"}}`, nil,
			[]string{`{"node":"n","session":"s","data":"{\"id\":2,\"subscribe\":{\"channel\":\"/chat/0\"}}"}`},
		},
		{`{}`, nil, []string{`{"node":"n","session":"s","data":"{}"}`}},
	})
}
