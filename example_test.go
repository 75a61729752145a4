package pond_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
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
