package pond_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"

	"github.com/pondsocket/pond"
)

// Ann and Bob are members of a channel. Each message goes to both.
func Example() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	lobby := endpoint.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() })
	lobby.OnMessage("say", func(ctx *pond.EventContext) error {
		return ctx.Broadcast("said", ctx.Payload())
	})

	v := serve(p, p) // a server for tests: a program uses Pond.ListenAndServe
	defer v.close()
	ann, bob := v.connect("Ann", "/socket"), v.connect("Bob", "/socket")
	ann.join("/chat/42")
	bob.join("/chat/42")
	ann.send("/chat/42", "say", map[string]string{"text": "hi"})
	ann.receive()
	bob.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Ann gets BROADCAST said {"text":"hi"}
	// Bob gets BROADCAST said {"text":"hi"}
}

// An event stream needs only HTTP: GET opens it, POST sends a message, and DELETE
// closes it. POST and DELETE need the connection ID from the header of the stream.
func ExampleSSE() {
	p := pond.New()
	lobby := p.Endpoint("/socket", accept).Lobby("/chat/:room", admit)
	lobby.OnMessage("say", func(ctx *pond.EventContext) error { return ctx.Broadcast("said", ctx.Payload()) })

	v := serve(p, p)
	defer v.close()
	url := v.http.URL + "/socket"

	open, _ := http.NewRequest(http.MethodGet, url, http.NoBody)
	open.Header.Set("Accept", "text/event-stream")
	stream, err := http.DefaultClient.Do(open)
	if err != nil {
		panic(err)
	}
	defer stream.Body.Close()
	fmt.Println(stream.StatusCode, stream.Header.Get("Content-Type"))

	ask := func(method, message string) {
		req, _ := http.NewRequest(method, url, strings.NewReader(message))
		req.Header.Set("X-Connection-ID", stream.Header.Get("X-Connection-ID"))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		resp.Body.Close()
		fmt.Println(method, resp.StatusCode)
	}
	ask(http.MethodPost, `{"action":"JOIN_CHANNEL","event":"","channelName":"/chat/1","requestId":"1","payload":{}}`)
	ask(http.MethodPost, `{"action":"BROADCAST","event":"say","channelName":"/chat/1","requestId":"2","payload":{"text":"hi"}}`)
	lines := bufio.NewScanner(stream.Body)
	for events := 0; events < 3 && lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			fmt.Println("event:", name)
			events++
		}
	}
	ask(http.MethodDelete, "")
	for lines.Scan() { // until the server ends the stream
	}
	fmt.Println("end:", lines.Err())
	// Output:
	// 200 text/event-stream; charset=utf-8
	// POST 204
	// POST 204
	// event: CONNECTION
	// event: ACKNOWLEDGE
	// event: said
	// DELETE 204
	// end: <nil>
}

// A visit is a server with the clients of an Example. The clients use event
// streams, because they need only net/http.
type visit struct {
	pond   *pond.Pond
	http   *httptest.Server
	guests []*guest
}

// serve serves h. It is p, or contains p.
func serve(p *pond.Pond, h http.Handler) *visit { return &visit{pond: p, http: httptest.NewServer(h)} }

func (v *visit) close() {
	for _, g := range v.guests {
		g.disconnect()
	}
	_ = v.pond.Shutdown(context.Background())
	v.http.Close()
}

// A guest is a client that prints the messages that it gets.
type guest struct {
	name   string
	id     string // its user ID
	url    string
	secret string
	stream *http.Response
	lines  *bufio.Scanner
}

// A received is a message from the server.
type received struct {
	Action    string          `json:"action"`
	Event     string          `json:"event"`
	RequestID string          `json:"requestId"`
	Payload   json.RawMessage `json:"payload"`
}

// connect returns a connected client, or prints why it was declined.
func (v *visit) connect(name, target string) *guest {
	g := dial(name, v.http.URL+target)
	if g != nil {
		v.guests = append(v.guests, g)
	}
	return g
}

func dial(name, url string) *guest {
	g := &guest{name: name, url: url}
	req, _ := http.NewRequest(http.MethodGet, g.url, http.NoBody)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Printf("%s is declined: %d %s\n", name, resp.StatusCode, bytes.TrimSpace(body))
		return nil
	}
	g.stream, g.lines = resp, bufio.NewScanner(resp.Body)
	g.secret = resp.Header.Get("X-Connection-ID")
	hello, _ := g.next()
	var you struct{ ID string }
	_ = json.Unmarshal(hello.Payload, &you)
	g.id = you.ID
	return g
}

// next waits for the next message.
func (g *guest) next() (m received, ok bool) {
	for g.lines.Scan() {
		if data, ok := strings.CutPrefix(g.lines.Text(), "data: "); ok {
			return m, json.Unmarshal([]byte(data), &m) == nil
		}
	}
	return m, false
}

// receive waits for the next message and prints it.
func (g *guest) receive() {
	m, ok := g.next()
	if !ok {
		fmt.Printf("%s is disconnected\n", g.name)
		return
	}
	fmt.Printf("%s gets %s %s %s\n", g.name, m.Action, m.Event, m.Payload)
}

