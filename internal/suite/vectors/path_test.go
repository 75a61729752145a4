package vectors_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/pattern"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// routed is the information that a handler has about the route of its message.
type routed struct {
	Params map[string]string
	Query  url.Values
}

// runPaths sends the address of each vector as an event to a lobby with one handler,
// which is registered for the pattern of the vector. Channels and endpoints use the
// same matcher.
func runPaths(t *testing.T, mode string, each eachVector) {
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", kit.Accept)
	lobbies := map[string]string{} // from patterns to channel names, which are empty for rejected patterns
	(&kit.TappedPond{Pond: p}).Run(t, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(kit.TransportOf(mode), "/socket")
		each(func(v vector) {
			in := kit.Decode[struct{ Pattern, Address string }](t, v.Input)
			want := kit.Decode[struct {
				Recommended struct {
					InvalidPattern bool
					Match          bool
					Params         map[string]string
					Query          map[string]string
					QueryAll       url.Values
				}
			}](t, v.Expected).Recommended
			name, known := lobbies[in.Pattern]
			if !known {
				name = fmt.Sprint("/", len(lobbies))
				if !register(e.Lobby(name, kit.Admit), in.Pattern) {
					name = ""
				}
				lobbies[in.Pattern] = name
			}
			if (name == "") != want.InvalidPattern {
				t.Errorf("%s: pattern refused %t, want %t", v.Name, name == "", want.InvalidPattern)
			}
			if name == "" {
				return
			}
			s.Join(name, nil)
			m := s.Request(name, in.Address, want.Params)
			s.Leave(name)
			if matched := m.Event == "routed"; matched != want.Match {
				t.Errorf("%s: match %t, want %t: %v", v.Name, matched, want.Match, m)
			}
			if !want.Match {
				return
			}
			got := kit.Decode[routed](t, m.Payload)
			if !reflect.DeepEqual(got.Params, want.Params) {
				t.Errorf("%s: params %q, want %q", v.Name, got.Params, want.Params)
			}
			last := map[string]string{}
			for key, values := range got.Query {
				last[key] = values[len(values)-1]
			}
			if !reflect.DeepEqual(last, want.Query) || want.QueryAll != nil && !reflect.DeepEqual(got.Query, want.QueryAll) {
				t.Errorf("%s: query %q, want %q %q", v.Name, got.Query, want.Query, want.QueryAll)
			}
		})
	})
}

// register reports whether a pattern is valid. Its handler replies with the
// parameters that the payload names.
func register(l *pond.Lobby, event string) (ok bool) {
	defer func() { ok = recover() == nil }()
	l.OnMessage(event, func(ctx *pond.EventContext) error {
		got := routed{Params: map[string]string{}, Query: ctx.Query()}
		var names map[string]json.RawMessage
		if err := ctx.Bind(&names); err != nil {
			return err
		}
		for name := range names {
			got.Params[name] = ctx.Param(name)
		}
		return ctx.Reply("routed", got)
	})
	return true
}

// Only clients build names from patterns. The package that matches patterns tests
// that the built names are correct.
func runBuild(t *testing.T, _ string, each eachVector) {
	each(func(v vector) {
		in := kit.Decode[struct {
			Pattern string
			Params  map[string]any
		}](t, v.Input)
		want := kit.Decode[struct {
			JS struct{ Result, Error string }
		}](t, v.Expected).JS
		params := map[string]string{}
		for name, value := range in.Params {
			if s, ok := value.(string); ok { // other types are an error in JavaScript, and do not compile in Go
				params[name] = s
			}
		}
		var got string
		p, err := pattern.Compile(in.Pattern)
		if err == nil {
			got, err = p.Build(params)
		}
		if got != want.Result || (err != nil) != (want.Error != "") {
			t.Errorf("%s: %q, %v; want %q, %q", v.Name, got, err, want.Result, want.Error)
		}
	})
}
