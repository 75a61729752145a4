package channel_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

func TestOutgoing(t *testing.T) {
	server := func() *pond.Pond {
		p, _, l := kit.NewPond()
		l.OnOutgoing("said", func(ctx *pond.OutgoingContext) error {
			var m struct {
				Text string `json:"text"`
				To   string `json:"to"`
			}
			if err := ctx.Bind(&m); err != nil {
				return err
			}
			switch {
			case m.Text == "fail":
				return errors.New("no")
			case m.Text == "panic":
				panic("no")
			case m.To != "" && m.To != ctx.User().ID:
				ctx.Block()
			case m.Text == "secret":
				return ctx.Transform(map[string]string{"text": "***", "action": ctx.Action()})
			}
			return nil
		})
		return p
	}
	kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		ann.Join("/chat/1", nil)
		bob.Join("/chat/1", nil)
		say := func(text, to string) {
			ann.Send("/chat/1", "say", map[string]string{"text": text, "to": to})
		}
		say("one", "")
		say("secret", "")
		say("for bob", bob.ID())
		say("fail", "")
		say("panic", "")
		say("two", "")
		kit.Is(t, ann.Receive(), "BROADCAST", "said", `{"text":"one","to":""}`)
		kit.Is(t, ann.Receive(), "BROADCAST", "said", `{"action":"BROADCAST","text":"***"}`)
		kit.Is(t, ann.Receive(), "BROADCAST", "said", `{"text":"two","to":""}`)
		kit.Is(t, bob.Receive(), "BROADCAST", "said", `{"text":"one","to":""}`)
		kit.Is(t, bob.Receive(), "BROADCAST", "said", `{"action":"BROADCAST","text":"***"}`)
		kit.Is(t, bob.Receive(), "BROADCAST", "said", `{"text":"for bob","to":"`+bob.ID()+`"}`)
		kit.Is(t, bob.Receive(), "BROADCAST", "said", `{"text":"two","to":""}`)
		ann.Quiet()
		bob.Quiet()
	})
}

// The caller may change a payload as soon as Broadcast returns. Handlers that run
// later see the payload as it was sent.
func TestOutgoingSeesWhatWasSent(t *testing.T) {
	p, _, l := kit.NewPond()
	var hold chan struct{}
	l.OnOutgoing("said", func(ctx *pond.OutgoingContext) error {
		<-hold
		return ctx.Transform(ctx.Payload())
	})
	l.OnMessage("now", func(ctx *pond.EventContext) error {
		payload := json.RawMessage(`{"text":"now"}`)
		if err := ctx.Broadcast("said", payload); err != nil {
			return err
		}
		copy(payload, `{"text":"not"}`)
		return nil
	})
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		hold = make(chan struct{}) // made in the bubble
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.Join("/chat/1", nil)
		s.Send("/chat/1", "now", nil)
		s.Quiet()
		close(hold)
		if got := string(s.Expect("said")); got != `{"text":"now"}` {
			t.Errorf("got %s", got)
		}
	})
}