// post sends one message.
func (g *guest) post(action, channel, event string, payload any) {
	body, _ := json.Marshal(map[string]any{
		"action": action, "event": event, "channelName": channel, "requestId": "1", "payload": payload,
	})
	req, _ := http.NewRequest(http.MethodPost, g.url, strings.NewReader(string(body)))
	req.Header.Set("X-Connection-ID", g.secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	resp.Body.Close()
}

// join asks to join a channel and prints the answer.
func (g *guest) join(channel string, params ...any) {
	g.post("JOIN_CHANNEL", channel, "JOIN_CHANNEL", append(params, nil)[0])
	g.receive()
}

func (g *guest) leave(channel string) { g.post("LEAVE_CHANNEL", channel, "LEAVE_CHANNEL", nil) }

func (g *guest) send(channel, event string, payload any) {
	g.post("BROADCAST", channel, event, payload)
}

// disconnect closes the stream without a message, like a closed browser tab.
func (g *guest) disconnect() { g.stream.Body.Close() }

func accept(ctx *pond.ConnectionContext) error { return ctx.Accept() }

func admit(ctx *pond.JoinContext) error { return ctx.Accept() }

// waitTracked waits until n users of a channel are tracked. A join handler tracks a user
// after the client got its acknowledgement.
func waitTracked(endpoint *pond.Endpoint, channel string, n int) {
	for {
		tracked := 0
		if ch, ok := endpoint.Channel(channel); ok {
			for range ch.Presence() {
				tracked++
			}
		}
		if tracked == n {
			return
		}
		runtime.Gosched()
	}
}

// Handlers share private data of a client as assigns. Clients never see them. The
// assigns of one channel are not visible in other channels.
func ExampleEventContext_Assign() {
	owners := map[string]string{"/docs/1": "Ann"} // such as a table of a database

	p := pond.New()
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		ctx.Assign("name", ctx.Query().Get("name")) // for all channels of the client
		return ctx.Accept()
	})
	lobby := endpoint.Lobby("/docs/:id", func(ctx *pond.JoinContext) error {
		if ctx.Get("name") == owners[ctx.Channel().Name()] {
			ctx.Assign("role", "owner") // in this channel only
		}
		return ctx.Accept()
	})
	lobby.OnMessage("edit", func(ctx *pond.EventContext) error {
		edits, _ := ctx.Get("edits").(int)
		if err := ctx.Assign("edits", edits+1); err != nil {
			return err
		}
		return ctx.Reply("edited", map[string]any{
			"name": ctx.Get("name"), "role": ctx.Get("role"), "edits": ctx.Get("edits"),
		})
	})

	v := serve(p, p)
	defer v.close()
	ann, bob := v.connect("Ann", "/socket?name=Ann"), v.connect("Bob", "/socket?name=Bob")
	ann.join("/docs/1")
	bob.join("/docs/1")
	for _, g := range []*guest{ann, ann, bob} {
		g.send("/docs/1", "edit", nil)
		g.receive()
	}
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Ann gets SYSTEM edited {"edits":1,"name":"Ann","role":"owner"}
	// Ann gets SYSTEM edited {"edits":2,"name":"Ann","role":"owner"}
	// Bob gets SYSTEM edited {"edits":1,"name":"Bob","role":null}
}

// A reply goes only to the sender. It has the ID of the request, so the client
// knows which request it answers.
func ExampleEventContext_Reply() {
	onCount := func(ctx *pond.EventContext) error {
		var request struct {
			Text string `json:"text"`
		}
		if err := ctx.Bind(&request); err != nil {
			return err
		}
		return ctx.Reply("counted", map[string]int{"words": len(strings.Fields(request.Text))})
	}

	p := pond.New()
	lobby := p.Endpoint("/socket", accept).Lobby("/texts/:id", admit)
	lobby.OnMessage("count", onCount)

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/texts/1")
	ann.send("/texts/1", "count", map[string]string{"text": "to be or not to be"})
	ann.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets SYSTEM counted {"words":6}
}

// An event can go to all members, to all except the sender, or to some members.
func ExampleEventContext_Others() {
	// onType sends to the other members. onWhisper sends to one member, whose ID is in
	// the name of the event. Both confirm.
	onType := func(ctx *pond.EventContext) error {
		return errors.Join(ctx.Others().Broadcast("typing", ctx.Payload()), ctx.Reply("ok", nil))
	}

	onWhisper := func(ctx *pond.EventContext) error {
		return errors.Join(ctx.Channel().To(ctx.Param("id")).Broadcast("whisper", ctx.Payload()), ctx.Reply("ok", nil))
	}

	p := pond.New()
	lobby := p.Endpoint("/socket", accept).Lobby("/chat/:room", admit)
	lobby.OnMessage("typing", onType)
	lobby.OnMessage("whisper/:id", onWhisper)

	v := serve(p, p)
	defer v.close()
	ann, bob := v.connect("Ann", "/socket"), v.connect("Bob", "/socket")
	ann.join("/chat/1")
	bob.join("/chat/1")

	ann.send("/chat/1", "typing", map[string]string{"name": "Ann"})
	ann.receive() // only the confirmation
	bob.receive()
	ann.send("/chat/1", "whisper/"+bob.id, map[string]string{"text": "hi"})
	ann.receive()
	bob.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Ann gets SYSTEM ok {}
	// Bob gets BROADCAST typing {"name":"Ann"}
	// Ann gets SYSTEM ok {}
	// Bob gets BROADCAST whisper {"text":"hi"}
}

