package pond_test

import (
	"bufio"
	"fmt"
	"net/http"
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
