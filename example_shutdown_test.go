package pond_test

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/pondsocket/pond"
)

// Serve ends the server and the Pond in the right order when its context is done.
// In a program, that is the context of signal.NotifyContext, and ListenAndServe
// listens for you.
func ExamplePond_Serve() {
	p := pond.New()
	lobby := p.Endpoint("/socket", accept).Lobby("/chat/:room", admit)
	lobby.OnLeave(func(ctx *pond.LeaveContext) error {
		fmt.Println("one leaves:", ctx.Reason())
		return nil
	})

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error)
	go func() { ended <- p.Serve(ctx, &http.Server{}, l) }()

	ann := dial("Ann", "http://"+l.Addr().String()+"/socket")
	ann.join("/chat/1")
	stop() // as SIGTERM would
	ann.receive()
	fmt.Println("served:", <-ended)
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// one leaves: server_shutdown
	// Ann is disconnected
	// served: <nil>
}
