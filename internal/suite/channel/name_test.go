package channel_test

import (
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

func TestChannelName(t *testing.T) {
	e := pond.New().Endpoint("/socket", kit.Accept, pond.WithMaxChannelName(40))
	first := e.Lobby("/chat/lobby", kit.Admit)
	chat := e.Lobby("/chat/:room", kit.Admit)
	job := e.Lobby("/u/user-:id/job:*", kit.Admit)
	files := e.Lobby("/files/*", kit.Admit)
	for _, test := range []struct {
		lobby  *pond.Lobby
		params []string
		want   string // empty for an error
	}{
		{first, nil, "/chat/lobby"},
		{chat, []string{"room", "ann@x.com"}, "/chat/ann%40x.com"},
		{chat, []string{"room", "a/b?c#d%e f+g"}, "/chat/a%2Fb%3Fc%23d%25e%20f%2Bg"},
		{chat, []string{"room", "größe"}, "/chat/gr%C3%B6%C3%9Fe"},
		{chat, []string{"room", "-_.!~*'()"}, "/chat/-_.!~*'()"},
		{job, []string{"id", "7", "*", ":a b"}, "/u/user-7/job:a b"},
		{files, []string{"*", "a/b.txt"}, "/files/a/b.txt"},
		{files, []string{"*", "/a/b.txt"}, "/files/a/b.txt"},

		{chat, nil, ""},
		{chat, []string{"room"}, ""},
		{chat, []string{"room", ""}, ""},
		{chat, []string{"room", "\xff"}, ""},
		{chat, []string{"room", "1", "user", "2"}, ""},
		{chat, []string{"room", "lobby"}, ""}, // which belongs to first
		{chat, []string{"room", strings.Repeat("x", 40)}, ""},
		{first, []string{"room", "x"}, ""},
		{job, []string{"id", "7", "*", "a/b"}, ""},
		{files, []string{"*", "a//b"}, ""},
		{files, []string{"*", "a?b"}, ""},
		{files, []string{"*", "a\nb"}, ""},
	} {
		got, err := test.lobby.ChannelName(test.params...)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s %q: %q, %v; want %q", test.lobby.Pattern(), test.params, got, err, test.want)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "pond: ") {
			t.Errorf("error %v", err)
		}
	}
}

// ChannelName is the inverse of what matching does: handlers of the channel with the
// name find the values, and different values give different names.
func TestChannelNameIsInverse(t *testing.T) {
	const n = 300
	p := pond.New()
	e := p.Endpoint("/socket", kit.Accept, pond.WithMaxChannels(n))
	var room, id string
	l := e.Lobby("/t-:room/x/:id", func(ctx *pond.JoinContext) error {
		room, id = ctx.Param("room"), ctx.Param("id")
		return ctx.Accept()
	})
	r := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("aZ09-_.~!*'():;,/?#[]@&=+$% \\\"<>^`{|}\t\x00\u007fäß€😀\u202e\ufffd%25%2F")
	text := func() string {
		var b strings.Builder
		for range 1 + r.IntN(6) {
			b.WriteRune(alphabet[r.IntN(len(alphabet))])
		}
		return b.String()
	}
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket")
		names := map[string][2]string{}
		for range n {
			values := [2]string{text(), text()}
			name, err := l.ChannelName("room", values[0], "id", values[1])
			if err != nil || !utf8.ValidString(name) {
				t.Fatalf("%q: %q, %v", values, name, err)
			}
			if other, ok := names[name]; ok && other != values {
				t.Errorf("%q is the name for %q and for %q", name, values, other)
			} else if ok {
				continue
			}
			names[name] = values
			s.Join(name, nil)
			if room != values[0] || id != values[1] {
				t.Errorf("%q has %q and %q, want %q", name, room, id, values)
			}
			if decoded, err := url.PathUnescape(name); err != nil || decoded != "/t-"+values[0]+"/x/"+values[1] {
				t.Errorf("%q decodes to %q, %v", name, decoded, err)
			}
		}
	})
}