// Tracked members get the list of all tracked members with every change.
func ExampleJoinContext_Track() {
	// A Presence is the public state of a member.
	type Presence struct {
		Name   string `json:"name"`
		Status string `json:"status"`
	}

	const wentAway pond.Event[struct{}] = "away"

	p := pond.New()
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		ctx.Assign("name", ctx.Query().Get("name"))
		return ctx.Accept()
	})
	lobby := endpoint.Lobby("/office/:floor", func(ctx *pond.JoinContext) error {
		if err := ctx.Accept(); err != nil {
			return err
		}
		name, _ := ctx.Get("name").(string)
		return ctx.Track(Presence{name, "online"})
	})
	pond.On(lobby, wentAway, func(ctx *pond.EventContext, _ struct{}) error {
		name, _ := ctx.Get("name").(string)
		return ctx.Update(Presence{name, "away"})
	})

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket?name=Ann")
	ann.join("/office/3")
	ann.receive()
	bob := v.connect("Bob", "/socket?name=Bob")
	bob.join("/office/3")
	ann.receive()
	bob.send("/office/3", "away", nil)
	ann.receive()
	bob.disconnect()
	ann.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets PRESENCE JOIN {"presence":[{"name":"Ann","status":"online"}],"changed":{"name":"Ann","status":"online"}}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Ann gets PRESENCE JOIN {"presence":[{"name":"Ann","status":"online"},{"name":"Bob","status":"online"}],"changed":{"name":"Bob","status":"online"}}
	// Ann gets PRESENCE UPDATE {"presence":[{"name":"Ann","status":"online"},{"name":"Bob","status":"away"}],"changed":{"name":"Bob","status":"away"}}
	// Ann gets PRESENCE LEAVE {"presence":[{"name":"Ann","status":"online"}],"changed":{"name":"Bob","status":"away"}}
}

// An Error is sent to the client. For all other errors the client gets "internal
// error".
func ExampleError() {
	// errLocked is like an error of a database.
	errLocked := errors.New("row 7 of seats is locked")

	// reserveSeat returns an error with a message for the client. Err is for the log.
	reserveSeat := func(ctx *pond.EventContext) error {
		return &pond.Error{
			Code:    http.StatusConflict,
			Message: "somebody was faster",
			Details: map[string]int{"free": 3},
			Err:     errLocked,
		}
	}

	p := pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)))
	lobby := p.Endpoint("/socket", accept).Lobby("/cinema/:show", admit)
	lobby.OnMessage("reserve", reserveSeat)
	lobby.OnMessage("cancel", func(*pond.EventContext) error { return fmt.Errorf("cancelling: %w", errLocked) })

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/cinema/8pm")
	ann.send("/cinema/8pm", "reserve", nil)
	ann.receive()
	ann.send("/cinema/8pm", "cancel", nil)
	ann.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets ERROR HANDLER_NOT_FOUND {"code":409,"message":"somebody was faster","status":409,"statusCode":409,"error":{"message":"somebody was faster","status":409},"details":{"free":3}}
	// Ann gets ERROR HANDLER_NOT_FOUND {"code":500,"message":"internal error","status":500,"statusCode":500,"error":{"message":"internal error","status":500}}
}

// noted is a middleware for the handlers of all five contexts.
func noted[C context.Context](next pond.Handler[C]) pond.Handler[C] {
	return func(ctx C) error {
		err := next(ctx)
		fmt.Printf("%T: %v\n", ctx, err)
		return err
	}
}

// only is a middleware for events that requires a role.
func only(role string) pond.Middleware[*pond.EventContext] {
	return func(next pond.Handler[*pond.EventContext]) pond.Handler[*pond.EventContext] {
		return func(ctx *pond.EventContext) error {
			if ctx.Get("role") != role {
				return pond.Errorf(http.StatusForbidden, "only for a %s", role)
			}
			return next(ctx)
		}
	}
}

// A middleware is a function that wraps a handler, as is common with net/http. The
// first middleware in a chain runs first.
func ExampleChain() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", pond.Chain(accept, noted[*pond.ConnectionContext]))
	lobby := endpoint.Lobby("/chat/:room", pond.Chain(admit, noted[*pond.JoinContext]))
	wipe := func(ctx *pond.EventContext) error { return ctx.Broadcast("cleared", nil) }
	lobby.OnMessage("clear", pond.Chain(wipe, noted[*pond.EventContext], only("moderator")))

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.post("JOIN_CHANNEL", "/chat/1", "", nil)
	ann.next()
	ann.send("/chat/1", "clear", nil)
	ann.next()
	// Output:
	// *pond.ConnectionContext: <nil>
	// *pond.JoinContext: <nil>
	// *pond.EventContext: 403 only for a moderator
}
