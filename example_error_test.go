package pond_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/pondsocket/pond"
)

// errLocked stands for an error of a database.
var errLocked = errors.New("row 7 of seats is locked")

// reserveSeat answers with what the client may know; the log has the cause.
func reserveSeat(ctx *pond.EventContext) error {
	return &pond.Error{
		Code:    http.StatusConflict,
		Message: "somebody was faster",
		Details: map[string]int{"free": 3},
		Err:     errLocked,
	}
}

// An Error tells the client what went wrong. Of any other error the client learns
// only that there was one.
func ExampleError() {
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
