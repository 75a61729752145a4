package main

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondclient"
)

// TestBot talks to the bot, with a server like that of the quick start.
func TestBot(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	joined := make(chan struct{}, 10)
	p := pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)))
	lobby := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() }).
		Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
			defer func() { joined <- struct{}{} }()
			return ctx.Accept()
		})
	pond.On(lobby, said, func(ctx *pond.EventContext, m Message) error { return ctx.Broadcast(said.With(m)) })
	server := httptest.NewServer(p)
	defer server.Close()
	defer func() { _ = p.Shutdown(ctx) }()

	working, stop := context.WithCancel(ctx)
	bot := make(chan error, 1)
	go func() { bot <- run(working, server.URL+"/socket") }()
	<-joined

	c, err := pondclient.Dial(ctx, server.URL+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	room, err := c.Join(ctx, "/chat/1")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"hello", "world", "!count"} {
		if err := room.Send(said.With(Message{text})); err != nil {
			t.Fatal(err)
		}
	}
	var lines []string
	for ev, err := range room.Events(ctx) {
		if err != nil {
			t.Fatal(err, lines)
		}
		if m, ok := ev.(*pondclient.Message); ok {
			line, _, err := pondclient.Decode(m, said)
			if err != nil {
				t.Fatal(err)
			}
			if lines = append(lines, line.Text); len(lines) == 4 {
				break
			}
		}
	}
	if lines[3] != "2 messages since I joined" {
		t.Errorf("%q", lines)
	}
	stop()
	if err := <-bot; err != nil {
		t.Error(err)
	}
}
