// Goclient is a bot in the chat of the quick start. It counts the messages of a room, and
// says how many there were when somebody writes "!count".
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondclient"
)

// A Message is the payload of the event said, as in the server.
type Message struct {
	Text string `json:"text"`
}

const said pond.Event[Message] = "said"

// run is the bot. It returns nil when ctx is done.
func run(ctx context.Context, url string) error {
	c, err := pondclient.New(url) // the server may start later
	if err != nil {
		return err
	}
	defer disconnect(c)
	room, err := c.Join(ctx, "/chat/1")
	if err != nil {
		return err
	}
	count, since := 0, "I joined"
	for ev, err := range room.Events(ctx) {
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil: // the server evicted the bot, or rejects it after a reconnect
			return err
		}
		switch ev := ev.(type) {
		case *pondclient.Gap: // messages may be missing, so the count is wrong
			count, since = 0, "I lost my connection"
		case *pondclient.Failure: // the server rejected an answer of the bot
			log.Print(ev.Err)
		case *pondclient.Message:
			m, ok, err := pondclient.Decode(ev, said)
			switch {
			case err != nil:
				log.Print(err)
			case ok && m.Text == "!count":
				answer := Message{Text: fmt.Sprintf("%d messages since %s", count, since)}
				if err := room.Send(said.With(answer)); err != nil {
					log.Print(err)
				}
			case ok:
				count++
			}
		}
	}
	return nil
}

// disconnect closes the client. It gives queued messages two seconds.
func disconnect(c *pondclient.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		log.Print(err)
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, "ws://127.0.0.1:8000/socket"); err != nil {
		log.Fatal(err)
	}
}
