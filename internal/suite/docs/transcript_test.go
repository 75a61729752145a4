package docs_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// newProtocolServer returns the server of the transcripts in docs/protocol.md.
func newProtocolServer() (*pond.Pond, *pond.Endpoint) {
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", kit.Accept, pond.WithMaxMessageSize(4096))
	l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
		if ctx.Channel().Param("room") == "staff" {
			return ctx.Decline(403, "staff only")
		}
		return ctx.Accept()
	})
	l.OnMessage("say", func(ctx *pond.EventContext) error { return ctx.Broadcast("said", ctx.Payload()) })
	l.OnMessage("ask", func(ctx *pond.EventContext) error { return ctx.Reply("answer", ctx.Payload()) })
	l.OnMessage("here", func(ctx *pond.EventContext) error { return ctx.Track(ctx.Payload()) })
	l.OnMessage("away", func(ctx *pond.EventContext) error { return ctx.Update(ctx.Payload()) })
	l.OnMessage("buy", func(*pond.EventContext) error { return pond.Errorf(409, "sold out") })
	return p, e
}

// Transcripts in the documents are real: a test plays them against a server over
// each transport.
//
//	<!-- transcript: both -->
//
// Each line is a client's name, an arrow and a message, or an action of the server.
// A line that begins with a space continues the line before. Dots ("...") stand for
// values that the server chooses: IDs of users, connections and messages.
func TestTranscripts(t *testing.T) {
	for name, doc := range documents(t) {
		for _, b := range doc.code {
			if b.kind != "transcript" {
				continue
			}
			for _, tr := range pondtest.Transports {
				if b.source != "both" && b.source != string(tr) {
					continue
				}
				t.Run(fmt.Sprintf("%s:%d/%s", name, b.line, tr), func(t *testing.T) {
					p, e := newProtocolServer()
					pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
						s := &script{t, d, tr, p, e, map[string]*pondtest.Session{}}
						for _, line := range scriptLines(b.text) {
							s.play(line)
						}
						for _, session := range s.cast {
							session.Quiet()
						}
					})
				})
			}
		}
	}
}

// scriptLines returns the lines of a transcript, with continued lines joined.
func scriptLines(text string) (lines []string) {
	for line := range strings.Lines(text) {
		switch line = strings.TrimSuffix(line, "\n"); {
		case line == "":
		case line[0] == ' ' && len(lines) > 0:
			lines[len(lines)-1] += strings.TrimSpace(line)
		default:
			lines = append(lines, line)
		}
	}
	return lines
}

// A script is a transcript that is being played.
type script struct {
	t    *testing.T
	d    *pondtest.Driver
	tr   pondtest.Transport
	pond *pond.Pond
	e    *pond.Endpoint
	cast map[string]*pondtest.Session
}

func (s *script) play(line string) {
	who, rest, _ := strings.Cut(line, " ")
	if who == "server" {
		s.act(rest)
		return
	}
	session, known := s.cast[who]
	if !known {
		session = s.d.Connect(s.tr, "/socket")
		s.cast[who] = session
	}
	what, message, _ := strings.Cut(rest, " ")
	switch what {
	case "->":
		session.SendRaw([]byte(message))
	case "<-":
		if strings.HasPrefix(message, `{"action":"CONNECT"`) {
			if s.tr == pondtest.SSE { // the WebSocket driver already consumed it
				s.same(line, session.Events()[0].Data, message)
			}
			return
		}
		s.same(line, string(session.Receive().Raw), message)
	case "xx":
		code, reason := session.Closed()
		s.same(line, strings.TrimSpace(strconv.Itoa(code)+" "+reason), message)
	default:
		s.t.Fatalf("%s: unknown line", line)
	}
}

// act performs an action of the application.
func (s *script) act(what string) {
	ch, _ := s.e.Channel("/chat/1")
	bob := s.cast["bob"]
	switch what {
	case "evicts bob":
		_ = ch.Evict(bob.ID(), "spam")
	case "closes the channel":
		ch.Close("closing time")
	case "disconnects bob":
		_ = s.e.Disconnect(bob.ID(), 403, "banned")
	case "shuts down":
		go func() { _ = s.pond.Shutdown(context.Background()) }()
	default:
		s.t.Fatalf("unknown action of the server: %s", what)
	}
}

var madeUp = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|\b[A-Z2-7]{26}\b`)

func (s *script) same(line, got, want string) {
	s.t.Helper()
	if got = madeUp.ReplaceAllString(got, "..."); got != want {
		s.t.Fatalf("%s\nbut the client got\n%s", line, got)
	}
}

// Blocks with the mark "stream" show the bytes of an event stream, or, with "stream:
// head", headers of the response.
func TestStreamsInDocuments(t *testing.T) {
	for name, doc := range documents(t) {
		for _, b := range doc.code {
			if b.kind != "stream" {
				continue
			}
			t.Run(fmt.Sprintf("%s:%d", name, b.line), func(t *testing.T) {
				p, _ := newProtocolServer()
				pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
					framing := b.source
					if framing == "head" {
						framing = "named"
					}
					s := d.Connect(pondtest.SSE, "/socket", pondtest.Query("sse", framing))
					s.Join("/chat/1", nil)
					s.SendID("/chat/1", "say", "2", map[string]string{"text": "hi"})
					s.ReceiveEvent("said")
					got := string(s.Bytes())
					if b.source == "head" {
						got = head(s, b.text)
					}
					if got = joinID.ReplaceAllString(madeUp.ReplaceAllString(got, "..."), `$1"1"`); got != b.text {
						t.Errorf("got\n%s", got)
					}
				})
			})
		}
	}
}

// joinID finds the request ID that the driver chose for the join.
var joinID = regexp.MustCompile(`("event":"ACKNOWLEDGE".*"requestId":)"[^"]*"`)

// head returns the status of a response and the headers in wanted.
func head(s *pondtest.Session, want string) string {
	var got strings.Builder
	got.WriteString("HTTP/1.1 " + s.Response().Status + "\n")
	for line := range strings.Lines(want) {
		if key, _, ok := strings.Cut(line, ":"); ok {
			got.WriteString(key + ": " + s.Response().Header.Get(key) + "\n")
		}
	}
	return got.String()
}

// The document about the protocol mentions every word of the protocol.
func TestProtocolNamesEveryWord(t *testing.T) {
	text, err := os.ReadFile("docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, word := range constants(t, "internal/wire") {
		if !strings.Contains(string(text), word) {
			t.Errorf("docs/protocol.md does not mention %s %q", name, word)
		}
	}
}
