package memorybroker_test

import (
	"context"
	"fmt"
	"log"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
)

// A printer prints what it receives.
type printer chan string

func (p printer) Receive(e pond.Entry) { p <- string(e.Data) }

func (p printer) Gap(reason error) { p <- "something is missing: " + reason.Error() }

// Two nodes of one process talk to each other. Then the connection of one is lost.
func Example() {
	ctx := context.Background()
	bus := memorybroker.New()
	a, b := bus.Broker("a"), bus.Broker("b")

	received := make(printer, 1)
	subscription, err := b.Subscribe(ctx, "api/socket:/chat/1", received)
	if err != nil {
		log.Fatal(err)
	}
	if err := a.Publish(ctx, "api/socket:/chat/1", [][]byte{[]byte(`{"text":"hi"}`)}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-received)

	b.Disconnect()
	fmt.Println(b.Health())
	b.Connect()
	fmt.Println(<-received)
	_ = subscription.Close()
	// Output:
	// {"text":"hi"}
	// memorybroker: disconnected
	// something is missing: memorybroker: disconnected
}
