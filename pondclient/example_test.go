package pondclient_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondclient"
)

// A Line is a message in a chat.
type Line struct {
	Text string `json:"text"`
}

// A Count is the answer to Words.
type Count struct {
	Words int `json:"words"`
}

// The events of the chat, in a package that server and clients share.
const (
	Say   pond.Event[Line] = "say"
	Said  pond.Event[Line] = "said"
	Words pond.Event[Line] = "words"
)

// serveChat returns the server of the Examples, and a function that stops it.
func serveChat() (*httptest.Server, func()) {
	p := pond.New()
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		if ctx.Request().Header.Get("Authorization") == "Bearer expired" {
			return ctx.Decline(http.StatusUnauthorized, "the token is expired")
		}
		return ctx.Accept()
	})
	l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
		if err := ctx.Accept(); err != nil {
			return err
		}
		var params struct {
			Name string `json:"name"`
		}
		if err := ctx.Bind(&params); err != nil || params.Name == "" {
			return err
		}
		return ctx.Track(params)
	})
	pond.On(l, Say, func(ctx *pond.EventContext, m Line) error { return ctx.Broadcast(Said.With(m)) })
	pond.On(l, Words, func(ctx *pond.EventContext, m Line) error {
		n := 1
		for _, r := range m.Text {
			if r == ' ' {
				n++
			}
		}
		return ctx.Reply("counted", Count{n})
	})
	s := httptest.NewServer(p)
	return s, func() {
		_ = p.Shutdown(context.Background())
		s.Close()
	}
}

// A first client. It handles gaps: after a lost connection, messages may be missing
// that the server does not have any more.
func Example() {
	server, stop := serveChat()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	c, err := pondclient.Dial(ctx, server.URL+"/socket")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)

	ch, err := c.Join(ctx, "/chat/1")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := ch.Send("say", Line{"hello"}); err != nil {
		fmt.Println(err)
	}
	for ev, err := range ch.Events(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		switch ev := ev.(type) {
		case *pondclient.Message:
			fmt.Println(ev.Event, string(ev.Payload))
			return
		case *pondclient.Gap:
			fmt.Println("messages may be missing:", ev.Reason)
		}
	}
	// Output:
	// said {"text":"hello"}
}

// With typed events, the compiler checks the payloads that are sent, and one call
// decodes received messages.
func ExampleDecode() {
	server, stop := serveChat()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := pondclient.Dial(ctx, server.URL+"/socket")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)
	ch, err := c.Join(ctx, "/chat/1")
	if err != nil {
		fmt.Println(err)
		return
	}

	if err := ch.Send(Say.With(Line{"hello"})); err != nil {
		fmt.Println(err)
	}
	for ev, err := range ch.Events(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		m, ok := ev.(*pondclient.Message)
		if !ok {
			continue
		}
		if line, ok, err := pondclient.Decode(m, Said); ok {
			fmt.Println(line.Text, err)
			return
		}
	}
	// Output:
	// hello <nil>
}

func ExampleCall() {
	server, stop := serveChat()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := pondclient.Dial(ctx, server.URL+"/socket")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)
	ch, err := c.Join(ctx, "/chat/1")
	if err != nil {
		fmt.Println(err)
		return
	}

	count, err := pondclient.Call[Count](ctx, ch, Words, Line{"to be or not to be"})
	fmt.Println(count.Words, err)
	// Output:
	// 6 <nil>
}

// An error of the server is a *pond.Error with a status. An answer that did not
// arrive is another matter than a message that was not sent.
func ExampleChannel_Request() {
	server, stop := serveChat()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := pondclient.Dial(ctx, server.URL+"/socket")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)
	ch, err := c.Join(ctx, "/chat/1")
	if err != nil {
		fmt.Println(err)
		return
	}

	_, err = ch.Request(ctx, "unknown", nil)
	if e, ok := errors.AsType[*pond.Error](err); ok {
		fmt.Println(e.Code, e.Message)
	}
	switch {
	case errors.Is(err, pondclient.ErrUnknownOutcome):
		fmt.Println("perhaps it was handled")
	case errors.Is(err, pondclient.ErrQueueFull):
		fmt.Println("it was not sent")
	}
	// Output:
	// 500 A handler did not respond to the event
}

func ExampleWithPresence() {
	server, stop := serveChat()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := pondclient.Dial(ctx, server.URL+"/socket")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)

	me := map[string]string{"name": "ann"}
	ch, err := c.Join(ctx, "/chat/1", pondclient.WithPresence(), pondclient.WithParams(me))
	if err != nil {
		fmt.Println(err)
		return
	}
	for ev, err := range ch.Events(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if p, ok := ev.(*pondclient.Presence); ok {
			fmt.Println(len(p.Joins), len(p.Updates), len(p.Leaves), string(ch.Members()[0].Presence))
			return
		}
	}
	// Output:
	// 1 0 0 {"name":"ann"}
}

func ExampleWithTokenSource() {
	server, stop := serveChat()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	calls := 0
	source := func(context.Context) (pondclient.Token, error) {
		calls++
		if calls == 1 { // for the Example, the first one is too old
			return pondclient.Token{Value: "expired"}, nil
		}
		return pondclient.Token{Value: "fresh", Lifetime: time.Hour}, nil
	}
	c, err := pondclient.Dial(ctx, server.URL+"/socket", pondclient.WithTokenSource(source))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)
	fmt.Println("connected with token", calls)
	// Output:
	// connected with token 2
}

// A policy decides about single statuses and close codes, and leaves the others to
// DefaultAction.
func ExampleWithPolicy() {
	policy := func(e *pondclient.ConnectionError) pondclient.Action {
		if e.Status == http.StatusNotFound { // while a new version is rolled out
			return pondclient.Retry
		}
		return pondclient.DefaultAction(e)
	}
	c, err := pondclient.New("wss://example.com/socket", pondclient.WithPolicy(policy))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(context.Background())
	fmt.Println(policy(&pondclient.ConnectionError{Status: 404}), policy(&pondclient.ConnectionError{Status: 410}))
	// Output:
	// retry stop
}

// Close sends the queued messages. The error contains the messages that it could not
// send in time.
func ExampleClient_Close() {
	c, err := pondclient.New("ws://127.0.0.1:1/socket") // no server listens there
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err = c.Join(ctx, "/chat/1")
	fmt.Println(errors.Is(err, context.DeadlineExceeded))

	err = c.Close(ctx)
	if unsent, ok := errors.AsType[*pondclient.UnsentError](err); ok {
		for _, m := range unsent.Messages {
			fmt.Println("not sent:", m.Channel, m.Event)
		}
	}
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}
